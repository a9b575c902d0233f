"""The null condition of guidance: zeros in place of a context, as in PVDM.

Latents are normalised, so zero is their mean.
"""

import torch
from torch import Tensor

from rsvp.diffusion.flow import per_sample

Condition = dict[str, Tensor]  # (B, …) by name


def null_condition(condition: Condition) -> Condition:
    """Return the null condition in the shapes of `condition`."""
    return {name: torch.zeros_like(value) for name, value in condition.items()}


def drop_condition(condition: Condition, dropped: Tensor) -> Condition:
    """Return the condition, null in the samples where `dropped` (B,) is true."""
    return {
        name: value.masked_fill(per_sample(dropped.to(value.device), value), 0.0)
        for name, value in condition.items()
    }
