"""Predict the test clips by SimVP: one trajectory each, without sampling.

A horizon beyond that of training rolls forward, block by block (`rsvp.models.rolling`).
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.pixels import to_bytes, to_float
from rsvp.data.predictions import STEM, RowWriter
from rsvp.models.bundle import read_bundle
from rsvp.models.rolling import roll
from rsvp.models.simvp import SimVP
from rsvp.runtime.device import device_name, start_inference
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter, batches
from rsvp.training.cost import forward_flops, per_second

BATCH = 8


def main() -> None:
    """Read the command line and run the stage."""
    run_stage(stage_parser(__doc__, "dataset", "network", "state", "predictions"), run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the predictions of one network."""
    inference = start_inference(settings.compute, settings.seed)
    clips = Clips(arguments.dataset, settings.evaluation.split, settings.evaluation.horizon)
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    horizon = clips.clip_frames - clips.context_frames
    tensors, metadata = read_bundle(arguments.network)
    network = SimVP(**metadata["arguments"]).to(memory_format=torch.channels_last)
    network.load_state_dict(tensors)
    network = network.to(inference.device).eval()

    def block(contexts: Tensor, number: int, trajectories: Sequence[int]) -> Tensor:
        """Predict uint8 (B, 1, F, C, H, W) of uint8 contexts (B, 1, Tc, C, H, W)."""
        return to_bytes(network(to_float(contexts[:, 0])))[:, None]

    key = state_key(arguments.code, settings.handed, arguments.dataset, arguments.network)
    parts = PartWriter(arguments.predictions.parent, arguments.state, key, STEM)
    writer = RowWriter(
        arguments.predictions, parts, clips, row=settings.name, kind="predictor",
        seed=settings.seed, videos=settings.evaluation.videos, point_forecast=True,
    )  # fmt: skip
    for first in batches(writer.done, len(indices), BATCH, "predict"):
        started = time.perf_counter()
        batch = indices[first : first + BATCH]
        context = clips.batch(batch, clips.context_frames).to(inference.device)
        with inference.autocast():
            predicted = roll(block, context, 1, horizon)
        predicted = predicted.permute(0, 1, 2, 4, 5, 3).cpu()
        writer.note["seconds"] = writer.note.get("seconds", 0.0) + time.perf_counter() - started
        for index, made in zip(batch, predicted, strict=True):
            writer.add(index, made)
        parts.checkpoint()
    writer.finish()
    blank = torch.zeros(1, clips.context_frames, *clips.shape, dtype=torch.uint8)
    context = blank.permute(0, 1, 4, 2, 3).to(inference.device)
    return {
        "clips": len(indices),
        "device": device_name(inference),
        "parameters": sum(p.numel() for p in network.parameters()),
        "flops_forward": forward_flops(lambda: roll(block, context, 1, horizon)),
        "samples_per_second": per_second(len(indices), writer.note["seconds"]),
    }


if __name__ == "__main__":
    main()
