"""Samplers with each objective, on data whose denoiser and flow are known in closed form."""

import itertools
import math

import numpy as np
import pytest
import torch
from gaussian_flow import (
    COVARIANCE,
    MEAN,
    GaussianVelocity,
    Perfect,
    draw,
    flow_map,
    gaussian_mean,
    mixture_mean,
    mixture_quantiles,
)

from rsvp.config.schema import SAMPLERS
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.diffusion.samplers import (
    DETERMINISTIC,
    Sampling,
    ddim,
    dpm_solver,
    euler,
    guided,
    heun,
    sampling_times,
)

ORDERS = {"euler": 1, "heun": 2, "ddim": 1, "dpm-solver": 2}
METHODS = {"euler": euler, "heun": heun, "ddim": ddim, "dpm-solver": dpm_solver}


def drawn(objective, sampling, mean, noise, fresh=None):
    """Samples by the perfect network; a null condition must not be asked for."""
    return sampling.sample(OBJECTIVES[objective], Perfect(objective, mean), None, noise, fresh)


def order(errors):
    """The slope of log2 error over log2 steps, for steps that double."""
    doublings = np.arange(len(errors))
    return -np.polyfit(doublings, np.log2(np.array(errors)), 1)[0]


def test_all_samplers_of_the_config_exist():
    assert {*DETERMINISTIC, "ddim"} == set(SAMPLERS) == set(METHODS)


def ends(objective, mean, noise, method, steps):
    """The end of `method` from noise in equal steps of the log signal-to-noise ratio, between noise
    levels that all objectives know; so the answer is the sampler's alone."""
    times = torch.linspace(-3.0, 3.0, steps + 1, dtype=torch.float64).sigmoid()
    network = Perfect(objective, mean)

    def velocity(x, t):
        return OBJECTIVES[objective].velocity(network, x, t.expand(len(x)))

    return METHODS[method](velocity, (1.0 - times[0]) * noise, times), times


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_order_of_convergence_on_a_gaussian(objective, sampler):
    noise, errors = draw(64), []
    for steps in (16, 32, 64, 128):
        samples, times = ends(objective, gaussian_mean, noise, sampler, steps)
        exact = flow_map(noise, times[0], times[-1])
        errors.append(float((samples - exact).abs().max()))
    assert order(errors) == pytest.approx(ORDERS[sampler], abs=0.15), errors


LINE = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)[:, None]


@pytest.fixture(scope="module")
def exact_on_a_mixture():
    """The end of the flow from LINE, by very short steps: all objectives know the same flow."""
    return ends("flow", mixture_mean, LINE, "heun", 1000)[0]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_order_of_convergence_on_a_mixture(objective, sampler, exact_on_a_mixture):
    errors = []
    for steps in (32, 64, 128, 256):
        samples, _ = ends(objective, mixture_mean, LINE, sampler, steps)
        errors.append(float((samples - exact_on_a_mixture).abs().max()))
    assert order(errors) == pytest.approx(ORDERS[sampler], abs=0.15), errors


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_order_of_convergence_on_the_steps_of_the_objective(objective, sampler):
    """DPM-Solver++ is not among them: the log signal-to-noise ratio, in which it is of second
    order, is infinite at the ends, so that steps there stay long however many there are."""
    noise, errors = draw(64), []
    for steps in (16, 32, 64, 128):
        samples = drawn(objective, Sampling(sampler, steps), gaussian_mean, noise)
        times = sampling_times(OBJECTIVES[objective], steps, noise.dtype)
        exact = flow_map(noise)
        if not OBJECTIVES[objective].reaches_data:  # the last step removes the same rest of noise
            exact = flow_map(noise, times[0], times[-2])
            exact = gaussian_mean(exact, times[-2], 1.0 - times[-2])
        errors.append(float((samples - exact).abs().max()))
    assert order(errors) == pytest.approx(ORDERS[sampler], abs=0.2), errors


CASES = [(name, 0.0) for name in SAMPLERS] + [("ddim", 0.5), ("ddim", 1.0)]
# Steps after which the moments are right to a few hundredths of the data's deviations.
ENOUGH = {"euler": 200, "heun": 50, "ddim": 200, "dpm-solver": 100}


