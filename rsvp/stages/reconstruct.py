"""Reconstruct the true future by the autoencoder: the ceiling of its predictors.

Beyond the horizon of training it rolls forward as they do: each block encodes the true frames, and
looks at the last frames that the block before made. So it stands for a predictor that errs in no
latent, and not for one that is shown true frames again.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.pixels import to_bytes, to_float
from rsvp.data.predictions import STEM, RowWriter
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.models.rolling import roll
from rsvp.runtime.device import device_name, make_fabric
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter, batches

BATCH = 8


def main() -> None:
    """Read the command line and run the stage."""
    run_stage(stage_parser(__doc__, "dataset", "autoencoder", "state", "predictions"), run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the reconstructions of one autoencoder."""
    fabric = make_fabric(settings.compute, settings.seed)
    clips = Clips(arguments.dataset, settings.evaluation.split, settings.evaluation.horizon)
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    autoencoder = load_autoencoder(arguments.autoencoder).to(fabric.device)
    key = state_key(arguments.code, settings.handed, arguments.dataset, arguments.autoencoder)
    parts = PartWriter(arguments.predictions.parent, arguments.state, key, STEM)
    row = f"{settings.name}.reconstruction"
    writer = RowWriter(
        arguments.predictions, parts, clips, row=row, kind="ceiling", seed=settings.seed
    )
    horizon = clips.clip_frames - clips.context_frames
    block_frames = clips.index["clip_frames"] - clips.context_frames
    for first in batches(writer.done, len(indices), BATCH, "reconstruct"):
        batch = indices[first : first + BATCH]
        frames = torch.stack([clips.frames(i) for i in batch]).permute(0, 1, 4, 2, 3)
        context, future = frames.to(fabric.device).split([clips.context_frames, horizon], 1)
        block = partial(reconstruct_block, autoencoder, future, block_frames)
        with fabric.autocast():
            predicted = roll(block, context, 1, horizon)
        for index, made in zip(batch, predicted.permute(0, 1, 2, 4, 5, 3).cpu(), strict=True):
            writer.add(index, made)
        parts.checkpoint()
    writer.finish()
    return {"clips": len(indices), "device": device_name(fabric)}


def reconstruct_block(
    autoencoder: ClipAutoencoder,
    future: Tensor,
    block_frames: int,
    context: Tensor,
    number: int,
    trajectories: Sequence[int],
) -> Tensor:
    """Reconstruct one block of the true future (B, F, 3, H, W) from contexts (B, 1, Tc, 3, H, W).

    Returns (B, 1, …); all uint8. The last block ends where the future does.
    """
    true = future[:, number * block_frames :][:, :block_frames]
    # With the colours last in memory, as clips are read: other layouts round otherwise.
    parts = [part.movedim(2, -1) for part in (context[:, 0], true)]
    clip = to_float(torch.cat(parts, 1).movedim(-1, 2))
    return to_bytes(autoencoder.reconstruct_future(clip, context.shape[2]))[:, None]


if __name__ == "__main__":
    main()
