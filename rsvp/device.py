"""Where networks run."""

import torch

from rsvp.config import Compute
from rsvp.errors import UserError


def device_of(compute: Compute) -> torch.device:
    """The GPU where there is one and the config does not forbid it; UserError where the config asks
    for one and there is none."""
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "config: compute.device: 'cuda', but PyTorch finds no GPU; allowed here: auto, cpu"
        )
    on_gpu = compute.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")
