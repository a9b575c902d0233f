"""One row's scores and features, clip by clip, and the files that hold them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pyarrow import parquet
from safetensors.numpy import save_file
from torch import Tensor

from rsvp.data.clips import clip_places
from rsvp.metrics import features, scoring
from rsvp.metrics.networks import Networks
from rsvp.runtime.files import atomic_path, sha256_of_file, write_json
from rsvp.runtime.parts import PartWriter

SCORES, FEATURES = "scores/", "features/"  # prefixes of the names of measured arrays
SCHEMA = pa.schema(
    [("clip", pa.string()), ("group", pa.string()), ("trajectory", pa.int64()),
     ("frame", pa.int64()), *((name, pa.float64()) for name in scoring.SCORES)]
)  # fmt: skip


class RealClips(Protocol):
    """Real clips, such as `data.clips.Clips`."""

    table: pd.DataFrame  # with the columns clip and group
    index_path: Path

    def frames(self, i: int) -> Tensor:
        """uint8 (T, H, W, 3), observed and future."""

    def truth(self, i: int) -> dict[str, np.ndarray] | None:
        """ "mask" and others of a generated clip."""


class PredictedClips(Protocol):
    """Predictions of a row, such as `data.predictions.Predictions`."""

    index: dict[str, Any]

    def frames(self, number: int) -> Tensor:
        """uint8 (K, F, H, W, 3), future frames only."""


class RowScorer:
    """Scores the clips of one row: their predictions, against their truth where they are paired.

    clips: the real ones of the split that the predictions are of.
    """

    def __init__(self, clips: RealClips, predictions: PredictedClips) -> None:
        self.clips, self.predictions = clips, predictions
        self.index = predictions.index
        self.paired: bool = self.index["paired"]
        observed, future = self.index["context_frames"], self.index["future_frames"]
        self.prefix = "predicted" not in self.index
        self.predicted: list[int] = self.index.get(
            "predicted", list(range(observed, observed + future))
        )
        self.numbers = clip_places(clips, self.index["clips"], self.index["row"])
        self.groups = self.clips.table["group"].astype(str).to_numpy()[self.numbers]
        self.group_codes = group_codes(self.clips)[self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def measure(
        self, i: int, windows: list[int | None], networks: Networks
    ) -> dict[str, np.ndarray]:
        """Scores (lines) and features (one row) of the i-th clip, under prefixed names."""
        context = self.index["context_frames"]
        frames = self.clips.frames(self.numbers[i])
        trajectories = self.predictions.frames(i)
        clip = torch.cat([frames[:context], trajectories[0]])
        if not self.prefix:  # windows are the first frames of a clip
            clip, context, windows = trajectories[0], 0, [None]
        found = features.clip_features(clip, context, windows, networks.detectors.present)
        measured = {FEATURES + name: values[None] for name, values in found.items()}
        measured[FEATURES + "groups"] = self.group_codes[i : i + 1]
        if self.paired:
            truth = self.clips.truth(self.numbers[i])
            scores = scoring.score_clip(
                trajectories,
                frames[self.predicted],
                None if truth is None else torch.as_tensor(truth["mask"])[self.predicted],
                networks.perceptual.network,
                sampled=self.index["kind"] == "predictor",
            )
            scores["clip"] = np.full(len(scores["frame"]), i)
            measured |= {SCORES + name: values for name, values in scores.items()}
        return measured


@dataclass(frozen=True)
class RealSide:
    """Features of the real clips that a row is compared with, in the row's order."""

    features: dict[str, np.ndarray]
    groups: np.ndarray  # int64 codes


def write_scores(path: Path, row: RowScorer, parts: PartWriter) -> None:
    """Write the score table, without lines where the row is unpaired."""
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, SCHEMA) as writer:
        for part in parts if row.paired else ():
            writer.write_table(score_lines(row, part))


def score_lines(row: RowScorer, part: dict[str, np.ndarray]) -> pa.Table:
    """Return one part's lines of the score table, `SCHEMA`."""
    columns = {name: part[SCORES + name] for name in ("trajectory", "frame", *scoring.SCORES)}
    numbers = part[SCORES + "clip"]
    names = {"clip": np.array(row.index["clips"])[numbers], "group": row.groups[numbers]}
    return pa.Table.from_pandas(pd.DataFrame(names | columns), SCHEMA, preserve_index=False)


def group_codes(clips: RealClips) -> np.ndarray:
    """Number the groups of the clips of a split; no group is in two splits."""
    return np.unique(clips.table["group"].astype(str), return_inverse=True)[1].astype(np.int64)


def both_sides(own: dict[str, np.ndarray], real: RealSide) -> dict[str, np.ndarray]:
    """Name "<name>_predicted" and "<name>_real" (N, D), and the groups of the rows (N,)."""
    theirs = real.features | {"groups": real.groups}
    predicted = {f"{name}_predicted": values for name, values in own.items()}
    return predicted | {f"{name}_real": values for name, values in theirs.items()}


def row_index(index: dict[str, Any], networks: Networks, groups: int) -> dict[str, Any]:
    """Make the row's index of that of its predictions, less the hashes of its files."""
    perceptual, detectors = networks.perceptual, networks.detectors
    backbone = perceptual.network.backbone if perceptual.network else None
    shape = {key: index[key] for key in ("context_frames", "future_frames", "resolution")}
    return {
        **{key: index[key] for key in ("row", "kind", "seed", "dataset", "paired", "trajectories")},
        "clips": len(index["clips"]),
        "groups": groups,
        **shape,
        "lpips": {
            "computed": backbone is not None,
            "reason": perceptual.reason,
            "backbone": backbone or "",
        },
        "detectors": detectors.metadata(),
        "protocol": {
            "split": index["split"],
            "clips": len(index["clips"]),
            "trajectories": index["trajectories"],
            **shape,
            # Numbers of the observed and the scored frames, where the first are not observed.
            **{key: index[key] for key in ("observed", "predicted") if key in index},
            **scoring.protocol(backbone),
            **features.protocol(detectors.present),
            "weights": perceptual.hashes | detectors.hashes,
            "seed": index["seed"],
        },
    }


def write_row(
    row: RowScorer,
    parts: PartWriter,
    real: RealSide,
    networks: Networks,
    scores: Path,
    kept: Path,
    index: Path,
) -> None:
    """Write the score table, the features of both sides, and the row's index."""
    write_scores(scores, row, parts)
    with atomic_path(kept) as path:
        save_file(both_sides(parts.stacked(FEATURES), real), path)
    values = row_index(row.index, networks, len(np.unique(row.groups)))
    values["files"] = {path.name: sha256_of_file(path) for path in (scores, kept)}
    write_json(index, values)
