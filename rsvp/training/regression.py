"""A network that continues frames without latents: its loss and its step."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsvp.data.pixels import to_float
from rsvp.training.ema import WeightAverage
from rsvp.training.processes import Part, Processes, Result, update

if TYPE_CHECKING:  # it takes as long to import as torch
    from lightning_fabric import Fabric


def regression_loss(network: nn.Module, clips: Tensor, context_frames: int) -> Tensor:
    """Return the mean squared error of the future frames of uint8 clips (B, T, C, H, W)."""
    frames = to_float(clips)
    return F.mse_loss(network(frames[:, :context_frames]), frames[:, context_frames:])


def regression_step(
    fabric: "Fabric",
    processes: Processes,
    network: nn.Module,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[Part],
    clips: Sequence[Tensor],
    context_frames: int,
) -> dict[str, Tensor]:
    """Update a network once on the clips of this process's micro-batches, and its average."""

    def results() -> Iterator[Result]:
        for own in clips:
            with fabric.autocast():
                loss = regression_loss(network, own, context_frames)
            yield loss, {"loss": loss}

    found = update(fabric, processes, network, optimizer, parts, results())
    average.update(network)
    return found
