"""Features of a clip by window, and the reasons why others are missing."""

import numpy as np
import torch

from rsvp.config.schema import SeenFrames
from rsvp.metrics.features import clip_features, feature_name, missing_features
from rsvp.metrics.motion import motion_features

SIZE = 32


class Colours:
    """In place of I3D, which takes seconds: the mean colour of a clip."""

    minimum_frames = 9

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float().mean(dim=(1, 2, 3))

    def protocol(self) -> dict[str, object]:
        return {"detector": "mean colour"}


DETECTORS = {"i3d": Colours()}


def clip(frames: int) -> torch.Tensor:
    return torch.randint(
        0, 256, (frames, SIZE, SIZE, 3), dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_short_futures_have_features_with_context_only() -> None:
    assert set(clip_features(clip(10), 4, [None], DETECTORS)) == {"motion", "i3d_context"}


def test_windows_see_the_first_frames_and_share_what_is_the_same() -> None:
    frames, network = clip(14), DETECTORS["i3d"]
    features = clip_features(frames, 4, [None, 10, 14, 20], DETECTORS)
    assert set(features) == {
        "motion", "i3d", "i3d_context", "motion_10f", "i3d_context_10f",
    }  # fmt: skip
    np.testing.assert_array_equal(features["motion_10f"], motion_features(frames[4:10]))
    np.testing.assert_array_equal(
        features["i3d_context_10f"], network.features(frames[None, :10])[0]
    )
    np.testing.assert_array_equal(features["i3d"], network.features(frames[None, 4:])[0])


def test_no_detector_leaves_motion() -> None:
    assert set(clip_features(clip(13), 4, [None], {})) == {"motion"}
    assert clip_features(clip(13), 4, [], {}) == {}


def test_names_and_reasons() -> None:
    future, context = "predicted", "context"
    assert feature_name("i3d", future, 16, 16) == feature_name("i3d", future, None, 16) == "i3d"
    assert feature_name("i3d", context, 16, 30) == "i3d_context_16f"

    def reason(column: SeenFrames, window: int | None, context_frames: int = 4) -> str:
        return missing_features("i3d", 9, column, window, 16, context_frames)

    assert reason(future, None) == reason(context, 12) == ""
    assert reason(future, 12) == "I3D needs 9 frames, and there are 8 future frames"
    assert "clips of 30 frames, and these have 16" in reason(future, 30)
    assert "there are 0 future frames" in reason(future, 4, context_frames=8)
