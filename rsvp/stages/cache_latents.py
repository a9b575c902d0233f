"""Encode every clip once in each context, with statistics of the training split."""

import argparse
from pathlib import Path
from typing import Any

import torch

from rsvp.config.schema import Augment, to_plain
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips
from rsvp.data.contexts import PREFIX, clip_order, contexts_of
from rsvp.data.latents import LatentWriter
from rsvp.data.pixels import to_float
from rsvp.data.symmetries import turned
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.runtime.device import device_name, make_fabric
from rsvp.runtime.files import sha256_of_file
from rsvp.runtime.journal import Journal, batches, state_key
from rsvp.runtime.main import resumable_parser, run_stage

BATCH = 16


def main() -> None:
    parser = resumable_parser(__doc__)
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
        "scopes": {name: scope.value for name, scope in autoencoder.scopes.items()},
        "over_time": list(autoencoder.over_time),
        "displacements": list(autoencoder.displacements),
        "contexts": to_plain(settings.contexts or {}),  # beside the prefix
    }
    key = state_key(arguments.code, settings, arguments.dataset, arguments.autoencoder)
    journal = Journal(arguments.state, key)
    writer = LatentWriter(arguments.index, facts, autoencoder.latent_noise, journal)
    total = 0
    for split in ("train", "validation", "test"):
        clips = Clips(arguments.dataset, split)
        copies = settings.autoencoder.latent_copies if split == "train" else 1
        augment = clips.augment if split == "train" else Augment.none
        jobs = [(i, copy) for copy in range(copies) for i in range(len(clips))]
        name = f"cache {split} latents"
        for first in batches(writer.done(split), len(jobs), BATCH, name):
            batch = jobs[first : first + BATCH]
            frames = [clips.frames(i).permute(0, 3, 1, 2) for i, _ in batch]
            # Odd, so that the copies of a clip are different symmetries of it.
            symmetries = [(i + 3 * copy) % 8 for i, copy in batch]
            frames = [turned(f, s, augment) for f, s in zip(frames, symmetries, strict=True)]
            clip = to_float(torch.stack(frames).to(fabric.device))
            latents = {}
            for context, observed in contexts_of(clips.context_frames, settings.contexts).items():
                ordered = (
                    clip if context == PREFIX else clip[:, clip_order(observed, clip.shape[1])]
                )
                with fabric.autocast():  # as when predicting, so that latents are the same
                    made, _ = autoencoder.encode_clip(ordered, observed.first + observed.last)
                before = "" if context == PREFIX else f"{context}/"
                latents |= {before + name: value.float() for name, value in made.items()}
            ids = [clips.table["clip"].iloc[i] for i, _ in batch]
            writer.add(split, ids, latents)
            writer.checkpoint()
        writer.flush(split)
        total += len(jobs)
    writer.metadata |= {"context_frames": clips.context_frames, "clip_frames": clips.clip_frames}
    writer.metadata |= {"augment": clips.augment.name}
    writer.finish()
    return {"clips": total, "device": device_name(fabric)}


if __name__ == "__main__":
    main()
