"""Features of one clip for distances between sets of videos, and their names.

A window is the number of a clip's first frames that a protocol takes; None is the whole clip.
Per window there are features of the future frames only, of the motion statistic and of each
detector ("motion", "i3d"), and of observed and future frames together ("i3d_context"). The features
of the whole clip bear these names; those of a shorter window end in its length: "i3d_16f".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rsvp.config.schema import SeenFrames
from rsvp.metrics import motion
from rsvp.metrics.detectors import Detector, clip_feature

MOTION = "motion"  # in place of a detector's name


def clip_features(
    frames: Tensor, context: int, windows: Sequence[int | None], detectors: Mapping[str, Detector]
) -> dict[str, np.ndarray]:
    """Return features (D,) by name of uint8 frames (T, H, W, 3), of which `context` are observed.

    Those that need more frames are left out: see `missing_features`.
    """
    features = {}
    for window in windows:
        length = window or len(frames)
        sides = {"predicted": frames[context:length], "context": frames[:length]}
        for source in (MOTION, *detectors):
            least = motion.MINIMUM_FRAMES if source == MOTION else detectors[source].minimum_frames
            for column, scored in sides.items():
                key = feature_name(source, column, window, len(frames))
                reason = missing_features(source, least, column, window, len(frames), context)
                if reason or key in features:
                    continue
                if source != MOTION:
                    features[key] = clip_feature(detectors[source], scored)
                elif column == "predicted":
                    features[key] = motion.motion_features(scored).numpy()
    return features


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
