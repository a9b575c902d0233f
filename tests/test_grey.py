"""Frames of one channel: every measure and baseline is that of the same frames as RGB."""

import numpy as np
import pytest
import torch

from rsvp.config.schema import BASELINES, BETWEEN_BASELINES
from rsvp.data.fitting import grey, in_colours
from rsvp.metrics import ensemble, frame
from rsvp.metrics.detectors import clip_feature
from rsvp.metrics.memorisation import describe
from rsvp.metrics.motion import motion_features
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.models import baselines

random = np.random.default_rng(0)
REAL = random.integers(0, 256, (6, 32, 48, 1), np.uint8)
MADE = random.integers(0, 256, (6, 32, 48, 1), np.uint8)
GREY = torch.from_numpy(MADE), torch.from_numpy(REAL)
RGB = tuple(torch.from_numpy(in_colours(frames, 3)) for frames in (MADE, REAL))


def test_luma_is_that_of_bt601_and_grey_stays_as_it_is():
    colours = random.integers(0, 256, (4, 9, 7, 3), np.uint8)
    exact = colours @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey(colours)[..., 0] - exact).max() < 0.51
    assert np.array_equal(grey(in_colours(REAL, 3)), REAL)


@pytest.mark.parametrize("score", [frame.mse, frame.psnr, frame.ssim])
def test_frame_scores(score):
    torch.testing.assert_close(score(*GREY), score(*RGB))


@pytest.mark.parametrize("score", [ensemble.crps, ensemble.mean_error])
def test_scores_of_trajectories(score):
    one, three = (torch.stack([made, made.flip(0)]) for made in (GREY[0], RGB[0]))
    torch.testing.assert_close(score(one, GREY[1]), score(three, RGB[1]))


def test_motion_statistic_and_descriptions():
    torch.testing.assert_close(motion_features(GREY[1]), motion_features(RGB[1]))
    assert torch.equal(describe(GREY[1]).expand(-1, 3, -1, -1), describe(RGB[1]))


class Colours:
    """A detector that takes RGB alone."""

    def features(self, frames):
        assert frames.shape[-1] == 3
        return frames.double().mean((1, 2, 3))


def test_detectors_see_three_channels():
    assert np.array_equal(clip_feature(Colours(), GREY[1]), clip_feature(Colours(), RGB[1]))


def test_lpips_sees_three_channels(shared):
    weights = shared / "weights"
    distance = PerceptualDistance(
        weights / "squeezenet1_1_features_imagenet1k_v1.safetensors",
        weights / "lpips_lin_v0.1_squeeze.safetensors",
    )
    one, three = ([x.permute(0, 3, 1, 2) / 127.5 - 1 for x in pair] for pair in (GREY, RGB))
    torch.testing.assert_close(distance(*one), distance(*three))


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(name):
    made = baselines.predict(name, REAL[:4], 3)
    assert np.array_equal(in_colours(made, 3), baselines.predict(name, in_colours(REAL[:4], 3), 3))


@pytest.mark.parametrize("name", BETWEEN_BASELINES)
def test_baselines_between(name):
    made = baselines.interpolate(name, REAL[:2], REAL[4:], 2)
    ends = in_colours(REAL[:2], 3), in_colours(REAL[4:], 3)
    assert np.array_equal(in_colours(made, 3), baselines.interpolate(name, *ends, 2))
