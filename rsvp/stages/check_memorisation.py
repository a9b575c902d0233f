"""Check whether predictions copy training clips, for all predictors on one dataset.

Every future is described in coarse colours, and in the features of I3D where there are weights; the
distances are of the latter then. Reconstructions are held beside the predictions: they copy
nothing, so they show what an autoencoder's smoothness alone does. Training clips and real test
clips are described once for all rows. Descriptions of training clips, and all features of I3D, go
to disk; memory does not grow with the number of clips.

Writes index.json: "rows": [{"row", "kind", "seed", "ratio", "nearer", "copied", "flagged",
"shown"}] with rsvp.metrics.memorisation's statistics of the first trajectory; "shown": [{"place",
"clip", "nearest", "distance", "real_distance", "psnr", "picture"}] of the best and the worst
prediction and of the one nearest to training: a PNG of its frames above those of its nearest
training clip.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsvp.config.schema import Augment
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, clip_places
from rsvp.data.images import write_image
from rsvp.data.predictions import Predictions
from rsvp.data.symmetries import PARTS, turned
from rsvp.metrics import memorisation
from rsvp.metrics.detectors import Detector, clip_feature
from rsvp.metrics.frame import psnr
from rsvp.metrics.memorisation import Nearest
from rsvp.metrics.networks import load_detectors, start_measuring
from rsvp.runtime.files import fresh_folder, read_json, write_json
from rsvp.runtime.journal import StateKey, state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter, batches


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__, "dataset", "state", "index")
    parser.add_argument(
        "--inputs",
        dest="predictions",
        type=listed_predictions,
        required=True,
        help="JSON: `predictions` lists the index.json of each predictor and reconstruction",
    )
    run_stage(parser, run)


def listed_predictions(path: str) -> list[Path]:
    """Return the indexes that a list file names."""
    return [Path(index) for index in read_json(path)["predictions"]]


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the index and the images."""
    device = start_measuring(settings.compute)
    train, test = Clips(arguments.dataset, "train"), Clips(arguments.dataset, "test")
    rows = [Predictions(path) for path in arguments.predictions]
    detector = load_detectors(settings.weights, device).present.get("i3d")
    if test.clip_frames - test.context_frames < getattr(detector, "minimum_frames", 0):
        detector = None
    inputs = (arguments.dataset, *arguments.predictions)
    key = state_key(arguments.code, settings.handed, *inputs)
    kept = Descriptions(arguments.state, key)
    numbers = [clip_places(test, row.clips, row.index["row"]) for row in rows]
    real_clips = sorted({number for clips in numbers for number in clips})
    loaders = [partial(test.frames, number, test.context_frames) for number in real_clips]
    found = nearest_clips("real", loaders, train, detector, kept)
    real_distance = dict(zip(real_clips, found.distance, strict=True))
    folder = fresh_folder(arguments.index.parent / "pictures")
    entries = []
    for place, (row, clips) in enumerate(zip(rows, numbers, strict=True)):
        loaders = [partial(first_future, row, i, test) for i in range(len(row))]
        found = nearest_clips(f"row{place}", loaders, train, detector, kept)
        real = np.array([real_distance[number] for number in clips])
        groups = test.table["group"].iloc[clips].tolist()
        entries.append(
            {name: row.index[name] for name in ("row", "kind", "seed")}
            | memorisation.statistics(found.distance, real, groups, settings.evaluation.bootstrap)
            | {"shown": show(row, clips, test, train, found, real, folder)}
        )
    dataset, metadata = test.index["dataset"], protocol(train, test, detector)
    write_json(arguments.index, {"dataset": dataset, "protocol": metadata, "rows": entries})
    return {"clips": sum(map(len, rows)), "device": str(device)}


def protocol(train: Clips, test: Clips, detector: Detector | None) -> dict[str, Any]:
    """Return what the numbers depend on."""
    colours = f"{memorisation.FRAMES} frames of {memorisation.CELLS}×{memorisation.CELLS}"
    count = 2 ** len(PARTS[test.augment])
    symmetries = f"{count} symmetr{'ies' if count > 1 else 'y'}"
    return {
        "split": test.split,
        "training_clips": len(train),
        "context_frames": test.context_frames,
        "future_frames": test.clip_frames - test.context_frames,
        "resolution": test.resolution,
        "future": "of the first trajectory",
        "described_by": "features of I3D" if detector else f"{colours} mean colours",
        "distance": "root mean square to the nearest training clip, "
        + (f"under the one of {symmetries} in which coarse colours are nearest" if detector
           else f"grey levels, under {symmetries}"),
        "copied_below": memorisation.COPIED,
    }  # fmt: skip


