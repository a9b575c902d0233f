"""Predict: sample K futures for each test clip from its context frames alone.

A horizon beyond that of training rolls forward, block by block (`rsvp.models.rolling`).
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsvp.config import Predictor, Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.contexts import PREFIX, task_of
from rsvp.data.latents import LatentStatistics
from rsvp.data.layout import Layout
from rsvp.data.predictions import RowWriter
from rsvp.diffusion.condition import null_condition
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.diffusion.packing import Packing
from rsvp.diffusion.samplers import Drawing
from rsvp.models.autoencoders import load_autoencoder
from rsvp.models.bundle import read_bundle
from rsvp.models.clip_autoencoder import ClipAutoencoder
from rsvp.models.denoiser import LatentDenoiser
from rsvp.models.rolling import blocks_of, roll
from rsvp.resume import Journal, batches, state_key
from rsvp.stage import resumable_parser, run_stage
from rsvp.training.batches import to_bytes, to_float
from rsvp.training.compute import device_name, make_fabric
from rsvp.training.cost import forward_flops, per_second
from rsvp.training.run import generator

BATCH = 8


def main() -> None:
    parser = resumable_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    parser.add_argument("--autoencoder", type=Path, required=True, help="autoencoder index.json")
    parser.add_argument("--denoiser", type=Path, required=True, help="predictor index.json")
    parser.add_argument("--predictions", type=Path, required=True, help="JSON to write")
    run_stage(parser, run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    fabric = make_fabric(settings.compute, settings.seed)
    clips = Clips(arguments.dataset, "test", settings.evaluation.horizon)
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    network = load_predictor(
        arguments.denoiser, arguments.autoencoder, settings.predictor, fabric.device
    )
    if settings.compute.compile:
        network.denoiser.compile()
    trajectories, layout = settings.evaluation.trajectories, network.layout
    task = task_of(layout.contexts[network.context], layout.frames, clips.clip_frames)
    observed, horizon = len(task.observed), len(task.predicted)
    key = state_key(
        arguments.code, settings, arguments.dataset, arguments.autoencoder, arguments.denoiser
    )
    writer = RowWriter(
        arguments.predictions,
        clips,
        row=settings.name,
        kind="predictor",
        seed=settings.seed,
        trajectories=trajectories,
        videos=settings.evaluation.videos,
        journal=Journal(arguments.state, key),
        task=task,
    )
    started, drawn = time.perf_counter(), (len(indices) - writer.done) * trajectories
    with writer:
        for first in batches(writer.done, len(indices), BATCH, "predict"):
            batch = indices[first : first + BATCH]
            frames = torch.stack([clips.frames_at(i, task.observed) for i in batch])
            context = frames.permute(0, 1, 4, 2, 3).to(fabric.device)
            block = partial(predict_block, network, settings.seed, batch)
            with fabric.autocast():
                futures = roll(block, context, trajectories, horizon)
            futures = futures.permute(0, 1, 2, 4, 5, 3).cpu()
            for index, future in zip(batch, futures, strict=True):
                writer.add(index, future)
            writer.checkpoint()
    seconds = time.perf_counter() - started
    shape = (1, observed, 3, clips.resolution, clips.resolution)
    context = torch.zeros(shape, dtype=torch.uint8, device=fabric.device)
    flops = forward_flops(
        lambda: roll(partial(predict_block, network, 0, [0]), context, 1, horizon)
    )
    return {
        "clips": len(indices),
        "device": device_name(fabric),
        "network_evaluations": network.drawing.network_evaluations()
        * blocks_of(horizon, layout.frames - observed),
        "parameters": sum(p.numel() for p in network.denoiser.parameters()),
        "flops_forward": flops,
        "samples_per_second": per_second(drawn, seconds),
    }


@dataclass(frozen=True)
class TrainedPredictor:
    """What it takes to predict from context frames."""

    autoencoder: ClipAutoencoder
    denoiser: LatentDenoiser
    statistics: dict[str, LatentStatistics]
    layout: Layout
    packing: Packing  # of the layout's targets
    drawing: Drawing
    context: str = PREFIX


def load_predictor(
    denoiser: Path, autoencoder: Path, config: Predictor, device: torch.device
) -> TrainedPredictor:
    """What predicts, from the two indexes; sampler, guidance and context are the config's."""
    tensors, facts = read_bundle(denoiser)
    network = LatentDenoiser(**facts["arguments"])
    network.load_state_dict(tensors)
    return TrainedPredictor(
        load_autoencoder(autoencoder).to(device),
        network.to(device).eval(),
        {name: LatentStatistics(**values) for name, values in facts["statistics"].items()},
        Layout(**facts["layout"]),
        Packing(facts["arguments"]["targets"]),
        Drawing(OBJECTIVES[facts["objective"]], config.sampler, config.guidance),
        config.context or PREFIX,
    )


