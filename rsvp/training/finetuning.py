"""Stage one, part two: what adversarial fine-tuning consists of, and what one step does."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from rsvp.config.schema import Autoencoder, ObservedFrames
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips
from rsvp.data.contexts import contexts_of
from rsvp.data.pixels import to_float
from rsvp.metrics.sliced_wasserstein import sliced_wasserstein
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.runtime.device import loader_workers
from rsvp.runtime.random import generator
from rsvp.training.adversarial import (
    Discriminators,
    adaptive_weight,
    discriminator_step,
    generator_loss,
    make_discriminators,
)
from rsvp.training.batches import ClipBatches, in_context
from rsvp.training.ema import ramped_average
from rsvp.training.reconstruction import frame_weights, reconstruct, reconstruction_loss
from rsvp.training.run import learning_rate, set_learning_rate
from rsvp.training.state import Stateful
from rsvp.training.watch import Scores, Watch


class Finetuning:
    """Trains a pretrained autoencoder against discriminators, in `steps` steps at most.

    `parts` is what changes. `average` is watched; `best` holds the weights that are kept, and
    `start` how well the validation clips were given back before.
    """

    def __init__(
        self,
        settings: Settings,
        clips: Clips,
        held_out: Clips,
        autoencoder: ClipAutoencoder,
        fabric: Fabric,
        steps: int,
    ) -> None:
        self.settings, self.seed = settings.autoencoder, settings.seed
        self.config = self.settings.finetune
        self.clips, self.fabric, self.total = clips, fabric, steps
        self.contexts = contexts_of(clips.context_frames, settings.contexts)
        self.validate_every = self.config.validate_every
        self.autoencoder = autoencoder.to(fabric.device)
        self.autoencoder.requires_grad_(True)
        self.discriminators = make_discriminators(self.config).to(fabric.device)
        self.optimizer = adam(self.autoencoder, self.config.learning_rate)
        self.opponent = adam(self.discriminators, self.config.discriminator_learning_rate)
        averaged = ramped_average(self.config.ema_decay)
        self.average = AveragedModel(self.autoencoder, multi_avg_fn=averaged)
        self.best = copy.deepcopy(self.autoencoder)
        watched = self.config.validation_clips
        self.watch = Watch(held_out, settings.weights, fabric.device, watched)
        self.start = self.watch.measure(self.autoencoder)
        self.kept: Scores | None = None  # of `best`, unless a run before this one kept them
        self.parts: dict[str, Stateful] = {
            "autoencoder": self.autoencoder,
            "average": self.average,
            "best": self.best,
            "discriminators": self.discriminators,
            "optimizer": self.optimizer,
            "opponent": self.opponent,
        }

    def batches(self, first: int) -> Iterator[Tensor]:
        """The clips of the steps from `first` on, uint8 (B, T, 3, H, H)."""
        clips, size = self.clips, self.config.batch_size
        batches = ClipBatches(clips, self.seed, size, clips.augment, "finetune")
        return batches.batches(first, self.total, loader_workers(self.fabric))

    def step(self, step: int, batch: Tensor) -> dict[str, Tensor]:
        """One update of both sides and of the average; returns the losses."""
        config = self.config
        rate = learning_rate(step, self.total, config.learning_rate, config.warmup_steps)
        set_learning_rate(self.optimizer, rate)
        clip = to_float(batch.to(self.fabric.device, non_blocking=True))
        clip, context = in_context(clip, self.contexts, self.seed, step, "finetune")
        losses = adversarial_step(
            self.fabric, self.settings, self.watch.perceptual, step, self.seed, clip,
            context, self.autoencoder, self.discriminators, self.optimizer, self.opponent,
        )  # fmt: skip
        self.average.update_parameters(self.autoencoder)
        return losses

    def validate(self) -> Scores:
        """How well the averaged weights give validation clips back."""
        return self.watch.measure(self.average.module)

    def keep(self, scores: Scores) -> None:
        """Make the averaged weights, which have these scores, the best ones."""
        self.best.load_state_dict(self.average.module.state_dict())
        self.kept = scores

    def comparison(self) -> dict[str, Any]:
        """Before and after, and the paired improvement with its interval, for an index."""
        before, after = self.start, self.kept or self.watch.measure(self.best)
        gain = self.watch.improvement(before, after)
        return {
            "before": self.watch.summary(before),
            "validation": self.watch.summary(after),
            # One group of clips has no interval.
            "improvement": {k: v if v == v else None for k, v in dataclasses.asdict(gain).items()},
            "psnr_cost": float((before.psnr - after.psnr).mean()),
        }


def adam(module: torch.nn.Module, learning_rate: float) -> torch.optim.Adam:
    """The optimiser of both sides; low momentum, as adversarial training wants.

    Not fused, for the reason that pretraining's is not.
    """
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.98))


def adversarial_step(
    fabric: Fabric,
    settings: Autoencoder,
    perceptual: torch.nn.Module | None,
    step: int,
    seed: int,
    clip: Tensor,
    context: ObservedFrames,
    autoencoder: ClipAutoencoder,
    discriminators: Discriminators,
    optimizer: torch.optim.Optimizer,
    opponent: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    """One update of the autoencoder, then one of the discriminators, on consecutive frames."""
    config, weights = settings.finetune, frame_weights(settings.pretrain)
    random = generator(seed, step, "finetune")
    # The observed frames that follow what is predicted stand at the front, out of time's order.
    starts = clip.shape[1] - context.last - config.target_frames + 1
    first = context.last + torch.randint(starts, (1,), generator=random)
    targets = first + torch.arange(config.target_frames)
    discriminators.requires_grad_(False)
    with fabric.autocast():
        result = reconstruct(autoencoder, clip, context.first + context.last, targets, random)
        loss, parts = reconstruction_loss(result, perceptual, config.lpips, weights)
        fake, real = discriminators.augmented(
            result.predicted, result.frames, generator(seed, step, "augment")
        )
        adversarial, features = generator_loss(discriminators, fake, real)
    if config.sliced_wasserstein:
        drawn = int(torch.randint(2**31, (1,), generator=generator(seed, step, "patches")))
        patches = sliced_wasserstein(result.predicted.float(), result.frames, drawn).mean()
        loss, parts = loss + config.sliced_wasserstein * patches, parts | {"patches": patches}
    weight: Tensor | float = config.adversarial
    shown = {name: parts[name] for name in ("lpips", "patches") if name in parts}
    if config.adaptive_weight:
        shown["adaptive_weight"] = adaptive_weight(loss, adversarial, autoencoder.last_layer)
        weight = weight * shown["adaptive_weight"]
    total = loss + weight * adversarial + config.feature_matching * features
    optimizer.zero_grad()
    total.backward()
    torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
    optimizer.step()
    discriminators.requires_grad_(True)
    losses = discriminator_step(fabric, step, discriminators, opponent, fake, real)
    return {
        "reconstruction": loss, "l1": parts["l1"], "adversarial": adversarial,
        "features": features, **losses, **shown,
    }  # fmt: skip
