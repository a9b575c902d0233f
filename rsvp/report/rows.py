"""The rows of the report: one predictor, baseline, ceiling or floor each, scored per seed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from rsvp.config.schema import Protocol
from rsvp.data.splits import spread
from rsvp.metrics.scoring import COLUMNS
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json

KINDS = ("predictor", "baseline", "ceiling", "floor")
ROW_KEYS = ("row", "kind", "seed", "dataset", "paired", "trajectories", "clips", "groups",
            "context_frames", "future_frames", "resolution", "protocol")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One row under one seed: its evaluation index, and the folder that it stands in."""

    index: dict[str, Any]
    folder: Path
    scores: pd.DataFrame | None  # one line per clip, trajectory and future frame; None if unpaired


@dataclass(frozen=True, eq=False)
class ResultRow:
    """One line of the headline table, with all its seeds."""

    name: str
    kind: str
    runs: tuple[Run, ...]

    @property
    def index(self) -> dict[str, Any]:
        """The evaluation index of the first seed."""
        return self.runs[0].index

    @property
    def label(self) -> str:
        """The name without the dataset that qualifies it in paths; each ceiling has its own."""
        return self.name.replace(".", " ") if self.kind == "ceiling" else self.method

    @property
    def method(self) -> str:
        """What was done, whatever the dataset or autoencoder: copy-last, reconstruction."""
        return self.name.rsplit(".", 1)[-1]

    @property
    def seeds(self) -> str:
        """Its seeds: "0, 1"; empty where nobody knows."""
        numbers = (run.index["seed"] for run in self.runs)
        return ", ".join(str(seed) for seed in numbers if seed is not None)


def read_rows(evaluations: Iterable[Path], predictors: list[str]) -> list[ResultRow]:
    """Rows in the order of the report: `predictors` as named, other predictors, baselines,
    ceiling, floor.

    evaluations: evaluation/<row>/seed<n>/index.json files. Raises UserError when there are none,
    when they are of several datasets, or when the rows were scored on other clips.
    """
    runs: dict[str, list[Run]] = {}
    for path in sorted(evaluations, key=str):
        run = read_run(Path(path))
        runs.setdefault(run.index["row"], []).append(run)
    if not runs:
        raise UserError("no evaluations given; name at least one evaluation index")
    rows = [
        ResultRow(
            name, group[0].index["kind"], tuple(sorted(group, key=lambda run: run.index["seed"]))
        )
        for name, group in runs.items()
    ]
    check_rows(rows)

    def place(row: ResultRow) -> tuple[int, int, str]:
        named = predictors.index(row.name) if row.name in predictors else len(predictors)
        return KINDS.index(row.kind), named, row.name

    return sorted(rows, key=place)


def read_run(path: Path) -> Run:
    """One evaluation index and the scores beside it."""
    index = read_json(path)
    missing = [key for key in ROW_KEYS if key not in index]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; run the stage evaluate again")
    if index["kind"] not in KINDS:
        raise UserError(f"{path}: kind {index['kind']!r} is not one of {', '.join(KINDS)}")
    if not index["paired"]:
        return Run(index, path.parent, None)
    table = path.parent / "scores.parquet"
    try:
        scores = pd.read_parquet(table)
    except FileNotFoundError:
        raise UserError(f"{table}: no such file; run the stage evaluate again") from None
    missing = [column for column in COLUMNS if column not in scores]
    if missing or scores.empty:
        what = f"lacks the columns {', '.join(missing)}" if missing else "is empty"
        raise UserError(f"{table}: {what}; run the stage evaluate again")
    return Run(index, path.parent, scores)


def check_rows(rows: list[ResultRow]) -> None:
    """One dataset, and the same clips in every paired row: else no difference means anything."""
    datasets = sorted({run.index["dataset"] for row in rows for run in row.runs})
    if len(datasets) > 1:
        raise UserError(f"rows of several datasets ({', '.join(datasets)}); name rows of one")
    first: tuple[str, set[str]] | None = None
    for row in rows:
        for run in row.runs:
            if run.scores is None:
                continue
            clips = set(run.scores["clip"].unique())
            if first and clips != first[1]:
                raise UserError(
                    f"{row.name} was scored on other clips than {first[0]} "
                    f"({len(clips)} and {len(first[1])}); run the stage evaluate again for both"
                )
            first = first or (row.name, clips)


def under_protocol(row: ResultRow, protocol: Protocol) -> ResultRow | str:
    """The row with the scores that a protocol of frames counts, or why there are none."""
    index = row.index
    if row.runs[0].scores is None:
        return "its clips are no predictions of the test clips"
    if reason := too_few_clips(protocol, index["clips"]):
        return reason
    frames, context = protocol.frames, index["context_frames"]
    whole = context + index["future_frames"]
    if frames is not None and not context < frames <= whole:
        return (
            f"the protocol takes clips of {frames} frames; these have {context} observed of {whole}"
        )
    futures, had = protocol.trajectories, index["trajectories"]
    sampled = row.kind == "predictor"
    if futures is not None and sampled and had < futures:
        return f"the protocol takes {futures} futures per clip, and {had} are sampled"
    last, futures = (frames or whole) - context, futures if sampled else None
    runs = [
        replace(run, scores=counted(run.scores, protocol.clips, last, futures)) for run in row.runs
    ]
    return replace(row, runs=tuple(runs))


def too_few_clips(protocol: Protocol, clips: int) -> str:
    """Why a protocol has no number on so few clips; empty where it has."""
    if protocol.clips is None or clips >= protocol.clips:
        return ""
    return f"the protocol takes {protocol.clips} clips, and {clips} are predicted"


def counted(
    scores: pd.DataFrame, clips: int | None, frames: int, trajectories: int | None
) -> pd.DataFrame:
    """The lines of the first frames and trajectories of evenly spread clips.

    With fewer trajectories than there are, the lines of all together have no meaning and go.
    """
    names = scores["clip"].unique()
    if clips is not None:
        chosen = names[spread(len(names), clips)]
        scores = scores[scores["clip"].isin(chosen)]
    scores = scores[scores["frame"] <= frames]
    if trajectories is not None and trajectories <= scores["trajectory"].max():
        scores = scores[scores["trajectory"].between(0, trajectories - 1)]
    return scores