def predict_block(
    network: TrainedPredictor,
    seed: int,
    clips: list[int],
    context: Tensor,
    block: int,
    trajectories: Sequence[int],
) -> Tensor:
    """Futures (B, K, F, 3, H, H) for `trajectories` of clips with the context (B, Tc, 3, H, H), all
    uint8; chance is a function of the seed, the clip, the trajectory and the block alone."""
    shape = network.packing.shape
    noise = future_noise(shape, seed, clips, max(trajectories) + 1, block)[:, list(trajectories)]
    noise = noise.to(context.device)

    def fresh(place: int, step: int) -> Tensor:
        return step_noise(noise[:, 0], seed, clips, trajectories[place], step, block)

    return to_bytes(predict(network, to_float(context), noise, fresh))


def future_noise(
    shape: tuple[int, ...], seed: int, clips: list[int], trajectories: int, block: int = 0
) -> Tensor:
    """Noise (B, K, *shape), a function of seed, clip, trajectory and block alone."""
    purpose = "sample" + in_block(block)
    return torch.stack(
        [
            torch.randn((trajectories, *shape), generator=generator(seed, clip, purpose))
            for clip in clips
        ]
    )


def in_block(block: int) -> str:
    """What later blocks add to the purpose of their noise; the first is as if there were no others,
    so that a longer horizon begins as a shorter one."""
    return f", block {block}" if block else ""


def step_noise(
    like: Tensor, seed: int, clips: list[int], trajectory: int, step: int, block: int = 0
) -> Tensor:
    """Noise of the shape of `like` (B, …) that a sampler adds in one step; it is a function of the
    seed, the clip, the trajectory, the step and the block alone."""
    purpose = f"trajectory {trajectory}, step {step}" + in_block(block)
    shape = like.shape[1:]
    noise = [torch.randn(shape, generator=generator(seed, clip, purpose)) for clip in clips]
    return torch.stack(noise).to(like.device)


def predict(
    network: TrainedPredictor,
    context: Tensor,
    noise: Tensor,
    fresh: Callable[[int, int], Tensor],
) -> Tensor:
    """Futures (B, K, F, 3, H, H) of context frames (B, Tc, 3, H, H) from packed noise (B, K, …).

    The context's frames are in the order of `rsvp.data.contexts`. `fresh(trajectory, step)` is the
    noise (B, …) that a step may add.
    """
    layout, packing, statistics = network.layout, network.packing, network.statistics
    latents, seen = network.autoencoder.encode_clip(context, context.shape[1])
    # In 32 bits, as the cache holds what the denoiser was trained on.
    latents = {name: statistics[name].normalise(value.float()) for name, value in latents.items()}
    observed, _, wanted = layout.parts(latents, network.context, len(context)).to(context.device)
    asked = None if wanted is None else packing.pack(wanted)
    unseen = null_condition(observed)
    futures = []
    for k in range(noise.shape[1]):
        drawn = network.drawing.sample(
            packing.network(network.denoiser, observed, asked),
            packing.network(network.denoiser, unseen, asked),
            noise[:, k],
            partial(fresh, k),
        )
        future = layout.take(packing.unpack(drawn), network.context)
        future = {name: statistics[name].restore(value) for name, value in future.items()}
        futures.append(network.autoencoder.decode_future(future, seen))
    return torch.stack(futures, 1)


if __name__ == "__main__":
    main()
