"""Samplers on a Gaussian, whose velocity and flow are known in closed form."""

import itertools
import math

import pytest
import torch
from gaussian_flow import COVARIANCE, MEAN, GaussianVelocity, draw, flow_map

from rsvp.diffusion.samplers import SAMPLERS, network_evaluations, sample
from rsvp.errors import UserError


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2)])
def test_order_of_convergence(name, order):
    noise = draw(64)
    steps = [32, 64, 128, 256]
    errors = [
        (sample(name, GaussianVelocity(), noise, n) - flow_map(noise)).abs().max() for n in steps
    ]
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert slopes[-1] == pytest.approx(order, abs=0.15), slopes


@pytest.mark.parametrize(("name", "steps"), [("euler", 200), ("heun", 40)])
def test_samples_have_the_mean_and_covariance_of_the_data(name, steps):
    count = 20_000
    samples = sample(name, GaussianVelocity(), draw(count), steps)
    deviation = COVARIANCE.diag().sqrt()
    assert ((samples.mean(0) - MEAN).abs() < 4 * deviation / count**0.5).all()
    # The standard error of a Gaussian's covariance is at most sqrt(2 / n) s_i s_j.
    allowed = 4 * (2 / count) ** 0.5 * torch.outer(deviation, deviation)
    assert ((samples.T.cov() - COVARIANCE).abs() < allowed + 0.01).all()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_network_evaluations_are_counted(name, steps):
    velocity = GaussianVelocity()
    sample(name, velocity, draw(4), steps)
    assert velocity.calls == network_evaluations(name, steps)


@pytest.mark.parametrize("name", SAMPLERS)
def test_straight_flow_needs_one_step(name):
    """A constant velocity is integrated exactly; the noise is not touched."""
    noise = draw(5)
    kept = noise.clone()
    found = sample(name, lambda x, t: torch.full_like(x, 2.0), noise, 1)
    torch.testing.assert_close(found, noise + 2.0)
    assert torch.equal(noise, kept)


@pytest.mark.parametrize("name", SAMPLERS)
def test_velocity_is_asked_from_noise_to_data(name):
    """At times in [0, 1), which rise: at 1 the path's velocity has no noise to remove."""
    times = []

    def velocity(x, t):
        times.append(float(t[0]))
        return torch.zeros_like(x)

    sample(name, velocity, draw(2), 5)
    assert times[0] == 0.0 and max(times) < 1.0
    assert times == sorted(times)


def test_unknown_sampler_is_refused():
    with pytest.raises(UserError, match="'rk45' is not known; allowed: euler, heun"):
        sample("rk45", GaussianVelocity(), draw(1), 1)
