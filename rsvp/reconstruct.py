"""Reconstruct: what the autoencoder makes of the true future, the ceiling of its predictors."""

import argparse
from pathlib import Path
from typing import Any

import torch

from rsvp.config import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.predictions import RowWriter
from rsvp.models.autoencoders import load_autoencoder
from rsvp.resume import Journal, batches, state_key
from rsvp.stage import resumable_parser, run_stage
from rsvp.training.batches import to_bytes, to_float
from rsvp.training.compute import device_name, make_fabric

BATCH = 8


def main() -> None:
    parser = resumable_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    parser.add_argument("--autoencoder", type=Path, required=True, help="autoencoder index.json")
    parser.add_argument("--predictions", type=Path, required=True, help="JSON to write")
    run_stage(parser, run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    fabric = make_fabric(settings.compute, settings.seed)
    clips = Clips(arguments.dataset, "test")
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    autoencoder = load_autoencoder(arguments.autoencoder).to(fabric.device)
    key = state_key(arguments.code, settings, arguments.dataset, arguments.autoencoder)
    writer = RowWriter(
        arguments.predictions,
        clips,
        row=f"{settings.name}.reconstruction",
        kind="ceiling",
        seed=settings.seed,
        trajectories=1,
        videos=0,
        journal=Journal(arguments.state, key),
    )
    with writer:
        for first in batches(writer.done, len(indices), BATCH, "reconstruct"):
            batch = indices[first : first + BATCH]
            frames = torch.stack([clips.frames(i) for i in batch]).permute(0, 1, 4, 2, 3)
            clip = to_float(frames.to(fabric.device))
            with fabric.autocast():
                decoded = autoencoder.reconstruct_future(clip, clips.context_frames)
            futures = to_bytes(decoded).permute(0, 1, 3, 4, 2).cpu()
            for index, future in zip(batch, futures, strict=True):
                writer.add(index, future[None])
            writer.checkpoint()
    return {"clips": len(indices), "device": device_name(fabric)}


if __name__ == "__main__":
    main()
