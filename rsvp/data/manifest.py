"""Tables of a split dataset: its clips, its videos, and the videos that were rejected.

Loads without torch.
"""

import csv
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rsvp.config.schema import Dataset
from rsvp.data.frames import read_column
from rsvp.data.splits import (
    SIDES,
    Segment,
    Video,
    clip_starts,
    describe,
    frame_stride,
    join_copies,
    timed,
    why_no_clip,
)
from rsvp.data.timeline import COLUMNS, Timeline
from rsvp.runtime.errors import UserError, one_line
from rsvp.runtime.files import atomic_path, read_json

CLIP_COLUMNS = (
    "clip", "video", "class", "group", "split", "share", "offset", "start", "stride", "stop",
)  # fmt: skip
VIDEO_COLUMNS = (
    "id", "class", "group", "split", "frames", "fps", "regular", "repeated", "cuts", "width",
    "height", "picture", "clipped", "error", "sha256", "path", "share", "offset", "clips",
)  # fmt: skip
REJECTED_COLUMNS = ("id", "path", "reason")
Row = dict[str, Any]
logger = logging.getLogger(__name__)


def read_shares(paths: Sequence[Path]) -> tuple[dict[str, Row], list[Row]]:
    """Read the decoded videos of all shares by id, and the rejected ones, each sorted by id.

    A video's `timeline` is among its values.
    """
    videos, rejected = [], []
    for share, path in enumerate(paths):
        index = read_json(path)
        whole = Timeline(*(read_column(path.parent, index["parts"], key) for key in COLUMNS))
        for row in index["videos"]:
            timeline = whole[row["offset"] : row["offset"] + row["frames"]]
            videos.append(row | {"share": share, "timeline": timeline})
        rejected += index["rejected"]
    by_id = {row["id"]: row for row in sorted(videos, key=lambda row: row["id"])}
    return by_id, sorted(rejected, key=lambda row: row["id"])


def usable_videos(rows: Mapping[str, Row], dataset: Dataset, rejected: list[Row]) -> list[Video]:
    """Return the videos that a clip can be cut from; append the others to `rejected`."""
    videos = []
    for row in rows.values():
        video = describe(row, dataset.split)
        if reason := why_no_clip(video, dataset):
            rejected.append(reject(row, reason))
        else:
            videos.append(video)
    contents = {name: row.get("pixels", row["sha256"]) for name, row in rows.items()}
    return join_copies(videos, contents)


def reject(row: Row, reason: str) -> Row:
    """Return a row of rejected.csv; tell it on the terminal too."""
    logger.warning("rejected %s: %s", one_line(row["path"]), reason)
    return {"id": row["id"], "path": row["path"], "reason": reason}


def unused_row(unused: Row) -> Row:
    """Return a row of rejected.csv for files of a suffix that are no part of a video."""
    suffix, count = unused["suffix"], unused["files"]
    kind = f"{suffix} files" if suffix else "files without a suffix"
    reason = f"no video and no part of one: not used; {count} {kind} in all"
    return {"id": f"*{suffix}", "path": unused["path"], "reason": reason}


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


def cut_clips(
    segments: Sequence[Segment],
    rows: Mapping[str, Row],
    dataset: Dataset,
    chosen: Mapping[str, int] | None = None,
) -> list[Row]:
    """Return the rows of clips.csv, in order of side, video and start.

    chosen: the start of the one clip of each test video, by its id; None: all clips of all.
    """
    clips = []
    for segment in sorted(segments, key=lambda s: (SIDES.index(s.side), s.video.id)):
        video = segment.video
        alone = chosen is not None and segment.side == "test"
        for start in [chosen[video.id]] if alone else clip_starts(segment, dataset):
            clips.append({
                "clip": f"{video.id}@{start:06d}", "video": video.id, "class": video.class_name,
                "group": video.group, "split": segment.side, "share": rows[video.id]["share"],
                "offset": rows[video.id]["offset"], "start": start,
                "stride": 0.0 if timed(video, dataset) else frame_stride(dataset, video.fps),
                "stop": segment.stop,
            })  # fmt: skip
    return clips


def list_videos(
    segments: Sequence[Segment], clips: Sequence[Row], rows: Mapping[str, Row], rejected: list[Row]
) -> list[Row]:
    """Return the rows of videos.csv; a video that is cut in time names all its sides.

    Videos without a clip are appended to `rejected`: they were long enough before they were cut.
    """
    counts = Counter(clip["video"] for clip in clips)
    sides = defaultdict(list)
    for segment in segments:
        sides[segment.video].append(segment.side)
    listed = []
    for video, names in sides.items():
        row = rows[video.id]
        if counts[video.id]:
            own = {"class": video.class_name, "group": video.group, "split": "+".join(names)}
            listed.append(row | own | {"clips": counts[video.id]})
        else:
            reason = f"{row['frames']} frames, no part is as long as a clip"
            rejected.append(reject(row, reason))
    return listed


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a table for people, atomically."""
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
