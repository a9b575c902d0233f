"""Divide the decoded videos into train, validation and test, and cut clips out of them.

Writes clips.csv (one line per clip), videos.csv (the manifest), rejected.csv (what could not be
used, and why) and the small index that later stages take as the dataset.
"""

import argparse
import csv
import logging
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rsvp.config.schema import Dataset, SourceKind, SplitKind
from rsvp.config.stages import Settings
from rsvp.data.splits import (
    SIDES,
    Segment,
    check_sides,
    clip_starts,
    describe,
    frame_stride,
    split_videos,
    why_no_clip,
)
from rsvp.runtime.errors import UserError, one_line
from rsvp.runtime.files import INDEX, atomic_path, read_json, sha256_of_file, write_json
from rsvp.runtime.main import run_stage, stage_parser

logger = logging.getLogger("rsvp.stages.split")  # by hand: `python -m` runs this as __main__

CLIP_COLUMNS = (
    "clip", "video", "class", "group", "split", "share", "offset", "start", "stride", "stop",
)  # fmt: skip
VIDEO_COLUMNS = (
    "id", "class", "group", "split", "frames", "fps", "width", "height", "sha256", "path",
    "share", "offset", "clips",
)  # fmt: skip
REJECTED_COLUMNS = ("id", "path", "reason")
Row = dict[str, Any]


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--frames", type=Path, required=True, help="folder of the decode jobs' folders: 0, 1, …"
    )
    parser.add_argument(
        "--videos-index", type=Path, help="index.json of a generated set, with truth.json beside it"
    )
    parser.add_argument("--index", type=Path, required=True, help="dataset index to write (JSON)")
    parser.add_argument("--clips", type=Path, required=True, help="clips to write (CSV)")
    parser.add_argument("--videos", type=Path, required=True, help="manifest to write (CSV)")
    parser.add_argument("--rejected", type=Path, required=True, help="rejected to write (CSV)")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Split, cut and write."""
    dataset = settings.dataset
    if dataset.source is SourceKind.generated:
        # Its folders say which videos were made for which side.
        dataset = replace(dataset, split=replace(dataset.split, kind=SplitKind.folders))
    shares = [arguments.frames / str(job) / INDEX for job in range(dataset.decode_jobs)]
    videos, rejected = read_shares(shares)
    total = len(videos) + len(rejected)
    usable = []
    for row in videos:
        reason = why_no_clip(describe(row, dataset.split), dataset)
        if reason:
            rejected.append(reject(row, f"too short: {reason}" if "spans" in reason else reason))
        else:
            usable.append(row)
    check_rejected(rejected, total, dataset, settings.name)
    segments = split_videos([describe(row, dataset.split) for row in usable], dataset.split)
    clips = cut_clips(segments, {row["id"]: row for row in usable}, dataset)
    rejected += reject_uncut(segments, clips, {row["id"]: row for row in usable})
    counts = Counter(clip["split"] for clip in clips)
    check_sides(counts, segments, dataset.split)
    write_csv(arguments.clips, CLIP_COLUMNS, clips)
    manifest = list_videos(segments, clips, {row["id"]: row for row in usable})
    write_csv(arguments.videos, VIDEO_COLUMNS, manifest)
    write_csv(arguments.rejected, REJECTED_COLUMNS, rejected)
    index = dataset_index(arguments, shares, settings.name, dataset, segments, clips)
    write_json(arguments.index, index)
    for side in SIDES:
        logger.info("%s: %d clips of %d videos", side, counts[side], index["videos"][side])
    return {"clips": index["clips"], "videos": index["videos"], "rejected": len(rejected)}


def read_shares(paths: Sequence[Path]) -> tuple[list[Row], list[Row]]:
    """Rows of the decoded and of the rejected videos of all shares, each sorted by id."""
    videos, rejected = [], []
    for share, path in enumerate(paths):
        index = read_json(path)
        videos += [row | {"share": share} for row in index["videos"]]
        rejected += index["rejected"]
    videos.sort(key=lambda row: row["id"])
    rejected.sort(key=lambda row: row["id"])
    return videos, rejected


def reject(row: Row, reason: str) -> Row:
    """A row of rejected.csv, told on the terminal too."""
    logger.warning("rejected %s: %s", one_line(row["path"]), reason)
    return {"id": row["id"], "path": row["path"], "reason": reason}


def check_rejected(rejected: Sequence[Row], total: int, dataset: Dataset, name: str) -> None:
    """Stop when more videos were rejected than the config allows."""
    if len(rejected) <= dataset.max_rejected_fraction * total:
        return
    first = "; ".join(f"{row['path']}: {row['reason']}" for row in rejected[:3])
    more = "; …" if len(rejected) > 3 else ""
    raise UserError(
        f"{len(rejected)} of {total} videos were rejected, more than"
        f" datasets.{name}.max_rejected_fraction ({dataset.max_rejected_fraction:g}) allows:"
        f" {first}{more}"
    )


def cut_clips(segments: Sequence[Segment], rows: Mapping[str, Row], dataset: Dataset) -> list[Row]:
    """The rows of clips.csv, in order of side, video and start."""
    clips = []
    for segment in sorted(segments, key=lambda s: (SIDES.index(s.side), s.video.id)):
        video = segment.video
        for start in clip_starts(segment, dataset):
            clips.append({
                "clip": f"{video.id}@{start:06d}", "video": video.id, "class": video.class_name,
                "group": video.group, "split": segment.side, "share": rows[video.id]["share"],
                "offset": rows[video.id]["offset"], "start": start,
                "stride": frame_stride(dataset, video.fps), "stop": segment.stop,
            })  # fmt: skip
    return clips


def reject_uncut(
    segments: Sequence[Segment], clips: Sequence[Row], rows: Mapping[str, Row]
) -> list[Row]:
    """Videos long enough for a clip, but not once they are cut in time."""
    cut = {clip["video"] for clip in clips}
    names = dict.fromkeys(segment.video.id for segment in segments)
    return [
        reject(rows[name], f"{rows[name]['frames']} frames, no part is as long as a clip")
        for name in names
        if name not in cut
    ]


def list_videos(
    segments: Sequence[Segment], clips: Sequence[Row], rows: Mapping[str, Row]
) -> list[Row]:
    """The rows of videos.csv; a video that is cut in time names all its sides."""
    counts = Counter(clip["video"] for clip in clips)
    sides: dict[str, list[str]] = {}
    videos = {}
    for segment in segments:
        sides.setdefault(segment.video.id, []).append(segment.side)
        videos[segment.video.id] = segment.video
    return [
        rows[name] | {
            "class": video.class_name, "group": video.group, "split": "+".join(sides[name]),
            "clips": counts[name],
        }
        for name, video in videos.items()
        if counts[name]
    ]  # fmt: skip


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a table for people, atomically."""
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def dataset_index(
    arguments: argparse.Namespace,
    shares: Sequence[Path],
    name: str,
    dataset: Dataset,
    segments: Sequence[Segment],
    clips: Sequence[Row],
) -> dict[str, Any]:
    """What later stages need to know, with hashes of all that it stands on."""
    folder = arguments.index.parent
    rates = [s.video.fps / frame_stride(dataset, s.video.fps) for s in segments]
    clip_counts = Counter(clip["split"] for clip in clips)
    pairs = {(clip["split"], clip["video"]) for clip in clips}
    video_counts = Counter(side for side, _ in pairs)
    truth = arguments.videos_index and arguments.videos_index.parent / "truth.json"
    if truth and not truth.exists():
        truth = None
    tables = (arguments.clips, arguments.videos, arguments.rejected)
    return {
        "dataset": name,
        "resolution": dataset.resolution,
        "clip_frames": dataset.clip_frames,
        "context_frames": dataset.context_frames,
        "frame_rate": statistics.median(rates),
        "augment": dataset.augment.name,
        "split": dataset.split.kind.name,
        "clips": {side: clip_counts[side] for side in SIDES},
        "videos": {side: video_counts[side] for side in SIDES},
        "files": {os.path.relpath(path, folder): sha256_of_file(path) for path in tables},
        "shares": [
            {"index": os.path.relpath(path, folder), "sha256": sha256_of_file(path)}
            for path in shares
        ],
        "truth": os.path.relpath(truth, folder) if truth else None,
    }


if __name__ == "__main__":
    main()
