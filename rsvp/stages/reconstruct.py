"""Reconstruct the true future by the autoencoder: the ceiling of its predictors.

Beyond the horizon of training it rolls forward as they do. So it stands for a predictor that errs
in no latent, and not for one that is shown true frames again.
"""

import argparse
from typing import Any

import torch

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.predictions import STEM, RowWriter
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.models.ceiling import reconstruct_rolling
from rsvp.runtime.device import device_name, start_inference
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
    inference = start_inference(settings.compute, settings.seed)
    clips = Clips(arguments.dataset, settings.evaluation.split, settings.evaluation.horizon)
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    autoencoder = load_autoencoder(arguments.autoencoder).to(inference.device)
    key = state_key(arguments.code, settings.handed, arguments.dataset, arguments.autoencoder)
    parts = PartWriter(arguments.predictions.parent, arguments.state, key, STEM)
    row = f"{settings.name}.reconstruction"
    writer = RowWriter(
        arguments.predictions, parts, clips, row=row, kind="ceiling", seed=settings.seed
    )
    block_frames = clips.index["clip_frames"] - clips.context_frames
    for first in batches(writer.done, len(indices), BATCH, "reconstruct"):
        batch = indices[first : first + BATCH]
        frames = torch.stack([clips.frames(i) for i in batch]).to(inference.device)
        with inference.autocast():
            made = reconstruct_rolling(autoencoder, frames, clips.context_frames, block_frames)
        for index, future in zip(batch, made.cpu(), strict=True):
            writer.add(index, future[None])
        parts.checkpoint()
    writer.finish()
    return {"clips": len(indices), "device": device_name(inference)}


if __name__ == "__main__":
    main()
