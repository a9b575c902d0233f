"""Objectives: the output that a network is trained for, its inputs, and its noise levels.

All work on the straight path of `rsvp.diffusion.flow`, at times t in [0, 1] with t = 0 noise. An
objective turns a network's output F into the velocity a(t) x + b(t) F, and a velocity into the
output that training aims at. So each objective works with each sampler.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from rsvp.diffusion.flow import interpolate, logit_normal_times, per_sample

Network = Callable[[Tensor, Tensor], Tensor]  # (input (B, …), time input (B,)) -> output (B, …)


class DiffusionObjective(ABC):
    """Inputs and meaning of a network's output. All is element-wise in times of any shape."""

    reaches_data: bool  # share 1 of `path` is data; else samplers add a last step to it

    @abstractmethod
    def path(self, share: Tensor) -> Tensor:
        """Return times from the noisiest level (share 0) to the cleanest (share 1).

        The pace is that of the steps in the objective's paper, and of its uniform training times.
        """

    @abstractmethod
    def input_scale(self, t: Tensor) -> Tensor:
        """Return the factor of x_t in the network's input."""

    @abstractmethod
    def input_time(self, t: Tensor) -> Tensor:
        """Return the network's time input."""

    @abstractmethod
    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b of velocity = a x_t + b F, F the network's output."""

    def velocity(self, network: Network, x: Tensor, t: Tensor) -> Tensor:
        """Return the velocity at x (B, …) and t (B,) that the network's output stands for."""
        a, b = (per_sample(value, x) for value in self.coefficients(t))
        return a * x + b * self.ask(network, x, t)

    def target(self, x: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        """Return the output (B, …) that stands for `velocity` at x and t (B,)."""
        a, b = (per_sample(value, x) for value in self.coefficients(t))
        return (velocity - a * x) / b

    def ask(self, network: Network, x: Tensor, t: Tensor) -> Tensor:
        """Return the network's output at x (B, …) and t (B,)."""
        return network(per_sample(self.input_scale(t), x) * x, self.input_time(t))


class Flow(DiffusionObjective):
    """The velocity itself (Lipman et al. 2023; Liu et al. 2023). Time input: t."""

    reaches_data = True

    def path(self, share: Tensor) -> Tensor:
        return share

    def input_scale(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def input_time(self, t: Tensor) -> Tensor:
        return t

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), torch.ones_like(t)


class VariancePreserving(DiffusionObjective):
    """Input of variance 1 for data of variance 1: alpha^2 + sigma^2 = 1."""

    def input_scale(self, t: Tensor) -> Tensor:
        return 1.0 / torch.hypot(t, 1.0 - t)


class Noise(VariancePreserving):
    """The noise (Ho et al., "Denoising diffusion probabilistic models", 2020, equation 14) on the
    "linear" schedule of latent-diffusion and PVDM: 1000 levels whose beta has a linear square root.

    Between two levels t is interpolated. Time input: 1 - (i + 1) / 1000 at level i, of 0 to 999.
    """

    reaches_data = False

    def __init__(self, levels: int = 1000, first: float = 0.0015, last: float = 0.0195) -> None:
        betas = torch.linspace(first**0.5, last**0.5, levels, dtype=torch.float64) ** 2
        kept = torch.cumprod(1.0 - betas, 0)  # alpha^2 of each level
        times = kept.sqrt() / (kept.sqrt() + (1.0 - kept).sqrt())
        self.times = torch.cat([times.flip(0), torch.ones(1, dtype=torch.float64)])
        self.shares = torch.linspace(0.0, 1.0, levels + 1, dtype=torch.float64)
        self.kept: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def tables(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return times and shares as `like` is. They are kept: a copy to a GPU makes it wait."""
        key = like.device, like.dtype
        if key not in self.kept:
            self.kept[key] = self.times.to(like), self.shares.to(like)
        return self.kept[key]

    def path(self, share: Tensor) -> Tensor:
        times, shares = self.tables(share)
        return piecewise_linear(share * self.shares[-2].item(), shares, times)

    def input_time(self, t: Tensor) -> Tensor:
        return piecewise_linear(t, *self.tables(t))

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        # data = (x - (1 - t) noise) / t
        return 1.0 / t, -1.0 / t


class V(VariancePreserving):
    """v = alpha noise - sigma data, alpha = cos(angle), sigma = sin(angle) (Salimans and Ho,
    "Progressive distillation", 2022, section 4 and appendix D; alpha is their cosine schedule).

    Time input: 1 - angle / 90 degrees, in [0, 1].
    """

    reaches_data = True

    def path(self, share: Tensor) -> Tensor:
        angle = (1.0 - share) * (0.5 * math.pi)
        alpha = angle.cos().clamp(min=0.0)  # at 90 degrees rounding may pass 0
        return alpha / (alpha + angle.sin())

    def input_time(self, t: Tensor) -> Tensor:
        return 1.0 - torch.atan2(1.0 - t, t) / (0.5 * math.pi)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        # data = alpha z - sigma v and noise = sigma z + alpha v, z = x / r the input
        r = torch.hypot(t, 1.0 - t)
        return (2.0 * t - 1.0) / r**2, -1.0 / r


class Edm(DiffusionObjective):
    """F of data = c_skip x + c_out F, preconditioned so that input and output have variance 1
    (Karras et al., "Elucidating the design space of diffusion-based generative models", 2022,
    table 1 and equation 5 for the steps).

    In the paper alpha = 1, so sigma = (1 - t) / t. Time input: c_noise = ln(sigma) / 4, in [-1.6,
    1.1]. The loss is the paper's (lambda = 1 / c_out^2). `deviation` is that of
    the data. Normalised latents have 1, where F is -v.
    """

    reaches_data = False

    def __init__(self, deviation: float = 1.0, low: float = 0.002, high: float = 80.0) -> None:
        self.deviation, self.low, self.high = deviation, low, high

    def path(self, share: Tensor) -> Tensor:
        rho = 7.0
        start, end = self.high ** (1.0 / rho), self.low ** (1.0 / rho)
        return 1.0 / (1.0 + (start + share * (end - start)) ** rho)

    def input_scale(self, t: Tensor) -> Tensor:
        return 1.0 / self.spread(t)

    def input_time(self, t: Tensor) -> Tensor:
        return -0.25 * torch.logit(t)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        # (data - x_t) / (1 - t), with c_skip and c_out put in
        spread = self.spread(t)
        return (self.deviation**2 * t - (1.0 - t)) / spread**2, self.deviation / spread

    def spread(self, t: Tensor) -> Tensor:
        """Return the standard deviation of x_t."""
        return torch.hypot(self.deviation * t, 1.0 - t)


OBJECTIVES = {"flow": Flow(), "noise": Noise(), "v": V(), "edm": Edm()}


def training_times(
    objective: DiffusionObjective,
    count: int,
    random: torch.Generator,
    *,
    uniform: bool,
    mean: float,
    deviation: float,
) -> Tensor:
    """Draw times (count,) of a training step: uniform on the objective's path, or logit-normal."""
    if uniform:
        return objective.path(torch.rand(count, generator=random))
    return logit_normal_times(count, mean, deviation, random)


def denoising_loss(
    network: Network,
    objective: DiffusionObjective,
    data: Tensor,
    noise: Tensor,
    times: Tensor,
    wanted: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error of the network's output at x_t of `times` (B,).

    The mean is over all values, or over those where `wanted` (B, …) is true.
    """
    noisy, velocity = interpolate(data, noise, times)
    output = objective.ask(network, noisy, times)
    error = (output - objective.target(noisy, velocity, times)).square()
    return error.mean() if wanted is None else error[wanted].mean()


def piecewise_linear(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Interpolate the values at rising `knots` (n,) at x, constant outside: `numpy.interp`."""
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    low, high = knots[right - 1], knots[right]
    share = ((x - low) / (high - low)).clamp(0.0, 1.0)
    return torch.lerp(values[right - 1], values[right], share)
