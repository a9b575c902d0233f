"""Objectives against their papers' formulas, and what networks learn by them."""

import math
from typing import get_args

import pytest
import torch
from gaussian_flow import ALPHA, Perfect, draw, gaussian_mean

from rsvp.config.schema import Predictor
from rsvp.diffusion.flow import interpolate
from rsvp.diffusion.objectives import (
    OBJECTIVES,
    Edm,
    denoising_loss,
    piecewise_linear,
    training_times,
)
from rsvp.diffusion.samplers import Sampling

T = torch.tensor([0.1, 0.4, 0.55, 0.97], dtype=torch.float64)  # times, in units of the flow
ALPHA_T = T / torch.hypot(T, 1.0 - T)  # of the path with alpha^2 + sigma^2 = 1
SIGMA_T = (1.0 - T) / torch.hypot(T, 1.0 - T)
DATA, NOISE = draw(4, seed=1), draw(4, seed=2)
POINT, VELOCITY = interpolate(DATA, NOISE, T)
UNIT = ALPHA_T[:, None] * DATA + SIGMA_T[:, None] * NOISE


def asked(objective):
    """Input and time input of the network at POINT and T, and the wanted output."""
    seen = []
    objective.ask(lambda x, time: seen.extend((x, time)), POINT, T)
    return *seen, objective.target(POINT, VELOCITY, T)


def test_every_objective_of_the_config_exists():
    assert set(OBJECTIVES) == set(get_args(Predictor.model_fields["objective"].annotation))


def test_flow_is_asked_for_the_velocity():
    x, time, target = asked(OBJECTIVES["flow"])
    assert torch.equal(x, POINT) and torch.equal(time, T)
    assert torch.equal(target, DATA - NOISE)


def test_noise_is_asked_for_the_noise_at_levels_of_latent_diffusion():
    objective = OBJECTIVES["noise"]
    x, _, target = asked(objective)
    torch.testing.assert_close(x, UNIT)
    torch.testing.assert_close(target, NOISE)
    alpha = torch.tensor(ALPHA)
    levels = alpha / (alpha + (1.0 - alpha**2).sqrt())
    expected = 1.0 - (torch.arange(1000, dtype=torch.float64) + 1.0) / 1000.0
    torch.testing.assert_close(objective.input_time(levels), expected)
    # 1000 equal steps of the path go through all levels, the noisiest first.
    path = objective.path(torch.linspace(0.0, 1.0, 1000, dtype=torch.float64))
    torch.testing.assert_close(path, levels.flip(0))


def test_v_is_asked_for_v_on_the_cosine_schedule():
    objective = OBJECTIVES["v"]
    x, time, target = asked(objective)
    torch.testing.assert_close(x, UNIT)
    torch.testing.assert_close(target, ALPHA_T[:, None] * NOISE - SIGMA_T[:, None] * DATA)
    torch.testing.assert_close((0.5 * math.pi * (1.0 - time)).cos(), ALPHA_T)
    path = objective.path(torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64))
    tangent = math.tan(0.5 * math.pi * 0.7)  # sigma / alpha
    assert path.tolist() == pytest.approx([0.0, 1.0 / (1.0 + tangent), 1.0])


@pytest.mark.parametrize("deviation", [0.5, 1.0])
def test_edm_is_preconditioned_as_in_table_1(deviation):
    sigma = ((1.0 - T) / T)[:, None]
    noised = DATA + sigma * NOISE
    total = (sigma**2 + deviation**2).sqrt()
    x, time, target = asked(Edm(deviation))
    torch.testing.assert_close(x, noised / total)
    torch.testing.assert_close(time, sigma[:, 0].log() / 4.0)
    expected = (DATA - deviation**2 / total**2 * noised) / (sigma * deviation / total)
    torch.testing.assert_close(target, expected)


def test_edm_steps_through_equation_5():
    path = OBJECTIVES["edm"].path(torch.linspace(0.0, 1.0, 18, dtype=torch.float64))
    rho, low, high = 7, 0.002, 80.0
    sigmas = [(high ** (1 / rho) + i / 17 * (low ** (1 / rho) - high ** (1 / rho))) ** rho
              for i in range(18)]  # fmt: skip
    assert ((1.0 - path) / path).tolist() == pytest.approx(sigmas)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_perfect_network_gives_the_expected_velocity(name):
    objective, mean = OBJECTIVES[name], gaussian_mean(POINT, T[:, None], 1.0 - T[:, None])
    expected = (mean - POINT) / (1.0 - T[:, None])
    found = objective.velocity(Perfect(name, gaussian_mean), POINT, T)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_time_inputs_and_targets_are_well_scaled(name):
    """Times span about 1 over the levels that are sampled; targets and inputs have variance 1 or,
    for flow, at most 2."""
    objective = OBJECTIVES[name]
    times = objective.path(torch.linspace(0.001, 0.999, 2000))
    inputs = objective.input_time(times)
    assert (inputs.diff() > 0).all() or (inputs.diff() < 0).all()
    assert 0.9 < inputs.max() - inputs.min() < 3.0 and inputs.abs().max() < 2.0
    random = torch.Generator().manual_seed(0)
    data, noise = (torch.randn(2000, 50, generator=random) for _ in range(2))
    noisy, velocity = interpolate(data, noise, times)
    scaled = objective.input_scale(times)[:, None] * noisy
    assert scaled.std() == pytest.approx(1.0, abs=0.01 if name != "flow" else 0.3)
    target = objective.target(noisy, velocity, times)
    assert target.std() == pytest.approx(1.0 if name != "flow" else 2.0**0.5, abs=0.01)


