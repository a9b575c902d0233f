"""Encode every clip once: scene, object and motion, with statistics of the training split."""

import argparse
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rsvp.config import Augment, Settings
from rsvp.data.clips import Clips
from rsvp.data.latents import LatentWriter
from rsvp.files import sha256_of_file
from rsvp.models.autoencoder import load_autoencoder
from rsvp.stage import run_stage, stage_parser
from rsvp.training.batches import to_float, turned
from rsvp.training.compute import device_name, make_fabric
from rsvp.training.reconstruction import LATENT_NOISE

BATCH = 16


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    parser.add_argument("--autoencoder", type=Path, required=True, help="autoencoder index.json")
    parser.add_argument("--index", type=Path, required=True, help="JSON to write; files beside it")
    run_stage(parser, run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    fabric = make_fabric(settings.compute, settings.seed)
    autoencoder = load_autoencoder(arguments.autoencoder).to(fabric.device)
    facts = {
        "autoencoder": sha256_of_file(arguments.autoencoder),
        "dataset": sha256_of_file(arguments.dataset),
    }
    writer = LatentWriter(arguments.index, facts, LATENT_NOISE)
    total = 0
    for split in ("train", "validation", "test"):
        clips = Clips(arguments.dataset, split)
        copies = settings.autoencoder.latent_copies if split == "train" else 1
        augment = clips.augment if split == "train" else Augment.none
        jobs = [(i, copy) for copy in range(copies) for i in range(len(clips))]
        for first in tqdm(range(0, len(jobs), BATCH), desc=f"cache {split} latents", unit="batch"):
            batch = jobs[first : first + BATCH]
            frames = [clips.frames(i).permute(0, 3, 1, 2) for i, _ in batch]
            # Odd, so that the copies of a clip are different symmetries of it.
            symmetries = [(i + 3 * copy) % 8 for i, copy in batch]
            frames = [turned(f, s, augment) for f, s in zip(frames, symmetries, strict=True)]
            clip = to_float(torch.stack(frames).to(fabric.device))
            context = autoencoder.encode_context(clip[:, : clips.context_frames])
            motion = autoencoder.encode_motion(clip, context)
            ids = [clips.table["clip"].iloc[i] for i, _ in batch]
            latents = {"scene": context.scene, "object": context.object, "motion": motion}
            writer.add(split, ids, latents)
        writer.flush(split)
        total += len(jobs)
    writer.facts |= {"context_frames": clips.context_frames, "clip_frames": clips.clip_frames}
    writer.finish()
    return {"clips": total, "device": device_name(fabric)}


if __name__ == "__main__":
    main()
