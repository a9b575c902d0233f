"""Flow matching: a straight path from noise to data, and the velocity along it.

Lipman et al., "Flow matching for generative modeling", 2023; Liu et al., "Flow straight and fast",
2023. Time t runs from 0 (noise) to 1 (data).
"""

from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]  # (x, t (B,)) -> dx/dt of the shape of x


def logit_normal_times(
    count: int, mean: float, deviation: float, random: torch.Generator
) -> Tensor:
    """Training times (count,) in (0, 1) whose logits are normal (Esser et al., "Scaling rectified
    flow transformers", 2024, equation 19)."""
    return torch.sigmoid(mean + deviation * torch.randn(count, generator=random))


def interpolate(data: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """The point x_t = (1 - t) noise + t data and its velocity data - noise; `times` is (B,)."""
    t = times.view(-1, *[1] * (data.dim() - 1))
    return (1.0 - t) * noise + t * data, data - noise
