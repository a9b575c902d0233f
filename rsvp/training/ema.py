"""Exponential moving average of weights, updated every step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def ramped_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]:
    """Return an update for `torch.optim.swa_utils.AveragedModel`.

    average = d average + (1 - d) weights, where d = min(decay, (1 + n) / (10 + n)) after n updates:
    early weights are soon forgotten.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor) -> None:
        count = float(updates)
        share = 1.0 - min(decay, (1.0 + count) / (10.0 + count))
        torch._foreach_lerp_(list(averages), list(weights), share)

    return update
