"""Stage two: what the training of a denoiser consists of, and what one step does."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from rsvp.config.schema import Predictor, Times
from rsvp.config.stages import Settings
from rsvp.data.latents import Latents
from rsvp.data.layout import LatentBatch
from rsvp.diffusion.condition import drop_condition
from rsvp.diffusion.objectives import OBJECTIVES, denoising_loss, training_times
from rsvp.diffusion.packing import Packing
from rsvp.models.bundle import start_from
from rsvp.models.denoiser import LatentDenoiser
from rsvp.runtime.device import loader_workers
from rsvp.runtime.random import generator
from rsvp.training.batches import LatentBatches, StepBatches
from rsvp.training.ema import ramped_average
from rsvp.training.run import learning_rate, set_learning_rate
from rsvp.training.state import Stateful

VALIDATE_EVERY = 100  # steps
VALIDATION_CLIPS = 64


class Noising(NamedTuple):
    """What chance decides of a batch of B clips: how it is hidden, and what of it."""

    noise: Tensor  # (B, …), as `Packing` packs the targets
    times: Tensor  # (B,), between noise and data
    dropped: Tensor | None = None  # (B,) bool, the clips that see no context

    def to(self, device: torch.device) -> "Noising":
        """The same on another device, which need not be done when this returns."""
        return Noising(*(x if x is None else x.to(device, non_blocking=True) for x in self))


class NoisingBatches(StepBatches):
    """The latents of each step and their noise, which a GPU would have to wait for."""

    def __init__(self, drawn: LatentBatches, config: Predictor) -> None:
        self.drawn, self.config = drawn, config

    def __getitem__(self, step: int) -> tuple[LatentBatch, Noising]:
        seed, parts = self.drawn.seed, self.drawn[step]
        noising = draw_noising(parts, self.config, generator(seed, step, "diffusion"))
        random = generator(seed, step, "null condition")
        dropped = torch.rand(len(noising.times), generator=random) < self.config.drop_context
        return parts, noising._replace(dropped=dropped)


class Denoising:
    """Trains a fresh denoiser on cached latents, in `steps` steps.

    `parts` is what changes; `average` holds the weights that are kept, and `arguments` are those
    of the denoiser's constructor.
    """

    validate_every = VALIDATE_EVERY

    def __init__(
        self, settings: Settings, latents: Latents, held_out: Latents, fabric: Fabric, steps: int
    ) -> None:
        self.config, self.seed = settings.predictor, settings.seed
        self.fabric, self.total = fabric, steps
        count, augment = self.config.batch_size, self.config.augment_latents
        self.drawn = LatentBatches(latents, self.seed, count, augment)
        self.held_out = LatentBatches(held_out, self.seed, count)
        self.layout = self.drawn.layout
        self.arguments = denoiser_arguments(self.config, self.drawn)
        denoiser = LatentDenoiser(**self.arguments)
        if self.config.init_from:
            key = f"predictors.{settings.name}.init_from"
            start_from(denoiser, self.arguments, self.config.init_from, key)
        self.denoiser = denoiser.to(fabric.device)
        averaged = ramped_average(self.config.ema_decay)
        self.average = AveragedModel(denoiser, multi_avg_fn=averaged).to(fabric.device)
        if settings.compute.compile:
            self.denoiser.compile()
        optimizer = torch.optim.AdamW(
            denoiser.parameters(),
            betas=(0.9, 0.98),
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        # The module is not wrapped: Fabric would round what goes in, times too, to bfloat16.
        self.optimizer = fabric.setup_optimizers(optimizer)
        self.parts: dict[str, Stateful] = {
            "denoiser": self.denoiser,
            "average": self.average,
            "optimizer": self.optimizer.optimizer,
        }

    def batches(self, first: int) -> Iterator[tuple[LatentBatch, Noising]]:
        """The latents of the steps from `first` on, normalised, and their noise."""
        batches = NoisingBatches(self.drawn, self.config)
        return batches.batches(first, self.total, loader_workers(self.fabric))

    def step(self, step: int, batch: tuple[LatentBatch, Noising]) -> dict[str, Tensor]:
        """One update, of the average too; returns the loss."""
        config = self.config
        rate = learning_rate(step, self.total, config.learning_rate, config.warmup_steps)
        set_learning_rate(self.optimizer, rate)
        parts, noising = (part.to(self.fabric.device) for part in batch)
        with self.fabric.autocast():
            loss = future_loss(self.denoiser, parts, config, noising)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(
            self.denoiser, self.optimizer, max_norm=1.0, error_if_nonfinite=False
        )
        self.optimizer.step()
        self.average.update_parameters(self.denoiser)
        return {"loss": loss}

    def validate(self) -> float:
        """The loss of the averaged weights on validation clips.

        The same noise and times at every validation, so that losses can be compared.
        """
        clips = range(min(len(self.held_out.latents), VALIDATION_CLIPS))
        contexts = [clip % len(self.layout.contexts) for clip in clips]
        batch = self.held_out.parts(clips, contexts)
        with torch.no_grad(), self.fabric.autocast():
            return float(self.averaged_loss(batch, "validation"))

    def averaged_loss(self, batch: LatentBatch, purpose: str) -> Tensor:
        """The loss of the averaged weights on latents; noise depends on `purpose` alone."""
        noising = draw_noising(batch, self.config, generator(0, 0, purpose))
        parts, noising = (part.to(self.fabric.device) for part in (batch, noising))
        return future_loss(self.average.module, parts, self.config, noising)


def denoiser_arguments(config: Predictor, batches: LatentBatches) -> dict[str, Any]:
    """The arguments of the denoiser's constructor, as JSON values."""
    return batches.parts([0], [0]).shapes() | {
        "width": config.denoiser.width,
        "depth": config.denoiser.depth,
        "heads": config.denoiser.heads,
        "patch": config.denoiser.patch,
        "frames_per_token": config.denoiser.frames_per_token,
    }


def draw_noising(parts: LatentBatch, config: Predictor, random: torch.Generator) -> Noising:
    """The noise and times of a batch; nothing is dropped."""
    packing = packing_of(parts)
    count = len(next(iter(parts.targets.values())))
    noise = torch.randn((count, *packing.shape), generator=random)
    times = training_times(
        OBJECTIVES[config.objective.name],
        count,
        random,
        uniform=config.times is Times.uniform,
        mean=config.time_mean,
        deviation=config.time_std,
    )
    return Noising(noise, times)


def packing_of(parts: LatentBatch) -> Packing:
    """How a batch's targets become one tensor."""
    return Packing({name: value.shape[1:] for name, value in parts.targets.items()})


def future_loss(
    network: torch.nn.Module, parts: LatentBatch, config: Predictor, noising: Noising
) -> torch.Tensor:
    """The objective's loss over wanted targets.

    All latents' values count alike, so larger latents count more.
    """
    observed, future, wanted = parts
    if noising.dropped is not None:
        observed = drop_condition(observed, noising.dropped)
    packing = packing_of(parts)
    counted = None if wanted is None else packing.pack(wanted)
    return denoising_loss(
        packing.network(network, observed, counted),
        OBJECTIVES[config.objective.name],
        packing.pack(future),
        noising.noise,
        noising.times,
        counted,
    )
