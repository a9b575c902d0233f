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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, clip_places
from rsvp.data.images import write_image
from rsvp.data.predictions import Predictions
from rsvp.metrics import memorisation
from rsvp.metrics.frame import psnr
from rsvp.metrics.memorisation import Nearest, NearestSearch
from rsvp.metrics.networks import load_networks, start_measuring
from rsvp.runtime.files import fresh_folder, read_json, write_json
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, stage_parser
from rsvp.runtime.parts import PartWriter


def main() -> None:
    """Read the command line and run the stage."""
    parser = stage_parser(__doc__, "dataset", "state", "index")
    parser.add_argument(
        "--inputs",
        type=Path,
        required=True,
        help="JSON: `predictions` lists the index.json of each predictor and reconstruction",
    )
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the index and the images."""
    device = start_measuring(settings.compute)
    train, test = (
        Clips(arguments.dataset, "train"),
        Clips(arguments.dataset, settings.evaluation.split),
    )
    context, horizon = test.context_frames, test.clip_frames - test.context_frames
    paths = [Path(path) for path in read_json(arguments.inputs)["predictions"]]
    rows = [Predictions(path) for path in paths]
    detector = load_networks(settings.weights, device).detectors.get("i3d")
    if horizon < getattr(detector, "minimum_frames", 0):
        detector = None
    key = state_key(arguments.code, settings.handed, arguments.dataset, *paths)
    kept = partial(PartWriter, arguments.state, arguments.state, key)
    search = NearestSearch(train, detector, kept)
    numbers = [clip_places(test, row.clips, row.index["row"]) for row in rows]
    real_clips = sorted({number for clips in numbers for number in clips})
    truths = {number: partial(test.frames, number, context) for number in real_clips}
    found = search.nearest("real", list(truths.values()))
    real_distance = dict(zip(real_clips, found.distance, strict=True))
    folder = fresh_folder(arguments.index.parent / "pictures")
    entries = []
    for place, (row, clips) in enumerate(zip(rows, numbers, strict=True)):
        futures = [partial(first_future, row, i, horizon) for i in range(len(row))]
        found = search.nearest(f"row{place}", futures)
        real = np.array([real_distance[number] for number in clips])
        groups = test.table["group"].iloc[clips].tolist()
        pairs = zip(futures, (truths[number] for number in clips), strict=True)
        quality = np.array([float(psnr(future(), truth()).mean()) for future, truth in pairs])
        entries.append(
            {name: row.index[name] for name in ("row", "kind", "seed")}
            | memorisation.statistics(found.distance, real, groups, settings.evaluation.bootstrap)
            | {"shown": show(row, futures, quality, found, real, search, folder)}
        )
    dataset, metadata = test.index["dataset"], protocol(search, test)
    write_json(arguments.index, {"dataset": dataset, "protocol": metadata, "rows": entries})
    return {"clips": sum(map(len, rows)), "device": str(device)}


def first_future(row: Predictions, i: int, horizon: int) -> Tensor:
    """Return the first trajectory of the i-th clip, as far as training clips go."""
    return row.frames(i)[0, :horizon]


def show(
    row: Predictions, futures: Sequence[Callable[[], Tensor]], quality: np.ndarray, found: Nearest,
    real: np.ndarray, search: NearestSearch, folder: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    """Draw some predictions above their nearest training clips; return their index entries."""
    shown = []
    for place, i in memorisation.shown_clips(quality, found.distance).items():
        nearest = int(found.clip[i])
        file = folder / f"{row.index['row']}-seed{row.index['seed']}-{place}.png"
        write_image(file, memorisation.strip(futures[i](), search.future(nearest)))
        shown.append({
            "place": place, "clip": row.clips[i],
            "nearest": search.train.table["clip"].iloc[nearest],
            "distance": float(found.distance[i]), "real_distance": float(real[i]),
            "psnr": float(quality[i]), "picture": f"{folder.name}/{file.name}",
        })  # fmt: skip
    return shown


def protocol(search: NearestSearch, test: Clips) -> dict[str, Any]:
    """Return what the numbers depend on."""
    count = len(search.symmetries)
    symmetries = f"{count} symmetr{'ies' if count > 1 else 'y'}"
    described = (
        f"{memorisation.FRAMES} frames of {memorisation.CELLS}×{memorisation.CELLS} mean colours"
    )
    distance = f"grey levels, under {symmetries}"
    if search.detector is not None:
        described = "features of I3D"
        distance = f"under the one of {symmetries} in which coarse colours are nearest"
    return {
        "split": test.split,
        "training_clips": len(search.train),
        "context_frames": test.context_frames,
        "future_frames": test.clip_frames - test.context_frames,
        "resolution": test.resolution,
        "future": "of the first trajectory",
        "described_by": described,
        "distance": f"root mean square to the nearest training clip, {distance}",
        "copied_below": memorisation.COPIED,
    }


if __name__ == "__main__":
    main()
