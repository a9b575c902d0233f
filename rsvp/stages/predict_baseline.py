"""Predict the test clips by a baseline, which learns nothing.

The baseline "real" is the floor: real clips of the training split stand in for predictions, so
that each distance between distributions stands beside the value that a perfect predictor has.
"""

import argparse
from typing import Any

import numpy as np
import torch

from rsvp.config.schema import BASELINES, BETWEEN_BASELINES, ObservedFrames
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.contexts import PREFIX, contexts_of, task_of
from rsvp.data.predictions import STEM, RowWriter
from rsvp.models.baselines import interpolate, predict
from rsvp.runtime.errors import UserError
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter, batches

FLOOR = "real"


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__, "dataset", "state", "predictions")
    parser.add_argument(
        "--baseline",
        required=True,
        help=f"one of {', '.join((*BASELINES, *BETWEEN_BASELINES))}, or {FLOOR};"
        " in a context beside the prefix with its name: linear-blend_ends",
    )
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the predictions of one baseline, or the clips of the floor."""
    baseline, _, context = arguments.baseline.partition("_")
    floor = baseline == FLOOR
    clips = Clips(arguments.dataset, settings.evaluation.split, settings.evaluation.horizon)
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    if floor:
        clips = Clips(arguments.dataset, "train", settings.evaluation.horizon)
        indices = evaluation_clips(clips, len(indices))
    if not indices:
        raise UserError(
            f"{arguments.dataset}: no clips to predict; add videos, or change the split"
        )
    contexts = contexts_of(clips.context_frames, settings.contexts)
    observed = contexts[context or PREFIX]
    task = task_of(observed, clips.index["clip_frames"], clips.clip_frames)
    key = state_key(arguments.code, settings.handed, arguments.dataset, arguments.baseline)
    parts = PartWriter(arguments.predictions.parent, arguments.state, key, STEM)
    row, kind = f"{clips.index['dataset']}.{arguments.baseline}", "floor" if floor else "baseline"
    writer = RowWriter(
        arguments.predictions, parts, clips, row=row, kind=kind, seed=settings.seed, task=task
    )
    for number in batches(writer.done, len(indices), 1, f"predict {arguments.baseline}"):
        index = indices[number]
        if floor:
            frames = clips.frames_at(index, task.predicted)
        else:
            seen = clips.frames_at(index, sorted(task.observed)).numpy()
            made = predict_in(observed, baseline, seen, len(task.predicted))
            frames = torch.from_numpy(made)
        writer.add(index, frames[None])
        parts.checkpoint()
    writer.finish()
    return {"clips": len(indices), "device": "cpu"}


def predict_in(context: ObservedFrames, baseline: str, seen: np.ndarray, frames: int) -> np.ndarray:
    """Return the predicted frames of a context, uint8 (F, H, W, 3), from the observed, `seen`."""
    if context.first and context.last:
        return interpolate(baseline, seen[: context.first], seen[context.first :], frames)
    if context.last:  # the same backwards in time
        return np.ascontiguousarray(predict(baseline, seen[::-1].copy(), frames)[::-1])
    return predict(baseline, seen, frames)


if __name__ == "__main__":
    main()
