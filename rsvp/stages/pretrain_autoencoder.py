"""Stage one: train an autoencoder, of any kind, to reconstruct videos."""

import argparse
from typing import Any

import torch
from torch import Tensor

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.contexts import contexts_of
from rsvp.models.autoencoders.kinds import autoencoder_arguments, make_autoencoder
from rsvp.models.bundle import save_bundle, start_from
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import TRAINING, run_stage, stage_parser
from rsvp.runtime.random import generator
from rsvp.training.batches import ClipBatches, in_context, read_ahead
from rsvp.training.calibration import planned_steps
from rsvp.training.cost import autoencoder_flops
from rsvp.training.ema import WeightAverage
from rsvp.training.muon import Muon
from rsvp.training.processes import launch
from rsvp.training.reconstruction import (
    ClipPart,
    clip_parts,
    decided_weight,
    draw_reconstruction,
    reconstruction_step,
)
from rsvp.training.run import TrainingRun, learning_rate, set_learning_rate
from rsvp.training.state import Stateful
from rsvp.training.validation import MOST_CLIPS, ReconstructionValidator, load_perceptual
from rsvp.training.watching import reconstructions


def main() -> None:
    run_stage(stage_parser(__doc__, "dataset", *TRAINING), run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config, seed = settings.autoencoder.pretrain, settings.seed
    fabric, processes = launch(settings.compute, seed)
    clips, held_out = (Clips(arguments.dataset, split) for split in ("train", "validation"))
    contexts = contexts_of(clips.context_frames, settings.contexts)
    parts = processes.own(config.batch_size)
    batches = ClipBatches(clips, seed, parts, clips.augment, "pretrain")

    # The autoencoder, its optimiser and its average.
    constructor = autoencoder_arguments(settings.autoencoder, clips.channels)
    autoencoder = make_autoencoder(**constructor).to(memory_format=torch.channels_last)
    if settings.autoencoder.init_from:
        key = f"autoencoders.{settings.name}.init_from"
        start_from(autoencoder, constructor, settings.autoencoder.init_from, key)
    autoencoder = autoencoder.to(fabric.device)
    optimizer = Muon(
        autoencoder.parameters(), momentum=config.momentum, weight_decay=config.weight_decay
    )
    # The module is not wrapped: Fabric would round what goes in, places too, to bfloat16.
    optimizer = fabric.setup_optimizers(optimizer)
    stateful: dict[str, Stateful] = {"autoencoder": autoencoder, "optimizer": optimizer.optimizer}
    average, kept = None, autoencoder
    if config.ema_decay is not None:
        average = WeightAverage(autoencoder, config.ema_decay)
        stateful["average"], kept = average, average.module
    lpips = settings.weights.lpips_backbone, settings.weights.lpips_linear
    perceptual = load_perceptual(*lpips, fabric.device)
    validator = ReconstructionValidator(
        held_out, evaluation_clips(held_out, MOST_CLIPS), perceptual, fabric.device
    )

    def batch(step: int) -> list[ClipPart]:
        """Draw clips, their observed frames, and noise on the CPU, ahead of a GPU."""
        frames, context = in_context(batches[step], contexts, seed, step, "pretrain")
        observed, random = context.first + context.last, generator(seed, step, "pretrain")
        shape = (config.batch_size, *frames[0].shape[1:])
        targets = torch.randperm(shape[1], generator=random)[: config.target_frames]
        drawn = draw_reconstruction(autoencoder, shape, observed, targets, random)
        return [part.to(fabric.device) for part in clip_parts(parts, frames, observed, drawn)]

    steps = config.steps  # until the budget is known, below

    def update(step: int, rate: float, made: list[ClipPart]) -> dict[str, Tensor]:
        set_learning_rate(optimizer, rate)
        losses = reconstruction_step(
            fabric, processes, autoencoder, optimizer, made,
            l1=config.l1, l2=config.l2, lpips=config.lpips, perceptual=perceptual,
            decided=decided_weight(config.decided, step, steps),
        )  # fmt: skip
        if average is not None:
            average.update(autoencoder)
        return losses

    # The budget, and the state of an earlier run.
    key = state_key(arguments.code, settings.handed, arguments.dataset)
    steps, calibration = planned_steps(
        config.steps, config.seconds, arguments.state, key, stateful, update, batch,
        lambda: validator.measure(kept), None, fabric, processes,
    )  # fmt: skip
    run = TrainingRun(arguments.state, key, steps, stateful, processes)
    shown = reconstructions(held_out, kept)

    # The loop.
    ahead = read_ahead(batch, run.done, steps, fabric.device)
    for step in run.steps("pretrain autoencoder"):
        rate = learning_rate(step, steps, config.learning_rate, config.warmup_steps)
        run.log(step, **update(step, rate, next(ahead)))
        run.history.watch(step + 1, steps, shown)

    # The end, which is for the first process.
    if processes.rank:
        return {}
    validation = validator.summary(validator.measure(kept))
    run.history.write(arguments.history)
    metadata = {"arguments": constructor, "step": run.done, "validation": validation}
    metadata |= {"context_frames": clips.context_frames}
    save_bundle(arguments.weights, arguments.index, kept, metadata)
    return {
        "flops_forward": autoencoder_flops(kept, clips),
        **run.record(config.batch_size, fabric, kept),
        **calibration,
    }


if __name__ == "__main__":
    main()
