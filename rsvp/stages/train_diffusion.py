"""Stage two: train the denoiser that continues latents, from the latent cache alone."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsvp.config.schema import to_plain
from rsvp.config.stages import Settings
from rsvp.data.latents import Latents
from rsvp.data.layout import LatentBatch
from rsvp.diffusion.noise import Roots, noise_roots
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.models.bundle import save_bundle, start_from
from rsvp.models.denoiser import LatentDenoiser
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import TRAINING, run_stage, stage_parser
from rsvp.runtime.random import generator
from rsvp.training.batches import LatentBatches, read_ahead
from rsvp.training.calibration import planned_steps
from rsvp.training.cost import forward_flops
from rsvp.training.denoising import (
    DiffusionPart,
    diffusion_loss,
    diffusion_step,
    divided,
    draw_noise,
)
from rsvp.training.early_stopping import BestWeights
from rsvp.training.ema import WeightAverage
from rsvp.training.processes import launch
from rsvp.training.run import TrainingRun, learning_rate, set_learning_rate
from rsvp.training.watching import continuations

VALIDATE_EVERY = 100  # steps
MOMENTS_CLIPS = 512  # of training, at most, whose correlations noise takes


def main() -> None:
    parser = stage_parser(__doc__, "latents", *TRAINING)
    parser.add_argument(
        "--watched", type=Path, nargs=2, default=(), metavar=("DATASET", "AUTOENCODER"),
        help="their index.json, to show continuations of validation clips in TensorBoard",
    )  # fmt: skip
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config, seed = settings.predictor, settings.seed
    fabric, processes = launch(settings.compute, seed)
    latents, held_out = (Latents(arguments.latents, split) for split in ("train", "validation"))
    parts = processes.own(config.batch_size)
    hidden = config.hidden or ()
    batches = LatentBatches(latents, seed, config.batch_size, config.augment_latents, hidden)
    contexts = len(batches.layout.contexts)

    # The denoiser, its average and its optimiser.
    example = batches.batch([0], [0])
    constructor = example.shapes() | to_plain(config.denoiser)
    denoiser = LatentDenoiser(**constructor)
    if config.init_from:
        key = f"predictors.{settings.name}.init_from"
        start_from(denoiser, constructor, config.init_from, key)
    denoiser = denoiser.to(fabric.device)
    average = WeightAverage(denoiser, config.ema_decay)
    if settings.compute.compile:
        denoiser.compile()
    optimizer = torch.optim.AdamW(
        denoiser.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
    )
    # The module is not wrapped: Fabric would round what goes in, times too, to bfloat16.
    optimizer = fabric.setup_optimizers(optimizer)
    best = BestWeights(average.module, config.patience)
    stateful = {
        "denoiser": denoiser,
        "average": average,
        "best": best.network,
        "optimizer": optimizer.optimizer,
    }

    objective = OBJECTIVES[config.objective]
    roots = correlations(batches) if config.noise == "correlated" else {}
    draw = partial(
        draw_noise,
        objective=objective,
        uniform=config.times == "uniform",
        mean=config.time_mean,
        deviation=config.time_std,
        roots=roots,
    )

    def batch(step: int) -> list[DiffusionPart]:
        """Draw latents and noise on the CPU, ahead of a GPU."""
        chosen = batches[step]
        drawn = draw(chosen, random=generator(seed, step, "diffusion"))
        random = generator(seed, step, "null condition")
        dropped = torch.rand(len(drawn.times), generator=random) < config.drop_context
        made = divided(chosen, drawn._replace(dropped=dropped), parts)
        return [part.to(fabric.device) for part in made]

    def update(step: int, rate: float, made: list[DiffusionPart]) -> dict[str, Tensor]:
        set_learning_rate(optimizer, rate)
        return diffusion_step(fabric, processes, denoiser, average, optimizer, made, objective)

    @torch.no_grad()
    def averaged_loss(chosen: LatentBatch, purpose: str) -> Tensor:
        """Return the loss of the averaged weights; noise depends on `purpose` alone."""
        drawn = draw(chosen, random=generator(0, 0, purpose)).to(fabric.device)
        return diffusion_loss(average.module, chosen.to(fabric.device), objective, drawn)

    # The same clips, noise and times at every validation, so that losses can be compared.
    numbers = range(len(held_out))
    held_out_batch = LatentBatches(held_out, seed, config.batch_size, hidden=hidden).batch(
        numbers, [number % contexts for number in numbers]
    )

    def validate() -> float:
        return float(averaged_loss(held_out_batch, "validation"))

    # The budget, and the state of an earlier run.
    key = state_key(arguments.code, settings.handed, arguments.latents)
    steps, calibration = planned_steps(
        config.steps, config.seconds, arguments.state, key, stateful, update, batch,
        validate, VALIDATE_EVERY, fabric, processes,
    )  # fmt: skip
    run = TrainingRun(arguments.state, key, steps, stateful, processes)
    best.noted = run.memory.get("best", best.noted)
    shown = continuations(
        arguments.watched, average.module, batches.layout, constructor["targets"],
        latents.statistics, objective, roots,
    )  # fmt: skip

    # The loop.
    ahead = read_ahead(batch, run.done, steps, fabric.device)
    for step in run.steps("train diffusion"):
        rate = learning_rate(step, steps, config.learning_rate, config.warmup_steps)
        run.log(step, **update(step, rate, next(ahead)))
        run.history.watch(step + 1, steps, shown)
        if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == steps:
            run.validated(step + 1, processes.decide(validate), best)

    # The end, which is for the first process.
    if processes.rank:
        return {}
    run.history.write(arguments.history)
    metadata = {
        "arguments": constructor,
        "step": best.noted["step"],
        "context_frames": latents.context_frames,
        "future_frames": latents.metadata["clip_frames"] - latents.context_frames,
        "statistics": latents.metadata["statistics"],
        "objective": config.objective,
        "layout": batches.layout.metadata,
        "noise": {name: [root.tolist() for root in each] for name, each in roots.items()},
    }
    save_bundle(arguments.weights, arguments.index, best.network, metadata)
    return {
        **best.record(early=run.done < steps),
        "flops_forward": forward_flops(lambda: averaged_loss(example, "cost")),
        **run.record(config.batch_size, fabric, denoiser),
        **calibration,
    }


def correlations(batches: LatentBatches) -> Roots:
    """Return the roots of the targets' moments, of clips spread evenly and turned each way."""
    last = len(batches.latents) - 1
    clips = torch.linspace(0.0, last, min(last + 1, MOMENTS_CLIPS)).long()
    places, contexts = torch.arange(len(clips)), len(batches.layout.contexts)
    turns = places % 8 if batches.augment else None
    _, targets, wanted = batches.batch(clips.tolist(), (places % contexts).tolist(), turns)
    return noise_roots(targets, wanted)


if __name__ == "__main__":
    main()
