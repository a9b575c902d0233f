"""Stage two: train the denoiser that continues motion, from the latent cache alone."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from rsvp.config import Settings
from rsvp.data.latents import Latents
from rsvp.diffusion.flow import interpolate, logit_normal_times
from rsvp.models.bundle import save_bundle
from rsvp.models.denoiser import MotionDenoiser, Observed
from rsvp.stage import run_stage, training_parser
from rsvp.training.batches import LatentBatches
from rsvp.training.compute import device_name, loader_workers, make_fabric
from rsvp.training.ema import ramped_average
from rsvp.training.run import (
    TrainingRun,
    generator,
    learning_rate,
    set_learning_rate,
    state_key,
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
    context_frames = latents.facts["context_frames"]
    sample = latents.batch([0])
    shape = {
        "scene_channels": sample["scene"].shape[1],
        "object_channels": sample["object"].shape[1],
        "motion_channels": sample["motion"].shape[2],
        "context_frames": context_frames,
        "width": config.denoiser.width,
        "depth": config.denoiser.depth,
        "heads": config.denoiser.heads,
        "patch": config.denoiser.patch,
        "frames_per_token": config.denoiser.frames_per_token,
    }
    denoiser = MotionDenoiser(**shape)
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
    batches = LatentBatches(latents, seed, config.batch_size)
    ahead = batches.batches(run.done, config.steps, loader_workers(fabric))
    for step in run.steps("train diffusion"):
        rate = learning_rate(step, config.steps, config.learning_rate, config.warmup_steps)
        set_learning_rate(optimizer, rate)
        batch = {kind: value.to(fabric.device) for kind, value in next(ahead).items()}
        random = generator(seed, step, "diffusion")
        loss = flow_loss(network, batch, context_frames, config.time_mean, config.time_std, random)
        optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(network, optimizer, max_norm=1.0, error_if_nonfinite=False)
        optimizer.step()
        average.update_parameters(denoiser)
        run.log(step, loss=loss)
        if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == config.steps:
            batch = held_out.batch(range(min(len(held_out), VALIDATION_CLIPS)))
            batch = {kind: value.to(fabric.device) for kind, value in batch.items()}
            # The same noise and times at every validation, so that losses can be compared.
            random = generator(0, 0, "validation")
            with torch.no_grad(), fabric.autocast():
                value = flow_loss(
                    average.module, batch, context_frames, config.time_mean, config.time_std, random
                )
            run.history.add(step + 1, validation_loss=float(value))
    run.history.write(arguments.history)
    facts = {"arguments": shape, "step": run.done, "context_frames": context_frames}
    facts |= {"future_frames": sample["motion"].shape[1] - context_frames}
    facts |= {"statistics": latents.facts["statistics"]}
    save_bundle(arguments.weights, arguments.index, average.module, facts)
    return {
        "steps": run.done,
        "device": device_name(fabric),
        "training_seconds": round(run.history.seconds, 3),
        "parameters": sum(p.numel() for p in denoiser.parameters()),
    }


def flow_loss(
    network: torch.nn.Module,
    batch: dict[str, torch.Tensor],
    context_frames: int,
    time_mean: float,
    time_std: float,
    random: torch.Generator,
) -> torch.Tensor:
    """Mean squared error of the velocity over future motion, at logit-normal times."""
    motion = batch["motion"]
    observed = Observed(batch["scene"], batch["object"], motion[:, :context_frames])
    future = motion[:, context_frames:]
    noise = torch.randn(future.shape, generator=random).to(future.device)
    times = logit_normal_times(len(future), time_mean, time_std, random).to(future.device)
    noisy, velocity = interpolate(future, noise, times)
    return (network(noisy, times, observed).float() - velocity).square().mean()


if __name__ == "__main__":
    main()
