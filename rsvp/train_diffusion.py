"""Stage two: train the denoiser that continues latents, from the latent cache alone."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from rsvp.config import Predictor, Settings
from rsvp.data.latents import Latents
from rsvp.data.layout import Parts
from rsvp.diffusion.condition import drop_condition
from rsvp.diffusion.objectives import OBJECTIVES, denoising_loss, training_times
from rsvp.diffusion.packing import Packing
from rsvp.models.bundle import save_bundle, start_from
from rsvp.models.denoiser import LatentDenoiser
from rsvp.resume import state_key
from rsvp.stage import run_stage, training_parser
from rsvp.training.batches import LatentBatches
from rsvp.training.compute import device_name, loader_workers, make_fabric
from rsvp.training.cost import forward_flops, per_second
from rsvp.training.ema import ramped_average
from rsvp.training.run import (
    TrainingRun,
    generator,
    learning_rate,
    set_learning_rate,
)

VALIDATE_EVERY = 100  # steps
VALIDATION_CLIPS = 64


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--latents", type=Path, required=True, help="index.json of the cache")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config, seed = settings.predictor, settings.seed
    fabric = make_fabric(settings.compute, seed)
    latents = Latents(arguments.latents, "train")
    held_out = Latents(arguments.latents, "validation")
    batches = LatentBatches(latents, seed, config.batch_size)
    sample = batches.parts([0], [0])
    shape = sample.shapes() | {
        "width": config.denoiser.width,
        "depth": config.denoiser.depth,
        "heads": config.denoiser.heads,
        "patch": config.denoiser.patch,
        "frames_per_token": config.denoiser.frames_per_token,
    }
    denoiser = LatentDenoiser(**shape)
    if config.init_from:
        start_from(denoiser, shape, config.init_from, f"predictors.{settings.name}.init_from")
    average = AveragedModel(denoiser, multi_avg_fn=ramped_average(config.ema_decay))
    optimizer = torch.optim.AdamW(
        denoiser.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    network, optimizer = fabric.setup(denoiser, optimizer)
    average = average.to(fabric.device)
    run = TrainingRun(
        arguments.state,
        state_key(arguments.code, settings, arguments.latents),
        config.steps,
        {"denoiser": denoiser, "average": average, "optimizer": optimizer.optimizer},
    )
    ahead = batches.batches(run.done, config.steps, loader_workers(fabric))
    for step in run.steps("train diffusion"):
        rate = learning_rate(step, config.steps, config.learning_rate, config.warmup_steps)
        set_learning_rate(optimizer, rate)
        parts = next(ahead).to(fabric.device)
        random = generator(seed, step, "diffusion")
        dropped = torch.rand(config.batch_size, generator=generator(seed, step, "null condition"))
        loss = future_loss(network, parts, config, random, dropped < config.drop_context)
        optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(network, optimizer, max_norm=1.0, error_if_nonfinite=False)
        optimizer.step()
        average.update_parameters(denoiser)
        run.log(step, loss=loss)
        if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == config.steps:
            clips = range(min(len(held_out), VALIDATION_CLIPS))
            contexts = [clip % len(batches.layout.contexts) for clip in clips]
            parts = LatentBatches(held_out, seed, 0).parts(clips, contexts).to(fabric.device)
            # The same noise and times at every validation, so that losses can be compared.
            random = generator(0, 0, "validation")
            with torch.no_grad(), fabric.autocast():
                value = future_loss(average.module, parts, config, random)
            run.validated(step + 1, float(value), validation_loss=float(value))
    run.history.write(arguments.history)
    facts = {"arguments": shape, "step": run.done, "context_frames": latents.context_frames}
    facts |= {"future_frames": latents.facts["clip_frames"] - latents.context_frames}
    facts |= {"statistics": latents.facts["statistics"], "objective": config.objective.name}
    facts |= {"layout": batches.layout.facts}
    save_bundle(arguments.weights, arguments.index, average.module, facts)
    one = sample.to(fabric.device)
    flops = forward_flops(lambda: future_loss(average.module, one, config, generator(0, 0, "cost")))
    return {
        "steps": run.done,
        "plans": run.memory["plans"],
        "device": device_name(fabric),
        "training_seconds": round(run.history.seconds, 3),
        "parameters": sum(p.numel() for p in denoiser.parameters()),
        "flops_forward": flops,
        "samples_per_second": per_second(run.done * config.batch_size, run.history.seconds),
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


if __name__ == "__main__":
    main()
