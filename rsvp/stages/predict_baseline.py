"""Predict the test clips by a baseline, which learns nothing.

The baseline "real" is the floor: real clips of the training split stand in for predictions, so
that each distance between distributions stands beside the value that a perfect predictor has.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from rsvp.config.schema import BASELINES
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.predictions import STEM, RowWriter
from rsvp.models.baselines import predict
from rsvp.runtime.errors import UserError
from rsvp.runtime.journal import batches, state_key
from rsvp.runtime.main import resumable_parser, run_stage
from rsvp.runtime.parts import PartWriter

FLOOR = "real"


def main() -> None:
    """Read the command line and run the stage."""
    parser = resumable_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="index of the dataset")
    parser.add_argument(
        "--baseline", required=True, help=f"one of {', '.join(BASELINES)}, or {FLOOR}"
    )
    parser.add_argument("--predictions", type=Path, required=True, help="index.json to write")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the predictions of one baseline, or the clips of the floor."""
    floor = arguments.baseline == FLOOR
    clips = Clips(arguments.dataset, "test", settings.evaluation.horizon)
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    if floor:
        clips = Clips(arguments.dataset, "train", settings.evaluation.horizon)
        indices = evaluation_clips(clips, len(indices))
    if not indices:
        raise UserError(
            f"{arguments.dataset}: no clips to predict; add videos, or change the split"
        )
    key = state_key(arguments.code, settings.handed, arguments.dataset, arguments.baseline)
    parts = PartWriter(arguments.predictions.parent, arguments.state, key, STEM)
    row, kind = f"{clips.index['dataset']}.{arguments.baseline}", "floor" if floor else "baseline"
    writer = RowWriter(arguments.predictions, parts, clips, row=row, kind=kind, seed=settings.seed)
    for number in batches(writer.done, len(indices), 1, f"predict {arguments.baseline}"):
        index = indices[number]
        writer.add(index, future(clips, index, arguments.baseline)[None])
        parts.checkpoint()
    writer.finish()
    return {"clips": len(indices), "device": "cpu"}


def future(clips: Clips, index: int, baseline: str) -> torch.Tensor:
    """Return future frames, uint8 (F, H, W, 3), by `baseline`; the clip's own for the floor."""
    if baseline == FLOOR:
        return clips.frames(index, clips.context_frames)
    context = clips.frames(index, 0, clips.context_frames).numpy()
    return torch.from_numpy(predict(baseline, context, clips.clip_frames - clips.context_frames))


if __name__ == "__main__":
    main()
