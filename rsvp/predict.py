"""Predict: sample K futures for each test clip from its context frames alone."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from rsvp.config import Sampler, Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.latents import LatentStatistics
from rsvp.data.predictions import RowWriter
from rsvp.diffusion.samplers import network_evaluations, sample
from rsvp.models.autoencoder import Autoencoder, load_autoencoder
from rsvp.models.bundle import read_bundle
from rsvp.models.denoiser import MotionDenoiser, Observed
from rsvp.stage import run_stage, stage_parser
from rsvp.training.batches import to_bytes, to_float
from rsvp.training.compute import device_name, make_fabric
from rsvp.training.run import generator

BATCH = 8


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    parser.add_argument("--autoencoder", type=Path, required=True, help="autoencoder index.json")
    parser.add_argument("--denoiser", type=Path, required=True, help="predictor index.json")
    parser.add_argument("--predictions", type=Path, required=True, help="JSON to write")
    run_stage(parser, run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    fabric = make_fabric(settings.compute, settings.seed)
    clips = Clips(arguments.dataset, "test")
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    tensors, facts = read_bundle(arguments.denoiser)
    denoiser = MotionDenoiser(**facts["arguments"])
    denoiser.load_state_dict(tensors)
    denoiser = denoiser.to(fabric.device).eval()
    autoencoder = load_autoencoder(arguments.autoencoder).to(fabric.device)
    statistics = {k: LatentStatistics(**v) for k, v in facts["statistics"].items()}
    trajectories, sampler = settings.evaluation.trajectories, settings.predictor.sampler
    writer = RowWriter(
        arguments.predictions,
        clips,
        row=settings.name,
        kind="predictor",
        seed=settings.seed,
        trajectories=trajectories,
        videos=settings.evaluation.videos,
    )
    with writer:
        for first in tqdm(range(0, len(indices), BATCH), desc="predict", unit="batch"):
            batch = indices[first : first + BATCH]
            frames = torch.stack([clips.frames(i, 0, clips.context_frames) for i in batch])
            context = to_float(frames.permute(0, 1, 4, 2, 3).to(fabric.device))
            noise = future_noise(facts, settings.seed, batch, trajectories, context.shape[-1])
            with fabric.autocast():
                futures = predict(
                    autoencoder, denoiser, statistics, context, noise.to(fabric.device), sampler
                )
            futures = to_bytes(futures).permute(0, 1, 2, 4, 5, 3).cpu()
            for index, future in zip(batch, futures, strict=True):
                writer.add(index, future)
    return {
        "clips": len(indices),
        "device": device_name(fabric),
        "network_evaluations": network_evaluations(sampler.name, sampler.steps),
        "parameters": facts["parameters"],
    }


def future_noise(
    facts: dict[str, Any], seed: int, clips: list[int], trajectories: int, resolution: int
) -> Tensor:
    """Noise (B, K, F, Cm, h, h), a function of the seed, the clip and the trajectory alone."""
    size = resolution // 8
    shape = (facts["future_frames"], facts["arguments"]["motion_channels"], size, size)
    return torch.stack(
        [
            torch.randn((trajectories, *shape), generator=generator(seed, clip, "sample"))
            for clip in clips
        ]
    )


def predict(
    autoencoder: Autoencoder,
    denoiser: MotionDenoiser,
    statistics: dict[str, LatentStatistics],
    context: Tensor,
    noise: Tensor,
    sampler: Sampler,
) -> Tensor:
    """Futures (B, K, F, 3, H, H) of context frames (B, Tc, 3, H, H) from noise (B, K, F, …)."""
    seen = autoencoder.encode_context(context)
    motion = autoencoder.encode_motion(context, seen)
    observed = Observed(
        statistics["scene"].normalise(seen.scene),
        statistics["object"].normalise(seen.object),
        statistics["motion"].normalise(motion),
    )
    futures = []
    for k in range(noise.shape[1]):
        latents = sample(
            sampler.name,
            lambda x, t: denoiser(x, t, observed).float(),
            sampler.temperature * noise[:, k],
            sampler.steps,
        )
        futures.append(autoencoder.decode(statistics["motion"].restore(latents), seen).frames)
    return torch.stack(futures, 1)


if __name__ == "__main__":
    main()
