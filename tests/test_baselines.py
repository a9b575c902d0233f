"""Baselines on scenes whose future is known in closed form."""

import cv2
import numpy as np
import pytest

from rsvp.config.schema import BASELINES, BETWEEN_BASELINES
from rsvp.models.baselines import interpolate, predict
from rsvp.runtime.errors import UserError


def texture(seed: int, size: int = 64, sigma: float = 2) -> np.ndarray:
    """A smooth colour texture with the full range: float32 (size, size, 3)."""
    noise = cv2.GaussianBlur(np.random.RandomState(seed).rand(size, size, 3), (0, 0), sigma)
    return (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def moving_square(frames: int, velocity: int = 2) -> np.ndarray:
    """A textured square moves to the right over a textured still background: uint8."""
    background, square = texture(0) * 0.5, texture(1, 18, 1.5)
    clip = np.repeat(background[None], frames, axis=0)
    for index in range(frames):
        clip[index, 22:40, 8 + velocity * index :][:, :18] = square
    return clip.round().astype(np.uint8)


def psnr(predicted: np.ndarray, real: np.ndarray) -> float:
    error = np.mean((predicted.astype(float) - real) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("name", BASELINES)
def test_form_and_determinism(name: str) -> None:
    context = moving_square(4)
    kept = context.copy()
    first = predict(name, context, 7)
    assert first.shape == (7, 64, 64, 3) and first.dtype == np.uint8
    assert np.array_equal(first, predict(name, context, 7))
    assert np.array_equal(context, kept)


@pytest.mark.parametrize("name", BASELINES)
def test_one_context_frame_is_enough(name: str) -> None:
    context = moving_square(1)
    assert psnr(predict(name, context, 3)[0], context[0]) > 25


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "blurred-copy-last"])
def test_a_still_scene_stays(name: str) -> None:
    context = np.repeat(moving_square(1), 4, axis=0)
    difference = predict(name, context, 5).astype(int) - context[:1]
    assert np.abs(difference).max() <= 1


def test_copies() -> None:
    context = np.array([10, 20, 90, 40], dtype=np.uint8).reshape(4, 1, 1, 1)
    context = np.broadcast_to(context, (4, 16, 16, 3))
    expected = {"copy-last": 40, "context-median": 30, "context-mean": 40, "blurred-copy-last": 40}
    for name, value in expected.items():
        assert (predict(name, context, 2) == value).all()


def test_blur_is_the_stated_gaussian() -> None:
    context = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    context[0, 32, 32] = 255
    peak = predict("blurred-copy-last", context, 1)[0, 32, 32, 0]
    assert peak == pytest.approx(255 / (2 * np.pi), abs=2)  # sigma 1 pixel at 64 pixels


def test_linear_extrapolation_goes_on_and_is_clipped() -> None:
    context = np.array([100, 130], dtype=np.uint8).reshape(2, 1, 1, 1)
    future = predict("linear-extrapolation", np.broadcast_to(context, (2, 8, 8, 3)), 5)
    assert future[:, 0, 0, 0].tolist() == [160, 190, 220, 250, 255]


def test_flow_carries_a_moving_thing_on() -> None:
    clip = moving_square(10)
    context, future = clip[:4], clip[4:]
    flow = predict("flow-extrapolation", context, 6)
    others = [psnr(predict(name, context, 6), future) for name in BASELINES[:-1]]
    assert psnr(flow, future) > max(others) + 4
    inside = (slice(None), slice(24, 38), slice(30, 34))  # under the square in all six frames
    assert psnr(flow[inside], future[inside]) > 25
    uncovered = (slice(1, None), slice(24, 38), slice(14, 17))  # was under the square, is no more
    assert psnr(flow[uncovered], future[uncovered]) > 22


def test_flow_of_a_panning_camera() -> None:
    scene = texture(3, 128, 3).round().astype(np.uint8)
    clip = np.stack([scene[20:84, 10 + 2 * i : 74 + 2 * i] for i in range(8)])
    flow = predict("flow-extrapolation", clip[:4], 4)
    # What enters at the right is unknown, and flow is poor along the border.
    inside = (slice(None), slice(6, 58), slice(0, 50))
    assert psnr(flow[inside], clip[4:][inside]) > 30


def test_unknown_names_and_wrong_arrays_are_refused() -> None:
    with pytest.raises(UserError, match="copy-last"):
        predict("copy", moving_square(2), 1)
    with pytest.raises(ValueError, match="uint8"):
        predict("copy-last", moving_square(2).astype(float), 1)


def between(name: str, clip: np.ndarray) -> np.ndarray:
    return interpolate(name, clip[:2], clip[-2:], len(clip) - 4)


@pytest.mark.parametrize("name", BETWEEN_BASELINES)
def test_between_two_ends_a_still_scene_stays(name: str) -> None:
    clip = np.repeat(moving_square(1), 9, axis=0)
    made = between(name, clip)
    assert made.shape == (5, 64, 64, 3) and made.dtype == np.uint8
    assert np.abs(made.astype(int) - clip[2:-2]).max() <= 1


def test_ends_are_blended_by_their_distance_in_time() -> None:
    clip = np.array([7, 40, 0, 0, 0, 80, 9], dtype=np.uint8).reshape(7, 1, 1, 1)
    clip = np.broadcast_to(clip, (7, 16, 16, 3))
    assert between("linear-blend", clip)[:, 0, 0, 0].tolist() == [50, 60, 70]
    assert between("nearer-end", clip)[:, 0, 0, 0].tolist() == [40, 40, 80]


def test_flow_between_two_ends_moves_what_a_blend_shows_twice() -> None:
    clip = moving_square(8)
    moved, blended = (between(name, clip) for name in ("flow-interpolation", "linear-blend"))
    assert psnr(moved, clip[2:-2]) > psnr(blended, clip[2:-2]) + 3
