"""Encode the clips of training once in each context, with their statistics.

Of validation, as many as its loss is watched on. Test clips are encoded when they are predicted.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rsvp.config.schema import Augment, ObservedFrames, to_plain
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.contexts import PREFIX, clip_order, contexts_of
from rsvp.data.latents import VALIDATION_CLIPS, LatentWriter
from rsvp.data.pixels import to_float
from rsvp.data.symmetries import turned
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.runtime.device import device_name, start_inference
from rsvp.runtime.files import sha256_of_file, write_json
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, shared_parser
from rsvp.runtime.parts import PartWriter, batches, share_bounds

BATCH = 16


def main() -> None:
    """Read the command line and run the stage."""
    run_stage(shared_parser(__doc__, "dataset", "autoencoder", "state", "index"), run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the latents of both splits, or a share of them, and their index."""
    inference = start_inference(settings.compute, settings.seed)
    autoencoder = load_autoencoder(arguments.autoencoder).to(inference.device)
    inputs = (arguments.dataset, arguments.autoencoder, *arguments.shares)
    key = state_key(arguments.code, settings.handed, *inputs)
    entries: dict[str, Any] = {}
    statistics = {}
    total = 0
    for split in ("train", "validation"):
        clips = Clips(arguments.dataset, split)
        parts = PartWriter(arguments.index.parent, arguments.state, key, split)
        writer = LatentWriter(parts, keeps_sums=settings.share is not None)
        for share in () if writer.clips else arguments.shares:
            writer.take(share, split)
        copies = settings.autoencoder.latent_copies if split == "train" else 1
        augment = clips.augment if split == "train" else "none"
        numbers: Sequence[int] = range(len(clips))
        if split == "validation":
            numbers = evaluation_clips(clips, VALIDATION_CLIPS)
        jobs = [(i, copy) for copy in range(copies) for i in numbers]
        jobs = jobs[slice(*share_bounds(len(jobs), BATCH, settings.share))]
        for first in batches(len(writer.clips), len(jobs), BATCH, f"cache {split} latents"):
            batch = jobs[first : first + BATCH]
            clip = to_float(turned_clips(clips, batch, augment).to(inference.device))
            contexts = contexts_of(clips.context_frames, settings.contexts)
            with inference.autocast():  # as when predicting, so that latents are the same
                latents = encode(autoencoder, clip, contexts)
            writer.add([clips.table["clip"].iloc[i] for i, _ in batch], latents)
            parts.checkpoint()
        entries[split] = writer.finish()
        total += 0 if arguments.shares else len(writer.clips)
        if split == "train":
            statistics = writer.results(autoencoder.latent_noise)
    index = {
        "autoencoder": sha256_of_file(arguments.autoencoder),
        "dataset": sha256_of_file(arguments.dataset),
        "scopes": {name: scope.value for name, scope in autoencoder.scopes.items()},
        "over_time": list(autoencoder.over_time),
        "displacements": list(autoencoder.displacements),
        "contexts": to_plain(settings.contexts or {}),  # beside the prefix
        "context_frames": clips.context_frames,
        "clip_frames": clips.clip_frames,
        "augment": clips.augment,
        "statistics": statistics,
        "splits": entries,
    }
    write_json(arguments.index, index)
    return {"clips": total, "device": device_name(inference)}


def turned_clips(clips: Clips, batch: Sequence[tuple[int, int]], augment: Augment) -> Tensor:
    """Return copies of clips, uint8 (B, T, C, H, W), from their numbers and the copies' numbers."""
    frames = [clips.frames(i).permute(0, 3, 1, 2) for i, _ in batch]
    # Odd, so that the copies of a clip are different symmetries of it.
    symmetries = [(i + 3 * copy) % 8 for i, copy in batch]
    return torch.stack([turned(f, s, augment) for f, s in zip(frames, symmetries, strict=True)])


def encode(
    autoencoder: ClipAutoencoder, clip: Tensor, contexts: Mapping[str, ObservedFrames]
) -> dict[str, Tensor]:
    """Encode clips (B, T, C, H, W) in each context: latents by "latent" or "context/latent"."""
    latents = {}
    for context, observed in contexts.items():
        ordered = clip if context == PREFIX else clip[:, clip_order(observed, clip.shape[1])]
        made, _ = autoencoder.encode_clip(ordered, observed.first + observed.last)
        before = "" if context == PREFIX else f"{context}/"
        latents |= {before + name: value.float() for name, value in made.items()}
    return latents


if __name__ == "__main__":
    main()
