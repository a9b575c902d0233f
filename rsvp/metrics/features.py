"""Features of one clip for distances between sets of videos, and their names.

A window is the number of a clip's first frames that a protocol takes; None is the whole clip.
Per window there are features of the future frames only, of the motion statistic and of each
detector ("motion", "i3d"), and of observed and future frames together ("i3d_context"). The features
of the whole clip bear these names; those of a shorter window end in its length: "i3d_16f".
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsvp.config.schema import SeenFrames
from rsvp.metrics import motion
from rsvp.metrics.detectors import Detector, clip_feature

MOTION = "motion"  # in place of a detector's name
EACH = "_each"  # ends the names of features of all trajectories


def clip_features(
    frames: Tensor,
    context: int,
    windows: Sequence[int | None],
    detectors: Mapping[str, Detector],
    columns: Sequence[SeenFrames] = ("predicted", "context"),
) -> dict[str, np.ndarray]:
    """Return features (D,) by name of uint8 frames (T, H, W, 3), of which `context` are observed.

    Those that need more frames are left out: see `missing_features`.
    """
    least = {name: detector.minimum_frames for name, detector in detectors.items()}
    least[MOTION] = motion.MINIMUM_FRAMES
    features = {}
    for window, column, source in itertools.product(windows, columns, least):
        key = feature_name(source, column, window, len(frames))
        if key in features or (source, column) == (MOTION, "context"):
            continue
        if missing_features(source, least[source], column, window, len(frames), context):
            continue
        scored = frames[context if column == "predicted" else 0 : window]
        if source == MOTION:
            features[key] = motion.motion_features(scored).numpy()
        else:
            features[key] = clip_feature(detectors[source], scored)
    return features


def each_trajectory(
    observed: Tensor,
    futures: Tensor,
    windows: Sequence[int | None],
    detectors: Mapping[str, Detector],
) -> dict[str, np.ndarray]:
    """Return the detectors' features with context (K, D) of all trajectories of a clip, by name.

    observed: uint8 (T, H, W, 3); futures: uint8 (K, F, H, W, 3).
    """
    found = [
        clip_features(torch.cat([observed, future]), len(observed), windows, detectors, ["context"])
        for future in futures
    ]
    return {f"{name}{EACH}": np.stack([item[name] for item in found]) for name in found[0]}


def feature_name(source: str, column: SeenFrames, window: int | None, clip_frames: int) -> str:
    """Name the features of a window; source: `MOTION`, or a detector's name."""
    name = source if column == "predicted" else f"{source}_context"
    return name if window in (None, clip_frames) else f"{name}_{window}f"


def missing_features(
    source: str, least: int, column: SeenFrames, window: int | None, clip_frames: int, context: int
) -> str:
    """Return the reason why a window has no such features; empty where it has.

    least: frames that the source needs.
    """
    length = window or clip_frames
    if length > clip_frames:
        return f"the protocol takes clips of {length} frames, and these have {clip_frames}"
    frames = length if column == "context" else length - context
    if frames >= least:
        return ""
    name = "the motion statistic" if source == MOTION else source.replace("i3d", "I3D")
    kind = "" if column == "context" else "future "
    return f"{name} needs {least} frames, and there are {max(frames, 0)} {kind}frames"


def protocol(detectors: Mapping[str, Detector]) -> dict[str, Any]:
    """Return all that the features depend on, for an index."""
    return {
        "features_of": "the first trajectory",
        "motion": motion.protocol(),
        "detectors": {name: detector.protocol() for name, detector in detectors.items()},
    }
