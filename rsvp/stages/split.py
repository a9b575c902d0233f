"""Divide the decoded videos into train, validation and test, and cut clips out of them.

Writes clips.csv (one line per clip), videos.csv (the manifest), rejected.csv (what could not be
used, and why) and the small index that later stages take as the dataset.
"""

import argparse
import logging
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rsvp.config.schema import Dataset
from rsvp.config.stages import Settings
from rsvp.data.choice import chosen_clips
from rsvp.data.fitting import shape_of
from rsvp.data.manifest import (
    CLIP_COLUMNS,
    REJECTED_COLUMNS,
    VIDEO_COLUMNS,
    check_rejected,
    cut_clips,
    list_videos,
    read_shares,
    unused_row,
    usable_videos,
    write_csv,
)
from rsvp.data.splits import SIDES, Segment, check_sides, frame_stride, shots_of, split_videos
from rsvp.runtime.files import INDEX, read_json, sha256_of_file, write_json
from rsvp.runtime.main import run_stage, stage_parser

logger = logging.getLogger(__name__)


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__, "frames", "index", "clips", "videos", "rejected")
    parser.add_argument(
        "--videos-index", type=Path, help="index.json of a generated set, whose truth lies beside"
    )
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Split, cut and write."""
    dataset = settings.dataset.model_copy(deep=True)
    if dataset.source == "generated":
        dataset.split.kind = "folders"  # they say which videos were made for which side
    shares = [arguments.frames / str(job) / INDEX for job in range(dataset.decode_jobs)]
    rows, rejected = read_shares(shares)
    total = len(rows) + len(rejected)
    videos = usable_videos(rows, dataset, rejected)
    check_rejected(rejected, total, dataset, settings.name)
    segments, chosen = split_videos(videos, dataset.split), None
    if dataset.split.test_clips:
        chosen = chosen_clips(segments, dataset)
        segments = [s for s in segments if s.side != "test" or s.video.id in chosen]
    shots = (
        [s for segment in segments for s in shots_of(segment)] if dataset.cut_shots else segments
    )
    clips = cut_clips(shots, rows, dataset, chosen)
    manifest = list_videos(segments, clips, rows, rejected)
    counts = Counter(clip["split"] for clip in clips)
    check_sides(counts, segments, dataset.split)
    write_csv(arguments.clips, CLIP_COLUMNS, clips)
    write_csv(arguments.videos, VIDEO_COLUMNS, manifest)
    noted = read_json(shares[0])
    left_out = [*rejected, *map(unused_row, noted.get("unused", ()))]
    write_csv(arguments.rejected, REJECTED_COLUMNS, left_out)
    cut = Counter(side for side, _ in {(clip["split"], clip["video"]) for clip in clips})
    index = dataset_index(arguments, shares, settings.name, dataset, segments)
    if limits := noted.get("range"):
        index["range"] = described_range(limits, segments)
    index |= {
        "clips": {side: counts[side] for side in SIDES},
        "videos": {side: cut[side] for side in SIDES},
    }
    write_json(arguments.index, index)
    for side in SIDES:
        logger.info("%s: %d clips of %d videos", side, counts[side], cut[side])
    return {"clips": index["clips"], "videos": index["videos"], "rejected": len(rejected)}


def described_range(limits: Mapping[str, Any], segments: Sequence[Segment]) -> dict[str, Any]:
    """Return which values became black and white, and in how many videos they were found.

    `elsewhere`: how many of these are on no training side, which is known only now: groups are
    divided anew where videos were rejected, or turned out to be copies.
    """
    if "videos" not in limits:
        return dict(limits)
    trained = {segment.video.id for segment in segments if segment.side == "train"}
    others = {segment.video.id for segment in segments} - trained
    elsewhere = [name for name in limits["videos"] if name in others]
    if elsewhere:
        logger.warning(
            "range: %d of the %d videos that it was measured in are not for training",
            len(elsewhere), len(limits["videos"]),
        )  # fmt: skip
    counts = {"videos": len(limits["videos"]), "elsewhere": len(elsewhere)}
    return dict(limits) | counts


def dataset_index(
    arguments: argparse.Namespace,
    shares: Sequence[Path],
    name: str,
    dataset: Dataset,
    segments: Sequence[Segment],
) -> dict[str, Any]:
    """Return what later stages need to know, with hashes of all that it stands on."""
    folder = arguments.index.parent
    rates = [s.video.fps / frame_stride(dataset, s.video.fps) for s in segments]
    truth = arguments.videos_index and os.path.relpath(arguments.videos_index.parent, folder)
    tables = (arguments.clips, arguments.videos, arguments.rejected)
    return {
        "dataset": name,
        "resolution": dataset.resolution,
        "channels": shape_of(dataset).channels,
        "clip_frames": dataset.clip_frames,
        "context_frames": dataset.context_frames,
        "frame_rate": statistics.median(rates),
        "by_time": {
            "stride": dataset.frame_stride,
            "target_fps": dataset.target_fps,
            "skip_repeated": bool(dataset.skip_repeated),
        },
        "cut_shots": bool(dataset.cut_shots),
        "augment": dataset.augment,
        "backwards": bool(dataset.backwards),
        "split": dataset.split.kind,
        **({"test_clips": dataset.split.test_clips} if dataset.split.test_clips else {}),
        "files": {os.path.relpath(path, folder): sha256_of_file(path) for path in tables},
        "shares": [
            {"index": os.path.relpath(path, folder), "sha256": sha256_of_file(path)}
            for path in shares
        ],
        "truth": truth,
    }


if __name__ == "__main__":
    main()
