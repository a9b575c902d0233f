"""Tables of videos: CSV, JSON lines and parquet, and the list of KTH. Loads without torch.

A row names a file beside the table (`file_name` as Hugging Face does, `path` and others, or
Kinetics' `youtube_id`), and may name its `split`, its `group`, and the part of the file that it is:
from `start` to `end` in seconds, or from `start_frame` to before `end_frame`.
"""

import csv
import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from rsvp.data.sources import (
    DAMAGED,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Options,
    Source,
    Span,
    base_of,
    frame_folder,
    plain,
    stem,
    walk,
    why_unread,
)
from rsvp.runtime.errors import UserError, one_line

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of Hugging Face, in any folder
SUFFIXES = (".csv", ".jsonl", ".parquet", "sequences.txt")
COLUMNS = {  # by what they hold, the first one that a table has
    "path": ("file_name", "video_file_name", "path", "video", "video_path", "filename", "file"),
    "youtube": ("youtube_id",),
    "class": ("label",),
    "side": ("split", "subset"),
    "group": ("group",),
    "start": ("start", "time_start", "start_time"),
    "end": ("end", "time_end", "end_time"),
    "start_frame": ("start_frame",),
    "end_frame": ("end_frame",),
}
KTH = re.compile(r"(person\d+_(\w+)_d\d)\s+frames\s+([\d,\s-]+)")
Row = Mapping[str, Any]
logger = logging.getLogger(__name__)


def find(root: str, options: Options) -> Iterable[Source]:
    """Yield the videos that tables name: the table at `root`, or the metadata files below it."""
    sources = [source for table in tables(root) for source in named_videos(table, root)]
    parts = Counter(source.path for source in sources if source.span)
    for source in sources:
        # Parts of one file show the same people and places.
        shared = parts[source.path] > 1 and not source.group
        yield replace(source, group=source.id.rpartition("@")[0]) if shared else source


def tables(root: str) -> list[str]:
    """Return the table at a path, or the metadata files below a folder."""
    if os.path.isfile(root):
        return [root]
    found = [file for _, files in walk(root, METADATA) for file in files]
    return [file for file in found if os.path.basename(file).lower() in METADATA]


def names_videos(table: str) -> bool:
    """Check whether the rows of a table name files; a warning says why they do not."""
    try:
        return table.endswith(".txt") or bool(known_columns(table, list(read_rows(table))))
    except UserError as error:
        logger.warning("%s; left out", error)
        return False


def named_videos(table: str, root: str) -> Iterator[Source]:
    """Yield the videos of a table's rows."""
    folder = os.path.dirname(table)
    base = base_of(root)
    if table.endswith(".txt"):
        yield from kth_videos(table, folder)
        return
    rows = list(read_rows(table))
    columns = known_columns(table, rows)
    here: dict[str, str] | None = None
    for number, row in enumerate(rows, 1):
        cells = {key: row[name] for key, name in columns.items() if row.get(name) not in (None, "")}
        try:
            span = span_of(cells)
            if "path" in cells:
                if not isinstance(cells["path"], str):
                    raise TypeError(f"holds {type(cells['path']).__name__}, not the name of a file")
                name = path = os.path.join(folder, cells["path"])
            else:
                here = files_by_stem(folder) if here is None else here
                name, path, span = kinetics_file(cells, folder, here, span)
            source = video_at(name, path, base, span)
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            reason = f"row {number} names no file" if isinstance(error, KeyError) else (
                f"row {number}: {one_line(str(error))}")  # fmt: skip
            yield Source(f"{plain(stem(table))}@row{number}", table, kind="table",
                         part=f"{DAMAGED}{reason}")  # fmt: skip
            continue
        known = {key: str(cells[key]) for key in ("group", "side") if key in cells}
        yield replace(source, **known)


