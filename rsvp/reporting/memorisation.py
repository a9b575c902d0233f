"""Whether predictions copy training clips, as the report says it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rsvp.files import read_json
from rsvp.reporting.grids import Cell, Grid

STATISTICS = ("ratio", "nearer", "copied")
NOTES = (
    "distance to training, of real: how far the predicted futures are from the nearest training "
    "clip, relative to the real futures of the same clips; 1 where nothing is copied",
    "nearer than real: the probability that a prediction is nearer to training than some real test "
    "clip is; 0.5 where nothing is copied",
    "copied: the share of predictions at less than half of the distance of their own truth",
    "flagged: the first interval lies below 0.5, or that of the share of copies above 0",
)


def read_memorisation(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The rows of all indexes memorisation/<dataset>/index.json, one per predictor and seed."""
    return [row for path in paths for row in read_json(path)["rows"]]


def memorisation_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """memorisation.csv: one line per predictor and seed."""
    lines = [
        {key: row[key] for key in ("row", "seed", "clips", "groups", "flagged")}
        | {
            name if end == "mean" else f"{name}_{end}": row[name][end]
            for name in STATISTICS
            for end in ("mean", "low", "high")
        }
        for row in rows
    ]
    return pd.DataFrame(lines, columns=None if lines else ["row", "seed", "flagged"])


def memorisation_grids(rows: Sequence[dict[str, Any]]) -> list[Grid]:
    """The same for people."""
    if not rows:
        return []
    heads = ["row", "seed", "distance to training, of real", "nearer than real", "copied", "clips",
             "flagged"]  # fmt: skip
    lines = [
        [
            Cell(row["row"], number=False), Cell(str(row["seed"])),
            *(with_interval(row[name]) for name in STATISTICS),
            Cell(str(row["clips"])), Cell("yes" if row["flagged"] else "no", number=False),
        ]
        for row in rows
    ]  # fmt: skip
    caption = "Distances of predictions to their nearest training clips."
    return [Grid("memorisation", caption, heads, lines, notes=list(NOTES))]


def with_interval(values: dict[str, float | None]) -> Cell:
    """A number with its interval, where there is one."""
    if values["low"] is None or values["high"] is None:
        return Cell(f"{values['mean']:.2f}")
    return Cell(f"{values['mean']:.2f}", f"[{values['low']:.2f}, {values['high']:.2f}]")