@pytest.mark.parametrize(("sampler", "eta"), CASES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_samples_have_the_mean_and_covariance_of_a_gaussian(objective, sampler, eta):
    """All is linear, so the answers to one unit of each noise give the moments without chance."""
    steps = ENOUGH[sampler]
    count = 3 * (steps + 1) if eta else 3
    units = torch.eye(count + 1, count, dtype=torch.float64)  # the last row has no noise at all
    samples = drawn(
        objective,
        Sampling(sampler, steps, eta=eta),
        gaussian_mean,
        units[:, :3],
        lambda step: units[:, 3 * step + 3 : 3 * step + 6],
    )
    mean = samples[-1]
    responses = samples[:-1] - mean
    deviation = COVARIANCE.diag().sqrt()
    assert ((mean - MEAN).abs() < 0.03 * deviation).all()
    error = (responses.T @ responses - COVARIANCE).abs()
    assert (error < (0.06 if eta else 0.03) * torch.outer(deviation, deviation)).all()


@pytest.mark.parametrize(("sampler", "eta"), CASES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_samples_have_the_distribution_of_a_mixture(objective, sampler, eta):
    """The Wasserstein distance from sorted samples to quantiles; the data's deviation is 0.9."""
    count = 2001
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    noise = math.sqrt(2.0) * torch.erfinv(2.0 * shares - 1.0)[:, None]
    random = torch.Generator().manual_seed(0)

    def fresh(step):
        return torch.randn(noise.shape, generator=random, dtype=torch.float64)

    samples = drawn(objective, Sampling(sampler, 100, eta=eta), mixture_mean, noise, fresh)
    distance = (samples.flatten().sort().values - mixture_quantiles(shares)).abs().mean()
    assert distance < (0.06 if eta else 0.02 if ORDERS[sampler] == 1 else 0.01)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_keeps_the_variance_of_every_level(eta):
    """With one datum, known exactly, the samples at t are N(t datum, (1 - t)^2), whatever eta."""
    times = torch.tensor([0.0, 0.1, 0.35, 0.5, 0.8], dtype=torch.float64)
    units = torch.eye(6, 5, dtype=torch.float64)[:, :, None]
    samples = ddim(
        lambda x, t: (3.0 - x) / (1.0 - t),
        units[:, 0] * (1.0 - times[0]),
        times,
        eta,
        lambda step: units[:, step + 1],
    )
    assert samples[-1] == pytest.approx(0.8 * 3.0)
    responses = samples[:-1] - samples[-1]
    assert responses.square().sum().sqrt() == pytest.approx(0.2)
    assert bool((responses[1:] != 0).any()) == (eta > 0)


def test_ancestral_step_is_the_posterior_of_ddpm():
    """eta 1 in equation 7 of Ho et al. 2020, with alpha^2 + sigma^2 = 1."""
    before, after = 0.3, 0.75  # alpha_t^2 and alpha_t-1^2
    beta = 1.0 - before / after
    x, data = torch.tensor([[0.7]], dtype=torch.float64), 1.3
    mean = (after**0.5 * beta * data + (1 - beta) ** 0.5 * (1 - after) * x) / (1 - before)
    deviation = ((1 - after) / (1 - before) * beta) ** 0.5

    def units(kept):
        return kept**0.5 + (1 - kept) ** 0.5

    times = torch.tensor([kept**0.5 / units(kept) for kept in (before, after)], dtype=torch.float64)
    found = [
        units(after)
        * ddim(
            lambda y, t: (data - y) / (1.0 - t),
            x / units(before),
            times,
            1.0,
            lambda step, z=z: torch.full_like(x, z),
        )
        for z in (0.0, 1.0)
    ]
    torch.testing.assert_close(found[0], mean)
    assert float(found[1] - found[0]) == pytest.approx(deviation)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ddim_without_fresh_noise_is_eulers_method(objective):
    noise = draw(16)
    samples = [
        drawn(objective, Sampling(name, 20), gaussian_mean, noise) for name in ("euler", "ddim")
    ]
    torch.testing.assert_close(*samples)


def test_dpm_solver_is_exact_where_the_data_are_linear_in_the_log_snr():
    """Then its second-order guess is right; equation 8 of Lu et al. 2022, integrated by hand."""
    times = torch.tensor([0.2, 0.45, 0.6, 0.7], dtype=torch.float64)
    half = torch.logit(times)

    def data(t):
        return 0.3 + 1.7 * torch.logit(t)

    found = dpm_solver(
        lambda x, t: (data(t) - x) / (1.0 - t),
        torch.full((1, 1), 0.5, dtype=torch.float64),
        times,
    )
    # x_after / sigma_after = x_now / sigma_now + integral of e^l data dl; the midpoint rule in data
    # is the solver's: a line has its mean there. The first step knows one value only.
    scaled = torch.tensor(0.5, dtype=torch.float64) / (1.0 - times[0])
    for n in range(3):
        middle = data(times[n]) + (1.7 * (half[n + 1] - half[n]) / 2 if n else 0.0)
        scaled = scaled + (half[n + 1].exp() - half[n].exp()) * middle
    assert float(found) == pytest.approx(float(scaled * (1.0 - times[-1])))


@pytest.mark.parametrize("name", SAMPLERS)
def test_straight_flow_needs_one_step(name):
    """A constant velocity is integrated exactly; the noise is not touched."""
    noise = draw(5)
    kept = noise.clone()
    found = METHODS[name](
        lambda x, t: torch.full_like(x, 2.0), noise, torch.tensor([0.0, 1.0], dtype=torch.float64)
    )
    torch.testing.assert_close(found, noise + 2.0)
    assert torch.equal(noise, kept)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_times_rise_from_the_noisiest_level_to_data(objective, steps):
    for dtype in (torch.float32, torch.float64):
        times = sampling_times(OBJECTIVES[objective], steps, dtype)
        assert len(times) == steps + 1 and times.dtype == dtype
        assert times[0] == OBJECTIVES[objective].path(torch.zeros(1, dtype=dtype))
        assert times[-1] == 1.0 and (times.diff() > 0).all()


def test_sampling_starts_from_noise_of_the_noisiest_level():
    """edm: sigma_max times the noise, asked as c_in x; flow: the noise itself."""
    noise, seen = draw(3), []

    def network(x, time):
        seen.append(x)
        return torch.zeros_like(x)

    for objective in ("flow", "edm"):
        Sampling("heun", 1).sample(OBJECTIVES[objective], network, network, noise)
    assert torch.equal(seen[0], noise)
    torch.testing.assert_close(seen[1], 80.0 * noise / (80.0**2 + 1.0) ** 0.5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_velocity_is_asked_from_noise_to_data(name):
    """At times in [0, 1), which rise: at 1 the path's velocity has no noise to remove."""
    asked = []

    def velocity(x, t):
        asked.append(float(t))
        return torch.zeros_like(x)

    METHODS[name](velocity, draw(2), torch.linspace(0.0, 1.0, 6))
    assert asked[0] == 0.0 and max(asked) < 1.0
    assert asked == sorted(asked)


EVALUATIONS = {
    ("euler", 7): 7,
    ("heun", 7): 13,
    ("ddim", 7): 7,
    ("dpm-solver", 7): 7,
    ("heun", 1): 1,
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("name", "steps"), EVALUATIONS)
def test_network_evaluations_are_counted(objective, name, steps):
    sampling = Sampling(name, steps)
    network = Perfect(objective, gaussian_mean)
    sampling.sample(OBJECTIVES[objective], network, None, draw(4))
    assert (
        sampling.network_evaluations(OBJECTIVES[objective])
        == network.calls
        == EVALUATIONS[name, steps]
    )


def test_guidance_costs_twice_inside_its_interval_alone():
    """Flow steps at noise levels 1, 0.9, …, 0.1."""

    def evaluations(sampler, **guidance):
        return Sampling(sampler, 10, **guidance).network_evaluations(OBJECTIVES["flow"])

    interval = {"guidance": 2.0, "guidance_low": 0.15, "guidance_high": 0.65}
    assert evaluations("euler", guidance=2.0) == 20
    assert evaluations("euler", guidance=1.0) == 10
    assert evaluations("euler", **interval) == 10 + 5
    # Heun's method asks at 1, (0.9, 0.9), …, (0.1, 0.1).
    assert evaluations("heun", **interval) == 19 + 10


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_guidance_moves_the_data_by_its_scale(objective):
    """With known data 2 under the condition and 0.5 without, guidance by 3 aims at 5."""
    network, null = (
        Perfect(objective, lambda x, alpha, sigma, to=to: torch.full_like(x, to))
        for to in (2.0, 0.5)
    )
    for sampler in SAMPLERS:
        sampling = Sampling(sampler, 6, guidance=3.0)
        found = sampling.sample(OBJECTIVES[objective], network, null, draw(4))
        torch.testing.assert_close(found, torch.full_like(found, 5.0), atol=1e-3, rtol=0)


def test_guidance_acts_from_low_to_high():
    for level, expected in ((0.1, 1.0), (0.2, 2.0), (0.5, 2.0), (0.7, 2.0), (0.75, 1.0)):
        velocity = guided(
            lambda x, t: torch.ones_like(x),
            lambda x, t: torch.zeros_like(x),
            2.0,
            low=0.15,
            high=0.72,
        )
        assert velocity(torch.zeros(1, 1), torch.tensor(1.0 - level)) == expected


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_temperature_scales_all_noise(objective):
    """At 0 nothing is left to chance."""
    noise = draw(4)
    cold = Sampling("ddim", 8, eta=1.0, temperature=0.0)
    samples = drawn(objective, cold, gaussian_mean, noise, lambda step: noise + step)
    torch.testing.assert_close(samples, samples[:1].expand(4, -1))
    half = Sampling("ddim", 8, eta=1.0, temperature=0.5)
    full = Sampling("ddim", 8, eta=1.0)
    torch.testing.assert_close(
        drawn(objective, half, gaussian_mean, noise, lambda step: noise - step),
        drawn(objective, full, gaussian_mean, 0.5 * noise, lambda step: 0.5 * (noise - step)),
    )


def test_default_samples_as_it_always_did():
    """Heun's method on the flow in 6 equal steps, bit for bit, from scaled noise in float32."""
    velocity, noise = GaussianVelocity(), draw(8).float()
    times = torch.linspace(0.0, 1.0, 7)
    x = 0.1 * noise
    for now, after in itertools.pairwise(times):
        first = velocity(x, now.expand(8)).float()
        ahead = x + (after - now) * first
        if after < 1.0:
            second = velocity(ahead, after.expand(8)).float()
            ahead = x + (after - now) * 0.5 * (first + second)
        x = ahead
    found = Sampling("heun", 6, temperature=0.1).sample(
        OBJECTIVES["flow"], lambda x, t: velocity(x, t).float(), None, noise
    )
    assert torch.equal(found, x)
