"""Stage one, reconstruction: what its training consists of, and what one step does."""

from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips
from rsvp.data.contexts import contexts_of
from rsvp.data.pixels import to_float
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.kinds import autoencoder_arguments, make_autoencoder
from rsvp.models.bundle import start_from
from rsvp.runtime.device import loader_workers
from rsvp.runtime.random import generator
from rsvp.training.batches import ClipBatches, in_context
from rsvp.training.ema import ramped_average
from rsvp.training.reconstruction import frame_weights, reconstruct, reconstruction_loss
from rsvp.training.run import learning_rate, set_learning_rate
from rsvp.training.state import Stateful
from rsvp.training.watch import Watch, training_perceptual


class Pretraining:
    """Trains a fresh autoencoder to give frames of clips back, in `steps` steps.

    `parts` is what changes; `arguments` are those of the autoencoder's constructor.
    """

    validate_every: int | None = None  # the validation split is looked at when all is done

    def __init__(
        self, settings: Settings, clips: Clips, held_out: Clips, fabric: Fabric, steps: int
    ) -> None:
        self.config, self.seed, self.weights = (
            settings.autoencoder.pretrain, settings.seed, settings.weights
        )  # fmt: skip
        self.clips, self.held_out = clips, held_out
        self.fabric, self.total = fabric, steps
        self.contexts = contexts_of(clips.context_frames, settings.contexts)
        self.arguments = autoencoder_arguments(settings.autoencoder)
        autoencoder = make_autoencoder(**self.arguments).to(memory_format=torch.channels_last)
        if settings.autoencoder.init_from:
            key = f"autoencoders.{settings.name}.init_from"
            start_from(autoencoder, self.arguments, settings.autoencoder.init_from, key)
        autoencoder = autoencoder.to(fabric.device)
        # Not fused: it wants moments laid out as channels-last weights are; restored ones are not.
        optimizer = torch.optim.AdamW(
            autoencoder.parameters(), betas=(0.9, 0.98), weight_decay=self.config.weight_decay
        )
        # The module is not wrapped: Fabric would round what goes in, places too, to bfloat16.
        self.optimizer = fabric.setup_optimizers(optimizer)
        self.autoencoder = autoencoder
        self.perceptual = training_perceptual(settings.weights, fabric.device)
        self.parts: dict[str, Stateful] = {
            "autoencoder": autoencoder,
            "optimizer": self.optimizer.optimizer,
        }
        self.average: AveragedModel | None = None
        if self.config.ema_decay is not None:
            averaged = ramped_average(self.config.ema_decay)
            self.average = AveragedModel(autoencoder, multi_avg_fn=averaged)
            self.parts["average"] = self.average

    @property
    def kept(self) -> ClipAutoencoder:
        """The autoencoder that is kept: with averaged weights where the config asks for them."""
        return self.autoencoder if self.average is None else self.average.module

    def batches(self, first: int) -> Iterator[Tensor]:
        """The clips of the steps from `first` on, uint8 (B, T, 3, H, H)."""
        clips, size = self.clips, self.config.batch_size
        batches = ClipBatches(clips, self.seed, size, clips.augment, "pretrain")
        return batches.batches(first, self.total, loader_workers(self.fabric))

    def step(self, step: int, batch: Tensor) -> dict[str, Tensor]:
        """One update; returns its losses."""
        config = self.config
        set_learning_rate(
            self.optimizer,
            learning_rate(step, self.total, config.learning_rate, config.warmup_steps),
        )
        clip = to_float(batch.to(self.fabric.device, non_blocking=True))
        clip, context = in_context(clip, self.contexts, self.seed, step, "pretrain")
        random = generator(self.seed, step, "pretrain")
        targets = torch.randperm(clip.shape[1], generator=random)[: config.target_frames]
        weights = frame_weights(config)
        observed = context.first + context.last
        with self.fabric.autocast():
            result = reconstruct(self.autoencoder, clip, observed, targets, random)
            loss, parts = reconstruction_loss(result, self.perceptual, config.lpips, weights)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(
            self.autoencoder, self.optimizer, max_norm=1.0, error_if_nonfinite=False
        )
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.autoencoder)
        return {"loss": loss, **parts}

    def validate(self) -> dict[str, object]:
        """How well validation clips are given back, for an index."""
        watch = Watch(self.held_out, self.weights, self.fabric.device)
        return watch.summary(watch.measure(self.kept))
