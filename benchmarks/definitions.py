"""The shift of PSNR, SSIM and LPIPS by definition alone: the same predictions under each.

Scores rows of a finished run as rsvp, MCVD, ExtDM and FAR define them (docs/evaluation.md), with
the first K of each clip's trajectories: rsvp's one trajectory is the mean over K, the others take
the best of K. Scores of each clip are kept in --out, so a call that was stopped goes on.

    python -m benchmarks.definitions results --dataset shapes --rows shapes.copy-last rsvp-m \\
        --lpips FEATURES HEADS --out scores --csv table.csv
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from rsvp.data.clips import Clips, clip_places
from rsvp.data.predictions import Predictions
from rsvp.metrics import definitions
from rsvp.metrics.definitions import DEFINITIONS, OWN
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.scoring import score_frames
from rsvp.report.estimates import clip_values
from rsvp.report.measures import LPIPS, PSNR, SSIM
from rsvp.report.scores import frame_scores
from rsvp.runtime.files import INDEX, atomic_path
from rsvp.runtime.main import tune_malloc

MEASURES = (PSNR, SSIM, LPIPS)


def main() -> None:
    """Score what is not scored yet; print the table, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="results folder of a run")
    parser.add_argument("--dataset", required=True, help="its name in that folder")
    parser.add_argument("--rows", nargs="+", required=True, help="folders below predictions/")
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 10, 100], help="K")
    parser.add_argument(
        "--lpips", type=Path, nargs=2, required=True, help="AlexNet's features, and its heads"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of the clips' scores")
    parser.add_argument("--csv", type=Path, help="where to keep the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tune_malloc()
    perceptual = PerceptualDistance(*arguments.lpips)
    perceptual.network.net = Remembering(perceptual.network.net)
    lines = []
    for row in arguments.rows:
        path = arguments.results / "predictions" / row / "seed0" / INDEX
        most, folder = max(arguments.counts), arguments.out / row
        scores = row_scores(path, dataset_of(arguments), perceptual, folder, most)
        counts = [count for count in arguments.counts if count <= 1 + scores["trajectory"].max()]
        lines += [{"row": row, **line} for count in counts for line in table_of(scores, count)]
    table = pd.DataFrame(lines)
    print(table.round(4).to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


class Remembering(nn.Module):
    """A network that keeps its last outputs: all trajectories of a clip share their truth."""

    KEPT = 12

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.outputs = network, {}

    def forward(self, frames: torch.Tensor) -> Any:
        """Return the network's output, computed or kept."""
        key = (frames.shape, hashlib.sha256(frames.contiguous().numpy()).digest())
        found = self.outputs.pop(key, None)
        self.outputs[key] = self.network(frames) if found is None else found
        if len(self.outputs) > self.KEPT:
            self.outputs.pop(next(iter(self.outputs)))  # that asked for least recently
        return self.outputs[key]


def dataset_of(arguments: argparse.Namespace) -> Clips:
    """Return the dataset's test clips."""
    return Clips(arguments.results / "datasets" / arguments.dataset / INDEX, "test")


def row_scores(
    path: Path, clips: Clips, perceptual: PerceptualDistance, folder: Path, most: int
) -> pd.DataFrame:
    """Score the first `most` trajectories of each clip; what is made is kept in `folder`."""
    predictions, made = Predictions(path), []
    places = clip_places(clips, predictions.clips, predictions.index["row"])
    folder.mkdir(parents=True, exist_ok=True)
    bar = tqdm(enumerate(places), total=len(places), desc=predictions.index["row"], unit="clip")
    for number, place in bar:
        file = folder / f"{number:05d}.parquet"
        if not file.exists():
            real = clips.frames(place, clips.context_frames)
            scores = clip_scores(predictions.frames(number)[:most], real, perceptual)
            with atomic_path(file) as temporary:
                scores.assign(clip=predictions.clips[number]).to_parquet(temporary)
        made.append(pd.read_parquet(file))
    return pd.concat(made, ignore_index=True)


def clip_scores(
    predicted: torch.Tensor, real: torch.Tensor, perceptual: PerceptualDistance
) -> pd.DataFrame:
    """Score each trajectory of a clip, uint8 (K, F, H, W, 3), by all columns."""
    tables = []
    for number, trajectory in enumerate(predicted):
        found = score_frames(trajectory, real, None)
        found["lpips"] = definitions.lpips(trajectory, real, perceptual)
        found |= definitions.score(trajectory, real, perceptual, definitions.COLUMNS)
        values = {name: column.numpy() for name, column in found.items()}
        frames = np.arange(1, len(real) + 1)
        tables.append(pd.DataFrame({"trajectory": number, "frame": frames} | values))
    return pd.concat(tables, ignore_index=True)


def table_of(scores: pd.DataFrame, count: int) -> Sequence[dict[str, object]]:
    """Return a line per definition: means over clips of the first `count` trajectories."""
    own, lines = frame_scores(scores.assign(group="")).of_trajectories(range(count)), []
    for name, definition in DEFINITIONS.items():
        way = "single" if definition is OWN else "best"
        taken = {measure.key: clip_values(own.defined(definition), measure, way)
                 for measure in MEASURES}  # fmt: skip
        means = {key: values.mean() for key, values in taken.items()}
        lines.append({"K": count, "definition": name, "clips": len(own.clips), **means})
    return lines


if __name__ == "__main__":
    main()