class Descriptions:
    """Descriptions clip by clip, kept where a killed run goes on."""

    def __init__(self, state: Path, key: StateKey) -> None:
        self.state, self.key = state, key

    def blocks(
        self, name: str, count: int, describe: Callable[[int], np.ndarray]
    ) -> Callable[[], Iterable[np.ndarray]]:
        """Describe each number below `count`, unless that is done; start a pass over the blocks."""
        parts = PartWriter(self.state, self.state, self.key, name)
        for i in batches(parts.items, count, 1, f"describe {name}"):
            parts.append({"description": describe(i)[None]})
            parts.checkpoint()
        parts.finish()
        return lambda: (part["description"] for part in parts)


def nearest_clips(
    name: str,
    loaders: Sequence[Callable[[], Tensor]],
    train: Clips,
    detector: Detector | None,
    kept: Descriptions,
) -> Nearest:
    """Find the training clip nearest to each future (F, H, W, 3); `name` is of their state.

    With a detector, in its features, each future under the symmetry in which its colours are
    nearest to any training clip's: so turned copies are found as well.
    """

    def future_features(i: int) -> np.ndarray:
        frames, symmetry = loaders[i]().permute(0, 3, 1, 2), int(found.symmetry[i])
        return clip_feature(detector, turned(frames, symmetry, train.augment).permute(0, 2, 3, 1))

    queries = (symmetric(future(), train.augment) for future in loaders)
    colours = kept.blocks("colours", len(train), lambda i: coarse(train_future(train, i)))
    found = memorisation.nearest(queries, colours)
    if detector is None:
        return found
    own = kept.blocks(f"features-{name}", len(loaders), future_features)
    training = kept.blocks(
        "features", len(train), lambda i: clip_feature(detector, train_future(train, i))
    )
    return memorisation.nearest((one[None] for block in own() for one in block), training)


def train_future(train: Clips, number: int) -> Tensor:
    """Return the future (F, H, W, 3) of a training clip."""
    return train.frames(number, train.context_frames)


def coarse(future: Tensor) -> np.ndarray:
    """Return the coarse colours (D,) of a future (F, H, W, 3)."""
    return memorisation.describe(future).flatten().numpy()


def first_future(row: Predictions, i: int, test: Clips) -> Tensor:
    """Return the first trajectory of the i-th clip, as far as training clips go."""
    return row.frames(i)[0, : test.clip_frames - test.context_frames]


def symmetric(future: Tensor, augment: Augment) -> np.ndarray:
    """Describe a future (F, H, W, 3) under each symmetry that training saw: (S, D)."""
    colours = memorisation.describe(future)
    return torch.stack(
        [turned(colours, number, augment).flatten() for number in range(2 ** len(PARTS[augment]))]
    ).numpy()


def show(
    row: Predictions, clips: list[int], test: Clips, train: Clips,
    found: Nearest, real: np.ndarray, folder: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    """Draw some predictions above their nearest training clips; return their index entries."""
    truths = (test.frames(number, test.context_frames) for number in clips)
    quality = np.array(
        [float(psnr(first_future(row, i, test), truth).mean()) for i, truth in enumerate(truths)]
    )
    shown = []
    for place, i in memorisation.shown_clips(quality, found.distance).items():
        nearest = int(found.clip[i])
        training = train_future(train, nearest)
        file = folder / f"{row.index['row']}-seed{row.index['seed']}-{place}.png"
        write_image(file, memorisation.strip(first_future(row, i, test), training))
        shown.append({
            "place": place, "clip": row.clips[i], "nearest": train.table["clip"].iloc[nearest],
            "distance": float(found.distance[i]), "real_distance": float(real[i]),
            "psnr": float(quality[i]), "picture": f"{folder.name}/{file.name}",
        })  # fmt: skip
    return shown


if __name__ == "__main__":
    main()
