"""One row's scores and features, clip by clip, and the files that hold them.

`scoring.py` computes the scores of a clip, `features.py` its features.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pyarrow import parquet
from safetensors.numpy import load_file, save_file
from torch import Tensor

from rsvp.data.clips import clip_places
from rsvp.metrics import definitions, features, frame, scoring
from rsvp.metrics.networks import Networks
from rsvp.runtime.files import atomic_path, sha256_of_file, write_json
from rsvp.runtime.parts import PartWriter, stack

FEATURES = "features/"  # begins the names of measured features; the scores are "scores"
LINES = scoring.COLUMNS[2:]  # columns of these
SCHEMA = pa.schema(
    [("clip", pa.string()), ("group", pa.string()), ("trajectory", pa.int64()),
     ("frame", pa.int64()), *((name, pa.float64()) for name in scoring.COLUMNS[4:])]
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
        self,
        i: int,
        real: dict[str, np.ndarray],
        windows: list[int | None],
        networks: Networks,
        others: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Scores (lines, columns) of the i-th clip, and features (one row each) of both sides.

        real: features, and group under "groups", of the real clip that stands on the other side.
        others: definitions beside rsvp's own, whose scores are wanted too.
        """
        context = self.index["context_frames"]
        frames = self.clips.frames(self.numbers[i])
        trajectories = self.predictions.frames(i)
        clip = torch.cat([frames[:context], trajectories[0]])
        if not self.prefix:  # windows are the first frames of a clip
            clip, context, windows = trajectories[0], 0, [None]
        own = features.clip_features(clip, context, windows, networks.detectors)
        if self.prefix and len(trajectories) > 1 and definitions.each_set(others):
            own |= features.each_trajectory(
                frames[:context], trajectories, windows, networks.detectors
            )
        sides = {"predicted": own | {"groups": self.group_codes[i]}, "real": real}
        measured = {
            f"{FEATURES}{name}_{side}": np.asarray(values)[None]
            for side, found in sides.items()
            for name, values in found.items()
        }
        if self.paired:
            truth = self.clips.truth(self.numbers[i])
            scores = scoring.score_clip(
                trajectories,
                frames[self.predicted],
                None if truth is None else torch.as_tensor(truth["mask"])[self.predicted],
                networks.perceptual.network,
                sampled=self.index["kind"] == "predictor" and "point_forecast" not in self.index,
                others=definitions.columns_of(others),
            )
            motion = frame.motion(frames)[self.predicted].numpy()
            scores[scoring.MOTION] = np.tile(motion, len(trajectories) + 1)
            columns = [np.full(len(scores["frame"]), i), *(scores[name] for name in LINES)]
            measured["scores"] = np.stack(columns, axis=1, dtype=np.float64)
        return measured

    def score_lines(self, scores: np.ndarray) -> pa.Table:
        """Return lines of the score table, `SCHEMA`, of measured scores."""
        numbers = scores[:, 0].astype(int)
        names = {"clip": np.array(self.index["clips"])[numbers], "group": self.groups[numbers]}
        lines = pd.DataFrame(names | dict(zip(LINES, scores[:, 1:].T, strict=True)))
        return pa.Table.from_pandas(lines, SCHEMA, preserve_index=False)


def group_codes(clips: RealClips) -> np.ndarray:
    """Number the groups of the clips of a split; no group is in two splits."""
    return np.unique(clips.table["group"].astype(str), return_inverse=True)[1].astype(np.int64)


def row_index(index: dict[str, Any], networks: Networks, groups: int) -> dict[str, Any]:
    """Make the row's index of that of its predictions, less the hashes of its files."""
    distance = networks.perceptual
    backbone = distance.network.backbone if distance.network else None
    kept = ("trajectories", "context_frames", "future_frames", "resolution")
    # The frames' numbers stand in it where the first are not those that are observed.
    named = ("channels", "split", "choice", "seed", "observed", "predicted")
    own = [key for key in named if key in index]
    shape = {key: index[key] for key in kept} | {"clips": len(index["clips"])}
    return {
        **{key: index[key] for key in ("row", "kind", "seed", "dataset", "paired")},
        **{key: index[key] for key in ("point_forecast",) if key in index},
        **shape,
        "groups": groups,
        "lpips": distance.metadata("backbone"),
        "detectors": {n: item.metadata("minimum_frames") for n, item in networks.loaded.items()},
        "protocol": {
            **{key: index[key] for key in own},
            **shape,
            **scoring.protocol(backbone),
            **features.protocol(networks.detectors),
            "weights": distance.hashes | networks.hashes,
        },
    }


def measured_scores(
    row: RowScorer, parts: PartWriter
) -> tuple[Iterable[pa.Table], dict[str, np.ndarray]]:
    """Return the lines of the score table, table by table, and the features of measured `parts`.

    There are no lines where the row is unpaired.
    """
    tables = (row.score_lines(part["scores"]) for part in parts if row.paired)
    return tables, parts.stacked(FEATURES)


def joined_scores(
    shares: Sequence[tuple[Path, Path]],
) -> tuple[Iterable[pa.Table], dict[str, np.ndarray]]:
    """Return the same of shares that are measured and written: their score tables and features."""
    tables = (parquet.read_table(scores, schema=SCHEMA) for scores, _ in shares)
    features = [load_file(kept) for _, kept in shares]
    return tables, stack([values for values in features if values])


def write_row(
    row: RowScorer,
    tables: Iterable[pa.Table],
    features: dict[str, np.ndarray],
    networks: Networks,
    scores: Path,
    kept: Path,
    index: Path,
) -> None:
    """Write the score table, the features, and the row's index."""
    with atomic_path(scores) as path, parquet.ParquetWriter(path, SCHEMA) as writer:
        for table in tables:
            writer.write_table(table)
    with atomic_path(kept) as path:
        save_file(features, path)
    values = row_index(row.index, networks, len(np.unique(row.groups)))
    values["files"] = {path.name: sha256_of_file(path) for path in (scores, kept)}
    write_json(index, values)
