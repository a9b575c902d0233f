"""Measuring one row: the scores and features of its clips, and the files that hold them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pyarrow import parquet
from safetensors.numpy import save_file

from rsvp.data.clips import clip_places
from rsvp.data.parts import Parts
from rsvp.metrics import features, scoring
from rsvp.metrics.networks import Networks
from rsvp.runtime.files import atomic_path, sha256_of_file, write_json

SCORES, FEATURES = "scores/", "features/"  # what the names of measured arrays begin with
ROW_GROUP = 16384  # lines of the score table that are compressed together
SCHEMA = pa.schema(
    [("clip", pa.string()), ("group", pa.string()), ("trajectory", pa.int64()),
     ("frame", pa.int64()), *((name, pa.float64()) for name in scoring.SCORES)]
)  # fmt: skip


class RealClips(Protocol):
    """Real clips, as `data.clips.Clips` gives them."""

    table: pd.DataFrame  # with the columns clip and group
    index_path: Path

    def frames(self, i: int) -> torch.Tensor:
        """uint8 (T, H, W, 3), observed and future."""

    def truth(self, i: int) -> dict[str, np.ndarray] | None:
        """ "mask" and others of a generated clip."""


class PredictedClips(Protocol):
    """Predictions of a row, as `data.predictions.Predictions` gives them."""

    index: dict[str, Any]

    def frames(self, number: int) -> torch.Tensor:
        """uint8 (K, F, H, W, 3), future frames only."""


class Row:
    """The clips of one row: their predictions, and their truth where it is paired.

    clips: the real ones of the split that the predictions are of.
    """

    def __init__(self, clips: RealClips, predictions: PredictedClips) -> None:
        self.clips, self.predictions = clips, predictions
        self.facts = predictions.index
        self.paired: bool = self.facts["paired"]
        observed, future = self.facts["context_frames"], self.facts["future_frames"]
        self.prefix = "predicted" not in self.facts
        self.predicted: list[int] = self.facts.get(
            "predicted", list(range(observed, observed + future))
        )
        self.places = clip_places(clips, self.facts["clips"], self.facts["row"])
        self.groups = self.clips.table["group"].astype(str).to_numpy()[self.places]
        self.group_codes = group_codes(self.clips)[self.places]

    def __len__(self) -> int:
        return len(self.places)

    def measure(
        self, number: int, windows: list[int | None], networks: Networks
    ) -> dict[str, np.ndarray]:
        """The scores (lines) and features (one row) of one clip; names say which they are."""
        place, context = self.places[number], self.facts["context_frames"]
        frames = self.clips.frames(place)
        futures = self.predictions.frames(number)
        film = frames[: 1 + max([*range(context), *self.predicted])].clone()
        film[self.predicted] = futures[0]
        if not self.prefix:
            windows = []  # their frames are the first of a clip
        measured = features.clip_features(film, context, windows, networks.detectors.present)
        measured = {FEATURES + name: values[None] for name, values in measured.items()}
        measured[FEATURES + "groups"] = self.group_codes[number : number + 1]
        if self.paired:
            truth = self.clips.truth(place)
            scores = scoring.score_clip(
                futures,
                frames[self.predicted],
                None if truth is None else torch.as_tensor(truth["mask"])[self.predicted],
                networks.perceptual.network,
                sampled=self.facts["kind"] == "predictor",
            )
            scores["clip"] = np.full(len(scores["frame"]), number)
            measured |= {SCORES + name: values for name, values in scores.items()}
        return measured


@dataclass(frozen=True)
class RealSide:
    """The features of the real clips that a row is compared with, in the row's order."""

    features: dict[str, np.ndarray]
    groups: np.ndarray  # int64 codes


def write_scores(path: Path, row: Row, parts: Parts) -> None:
    """The score table, without lines where the row is unpaired.

    Its row groups have a fixed size, so that the file does not tell where a run was killed.
    """
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, SCHEMA) as writer:
        table = SCHEMA.empty_table()
        for part in parts if row.paired else ():
            table = pa.concat_tables([table, score_lines(row, part)]).combine_chunks()
            while len(table) >= ROW_GROUP:
                writer.write_table(table.slice(0, ROW_GROUP))
                table = table.slice(ROW_GROUP)
        writer.write_table(table.combine_chunks())


def score_lines(row: Row, part: dict[str, np.ndarray]) -> pa.Table:
    """One part's lines of the score table, `SCHEMA`."""
    columns = {name: part[SCORES + name] for name in ("trajectory", "frame", *scoring.SCORES)}
    numbers = part[SCORES + "clip"]
    names = {"clip": np.array(row.facts["clips"])[numbers], "group": row.groups[numbers]}
    return pa.Table.from_pandas(pd.DataFrame(names | columns), SCHEMA, preserve_index=False)


def group_codes(clips: RealClips) -> np.ndarray:
    """A number for the group of each clip of a split; no group is in two splits."""
    return np.unique(clips.table["group"].astype(str), return_inverse=True)[1].astype(np.int64)


def both_sides(own: dict[str, np.ndarray], real: RealSide) -> dict[str, np.ndarray]:
    """ "<name>_predicted" and "<name>_real" (N, D), and the groups of the rows (N,)."""
    theirs = real.features | {"groups": real.groups}
    predicted = {f"{name}_predicted": values for name, values in own.items()}
    return predicted | {f"{name}_real": values for name, values in theirs.items()}


def row_index(facts: dict[str, Any], networks: Networks, groups: int) -> dict[str, Any]:
    """The row's index, less the hashes of its files."""
    perceptual, detectors = networks.perceptual, networks.detectors
    copied = ("row", "kind", "seed", "dataset", "paired", "trajectories")
    shape = ("context_frames", "future_frames", "resolution")
    backbone = perceptual.network.backbone if perceptual.network else None
    return {
        **{key: facts[key] for key in copied},
        "clips": len(facts["clips"]),
        "groups": groups,
        **{key: facts[key] for key in shape},
        "lpips": {
            "computed": backbone is not None,
            "reason": perceptual.reason,
            "backbone": backbone or "",
        },
        "detectors": detectors.facts(),
        "protocol": {
            "split": facts["split"],
            "clips": len(facts["clips"]),
            "trajectories": facts["trajectories"],
            **{key: facts[key] for key in shape},
            # Where other frames than the first are observed: which, and which are scored.
            **{key: facts[key] for key in ("observed", "predicted") if key in facts},
            **scoring.protocol(backbone),
            **features.protocol(detectors.present),
            "weights": perceptual.hashes | detectors.hashes,
            "seed": facts["seed"],
        },
    }


def write_row(
    row: Row,
    parts: Parts,
    real: RealSide,
    networks: Networks,
    scores: Path,
    kept: Path,
    index: Path,
) -> None:
    """Write what was measured: the score table, the features of both sides, the row's index."""
    write_scores(scores, row, parts)
    with atomic_path(kept) as path:
        save_file(both_sides(parts.stacked(FEATURES), real), path)
    facts = row_index(row.facts, networks, len(np.unique(row.groups)))
    facts["files"] = {path.name: sha256_of_file(path) for path in (scores, kept)}
    write_json(index, facts)
