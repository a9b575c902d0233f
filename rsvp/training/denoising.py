"""Stage two: random draws and loss of a denoiser's training step."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from rsvp.data.layout import LatentBatch
from rsvp.data.micro_batches import MicroBatch
from rsvp.diffusion.condition import drop_condition
from rsvp.diffusion.noise import Roots
from rsvp.diffusion.objectives import DiffusionObjective, denoising_loss, training_times
from rsvp.diffusion.packing import Packing
from rsvp.training.ema import WeightAverage
from rsvp.training.processes import Processes, Result, update

if TYPE_CHECKING:  # it takes as long to import as torch
    from lightning_fabric import Fabric


class NoiseDraw(NamedTuple):
    """Random draws for a batch of B clips."""

    noise: Tensor  # (B, …), as `Packing` packs the targets
    times: Tensor  # (B,), between noise and data
    dropped: Tensor | None = None  # (B,) bool, the clips that see no context

    def to(self, device: torch.device) -> "NoiseDraw":
        """Return the same draws on another device."""
        return NoiseDraw(*(x if x is None else x.to(device) for x in self))

    def rows(self, part: MicroBatch) -> "NoiseDraw":
        """Return the draws of a part of the batch."""
        return NoiseDraw(*(x if x is None else part.rows(x) for x in self))


def draw_noise(
    batch: LatentBatch,
    objective: DiffusionObjective,
    random: torch.Generator,
    *,
    uniform: bool,
    mean: float,
    deviation: float,
    roots: Roots | None = None,
) -> NoiseDraw:
    """Draw noise and times (see `training_times`) for a batch; no context is dropped.

    Noise has the correlations of `roots`; it is white without them.
    """
    packing = packing_of(batch)
    count = len(next(iter(batch.targets.values())))
    noise = packing.coloured(torch.randn((count, *packing.shape), generator=random), roots or {})
    times = training_times(
        objective, count, random, uniform=uniform, mean=mean, deviation=deviation
    )
    return NoiseDraw(noise, times)


def packing_of(batch: LatentBatch) -> Packing:
    """Return the packing of a batch's targets into one tensor."""
    return Packing({name: value.shape[1:] for name, value in batch.targets.items()})


def diffusion_loss(
    network: nn.Module, batch: LatentBatch, objective: DiffusionObjective, draw: NoiseDraw
) -> Tensor:
    """Return the objective's loss over the wanted targets.

    All latents' values count alike, so larger latents count more.
    """
    observed, targets, wanted = batch
    if draw.dropped is not None:
        observed = drop_condition(observed, draw.dropped)
    packing = packing_of(batch)
    counted = None if wanted is None else packing.pack(wanted)
    return denoising_loss(
        packing.network(network, observed, counted),
        objective,
        packing.pack(targets),
        draw.noise,
        draw.times,
        counted,
    )


class DiffusionPart(NamedTuple):
    """A micro-batch of a step of stage two."""

    latents: LatentBatch
    draw: NoiseDraw
    share: float  # of the values that the loss counts in the batch's

    def to(self, device: torch.device) -> "DiffusionPart":
        """Return the same on another device."""
        return DiffusionPart(self.latents.to(device), self.draw.to(device), self.share)


def divided(
    batch: LatentBatch, draw: NoiseDraw, parts: Sequence[MicroBatch]
) -> list[DiffusionPart]:
    """Return these parts of a batch and of its draws."""
    return [
        DiffusionPart(latents := batch.rows(part), draw.rows(part), latents.counted / batch.counted)
        for part in parts
    ]


def diffusion_step(
    fabric: "Fabric",
    processes: Processes,
    denoiser: nn.Module,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[DiffusionPart],
    objective: DiffusionObjective,
) -> dict[str, Tensor]:
    """Update a denoiser once on this process's micro-batches, and its average; return the loss."""

    def results() -> Iterator[Result]:
        for part in parts:
            with fabric.autocast():
                loss = diffusion_loss(denoiser, part.latents, objective, part.draw)
            yield loss, {"loss": loss}

    found = update(fabric, processes, denoiser, optimizer, parts, results())
    average.update(denoiser)
    return found
