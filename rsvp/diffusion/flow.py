"""The straight path from noise to data, its velocity, and the times at which training sees it.

Lipman et al., "Flow matching for generative modeling", 2023; Liu et al., "Flow straight and fast",
2023. Time t runs from 0 (noise) to 1 (data).

All objectives and samplers share this path, since every Gaussian path is the same in other units:
for x = alpha data + sigma noise, x / (alpha + sigma) is the point at t = alpha / (alpha + sigma).
The logit of t is ln(alpha / sigma), half of the log signal-to-noise ratio.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]  # (x, t () on the CPU) -> dx/dt of the shape of x


def logit_normal_times(
    count: int, mean: float, deviation: float, random: torch.Generator
) -> Tensor:
    """Draw training times (count,) in (0, 1) whose logits are normal (Esser et al., "Scaling
    rectified flow transformers", 2024, equation 19).

    Their sigma / alpha is log-normal with mean -`mean` (Karras et al., "Elucidating the design
    space of diffusion-based generative models", 2022).
    """
    return torch.sigmoid(mean + deviation * torch.randn(count, generator=random))


def interpolate(data: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_t = (1 - t) noise + t data and its velocity data - noise for `times` (B,)."""
    t = per_sample(times, data)
    return (1.0 - t) * noise + t * data, data - noise


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Return values (B,) as (B, 1, …), to be multiplied with `like` (B, …)."""
    return values.view(-1, *[1] * (like.dim() - 1))
