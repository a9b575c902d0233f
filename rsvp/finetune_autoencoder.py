"""Stage one, part two: adversarial fine-tuning of the autoencoder, which stops by itself.

A perceptual score on the validation split decides: its best (averaged) weights are kept, and the
stage says why it stopped.
"""

import argparse
import copy
import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from rsvp.config import Autoencoder, Settings
from rsvp.data.clips import Clips
from rsvp.files import read_json
from rsvp.models.autoencoders import load_autoencoder
from rsvp.models.bundle import save_bundle
from rsvp.models.clip_autoencoder import ClipAutoencoder
from rsvp.resume import state_key
from rsvp.stage import run_stage, training_parser
from rsvp.training.adversarial import (
    Discriminators,
    adaptive_weight,
    discriminator_step,
    generator_loss,
    make_discriminators,
)
from rsvp.training.batches import ClipBatches, to_float
from rsvp.training.compute import device_name, loader_workers, make_fabric
from rsvp.training.cost import autoencoder_flops, per_second
from rsvp.training.early_stopping import DIVERGED, EarlyStopping
from rsvp.training.ema import ramped_average
from rsvp.training.reconstruction import frame_weights, reconstruct, reconstruction_loss
from rsvp.training.run import (
    NotFinite,
    TrainingRun,
    generator,
    learning_rate,
    set_learning_rate,
)
from rsvp.training.watch import Scores, Watch

logger = logging.getLogger("rsvp.finetune_autoencoder")  # by hand: `python -m` runs it as __main__


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    parser.add_argument(
        "--pretrained", type=Path, required=True, help="index.json of the pretrained autoencoder"
    )
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config, seed = settings.autoencoder.finetune, settings.seed
    fabric = make_fabric(settings.compute, seed)
    clips = Clips(arguments.dataset, "train")
    autoencoder = load_autoencoder(arguments.pretrained).to(fabric.device)
    autoencoder.requires_grad_(True)
    discriminators = make_discriminators(config).to(fabric.device)
    optimizer = adam(autoencoder, config.learning_rate)
    opponent = adam(discriminators, config.discriminator_learning_rate)
    average = AveragedModel(autoencoder, multi_avg_fn=ramped_average(config.ema_decay))
    best = copy.deepcopy(autoencoder)
    stopping = EarlyStopping(config.patience, config.max_psnr_drop)
    watch = Watch(arguments.dataset, settings.weights, fabric.device)
    start = watch.measure(autoencoder)
    run = TrainingRun(
        arguments.state,
        state_key(arguments.code, settings, arguments.dataset, arguments.pretrained),
        config.steps,
        {
            "autoencoder": autoencoder,
            "average": average,
            "best": best,
            "discriminators": discriminators,
            "optimizer": optimizer,
            "opponent": opponent,
        },
    )
    stopping.load_state_dict(run.memory.get("stopping", {}))
    batches = ClipBatches(clips, seed, config.batch_size, clips.augment, "finetune")
    ahead = batches.batches(run.done, config.steps, loader_workers(fabric))
    try:
        for step in run.steps("finetune autoencoder"):
            if step % config.validate_every == 0:
                validate(run, step, watch, stopping, average.module, best)
                if stopping.stopped:
                    break
            rate = learning_rate(step, config.steps, config.learning_rate, config.warmup_steps)
            set_learning_rate(optimizer, rate)
            clip = to_float(next(ahead).to(fabric.device))
            losses = adversarial_step(
                fabric, settings.autoencoder, watch.perceptual, step, seed, clip,
                clips.context_frames, autoencoder, discriminators, optimizer, opponent,
            )  # fmt: skip
            average.update_parameters(autoencoder)
            run.log(step, **losses)
    except NotFinite as error:
        logger.warning("%s", error)
        stopping.outcome = DIVERGED
    if stopping.outcome == DIVERGED:
        logger.warning("diverged; went back to the best weights, of step %d", stopping.best_step)
    elif stopping.stopped:
        run.stop()
    if not stopping.stopped:
        validate(run, run.done, watch, stopping, average.module, best)
    run.history.write(arguments.history)
    save_bundle(
        arguments.weights,
        arguments.index,
        best,
        {
            "arguments": read_json(arguments.pretrained)["arguments"],
            "context_frames": clips.context_frames,
            "step": stopping.best_step,
            "steps_run": run.done,
            "stopped_by": stopping.outcome or "steps",
        }
        | comparison(watch, start, watch.measure(best)),
    )
    return {
        "steps": run.done,
        "plans": run.memory["plans"],
        "device": device_name(fabric),
        "training_seconds": round(run.history.seconds, 3),
        "parameters": sum(p.numel() for p in best.parameters()),
        "flops_forward": autoencoder_flops(best, clips),
        "samples_per_second": per_second(run.done * config.batch_size, run.history.seconds),
    }


def adam(module: torch.nn.Module, learning_rate: float) -> torch.optim.Adam:
    """The optimiser of both sides; low momentum, as adversarial training wants."""
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.98))


def adversarial_step(
    fabric: Fabric,
    settings: Autoencoder,
    perceptual: torch.nn.Module | None,
    step: int,
    seed: int,
    clip: Tensor,
    context_frames: int,
    autoencoder: ClipAutoencoder,
    discriminators: Discriminators,
    optimizer: torch.optim.Optimizer,
    opponent: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    """One update of the autoencoder, then one of the discriminators, on consecutive frames."""
    config, weights = settings.finetune, frame_weights(settings.pretrain)
    random = generator(seed, step, "finetune")
    first = torch.randint(clip.shape[1] - config.target_frames + 1, (1,), generator=random)
    targets = first + torch.arange(config.target_frames)
    discriminators.requires_grad_(False)
    with fabric.autocast():
        result = reconstruct(autoencoder, clip, context_frames, targets, random, weights.scale > 0)
        loss, parts = reconstruction_loss(result, perceptual, config.lpips, weights)
        fake, real = discriminators.augmented(
            result.predicted, result.frames, generator(seed, step, "augment")
        )
        adversarial, features = generator_loss(discriminators, fake, real)
    weight: Tensor | float = config.adversarial
    shown = {name: parts[name] for name in ("lpips", "scale") if name in parts}
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


def validate(
    run: TrainingRun,
    step: int,
    watch: Watch,
    stopping: EarlyStopping,
    autoencoder: ClipAutoencoder,
    best: ClipAutoencoder,
) -> None:
    """Measure on the validation split; keep the weights when they are the best so far."""
    scores = watch.measure(autoencoder)
    score, psnr = float(scores.watched.mean()), float(scores.psnr.mean())
    if stopping.observe(step, score, psnr):
        best.load_state_dict(autoencoder.state_dict())
    run.memory["stopping"] = stopping.state_dict()
    run.validated(step, score, **{f"validation_{watch.name}": score, "validation_psnr": psnr})


def comparison(watch: Watch, before: Scores, after: Scores) -> dict[str, Any]:
    """Before and after, and the paired improvement with its interval."""
    gain = watch.improvement(before, after)
    return {
        "before": watch.summary(before),
        "validation": watch.summary(after),
        # One group of clips has no interval.
        "improvement": {k: v if v == v else None for k, v in dataclasses.asdict(gain).items()},
        "psnr_cost": float((before.psnr - after.psnr).mean()),
    }


if __name__ == "__main__":
    main()
