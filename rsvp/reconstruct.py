"""Reconstruct: what the autoencoder makes of the true motion, the ceiling of its predictors."""

import argparse
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rsvp.config import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.predictions import RowWriter
from rsvp.models.autoencoder import load_autoencoder
from rsvp.stage import run_stage, stage_parser
from rsvp.training.batches import to_bytes, to_float
from rsvp.training.compute import device_name, make_fabric

BATCH = 8


def main() -> None:
    parser = stage_parser(__doc__)
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
    writer = RowWriter(
        arguments.predictions,
        clips,
        row=f"{settings.name}.reconstruction",
        kind="ceiling",
        seed=settings.seed,
        trajectories=1,
        videos=0,
    )
    with writer:
        for first in tqdm(range(0, len(indices), BATCH), desc="reconstruct", unit="batch"):
            batch = indices[first : first + BATCH]
            frames = torch.stack([clips.frames(i) for i in batch]).permute(0, 1, 4, 2, 3)
            clip = to_float(frames.to(fabric.device))
            with fabric.autocast():
                context = autoencoder.encode_context(clip[:, : clips.context_frames])
                motion = autoencoder.encode_motion(clip, context)[:, clips.context_frames :]
                decoded = autoencoder.decode(motion, context).frames
            futures = to_bytes(decoded).permute(0, 1, 3, 4, 2).cpu()
            for index, future in zip(batch, futures, strict=True):
                writer.add(index, future[None])
    return {"clips": len(indices), "device": device_name(fabric)}


if __name__ == "__main__":
    main()
