"""Stage two without latents: train SimVP, which gives all future frames by regression."""

import argparse
from typing import Any

import torch
from torch import Tensor

from rsvp.config.schema import to_plain
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.models.bundle import save_bundle, start_from
from rsvp.models.simvp import SimVP
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import TRAINING, run_stage, stage_parser
from rsvp.training.batches import ClipBatches, read_ahead
from rsvp.training.calibration import planned_steps
from rsvp.training.cost import forward_flops
from rsvp.training.early_stopping import BestWeights
from rsvp.training.ema import WeightAverage
from rsvp.training.processes import launch
from rsvp.training.regression import regression_loss, regression_step
from rsvp.training.run import TrainingRun, learning_rate, set_learning_rate

VALIDATE_EVERY = 100  # steps
VALIDATION_CLIPS = 64


def main() -> None:
    run_stage(stage_parser(__doc__, "dataset", *TRAINING), run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config, seed = settings.predictor, settings.seed
    fabric, processes = launch(settings.compute, seed)
    clips, held_out = (Clips(arguments.dataset, split) for split in ("train", "validation"))
    parts, context = processes.own(config.batch_size), clips.context_frames
    batches = ClipBatches(clips, seed, parts, clips.augment, "simvp")

    # The network, its average and its optimiser.
    frames = {"context_frames": context, "future_frames": clips.clip_frames - context}
    constructor = frames | to_plain(config.simvp)
    if clips.channels != 3:
        constructor["colours"] = clips.channels
    network = SimVP(**constructor).to(memory_format=torch.channels_last)
    if config.init_from:
        key = f"predictors.{settings.name}.init_from"
        start_from(network, constructor, config.init_from, key)
    network = network.to(fabric.device)
    average = WeightAverage(network, config.ema_decay)
    if settings.compute.compile:
        network.compile()
    # Not fused: it wants moments laid out as channels-last weights are; restored ones are not.
    optimizer = torch.optim.AdamW(
        network.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    optimizer = fabric.setup_optimizers(optimizer)
    best = BestWeights(average.module, config.patience)
    stateful = {
        "network": network,
        "average": average,
        "best": best.network,
        "optimizer": optimizer.optimizer,
    }

    def batch(step: int) -> list[Tensor]:
        """Draw clips, ahead of a GPU."""
        return [own.to(fabric.device) for own in batches[step]]

    def update(step: int, rate: float, made: list[Tensor]) -> dict[str, Tensor]:
        set_learning_rate(optimizer, rate)
        return regression_step(fabric, processes, network, average, optimizer, parts, made, context)

    watched = [held_out.batch([i]) for i in evaluation_clips(held_out, VALIDATION_CLIPS)]

    @torch.no_grad()
    def validate() -> float:
        """Return the loss of the averaged weights on the same clips each time."""
        losses = [regression_loss(average.module, x.to(fabric.device), context) for x in watched]
        return float(torch.stack(losses).mean())

    # The budget, and the state of an earlier run.
    key = state_key(arguments.code, settings.handed, arguments.dataset)
    steps, calibration = planned_steps(
        config.steps, config.seconds, arguments.state, key, stateful, update, batch,
        validate, VALIDATE_EVERY, fabric, processes,
    )  # fmt: skip
    run = TrainingRun(arguments.state, key, steps, stateful, processes)
    best.noted = run.memory.get("best", best.noted)

    # The loop.
    ahead = read_ahead(batch, run.done, steps, fabric.device)
    for step in run.steps("train SimVP"):
        rate = learning_rate(step, steps, config.learning_rate, config.warmup_steps)
        run.log(step, **update(step, rate, next(ahead)))
        if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == steps:
            run.validated(step + 1, processes.decide(validate), best)

    # The end, which is for the first process.
    if processes.rank:
        return {}
    run.history.write(arguments.history)
    save_bundle(
        arguments.weights, arguments.index, best.network,
        {"arguments": constructor, "step": best.noted["step"]},
    )  # fmt: skip
    height, width, colours = clips.shape
    shape = (1, context, colours, height, width)
    return {
        **best.record(early=run.done < steps),
        "flops_forward": forward_flops(
            lambda: average.module(torch.zeros(shape, device=fabric.device))
        ),
        **run.record(config.batch_size, fabric, network),
        **calibration,
    }


if __name__ == "__main__":
    main()