def test_default_loss_is_what_it_always_was():
    """Bit for bit in float32, with its gradient."""
    random = torch.Generator().manual_seed(0)
    data, noise = (torch.randn(6, 2, 3, generator=random) for _ in range(2))
    weight = torch.randn(3, 3, generator=random, requires_grad=True)
    random = torch.Generator().manual_seed(1)
    times = training_times(OBJECTIVES["flow"], 6, random, uniform=False, mean=-0.7, deviation=1.0)
    random = torch.Generator().manual_seed(1)
    assert torch.equal(times, torch.sigmoid(-0.7 + 1.0 * torch.randn(6, generator=random)))

    def network(x, time):
        return x @ weight + time[:, None, None]

    loss = denoising_loss(network, OBJECTIVES["flow"], data, noise, times)
    (gradient,) = torch.autograd.grad(loss, weight)
    t = times[:, None, None]
    output = network((1.0 - t) * noise + t * data, times)
    expected = (output - (data - noise)).square().mean()
    assert torch.equal(loss, expected)
    assert torch.equal(gradient, *torch.autograd.grad(expected, weight))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_uniform_times_are_uniform_on_the_path(name):
    objective = OBJECTIVES[name]
    random = torch.Generator().manual_seed(0)
    times = training_times(objective, 20_000, random, uniform=True, mean=0.0, deviation=1.0)
    edges = objective.path(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    counts = torch.histogram(times, edges).hist
    assert counts.sum() == 20_000
    assert ((counts / 20_000 - 0.25).abs() < 0.015).all()


def test_piecewise_linear_is_numpys_interp():
    knots, values = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([2.0, 4.0, -2.0])
    x = torch.tensor([[-1.0, 0.0, 0.5], [1.0, 2.0, 9.0]])
    expected = torch.tensor([[2.0, 2.0, 3.0], [4.0, 1.0, -2.0]])
    assert torch.equal(piecewise_linear(x, knots, values), expected)


class Small(torch.nn.Module):
    """A perceptron of x (B, 2) and the time."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(11, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(),
            torch.nn.Linear(64, 2),
        )  # fmt: skip

    def forward(self, x, time):
        angles = time[:, None] * torch.tensor([1.0, 2.0, 4.0, 8.0])
        return self.body(torch.cat([x, time[:, None], angles.sin(), angles.cos()], 1))


CHOICES = [(name, False) for name in OBJECTIVES] + [("noise", True)]


@pytest.mark.parametrize(("name", "uniform"), CHOICES)
def test_training_learns_a_mixture(name, uniform):
    """Two clusters, at (1, 1) with a third of the data and at (-1, 0.5), of deviation 0.2."""
    objective = OBJECTIVES[name]
    torch.manual_seed(0)
    network, random = Small(), torch.Generator().manual_seed(0)
    centres = torch.tensor([[-1.0, 0.5], [-1.0, 0.5], [1.0, 1.0]])

    def draw_data(count):
        cluster = torch.randint(3, (count,), generator=random)
        return centres[cluster] + 0.2 * torch.randn(count, 2, generator=random)

    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, 500)
    losses = []
    for _ in range(500):
        data, noise = draw_data(128), torch.randn(128, 2, generator=random)
        t = training_times(objective, 128, random, uniform=uniform, mean=0.0, deviation=1.2)
        loss = denoising_loss(network, objective, data, noise, t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-50:]) < 0.8 * sum(losses[:50])
    samples = Sampling("heun", 20).sample(
        objective, network, network, torch.randn(2000, 2, generator=random)
    )
    assert ((samples[:, 0] > 0).float().mean() - 1 / 3).abs() < 0.08
    # The Wasserstein distance of each coordinate; that of noise is 0.5 and 0.8.
    distances = (samples.sort(0).values - draw_data(2000).sort(0).values).abs().mean(0)
    assert (distances < 0.16).all()
