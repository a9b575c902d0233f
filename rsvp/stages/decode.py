"""Decode one share of a dataset's videos into the frame cache: small square frames, each once.

The videos of a share are those whose id's hash falls on it, so that adding a video leaves the
other shares as they are. Files that cannot be decoded are listed with the reason.
"""

import argparse
import logging
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rsvp.config.schema import Dataset
from rsvp.config.stages import Settings
from rsvp.data.decoding import Decoding, ffmpeg_version, filters
from rsvp.data.frames import KEY
from rsvp.data.headers import Rejected
from rsvp.data.sources import (
    Source,
    absolute,
    content_hash,
    list_sources,
    plain,
    share_of,
    sources_digest,
)
from rsvp.data.timeline import CHANGES, TIMES, changes, cuts
from rsvp.runtime.errors import UserError, one_line
from rsvp.runtime.files import read_json, write_json
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter

logger = logging.getLogger(__name__)


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__, "state", "index")
    parser.add_argument("--share", type=int, required=True, help="which share, from 0")
    parser.add_argument(
        "--sources",
        type=Path,
        help="JSON of the share's videos and their digest when the job was planned; others are"
        " refused. Without it the folder is looked through",
    )
    parser.add_argument(
        "--videos-index",
        type=Path,
        help="index.json of a generated set; its folder holds the videos",
    )
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Decode the share and write its files and their index."""
    dataset = settings.dataset
    folder = source_folder(dataset, arguments.videos_index)
    planned = read_json(arguments.sources) if arguments.sources else None
    if planned:
        share = list(below(absolute(folder), planned["videos"]))
    else:
        sources = list_sources(folder, dataset.source, dataset.max_videos)
        share = [s for s in sources if share_of(s.id, dataset.decode_jobs) == arguments.share]
    bar = tqdm(share, desc="hash", unit="video", delay=2, leave=False)
    hashes = {source.id: content_hash(source) for source in bar}
    digest = sources_digest(share, hashes)
    if planned and planned["digest"] != digest:
        raise UserError(f"{folder}: videos changed after this job was planned; run snakemake again")
    version = ffmpeg_version(dataset.ffmpeg)
    key = state_key(arguments.code, settings.handed, digest, version)
    parts = PartWriter(arguments.index.parent, arguments.state, key, "frames")
    parts.note = parts.note or {"handled": 0, "videos": [], "rejected": []}
    decode_videos(share, hashes, folder, dataset, parts)
    index = {
        "resolution": dataset.resolution,
        "resize": filters(dataset.resize),
        "ffmpeg": version,
        "parts": parts.finish(),
        "videos": parts.note["videos"],
        "rejected": parts.note["rejected"],
    }
    write_json(arguments.index, index)
    logger.info("%d videos, %d rejected", len(index["videos"]), len(index["rejected"]))
    for picture, count in Counter(row["picture"] for row in index["videos"]).items():
        if picture:
            logger.info("%d videos: %s", count, picture)
    return {
        "videos": len(index["videos"]),
        "rejected": len(index["rejected"]),
        "frames": parts.items,
        "ffmpeg": version,
    }


def below(root: str, videos: Iterable[tuple[str, str, list[str]]]) -> Iterator[Source]:
    """Yield the videos that a plan names by id, path and image files, as seen from their folder."""
    for name, path, files in videos:
        images = tuple(os.path.join(root, file) for file in files)
        yield Source(name, os.path.normpath(os.path.join(root, path)), images)


def decode_videos(
    share: Sequence[Source],
    hashes: Mapping[str, str],
    folder: Path,
    dataset: Dataset,
    parts: PartWriter,
) -> None:
    """Append the frames of each video that the note of `parts` does not count yet."""
    note, root = parts.note, absolute(folder)
    with (
        tqdm(initial=note["handled"], total=len(share), desc="decode", unit="video") as bar,
        closing(one_ahead(share[note["handled"] :], dataset)) as decodings,
    ):
        for decoding in decodings:
            source, start = decoding.source, parts.mark()
            path = plain(os.path.relpath(source.path, root))
            row = {"id": source.id, "path": path}
            store = Store(parts)
            try:
                decoded = decoding.read(store.append)
            except Rejected as reason:
                parts.rollback(start)
                note["rejected"].append(row | {"reason": str(reason)})
                warn(bar, f"rejected {path}: {reason}")
            else:
                if decoded.damage:
                    warn(bar, f"damaged {path}: {decoded.frames} frames kept: {decoded.damage}")
                row |= {"class": source.class_name, "sha256": hashes[source.id]}
                row |= {"frames": decoded.frames, "offset": start["items"]}
                probe = decoded.probe
                row |= {"fps": decoded.fps, "regular": decoded.regular}
                row |= {"width": probe.width, "height": probe.height}
                row |= {"picture": str(probe.picture), **store.found()}
                note["videos"].append(row)
            note["handled"] += 1
            bar.update()
            parts.checkpoint()


class Store:
    """A video's frames on their way into `parts`, each with its time and its change."""

    def __init__(self, parts: PartWriter) -> None:
        self.parts, self.before = parts, None
        self.changes: list[np.ndarray] = []

    def append(self, frames: np.ndarray, times: np.ndarray) -> None:
        """Append a chunk of frames (n, R, R, 3), at times (n,); their memory may be used again."""
        self.changes.append(changes(frames, self.before))
        self.before = frames[-1].copy()
        columns = {KEY: frames, TIMES: times, CHANGES: self.changes[-1]}
        self.parts.append(columns, len(frames))

    def found(self) -> dict[str, int]:
        """Return the numbers of frames that are equal to the one before, and of cuts."""
        values = np.concatenate(self.changes)
        return {"repeated": int((values == 0).sum()), "cuts": len(cuts(values))}


def one_ahead(share: Iterable[Source], dataset: Dataset) -> Generator[Decoding, None, None]:
    """Yield each video's decoding, with the next one's begun: no processor waits for a start."""
    options = (dataset.resolution, dataset.resize, dataset.fps, dataset.ffmpeg)
    begun = None
    try:
        for source in (*share, None):
            decoding, begun = begun, source and Decoding(source, *options)
            if decoding:
                with decoding:
                    yield decoding
    finally:
        if begun:
            begun.close()


def warn(bar: tqdm, message: str) -> None:
    """Print one line on the terminal, not behind the bar."""
    bar.clear()
    logger.warning("%s", one_line(message))
    bar.refresh()


def source_folder(dataset: Dataset, videos_index: Path | None) -> Path:
    """Return the folder of the videos: that of a generated set's index, or the config's."""
    if dataset.source == "generated":
        if videos_index is None:
            raise UserError("--videos-index: missing; a generated dataset needs it")
        return videos_index.parent
    if not dataset.path:
        raise UserError("config: path of the dataset: missing; name the folder of the videos")
    return Path(dataset.path)


if __name__ == "__main__":
    main()
