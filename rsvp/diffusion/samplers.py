"""Samplers: from noise to data along the velocity of the straight path (`rsvp.diffusion.flow`).

Each takes `velocity(x, t)`, with x (B, …) and t (), the noise to start from, already scaled to
the first time, and the times of its steps, which rise to 1. The straight path changes none of them
but Heun's: the others treat x / (alpha + sigma) as they treat x. Times are on the CPU, so that no
step waits for a GPU to tell the time.

`sampling_of` makes one from the config's sections `sampler` and `guidance`; its names are those of
`rsvp.config.schema.SAMPLERS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rsvp.config.schema import Guidance, Sampler
from rsvp.diffusion.flow import Velocity
from rsvp.diffusion.objectives import DiffusionObjective, Network

Fresh = Callable[[int], Tensor]  # (number of a step) -> standard normal noise of the shape of x


@torch.no_grad()
def euler(velocity: Velocity, noise: Tensor, times: Tensor) -> Tensor:
    """Integrate by Euler's method: first order, one network evaluation per step."""
    x = noise
    for now, after in pairwise(times):
        x = x + (after - now) * velocity(x, now)
    return x


@torch.no_grad()
def heun(velocity: Velocity, noise: Tensor, times: Tensor) -> Tensor:
    """Integrate by Heun's method: second order (Karras et al., "Elucidating the design space of
    diffusion-based generative models", 2022, algorithm 1).

    Two network evaluations per step, and one in the last, which is Euler's.
    """
    x = noise
    for now, after in pairwise(times):
        first = velocity(x, now)
        ahead = x + (after - now) * first
        if float(after) < 1.0:
            second = velocity(ahead, after)
            ahead = x + (after - now) * 0.5 * (first + second)
        x = ahead
    return x


@torch.no_grad()
def ddim(
    velocity: Velocity, noise: Tensor, times: Tensor, eta: float = 0.0, fresh: Fresh | None = None
) -> Tensor:
    """Sample by DDIM: first order (Song et al., "Denoising diffusion implicit models", 2021,
    equations 12 and 16).

    `eta` in [0, 1] is the share of the noise that each step replaces by `fresh` noise. 0 is Euler's
    method, without `fresh`; 1 is ancestral sampling.
    """
    x = noise
    for step, (now, after) in enumerate(pairwise(times)):
        slope = velocity(x, now)
        data, left = x + (1.0 - now) * slope, x - now * slope
        # Equation 16 in ratios, which are the same in all units of x.
        renewed = eta**2 * (1.0 - snr_root_ratio(now, after).square())
        x = after * data + (1.0 - after) * (1.0 - renewed).sqrt() * left
        if eta > 0.0 and float(after) < 1.0:
            assert fresh is not None
            x = x + (1.0 - after) * renewed.sqrt() * fresh(step)
    return x


@torch.no_grad()
def dpm_solver(velocity: Velocity, noise: Tensor, times: Tensor) -> Tensor:
    """Integrate by DPM-Solver++(2M): second order, one network evaluation per step (Lu et al.,
    "DPM-Solver++", 2022, algorithm 2).

    The first step and the last, to data, are of first order. From pure noise the second is, too,
    since the first is infinitely long in log SNR.
    """
    x, before, length_before = noise, None, None
    for now, after in pairwise(times):
        data = x + (1.0 - now) * velocity(x, now)
        ratio = snr_root_ratio(now, after)
        length = -ratio.log()  # in half the log signal-to-noise ratio; infinite from 0 and to 1
        ahead = data
        if before is not None and length_before is not None and float(after) < 1.0:
            ahead = data + length / (2.0 * length_before) * (data - before)
        x = (1.0 - after) / (1.0 - now) * x + after * (1.0 - ratio) * ahead
        before, length_before = data, length
    return x


def snr_root_ratio(now: Tensor, after: Tensor) -> Tensor:
    """Return alpha / sigma at `now` over that at `after`; 0 from pure noise and to data."""
    return now * (1.0 - after) / (after * (1.0 - now))


def guided(
    conditional: Velocity, null: Velocity, scale: float, low: float = 0.0, high: float = 1.0
) -> Velocity:
    """Return the velocity under classifier-free guidance, null + scale (conditional - null).

    Ho and Salimans, "Classifier-free diffusion guidance", 2022, equation 6, whose w is scale - 1.
    Guidance acts where the share of noise 1 - t is from `low` to `high` (Kynkäänniemi et al.,
    "Applying guidance in a limited interval", 2024). It is linear, so it is the same in velocities
    as in noise or data.
    """

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        with_context = conditional(x, t)
        if not low <= 1.0 - float(t) <= high:
            return with_context
        without = null(x, t)
        return without + scale * (with_context - without)

    return velocity


def sampling_times(objective: DiffusionObjective, steps: int, dtype: torch.dtype) -> Tensor:
    """Return times (steps + 1,) from the objective's noisiest level to data, at 1."""
    count = steps + 1 if objective.reaches_data else steps
    share = torch.linspace(0.0, 1.0, count, dtype=dtype, device="cpu")
    times = objective.path(share)
    return times if objective.reaches_data else torch.cat([times, torch.ones_like(times[:1])])


@dataclass(frozen=True)
class Sampling:
    """Sampler, temperature and guidance by which samples are drawn from a trained network."""

    sampler: str  # euler, heun, ddim or dpm-solver
    steps: int
    temperature: float = 1.0  # scale of all noise
    eta: float = 0.0  # share of the noise that each step of ddim replaces
    guidance: float = 1.0  # scale; 1 is none
    guidance_low: float = 0.0  # share of noise from which guidance acts
    guidance_high: float = 1.0  # share of noise up to which guidance acts

    def sample(
        self,
        objective: DiffusionObjective,
        conditional: Network,
        null: Network,
        noise: Tensor,
        fresh: Fresh | None = None,
    ) -> Tensor:
        """Draw samples from standard normal noise (B, …).

        `null` is called where guidance acts, and `fresh` by DDIM with eta above 0.
        """

        def velocity_of(network: Network) -> Velocity:
            # Filled in on the device: a copy from the CPU would wait.
            return lambda x, t: objective.velocity(network, x, x.new_full((len(x),), float(t)))

        velocity = velocity_of(conditional)
        if self.guidance != 1.0:
            velocity = guided(
                velocity, velocity_of(null), self.guidance, self.guidance_low, self.guidance_high
            )
        times = sampling_times(objective, self.steps, noise.dtype)
        start = self.temperature * noise * (1.0 - times[0])
        if self.sampler != "ddim":
            return DETERMINISTIC[self.sampler](velocity, start, times)
        scaled = None if fresh is None else lambda step: self.temperature * fresh(step)
        return ddim(velocity, start, times, self.eta, scaled)

    def network_evaluations(self, objective: DiffusionObjective) -> int:
        """Count the network evaluations per sample (NFE) on a network that returns 0."""
        calls = 0

        def network(x: Tensor, time: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return torch.zeros_like(x)

        zero = torch.zeros(1, 1)
        self.sample(objective, network, network, zero, lambda step: zero)
        return calls


DETERMINISTIC = {"euler": euler, "heun": heun, "dpm-solver": dpm_solver}


def sampling_of(sampler: Sampler, guidance: Guidance) -> Sampling:
    """Return the sampling that a predictor's sections of the config ask for."""
    return Sampling(
        sampler.name,
        sampler.steps,
        sampler.temperature,
        sampler.eta,
        guidance.scale,
        guidance.low,
        guidance.high,
    )
