"""The motion statistic, and distances of features of videos, rank what they must rank."""

import cv2
import numpy as np
import pytest
import torch

from rsvp.metrics.distribution import frechet_distance, jackknife, kernel_distance
from rsvp.metrics.motion import DIMENSIONS, motion_distance, motion_features
from rsvp.runtime.errors import UserError


def moving_clips(count: int, seed: int, size: int = 32) -> np.ndarray:
    """Smooth textures, each drifting at its own constant velocity: uint8 (count, 12, s, s, 3)."""
    random = np.random.RandomState(seed)
    clips = []
    for _ in range(count):
        canvas = cv2.GaussianBlur(random.rand(3 * size, 3 * size, 3), (0, 0), 2)
        canvas = 255 * (canvas - canvas.min()) / np.ptp(canvas)
        velocity = random.uniform(-2, 2, 2)
        frames = [
            cv2.warpAffine(canvas, np.float64([[1, 0, dx], [0, 1, dy]]), (3 * size, 3 * size))
            for dx, dy in np.arange(12)[:, None] * velocity
        ]
        clips.append(np.stack(frames)[:, size : 2 * size, size : 2 * size].round())
    return np.stack(clips).astype(np.uint8)


def features(clips: np.ndarray) -> np.ndarray:
    return np.stack([motion_features(torch.from_numpy(clip)).numpy() for clip in clips])


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    return moving_clips(48, seed=0)


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """Features of other clips of the same kind."""
    return features(moving_clips(48, seed=1))


def test_ranking(clips: np.ndarray, real: np.ndarray) -> None:
    random = np.random.RandomState(2)
    perturbed = np.clip(clips + random.normal(0, 3, clips.shape), 0, 255).astype(np.uint8)
    shuffled = np.stack([clip[random.permutation(12)] for clip in clips])
    frozen = np.repeat(clips[:, :1], 12, axis=1)
    floor, small, shuffle, freeze = (
        motion_distance(features(variant), real) for variant in (clips, perturbed, shuffled, frozen)
    )
    assert floor < small < min(shuffle, freeze)
    assert floor < 5 < 20 < min(shuffle, freeze)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_copy_last_is_above_the_floor_whatever_sees_space_and_time(
    clips: np.ndarray, distance
) -> None:
    """The floor are other real clips. The network is random, of filters that see change."""
    torch.manual_seed(0)
    filters = torch.randn(8, 3, 3, 4, 4)
    filters -= filters.mean(2, keepdim=True)

    def seen(clips: np.ndarray) -> np.ndarray:
        values = torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 127.5 - 1.0
        return torch.conv3d(values, filters).relu().mean((2, 3, 4)).double().numpy()

    copied = clips.copy()
    copied[:, 4:] = clips[:, 3:4]
    real = seen(moving_clips(48, seed=1))
    floor, copy = (
        jackknife(distance, seen(side), real, range(48), range(48, 96)) for side in (clips, copied)
    )
    assert copy.low > floor.high
    if distance is kernel_distance:
        assert floor.low <= 0 <= floor.high < copy.low


def test_direction_of_motion_counts(clips: np.ndarray, real: np.ndarray) -> None:
    mirrored = np.ascontiguousarray(clips[:, :, :, ::-1])
    leftward = features(clips)[:, 6] > 0
    one_way = np.where(leftward[:, None, None, None, None], clips, mirrored)
    either_way = motion_distance(features(mirrored), real)
    assert motion_distance(features(one_way), real) > 2 * either_way


def test_still_and_flat_clips_have_finite_features() -> None:
    still = motion_features(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    assert still.shape == (DIMENSIONS,) and torch.isfinite(still).all()
    assert motion_distance(np.stack([still, still]), np.stack([still, still])) == 0


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(UserError, match="4 frames or more, not 3"):
        motion_features(torch.zeros(3, 16, 16, 3, dtype=torch.uint8))
