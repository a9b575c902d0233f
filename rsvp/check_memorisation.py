"""Check whether predictions copy training clips, for all predictors on one dataset.

Training clips are described once, block by block, so memory does not grow with their number.
Writes index.json: "rows": [{"row", "seed", "ratio", "nearer", "copied", "flagged", "shown"}] with
rsvp.metrics.memorisation's statistics of the first trajectory; "shown": [{"place", "clip",
"nearest", "distance", "real_distance", "psnr", "picture"}] of the best and the worst prediction and
of the one nearest to training: a PNG of its frames above those of its nearest training clip.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rsvp.config import Augment, Settings
from rsvp.data.clips import Clips
from rsvp.data.pictures import write_picture
from rsvp.data.predictions import Predictions
from rsvp.errors import UserError
from rsvp.files import fresh_folder, write_json
from rsvp.metrics import memorisation
from rsvp.metrics.frame import psnr
from rsvp.stage import run_stage, stage_parser
from rsvp.training.batches import turned

BLOCK = 512  # training clips whose descriptions are held at a time
SYMMETRIES = {Augment.none: 1, Augment.horizontal: 2, Augment.all: 8}


def main() -> None:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    parser.add_argument(
        "--predictions", type=Path, nargs="+", required=True, help="index.json of each predictor"
    )
    parser.add_argument("--index", type=Path, required=True, help="JSON to write")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the index and the pictures."""
    train, test = Clips(arguments.dataset, "train"), Clips(arguments.dataset, "test")
    rows = [Predictions(path) for path in arguments.predictions]
    queries = [query for row in rows for query in described(row, test)]
    ends = np.cumsum([len(row) for row in rows for _ in range(2)])
    found = memorisation.nearest(np.stack(queries), training_blocks(train))
    distances, numbers = np.split(found.distance, ends[:-1]), np.split(found.clip, ends[:-1])
    folder = fresh_folder(arguments.index.parent / "pictures")
    entries = []
    for place, row in enumerate(rows):
        groups = test.table.set_index("clip").loc[row.clips, "group"].tolist()
        predicted, real = distances[2 * place : 2 * place + 2]
        entries.append(
            {"row": row.index["row"], "seed": row.index["seed"]}
            | memorisation.statistics(predicted, real, groups, settings.evaluation.bootstrap)
            | {"shown": show(row, test, train, predicted, real, numbers[2 * place], folder)}
        )
    protocol = {
        "training_clips": len(train),
        "future": "of the first trajectory",
        "described_by": f"{memorisation.FRAMES} frames of {memorisation.CELLS}×"
        f"{memorisation.CELLS} mean colours",
        "distance": "root mean square, grey levels, to the nearest training clip under "
        f"{SYMMETRIES[test.augment]} symmetries",
        "copied_below": memorisation.COPIED,
    }
    dataset = test.index["dataset"]
    write_json(arguments.index, {"dataset": dataset, "protocol": protocol, "rows": entries})
    return {"clips": int(ends[-1]) // 2}


def described(row: Predictions, test: Clips) -> Iterator[np.ndarray]:
    """The symmetries (S, D) of each predicted future, then of each real one."""
    for i in range(len(row)):
        yield symmetric(first_future(row, i, test), test.augment)
    for number in numbers_of(row, test):
        yield symmetric(test.frames(number, test.context_frames), test.augment)


def first_future(row: Predictions, i: int, test: Clips) -> Tensor:
    """The first trajectory of the i-th clip, as far as the future of training clips goes."""
    return row.frames(i)[0, : test.clip_frames - test.context_frames]


def numbers_of(row: Predictions, test: Clips) -> list[int]:
    """The numbers of the clips that a row predicts; UserError where there are others."""
    places = {clip: number for number, clip in enumerate(test.table["clip"])}
    unknown = [clip for clip in row.clips if clip not in places]
    if unknown:
        raise UserError(
            f"{row.index['row']}: predicts {unknown[0]}, which is not in the test split of "
            f"{test.index_path}; predict again"
        )
    return [places[clip] for clip in row.clips]


def symmetric(future: Tensor, augment: Augment) -> np.ndarray:
    """The description of a future (F, H, W, 3) under each symmetry that training saw, (S, D)."""
    coarse = memorisation.describe(future)
    return torch.stack(
        [turned(coarse, number, augment).flatten() for number in range(SYMMETRIES[augment])]
    ).numpy()


def training_blocks(train: Clips) -> Iterator[np.ndarray]:
    """Descriptions (B, D) of the training clips' futures, in their order."""
    for first in tqdm(range(0, len(train), BLOCK), desc="training clips", unit="block"):
        last = min(first + BLOCK, len(train))
        futures = (train.frames(i, train.context_frames) for i in range(first, last))
        yield torch.stack([memorisation.describe(f).flatten() for f in futures]).numpy()


def show(
    row: Predictions, test: Clips, train: Clips,
    predicted: np.ndarray, real: np.ndarray, nearest: np.ndarray, folder: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    """Draw some predictions above their nearest training clips; what the index says of them."""
    numbers = numbers_of(row, test)
    truths = (test.frames(number, test.context_frames) for number in numbers)
    quality = np.array(
        [float(psnr(first_future(row, i, test), truth).mean()) for i, truth in enumerate(truths)]
    )
    shown = []
    for place, i in memorisation.shown_clips(quality, predicted).items():
        training = train.frames(int(nearest[i]), train.context_frames)
        file = folder / f"{row.index['row']}-seed{row.index['seed']}-{place}.png"
        write_picture(file, memorisation.strip(first_future(row, i, test), training))
        shown.append({
            "place": place, "clip": row.clips[i], "nearest": train.table["clip"].iloc[nearest[i]],
            "distance": float(predicted[i]), "real_distance": float(real[i]),
            "psnr": float(quality[i]), "picture": f"{folder.name}/{file.name}",
        })  # fmt: skip
    return shown


if __name__ == "__main__":
    main()
