"""Predict: sample K trajectories for each test clip from its context frames alone.

A horizon beyond that of training rolls forward, block by block (`rsvp.models.rolling`).
"""

import argparse
import time
from functools import partial
from typing import Any

import torch

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.contexts import PREFIX, task_of
from rsvp.data.predictions import STEM, RowWriter
from rsvp.diffusion.predictor import load_predictor, predict_block
from rsvp.diffusion.samplers import sampling_of
from rsvp.models.rolling import blocks_of, roll
from rsvp.runtime.device import device_name, start_inference
from rsvp.runtime.files import RECORD, read_json
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, shared_parser
from rsvp.runtime.parts import PartWriter, batches, share_bounds
from rsvp.training.cost import forward_flops, per_second

BATCH = 8


def main() -> None:
    """Read the command line and run the stage."""
    files = ("dataset", "autoencoder", "denoiser", "state", "predictions")
    run_stage(shared_parser(__doc__, *files), run)


@torch.no_grad()
def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the predictions of one predictor, or a share of them."""
    inference = start_inference(settings.compute, settings.seed)
    clips = Clips(arguments.dataset, settings.evaluation.split, settings.evaluation.horizon)
    indices = evaluation_clips(clips, settings.evaluation.max_clips)
    begin, end = share_bounds(len(indices), BATCH, settings.share)
    indices = indices[begin:end]
    network = load_predictor(
        arguments.denoiser,
        arguments.autoencoder,
        sampling_of(settings.predictor.sampler, settings.predictor.guidance),
        settings.predictor.context or PREFIX,
        inference.device,
    )
    if settings.compute.compile:
        network.denoiser.compile()
    trajectories, layout = settings.evaluation.trajectories, network.layout
    task = task_of(layout.contexts[network.context], layout.frames, clips.clip_frames)
    observed, horizon = len(task.observed), len(task.predicted)
    inputs = (arguments.dataset, arguments.autoencoder, arguments.denoiser)
    key = state_key(arguments.code, settings.handed, *inputs, *arguments.shares)
    parts = PartWriter(arguments.predictions.parent, arguments.state, key, STEM)
    writer = RowWriter(
        arguments.predictions,
        parts,
        clips,
        row=settings.name,
        kind="predictor",
        seed=settings.seed,
        trajectories=trajectories,
        videos=max(0, settings.evaluation.videos - begin),
        task=task,
    )
    for share in () if writer.done else arguments.shares:
        writer.take(share)
    for first in batches(writer.done, len(indices), BATCH, "predict"):
        started = time.perf_counter()
        batch = indices[first : first + BATCH]
        frames = torch.stack([clips.frames_at(i, task.observed) for i in batch])
        context = frames.permute(0, 1, 4, 2, 3).to(inference.device)
        block = partial(predict_block, network, settings.seed, batch)
        with inference.autocast():
            predicted = roll(block, context, trajectories, horizon)
        predicted = predicted.permute(0, 1, 2, 4, 5, 3).cpu()
        # Of sampling in all processes, without writing.
        writer.note["seconds"] = writer.note.get("seconds", 0.0) + time.perf_counter() - started
        for index, made in zip(batch, predicted, strict=True):
            writer.add(index, made)
        parts.checkpoint()
    writer.finish()
    seconds = writer.note.get("seconds", 0.0)
    seconds += sum(
        read_json(share.with_name(RECORD))["sampling_seconds"] for share in arguments.shares
    )
    blank = torch.zeros(1, observed, *clips.shape, dtype=torch.uint8, device=inference.device)
    context = blank.permute(0, 1, 4, 2, 3)
    flops = forward_flops(
        lambda: roll(partial(predict_block, network, 0, [0]), context, 1, horizon)
    )
    return {
        "clips": 0 if arguments.shares else len(indices),  # that were predicted here
        "device": device_name(inference),
        "network_evaluations": network.sampling.network_evaluations(network.objective)
        * blocks_of(horizon, layout.frames - observed),
        "parameters": sum(p.numel() for p in network.denoiser.parameters()),
        "flops_forward": flops,
        "sampling_seconds": round(seconds, 3),
        "samples_per_second": per_second(len(indices) * trajectories, seconds),
    }


if __name__ == "__main__":
    main()