def read_rows(table: str, wanted: re.Pattern = re.compile(".*")) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as columns by name; UserError where it is broken.

    wanted: matches the columns of parquet that are read.
    """
    try:
        if table.endswith(".parquet"):
            import pyarrow.parquet as parquet

            file = parquet.ParquetFile(table)
            columns = [name for name in file.schema_arrow.names if wanted.fullmatch(name)]
            for batch in file.iter_batches(columns=columns):
                yield from batch.to_pylist()
            return
        with open(table, encoding="utf-8-sig", newline="") as stream:
            if table.endswith(".csv"):
                yield from csv.DictReader(stream, strict=True)
                return
            for line in filter(str.strip, stream):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"a line holds {line.strip()[:40]}, not names and values")
                yield row
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or one_line(str(error))
        why = why_unread(table, f"cannot be read as a table: {reason}")
        raise UserError(f"{table}: {why}") from None


def known_columns(table: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the names of a table's columns by what they hold; UserError where none is a path."""
    # Rows of JSON lines may lack columns; cells beyond the head of a CSV have no name.
    names = list(dict.fromkeys(name for row in rows for name in row if name is not None))
    found = {key: next((n for n in known if n in names), "") for key, known in COLUMNS.items()}
    if not found["path"] and not found["youtube"]:
        wanted = ", ".join((*COLUMNS["path"], *COLUMNS["youtube"]))
        raise UserError(f"{table}: no column of paths, but {', '.join(names)}; known: {wanted}")
    return {key: name for key, name in found.items() if name}


def span_of(cells: Row) -> Span | None:
    """Return the part of the file that a row is; ValueError where it ends before it starts."""
    for unit, ending in (("frames", "_frame"), ("seconds", "")):
        start, end = cells.get(f"start{ending}"), cells.get(f"end{ending}")
        if start is None and end is None:
            continue
        span = Span(float(start or 0), None if end is None else float(end), unit)
        last = math.inf if span.stop is None else span.stop
        if not (0 <= span.start < last and span.stop != math.inf):  # nor where one is no number
            raise ValueError(f"from {start} to {end} is no part of a video")
        return span
    return None


def video_at(name: str, path: str, base: str, span: Span | None) -> Source:
    """Return a video file or a folder of images, called as it lies below `base`.

    ValueError where the part is none of the images, and for a name that no file can have.
    """
    if "\0" in path:
        raise ValueError("a name with a zero byte")
    if os.path.isdir(path):
        images = [file for folder, files in walk(path, IMAGE_SUFFIXES) for file in files
                  if folder == path]  # fmt: skip
        source = frame_folder(base, path, images)
        if span and span.unit == "seconds":
            raise ValueError("seconds of images, which have no rate; name start_frame, end_frame")
        if span:
            stop = None if span.stop is None else int(span.stop)
            source = replace(source, files=source.files[int(span.start) : stop])
        if not source.files:
            where = (
                f"none of the {len(images)} images is in the part {span}" if span else "no image"
            )
            raise ValueError(f"{os.path.basename(path)}: {where}")
    else:
        known = name.lower().endswith(VIDEO_SUFFIXES)
        own = os.path.relpath(os.path.splitext(name)[0] if known else name, base)
        source = Source(plain(own), os.path.normpath(path), span=span)
    return replace(source, id=f"{source.id}@{span}") if span else source


def files_by_stem(folder: str) -> dict[str, str]:
    """Return the video files below a folder by their names without suffix."""
    return {stem(file): file for _, files in walk(folder, VIDEO_SUFFIXES) for file in files}


def kinetics_file(
    cells: Row, folder: str, here: Mapping[str, str], span: Span | None
) -> tuple[str, str, Span | None]:
    """Return the name and the file of a video of Kinetics, and its part of the file.

    Files may be cut already, and say so in their names: <youtube_id>_<start>_<end>.mp4.
    """
    video = str(cells["youtube"])
    cut = f"{video}_{int(span.start):06d}_{int(span.stop or 0):06d}" if span else video
    name = os.path.join(folder, str(cells.get("class", "")), video)
    if cut in here:
        return os.path.join(os.path.dirname(name), cut), here[cut], None
    return name, here.get(video, f"{name}.mp4"), span


def kth_videos(table: str, folder: str) -> Iterator[Source]:
    """Yield the sequences of KTH's list: `person01_boxing_d1 frames 1-95, 96-185`.

    Its frames count from 1, the last one included. A group is a person.
    """
    here = files_by_stem(folder)
    try:
        with open(table, encoding="utf-8", errors="replace") as stream:
            found = KTH.findall(stream.read())
    except OSError as error:
        raise UserError(f"{table}: cannot be read as a table: {error.strerror}") from None
    if not found:
        raise UserError(f"{table}: no line as 'person01_boxing_d1 frames 1-95, 96-185'")
    for name, action, ranges in found:
        path = here.get(f"{name}_uncomp") or here.get(name)
        path = path or os.path.join(folder, action, f"{name}_uncomp.avi")
        for first, last in re.findall(r"(\d+)-(\d+)", ranges):
            span = Span(int(first) - 1, int(last), "frames")
            yield Source(f"{action}/{name}@{first}-{last}", path, span=span,
                         group=name.partition("_")[0])  # fmt: skip
