"""Stage two: what the training of a denoiser consists of, and what one step does."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from rsvp.chance import generator
from rsvp.config import Predictor, Settings
from rsvp.data.latents import Latents
from rsvp.data.layout import Parts
from rsvp.diffusion.condition import drop_condition
from rsvp.diffusion.objectives import OBJECTIVES, denoising_loss, training_times
from rsvp.diffusion.packing import Packing
from rsvp.models.bundle import start_from
from rsvp.models.denoiser import LatentDenoiser
from rsvp.training.batches import LatentBatches
from rsvp.training.compute import loader_workers
from rsvp.training.ema import ramped_average
from rsvp.training.run import Part, learning_rate, set_learning_rate

VALIDATE_EVERY = 100  # steps
VALIDATION_CLIPS = 64


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
        self.drawn, self.held_out = (
            LatentBatches(of, self.seed, self.config.batch_size) for of in (latents, held_out)
        )
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
        self.parts: dict[str, Part] = {
            "denoiser": self.denoiser,
            "average": self.average,
            "optimizer": self.optimizer.optimizer,
        }

    def batches(self, first: int) -> Iterator[Parts]:
        """The latents of the steps from `first` on, normalised."""
        return self.drawn.batches(first, self.total, loader_workers(self.fabric))

    def step(self, step: int, batch: Parts) -> dict[str, Tensor]:
        """One update, of the average too; returns the loss."""
        config, seed = self.config, self.seed
        rate = learning_rate(step, self.total, config.learning_rate, config.warmup_steps)
        set_learning_rate(self.optimizer, rate)
        random = generator(seed, step, "diffusion")
        dropped = torch.rand(config.batch_size, generator=generator(seed, step, "null condition"))
        parts = batch.to(self.fabric.device)
        with self.fabric.autocast():
            loss = future_loss(self.denoiser, parts, config, random, dropped < config.drop_context)
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

    def averaged_loss(self, batch: Parts, purpose: str) -> Tensor:
        """The loss of the averaged weights on latents; noise depends on `purpose` alone."""
        random = generator(0, 0, purpose)
        return future_loss(self.average.module, batch.to(self.fabric.device), self.config, random)


def denoiser_arguments(config: Predictor, batches: LatentBatches) -> dict[str, Any]:
    """The arguments of the denoiser's constructor, as JSON values."""
    return batches.parts([0], [0]).shapes() | {
        "width": config.denoiser.width,
        "depth": config.denoiser.depth,
        "heads": config.denoiser.heads,
        "patch": config.denoiser.patch,
        "frames_per_token": config.denoiser.frames_per_token,
    }


def future_loss(
    network: torch.nn.Module,
    parts: Parts,
    config: Predictor,
    random: torch.Generator,
    dropped: torch.Tensor | None = None,
) -> torch.Tensor:
    """The objective's loss over wanted targets; clips where `dropped` (B,) see no context.

    All latents' values count alike, so larger latents count more.
    """
    observed, future, wanted = parts
    if dropped is not None:
        observed = drop_condition(observed, dropped)
    packing = Packing({name: value.shape[1:] for name, value in future.items()})
    data = packing.pack(future)
    counted = None if wanted is None else packing.pack(wanted)
    noise = torch.randn(data.shape, generator=random)
    objective = OBJECTIVES[config.objective.name]
    times = training_times(
        objective, config.times, config.time_mean, config.time_std, len(data), random
    )
    return denoising_loss(
        packing.network(network, observed, counted),
        objective,
        config.weighting,
        data,
        noise.to(data.device),
        times.to(data.device),
        counted,
    )
