"""Features of the real test clips, once for all rows that are compared with them.

Distances between sets of videos need them, and each row would compute the same ones.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file
from tqdm import tqdm

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.parts import Parts
from rsvp.metrics.features import clip_features, protocol
from rsvp.metrics.networks import load_detectors, start_measuring
from rsvp.runtime.files import atomic_path, sha256_of_file, write_json
from rsvp.runtime.journal import Journal, state_key
from rsvp.runtime.main import resumable_parser, run_stage

logger = logging.getLogger(
    "rsvp.stages.real_features"
)  # by hand: `python -m` runs this as __main__


def main() -> None:
    """The command line."""
    parser = resumable_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="index of the dataset")
    parser.add_argument(
        "--features", type=Path, required=True, help="features to write (safetensors)"
    )
    parser.add_argument("--index", type=Path, required=True, help="index to write (JSON)")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the features of the clips that rows predict, and their index."""
    device = start_measuring(settings.compute)
    clips = Clips(arguments.dataset, "test", settings.evaluation.horizon)
    chosen = evaluation_clips(clips, settings.evaluation.max_clips)
    if short := len(clips) - len(clips.fitting):
        # Said here on the terminal, once for all rows; the others' logs have it too.
        logger.warning(
            "%d of %d test clips of %s are left out: their videos are too short for"
            " evaluation.horizon", short, len(clips), clips.index["dataset"],
        )  # fmt: skip
    detectors = load_detectors(settings.weights, device)
    key = state_key(arguments.code, settings, arguments.dataset)
    parts = Parts(Journal(arguments.state, key))
    rest = chosen[parts.items :]
    for i in tqdm(rest, desc="real features", initial=parts.items, total=len(chosen), unit="clip"):
        features = clip_features(
            clips.frames(i), clips.context_frames, settings.windows, detectors.present
        )
        parts.append({name: values[None] for name, values in features.items()})
    parts.save()
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
        "protocol": protocol(detectors.present),
        "weights": detectors.hashes,
        "files": {arguments.features.name: sha256_of_file(arguments.features)},
    }
    write_json(arguments.index, index)
    return {"clips": len(chosen), "device": str(device)}


if __name__ == "__main__":
    main()
