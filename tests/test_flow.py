"""The path from noise to data, and the times at which it is learnt."""

import pytest
import torch
from gaussian_flow import GaussianVelocity, draw, flow_map

from rsvp.diffusion.flow import interpolate, logit_normal_times


def test_path_runs_from_noise_to_data():
    data, noise = draw(4, seed=1), draw(4, seed=2)
    start, velocity = interpolate(data, noise, torch.zeros(4, dtype=torch.float64))
    end, _ = interpolate(data, noise, torch.ones(4, dtype=torch.float64))
    assert torch.equal(start, noise) and torch.equal(end, data)
    assert torch.equal(velocity, data - noise)
    # Each clip has its own time.
    times = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    points, _ = interpolate(data, noise, times)
    torch.testing.assert_close(points, noise + times[:, None] * (data - noise))


def test_velocity_of_the_path_is_its_derivative():
    data, noise = draw(4, seed=1).view(2, 2, 3), draw(4, seed=2).view(2, 2, 3)
    times, step = torch.tensor([0.3, 0.6], dtype=torch.float64), 1e-6
    ahead, velocity = interpolate(data, noise, times + step)
    behind, _ = interpolate(data, noise, times - step)
    torch.testing.assert_close((ahead - behind) / (2 * step), velocity, atol=1e-7, rtol=1e-7)


def test_regression_on_the_path_finds_the_closed_form_velocity():
    """Training's minimum: the linear fit of data - noise on x_t is the flow's velocity."""
    count, time = 100_000, 0.4
    noise = draw(count, seed=1)
    data = flow_map(draw(count, seed=2))
    points, velocity = interpolate(data, noise, torch.full((count,), time, dtype=torch.float64))
    ones = torch.ones(count, 1, dtype=torch.float64)
    fit = torch.linalg.lstsq(torch.cat([points, ones], 1), velocity).solution
    probe = draw(5, seed=3)
    expected = GaussianVelocity()(probe, torch.full((5,), time))
    found = torch.cat([probe, ones[:5]], 1) @ fit
    torch.testing.assert_close(found, expected, atol=0.06, rtol=0.02)


def test_training_times_are_logit_normal():
    times = logit_normal_times(50_000, -0.5, 1.2, torch.Generator().manual_seed(0))
    logits = torch.logit(times.double())
    assert times.min() > 0 and times.max() < 1
    assert logits.mean() == pytest.approx(-0.5, abs=0.03)
    assert logits.std() == pytest.approx(1.2, abs=0.03)
