"""Features of the real test clips, once for all rows that are compared with them.

Distances between sets of videos need them, and each row would compute the same ones.
"""

import argparse
import logging
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.metrics.features import clip_features, protocol
from rsvp.metrics.networks import load_networks, start_measuring
from rsvp.runtime.files import atomic_path, sha256_of_file, write_json
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter

logger = logging.getLogger(__name__)


def main() -> None:
    """Read the command line and run the stage."""
    run_stage(stage_parser(__doc__, "dataset", "state", "features", "index"), run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the features of the clips that rows predict, and their index."""
    device = start_measuring(settings.compute)
    clips = Clips(arguments.dataset, settings.evaluation.split, settings.evaluation.horizon)
    chosen = evaluation_clips(clips, settings.evaluation.max_clips)
    if short := len(clips) - len(clips.fitting):
        # On the terminal here alone, once for all rows; the others' logs have it too.
        logger.warning(
            "%d of %d test clips of %s are left out: their videos are too short for"
            " evaluation.horizon", short, len(clips), clips.index["dataset"],
        )  # fmt: skip
    networks = load_networks(settings.weights, device)
    key = state_key(arguments.code, settings.handed, arguments.dataset)
    parts = PartWriter(arguments.state, arguments.state, key, "real")

    def features(number: int) -> dict[str, np.ndarray]:
        frames = clips.frames(chosen[number])
        found = clip_features(frames, clips.context_frames, settings.windows, networks.detectors)
        return {name: values[None] for name, values in found.items()}

    parts.fill(len(chosen), "real features", features)
    with atomic_path(arguments.features) as path:
        save_file(parts.stacked(), path)
    index = {
        "dataset": clips.index["dataset"],
        "dataset_index": sha256_of_file(arguments.dataset),
        "split": clips.split,
        "clips": clips.table["clip"].iloc[chosen].tolist(),
        "clip_frames": clips.clip_frames,
        "context_frames": clips.context_frames,
        "windows": list(settings.windows),
        "protocol": protocol(networks.detectors),
        "weights": networks.hashes,
        "files": {arguments.features.name: sha256_of_file(arguments.features)},
    }
    write_json(arguments.index, index)
    return {"clips": len(chosen), "device": str(device)}


if __name__ == "__main__":
    main()
