"""Decode a job's videos of a dataset into the frame cache: small frames, each once.

The videos of a job, and of each share within it, are those whose id's hash falls on it. So adding
a video leaves the other jobs, and the other shares of its own, as they are. Files that cannot be
decoded are listed with the reason.
"""

import argparse
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from rsvp.config.schema import Dataset, percentiles_of, pick
from rsvp.config.stages import Settings
from rsvp.data.decoding import Decoding, ffmpeg_version, filters
from rsvp.data.fitting import shape_of
from rsvp.data.formats.detect import detect
from rsvp.data.frames import KEY
from rsvp.data.hashing import Content, content_hash, hash_file, source_state, sources_digest
from rsvp.data.measured import measure
from rsvp.data.sources import (
    Options,
    Rejected,
    Source,
    absolute,
    base_of,
    list_sources,
    plain,
    share_of,
    share_within,
)
from rsvp.data.timeline import CHANGES, TIMES, changes, cuts, parts_in_time
from rsvp.runtime.errors import UserError, one_line
from rsvp.runtime.files import read_json, sha256_of_file, write_json
from rsvp.runtime.journal import JOURNAL, StateKey, state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter
from rsvp.runtime.progress import Bar

logger = logging.getLogger(__name__)


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__, "state", "index")
    parser.add_argument("--share", type=int, required=True, help="number of the job, from 0")
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
    planned = read_json(arguments.sources) if arguments.sources else {}
    if planned:
        contents = dict(below(absolute(folder), planned["videos"]))
    else:
        kind = dataset.source or detect(str(folder))[0]
        options = Options(**pick(dataset, Options._fields))
        sources = list_sources(folder, kind, dataset.max_videos, options)
        contents = {source: Content("", "") for source in sources
                    if share_of(source.id, dataset.decode_jobs) == arguments.share}  # fmt: skip
    hashes = current_hashes(contents)
    check_unchanged(folder, contents, hashes, planned)
    limits = value_range(dataset, folder, planned)
    noted = {"range": limits} if limits else {}
    unused = {"unused": planned["unused"]} if "unused" in planned else {}
    dataset.range = limits and [limits["low"], limits["high"]]
    version = ffmpeg_version(dataset.ffmpeg)
    shares = divided(contents, dataset.decode_shares)
    key = partial(state_key, arguments.code, settings.handed | noted, version)
    index = {
        "resolution": dataset.resolution,
        "resize": filters(shape_of(dataset)),
        "ffmpeg": version,
        **noted,
        **unused,
    } | joined(decode_shares(shares, hashes, folder, dataset, arguments, key))
    write_json(arguments.index, index)
    logger.info("%d videos, %d rejected", len(index["videos"]), len(index["rejected"]))
    for picture, count in Counter(row["picture"] for row in index["videos"]).items():
        if picture:
            logger.info("%d videos: %s", count, picture)
    return {
        "videos": len(index["videos"]),
        "rejected": len(index["rejected"]),
        "frames": sum(part["items"] for part in index["parts"]),
        "ffmpeg": version,
        **noted,
    }


def check_unchanged(
    folder: Path,
    contents: Iterable[Source],
    hashes: Mapping[str, str],
    planned: Mapping[str, Any],
) -> None:
    """Refuse videos that are others than those of the plan, if there is one."""
    digest = sources_digest({source.identity: hashes[source.id] for source in contents})
    if planned and planned["digest"] != digest:
        raise UserError(f"{folder}: videos changed after this job was planned; run snakemake again")


