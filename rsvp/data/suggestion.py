"""A dataset's keys that fit what was found in a source. Loads without torch."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rsvp.config.schema import Dataset
from rsvp.data.quantising import TAILS
from rsvp.data.splits import (
    FEWEST_GROUPS,
    SIDES,
    UCF_GROUPS,
    clip_offsets,
    clip_starts,
    describe,
    split_videos,
    why_no_clip,
)
from rsvp.data.survey import Header, Look
from rsvp.runtime.errors import UserError
from rsvp.runtime.words import counted

# Frames as large as this in all: 64 by 64, or a rectangle.
PIXELS = 64 * 64
SIDES_ALLOWED = range(32, 145, 16)
# Kinds of sources that know how many frames came in a second.
TIMED = ("videos", "tar", "lerobot", "table")
CLIP, CONTEXT = 16, 4  # frames: the field's small protocol
SAME_LENGTH = range(8, 65)  # of all videos: then a clip is a video
LONG, LONG_CONTEXT = 20, 10  # of these, and how much is observed: 10 to 10, 10 to 20
CLIP_RATE = 12.5  # frames of a clip per second, about: motion shows from one to the next
SAME_RATE = 0.05  # rates differ by less where videos have one rate
TOO_SHORT = 0.1  # of the videos, at most
FEW_CLIPS, MANY_CLIPS = 400, 4000
VIDEOS_PER_JOB, MOST_JOBS = 500, 64
# Of frames; less is a still moment or an encoder's slip.
REPEATED = 0.005
CUTTING = (  # keys that clips and sides depend on
    "clip_frames", "context_frames", "clip_stride", "frame_stride", "target_fps", "split",
    "skip_repeated", "max_clips_per_video",
)  # fmt: skip
GROUP_PATTERNS = (UCF_GROUPS, r"person(\d+)", r"(?:subject|subj|actor|participant)[_-]?(\d+)")


def suggested(
    headers: Sequence[Header],
    looks: Sequence[Look],
    kind: str,
    limits: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return the keys of a dataset but its source and path: size, rate, clips and split.

    headers: of all videos; looks: at some of them; limits: of the values of arrays. Raises
    UserError where no video can be used, or no way of dividing them gives each side a clip.
    """
    usable = [header for header in headers if not header.reason]
    seen = [look for look in looks if not look.reason]
    if not usable or not seen:
        reason = next((x.reason for x in (*headers, *looks) if x.reason), "none is there")
        raise UserError(f"no video can be used: {reason}")
    keys = frame_keys(usable, seen)
    if limits:
        keys["range"] = [f"{percentile:g}%" for percentile in TAILS]
    keys |= clip_keys(usable, seen, timed=kind in TIMED)
    keys |= clip_number_keys(usable, keys)
    keys |= {"split": split_keys(usable, keys)}
    dataset = as_dataset(keys)
    short = sum(why_no_clip(video, dataset) is not None for video in videos_of(usable, dataset))
    lost = (len(headers) - len(usable) + short) / len(headers)
    lost = max(lost, 1 - len(seen) / len(looks))
    if lost > 0.05:
        keys["max_rejected_fraction"] = min(1.0, math.ceil(20 * lost + 1) / 20)
    jobs = -(-len(headers) // VIDEOS_PER_JOB)
    return keys | {"decode_jobs": min(MOST_JOBS, max(2, jobs))}


def frame_keys(usable: Sequence[Header], seen: Sequence[Look]) -> dict[str, Any]:
    """Return the size of frames, and whether they have colours."""
    aspects = shown_aspects(usable, seen)
    upright = np.mean(aspects < 1) > 0.5
    height, width = best_shape(float(np.median(aspects[(aspects < 1) == upright])))
    keys: dict[str, Any] = {"resolution": height if height == width else [height, width]}
    if all(look.grey for look in seen):
        keys["channels"] = "gray"
    return keys


def shown_aspects(usable: Sequence[Header], seen: Sequence[Look]) -> np.ndarray:
    """Return (n,): width over height of the videos that were looked at, as players turn them.

    Headers of the others do not say whether they are turned, as those of phones are.
    """
    turned = {look.source.id: look.turned for look in seen}
    stored = {x.source.id: x.width / x.height for x in usable if x.source.id in turned}
    return np.array([1 / a if turned[name] else a for name, a in stored.items()])


def shares_left(
    usable: Sequence[Header], seen: Sequence[Look], resolution: int | Sequence[int]
) -> np.ndarray:
    """Return (n,): the share that a crop leaves of the picture of each video that was looked at."""
    height, width = [resolution] * 2 if isinstance(resolution, int) else resolution
    ratios = shown_aspects(usable, seen) * height / width
    return np.minimum(ratios, 1 / ratios)


def best_shape(aspect: float) -> tuple[int, int]:
    """Return the height and width that come near an aspect (width over height) and `PIXELS`.

    A wrong aspect cuts pictures off, so it counts twice.
    """
    return min(
        itertools.product(SIDES_ALLOWED, repeat=2),
        key=lambda shape: (
            2 * abs(math.log(shape[1] / shape[0] / aspect))
            + abs(math.log(shape[0] * shape[1] / PIXELS))
        ),
    )


def clip_keys(usable: Sequence[Header], seen: Sequence[Look], timed: bool) -> dict[str, Any]:
    """Return frames and context of a clip, and how far apart its frames are."""
    lengths = np.array([header.frames for header in usable])
    alike = len(lengths) >= FEWEST_GROUPS and lengths.min() == lengths.max()
    if alike and not timed and int(lengths[0]) in SAME_LENGTH:
        frames = int(lengths[0])
        return {
            "frame_stride": 1, "clip_frames": frames,
            "context_frames": LONG_CONTEXT if frames >= LONG else max(1, frames // 4),
        }  # fmt: skip
    rates = np.array([header.fps for header in usable])
    low = float(np.quantile(rates, TOO_SHORT / 2, method="lower"))
    high = float(np.quantile(rates, 1 - TOO_SHORT / 2, method="higher"))
    uneven = sum(not look.regular for look in seen) > TOO_SHORT * len(seen)
    varying = timed and (uneven or high > low * (1 + SAME_RATE))
    if varying:
        lengths = lengths / rates * low
    least = float(np.quantile(lengths, TOO_SHORT, method="higher"))
    frames = CLIP if least >= CLIP else max(2, int(least))
    stride = round(float(np.median(rates)) / CLIP_RATE) if timed else 1
    stride = max(1, min(stride, int((least - 1) / (frames - 1))))
    keys = {"clip_frames": frames, "context_frames": max(1, frames * CONTEXT // CLIP)}
    if varying:
        keys["target_fps"] = math.floor(1000 * low / stride) / 1000
    else:
        keys["frame_stride"] = stride
    if sum(look.repeated for look in seen) > REPEATED * sum(look.frames for look in seen):
        keys["skip_repeated"] = True
    if any(look.cuts for look in seen):
        keys["cut_shots"] = True
    return keys


def clip_number_keys(usable: Sequence[Header], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many clips a video gives: neither few in all, nor more than are worth caching."""
    dataset = as_dataset(keys)
    videos = videos_of(usable, dataset)
    spans = [
        int(clip_offsets(video, 0, video.frames, dataset.clip_frames, dataset)[-1]) + 1
        for video in videos
        if why_no_clip(video, dataset) is None
    ]
    if not spans:
        return {}
    span = int(np.median(spans))
    clips = sum(video.frames // span for video in videos)
    if clips < FEW_CLIPS:
        return {"clip_stride": max(1, span // 4)}
    most = {"max_clips_per_video": max(1, MANY_CLIPS // len(videos))} if clips > MANY_CLIPS else {}
    return {"clip_stride": span} | most


def split_keys(usable: Sequence[Header], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first way of dividing the videos that gives each side a clip."""
    names = [header.source.id.rpartition("/")[2] for header in usable]
    ways: list[dict[str, Any]] = [{"kind": "folders"}]
    for pattern in GROUP_PATTERNS:
        groups = Counter(found[1] for name in names if (found := re.search(pattern, name)))
        if groups.total() > 0.9 * len(names) and len(groups) >= FEWEST_GROUPS:
            ways.append({"kind": "groups", "group_pattern": pattern})
    ways.append({"kind": "groups"})
    ways += [{"kind": "time", "gap_seconds": gap} for gap in (2.0, 0.5, 0.0)]
    for way in ways:
        dataset = as_dataset(dict(keys) | {"split": way})
        if has_clips(usable, dataset):
            return way
    raise UserError(
        f"{counted(len(usable), 'video')}: too few or too short to be divided into train,"
        f" validation and test with a clip of {dataset.clip_frames} frames each; add videos"
    )


def has_clips(usable: Sequence[Header], dataset: Dataset) -> bool:
    """Check whether a split leaves each side a clip."""
    videos = [v for v in videos_of(usable, dataset) if why_no_clip(v, dataset) is None]
    try:
        segments = split_videos(videos, dataset.split)
    except UserError:
        return False
    return {segment.side for segment in segments if clip_starts(segment, dataset)} == set(SIDES)


def videos_of(usable: Sequence[Header], dataset: Dataset) -> list[Any]:
    """Return the videos of headers, as they are split."""
    return [
        describe(
            {"id": header.source.id, "frames": header.frames, "fps": header.fps}
            | header.source.known,
            dataset.split,
        )
        for header in usable
    ]


def as_dataset(keys: Mapping[str, Any]) -> Dataset:
    """Return a dataset of some keys."""
    return Dataset(**{key: value for key, value in keys.items() if key in CUTTING})
