"""Stage one: train the scene/object/motion autoencoder to give videos back."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from rsvp.config import Settings
from rsvp.data.clips import Clips
from rsvp.models.autoencoders import autoencoder_arguments, make_autoencoder
from rsvp.models.bundle import save_bundle, start_from
from rsvp.resume import state_key
from rsvp.stage import run_stage, training_parser
from rsvp.training.batches import ClipBatches, to_float
from rsvp.training.compute import device_name, loader_workers, make_fabric
from rsvp.training.cost import autoencoder_flops, per_second
from rsvp.training.ema import ramped_average
from rsvp.training.reconstruction import frame_weights, reconstruct, reconstruction_loss
from rsvp.training.run import (
    Part,
    TrainingRun,
    generator,
    learning_rate,
    set_learning_rate,
)
from rsvp.training.watch import Watch, load_perceptual


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config, seed = settings.autoencoder.pretrain, settings.seed
    fabric = make_fabric(settings.compute, seed)
    clips = Clips(arguments.dataset, "train")
    shape = autoencoder_arguments(settings.autoencoder)
    autoencoder = make_autoencoder(**shape).to(memory_format=torch.channels_last)
    if settings.autoencoder.init_from:
        key = f"autoencoders.{settings.name}.init_from"
        start_from(autoencoder, shape, settings.autoencoder.init_from, key)
    optimizer = torch.optim.AdamW(
        autoencoder.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    network, optimizer = fabric.setup(autoencoder, optimizer)
    for method in autoencoder.forward_methods:
        network.mark_forward_method(method)
    perceptual, weights = load_perceptual(settings.weights, fabric.device), frame_weights(config)
    state: dict[str, Part] = {"autoencoder": autoencoder, "optimizer": optimizer.optimizer}
    average = None
    if config.ema_decay is not None:
        average = AveragedModel(autoencoder, multi_avg_fn=ramped_average(config.ema_decay))
        state["average"] = average
    run = TrainingRun(
        arguments.state,
        state_key(arguments.code, settings, arguments.dataset),
        config.steps,
        state,
    )
    batches = ClipBatches(clips, seed, config.batch_size, clips.augment, "pretrain")
    ahead = batches.batches(run.done, config.steps, loader_workers(fabric))
    for step in run.steps("pretrain autoencoder"):
        set_learning_rate(
            optimizer,
            learning_rate(step, config.steps, config.learning_rate, config.warmup_steps),
        )
        clip = to_float(next(ahead).to(fabric.device))
        random = generator(seed, step, "pretrain")
        targets = torch.randperm(clip.shape[1], generator=random)[: config.target_frames]
        result = reconstruct(
            network, clip, clips.context_frames, targets, random, weights.scale > 0
        )
        loss, parts = reconstruction_loss(result, perceptual, config.lpips, weights)
        optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(network, optimizer, max_norm=1.0, error_if_nonfinite=False)
        optimizer.step()
        if average is not None:
            average.update_parameters(autoencoder)
        run.log(step, loss=loss, **parts)
    watch = Watch(arguments.dataset, settings.weights, fabric.device)
    kept = autoencoder if average is None else average.module
    scores = watch.measure(kept)
    run.history.write(arguments.history)
    save_bundle(
        arguments.weights,
        arguments.index,
        kept,
        {
            "arguments": shape,
            "step": run.done,
            "validation": watch.summary(scores),
            "context_frames": clips.context_frames,
        },
    )
    return {
        "steps": run.done,
        "plans": run.memory["plans"],
        "device": device_name(fabric),
        "training_seconds": round(run.history.seconds, 3),
        "parameters": sum(p.numel() for p in autoencoder.parameters()),
        "flops_forward": autoencoder_flops(autoencoder, clips),
        "samples_per_second": per_second(run.done * config.batch_size, run.history.seconds),
    }


if __name__ == "__main__":
    main()
