"""Objectives: what the network is trained to output, how it is asked, which noise levels it knows.

All work on the straight path of `rsvp.diffusion.flow`, at times t in [0, 1] with t = 0 noise. An
objective turns a network's output F into the velocity a(t) x + b(t) F, and a velocity into the
output that training wants; so each objective works with each sampler.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from rsvp.diffusion.flow import interpolate, logit_normal_times, per_sample

Network = Callable[[Tensor, Tensor], Tensor]  # (input (B, …), time input (B,)) -> output (B, …)


class Objective(ABC):
    """How a network is asked and understood. Times are of any shape; all is element-wise."""

    reaches_data: bool  # whether share 1 of `path` is data; else samplers step on to it from there

    @abstractmethod
    def path(self, share: Tensor) -> Tensor:
        """Times from the noisiest level (share 0) to the cleanest (share 1), in the pace at which
        the objective's paper steps and, where it draws them uniformly, trains."""

    @abstractmethod
    def input_scale(self, t: Tensor) -> Tensor:
        """What x_t is multiplied with for the network."""

    @abstractmethod
    def input_time(self, t: Tensor) -> Tensor:
        """The network's time input."""

    @abstractmethod
    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """a and b of velocity = a x_t + b F, F the network's output."""

    def velocity(self, network: Network, x: Tensor, t: Tensor) -> Tensor:
        """The velocity at x (B, …) and t (B,) by the network's output."""
        a, b = (per_sample(value, x) for value in self.coefficients(t))
        return a * x + b * self.ask(network, x, t)

    def target(self, x: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        """The output (B, …) that stands for `velocity` at x and t (B,)."""
        a, b = (per_sample(value, x) for value in self.coefficients(t))
        return (velocity - a * x) / b

    def ask(self, network: Network, x: Tensor, t: Tensor) -> Tensor:
        """The network's output at x (B, …) and t (B,)."""
        return network(per_sample(self.input_scale(t), x) * x, self.input_time(t))


class Flow(Objective):
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


class VariancePreserving(Objective):
    """Input of variance 1 for data of variance 1: alpha^2 + sigma^2 = 1, the usual "variance
    preserving" path."""

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

    def path(self, share: Tensor) -> Tensor:
        return piecewise_linear(share * self.shares[-2].item(), self.shares, self.times)

    def input_time(self, t: Tensor) -> Tensor:
        return piecewise_linear(t, self.times, self.shares)

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


class Edm(Objective):
    """F of data = c_skip x + c_out F, preconditioned so that input and output have variance 1
    (Karras et al., "Elucidating the design space of diffusion-based generative models", 2022,
    table 1 and equation 5 for the steps).

    There alpha = 1, so that sigma = (1 - t) / t. Time input: c_noise = ln(sigma) / 4, in [-1.6,
    1.1]. The loss is the paper's (lambda = 1 / c_out^2). `deviation` is that of
    the data, here of normalised latents; at 1, F is -v.
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
        """The standard deviation of x_t."""
        return torch.hypot(self.deviation * t, 1.0 - t)


OBJECTIVES: dict[str, Objective] = {"flow": Flow(), "noise": Noise(), "v": V(), "edm": Edm()}


def training_times(
    objective: Objective,
    count: int,
    random: torch.Generator,
    *,
    uniform: bool,
    mean: float,
    deviation: float,
) -> Tensor:
    """Times (count,) of a training step: uniform on the objective's path, or logit-normal with that
    mean and deviation."""
    if uniform:
        return objective.path(torch.rand(count, generator=random))
    return logit_normal_times(count, mean, deviation, random)


def denoising_loss(
    network: Network,
    objective: Objective,
    data: Tensor,
    noise: Tensor,
    times: Tensor,
    wanted: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the network's output at x_t, of `times` (B,).

    The mean is over all values, or over those where `wanted` (B, …) is true.
    """
    noisy, velocity = interpolate(data, noise, times)
    output = objective.ask(network, noisy, times)
    error = (output - objective.target(noisy, velocity, times)).square()
    return error.mean() if wanted is None else error[wanted].mean()


def piecewise_linear(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """`numpy.interp`: the values at rising `knots` (n,), interpolated at x, constant outside."""
    knots, values = knots.to(x), values.to(x)
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    low, high = knots[right - 1], knots[right]
    share = ((x - low) / (high - low)).clamp(0.0, 1.0)
    return torch.lerp(values[right - 1], values[right], share)
