"""Scores of several trajectories against closed forms of Gaussians and brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln

from rsvp.metrics.ensemble import crps, diversity, energy_score, mean_error

SIGMA = 20.0  # grey levels: rounding to whole ones adds 1/12 to a variance of 400


def gaussian(shape: tuple[int, ...], mean: float = 128.0, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(mean, SIGMA, shape)
    return torch.from_numpy(values.round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("offset", [0, 30])
def test_crps_of_a_gaussian_has_its_closed_form_whatever_k(count: int, offset: int) -> None:
    real = torch.full((2, 64, 64, 3), 128 + offset, dtype=torch.uint8)
    score = crps(gaussian((count, *real.shape)), real).mean().item()
    z = offset / SIGMA  # Gneiting & Raftery 2007, equation 5
    density = 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi)
    assert score == pytest.approx(SIGMA * (z * (2 * stats.norm.cdf(z) - 1) + density), abs=0.15)


def test_crps_against_its_definition() -> None:
    predicted, real = gaussian((4, 2, 3, 3, 3)), gaussian((2, 3, 3, 3), seed=1)
    x, y = predicted.double().numpy(), real.double().numpy()
    pairs = [np.abs(a - b) for a, b in itertools.combinations(x, 2)]
    expected = np.mean(np.abs(x - y), axis=0) - np.mean(pairs, axis=0) / 2
    np.testing.assert_allclose(crps(predicted, real), expected.mean(axis=(1, 2, 3)))


def test_energy_score_against_its_definition() -> None:
    predicted, real = gaussian((4, 2, 3, 3, 3)), gaussian((2, 3, 3, 3), seed=1)
    x, y = predicted.double().numpy(), real.double().numpy()

    def norm(a: np.ndarray) -> np.ndarray:
        return np.sqrt(np.mean(a**2, axis=(1, 2, 3)))

    pairs = [norm(a - b) for a, b in itertools.combinations(x, 2)]
    expected = np.mean([norm(a - y) for a in x], axis=0) - np.mean(pairs, axis=0) / 2
    np.testing.assert_allclose(energy_score(predicted, real), expected, rtol=1e-9)


@pytest.mark.parametrize("count", [2, 5])
def test_energy_score_of_a_gaussian_vector_has_its_closed_form(count: int) -> None:
    """From N(m, s² I) in d dimensions: E|X - Y| - E|X - X'| / 2 = E|X - X'| / 2,
    and E|X - X'| = 2 s G((d + 1) / 2) / G(d / 2)."""
    frames = 4000  # each its own draw of one pixel, d = 3
    predicted, real = gaussian((count, frames, 1, 1, 3)), gaussian((frames, 1, 1, 3), seed=1)
    expected = SIGMA * math.exp(gammaln(2) - gammaln(1.5)) / math.sqrt(3)
    assert energy_score(predicted, real).mean().item() == pytest.approx(expected, rel=0.02)


def test_what_is_calibrated_wins() -> None:
    real = gaussian((8, 16, 16, 3), seed=9)
    right = gaussian((6, 8, 16, 16, 3))
    timid = (128 + (right.double() - 128) * 0.2).round().to(torch.uint8)
    biased = gaussian((6, 8, 16, 16, 3), mean=140.0)
    for score in (crps, energy_score):
        best = score(right, real).mean()
        assert best < score(timid, real).mean() and best < score(biased, real).mean()


def test_one_future_is_a_point_forecast() -> None:
    predicted, real = gaussian((1, 2, 4, 4, 3)), gaussian((2, 4, 4, 3), seed=1)
    error = predicted[0].double() - real.double()
    np.testing.assert_allclose(crps(predicted, real), error.abs().mean(dim=(1, 2, 3)))
    rms = error.square().mean(dim=(1, 2, 3)).sqrt()
    np.testing.assert_allclose(energy_score(predicted, real), rms)


@pytest.mark.parametrize("count", [2, 4])
def test_spread_equals_skill_where_truth_and_futures_are_one_distribution(count: int) -> None:
    predicted, real = gaussian((count, 4, 64, 64, 3)), gaussian((4, 64, 64, 3), seed=1)
    spread = (count + 1) / count * diversity(predicted).square().mean() / 2
    assert spread.item() == pytest.approx(mean_error(predicted, real).mean().item(), rel=0.02)


def test_diversity_is_the_root_mean_square_over_pairs() -> None:
    predicted = gaussian((3, 2, 4, 4, 3))
    pairs = [
        (a.double() - b.double()).square().mean(dim=(1, 2, 3))
        for a, b in itertools.combinations(predicted, 2)
    ]
    np.testing.assert_allclose(diversity(predicted), torch.stack(pairs).mean(dim=0).sqrt())