def value_range(
    dataset: Dataset, folder: Path, planned: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the values that become black and white, `low` and `high`, and how they were found.

    None where the config names none, or percentiles of videos that hold no numbers.
    """
    percentiles = percentiles_of(dataset.range)
    if not percentiles:
        return dataset.range and dict(zip(("low", "high"), dataset.range, strict=True))
    if not planned:
        raise UserError("config: range of the dataset: percentiles need the plan's --sources")
    sample = dict(below(absolute(folder), planned["measured"]["videos"]))
    check_unchanged(folder, sample, current_hashes(sample), planned["measured"])

    def for_training(frames: int) -> int:
        by_time = dataset.split.kind == "time"
        return parts_in_time(frames, dataset.fps, dataset.split)[0] if by_time else frames

    try:
        found = measure(sample, percentiles, for_training)
    except Rejected as reason:
        raise UserError(f"config: range of the dataset: {reason}") from None
    if found:
        logger.info(
            "black is %g, white %g: percentiles of %d values of %d training videos",
            found.low, found.high, found.values, len(found.videos),
        )  # fmt: skip
    return found and asdict(found)


def below(root: str, videos: Iterable[Sequence[Any]]) -> Iterator[tuple[Source, Content]]:
    """Yield the videos that a plan names as rows (`Source.row`), as seen from their folder.

    With their contents when they were planned.
    """
    for row in videos:
        *row, sha256, state = row
        yield Source.from_row(row, root), Content(sha256, state)


def current_hashes(contents: Mapping[Source, Content]) -> dict[str, str]:
    """Return the hashes of videos by id; only those are read that were written to since."""
    hashes = {}
    read = cache(hash_file)  # many videos may lie in a file
    for source, content in Bar(contents.items(), "hash", unit="video", delay=2, leave=False):
        known = content.state and content.state == source_state(source)
        hashes[source.id] = content.sha256 if known else content_hash(source, read)
    return hashes


def decode_shares(
    shares: Mapping[str, Sequence[Source]],
    hashes: Mapping[str, str],
    folder: Path,
    dataset: Dataset,
    arguments: argparse.Namespace,
    key: Callable[[str], StateKey],
) -> list[dict[str, Any]]:
    """Decode the shares whose videos changed; return what each holds, in order."""
    target, state = arguments.index.parent, arguments.state
    keys = {
        stem: key(sources_digest({source.identity: hashes[source.id] for source in share}))
        for stem, share in shares.items()
    }
    decoded = kept_shares(target, state, keys)
    stems = [stem for stem in shares if stem not in decoded]
    for stem in Bar(stems, "shares", unit="share", disable=len(shares) == 1):
        parts = PartWriter(target, state, keys[stem], stem)
        parts.note = parts.note or {"handled": 0, "videos": [], "rejected": []}
        decode_videos(shares[stem], hashes, folder, dataset, parts)
        decoded[stem] = {"key": asdict(keys[stem]), "parts": parts.finish()} | parts.note
        write_json(share_index(state, stem), decoded[stem])
    made = [decoded[stem] for stem in shares]
    remove_others(
        target, state, shares, [part["file"] for share in made for part in share["parts"]]
    )
    return made


def divided(sources: Iterable[Source], count: int) -> dict[str, list[Source]]:
    """Return the videos of each of a job's shares, by the stem of their files."""
    stems = ["frames"] if count == 1 else [f"frames-{number:05d}" for number in range(count)]
    shares: dict[str, list[Source]] = {stem: [] for stem in stems}
    for source in sources:
        shares[stems[share_within(source.id, count)]].append(source)
    return shares


def kept_shares(
    target: Path, state: Path, keys: Mapping[str, StateKey]
) -> dict[str, dict[str, Any]]:
    """Return what earlier runs of the job decoded of shares that did not change, by stem.

    Nothing where no share changed and no run was killed: then somebody wants them made again.
    """
    kept = {}
    for stem, key in keys.items():
        with suppress(UserError, FileNotFoundError, KeyError, TypeError):
            found = read_json(share_index(state, stem))
            hashes = {part["file"]: part["sha256"] for part in found["parts"]}
            if found["key"] == asdict(key) and all(
                sha256_of_file(target / file) == value for file, value in hashes.items()
            ):
                kept[stem] = found
    return kept if len(kept) < len(keys) or any(state.glob(f"*{JOURNAL}")) else {}


def share_index(state: Path, stem: str) -> Path:
    """Return the file that says what a share holds."""
    return state / f"{stem}.json"


def joined(shares: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parts and the videos of shares as those of one: offsets count all frames."""
    index: dict[str, Any] = {"parts": [], "videos": [], "rejected": []}
    items = 0
    for share in shares:
        videos = [row | {"offset": row["offset"] + items} for row in share["videos"]]
        for key, more in (share | {"videos": videos}).items():
            if key in index:
                index[key] += more
        items += sum(part["items"] for part in share["parts"])
    return index


def remove_others(target: Path, state: Path, stems: Iterable[str], files: Iterable[str]) -> None:
    """Remove the files of shares of another division."""
    kept = {target / name for name in files} | {share_index(state, stem) for stem in stems}
    for path in (*target.glob("frames*.safetensors"), *state.glob("frames*.json")):
        if path not in kept and not path.name.endswith(JOURNAL):
            path.unlink()


def decode_videos(
    share: Sequence[Source],
    hashes: Mapping[str, str],
    folder: Path,
    dataset: Dataset,
    parts: PartWriter,
) -> None:
    """Append the frames of each video that the note of `parts` does not count yet."""
    note, root = parts.note, base_of(absolute(folder))
    with (
        Bar(initial=note["handled"], total=len(share), desc="decode", unit="video") as bar,
        closing(one_ahead(share[note["handled"] :], dataset)) as decodings,
    ):
        for decoding in decodings:
            source, start = decoding.source, parts.mark()
            path = plain(os.path.relpath(source.path, root))
            row = {"id": source.id, "path": path} | source.known
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
                if decoded.quantiser and decoded.quantiser.values:
                    row |= decoded.quantiser.cost()
                note["videos"].append(row)
            note["handled"] += 1
            bar.update()
            parts.checkpoint()


class Store:
    """A video's frames on their way into `parts`, each with its time and its change."""

    def __init__(self, parts: PartWriter) -> None:
        self.parts, self.before = parts, None
        self.changes: list[np.ndarray] = []
        self.pixels = hashlib.sha256()

    def append(self, frames: np.ndarray, times: np.ndarray) -> None:
        """Append a chunk of frames (n, H, W, C), at times (n,); their memory may be used again."""
        self.changes.append(changes(frames, self.before))
        self.before = frames[-1].copy()
        self.pixels.update(np.ascontiguousarray(frames))
        columns = {KEY: frames, TIMES: times, CHANGES: self.changes[-1]}
        self.parts.append(columns, len(frames))

    def found(self) -> dict[str, Any]:
        """Return the numbers of frames that are equal to the one before, and of cuts; their hash.

        Videos of equal frames are copies, in whatever files they lie.
        """
        values = np.concatenate(self.changes)
        counts = {"repeated": int((values == 0).sum()), "cuts": len(cuts(values))}
        return counts | {"pixels": self.pixels.hexdigest()}


def one_ahead(share: Iterable[Source], dataset: Dataset) -> Generator[Decoding, None, None]:
    """Yield each video's decoding, with the next one's begun: no processor waits for a start."""
    options = (shape_of(dataset), dataset.fps, dataset.ffmpeg)
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


def warn(bar: Bar, message: str) -> None:
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
