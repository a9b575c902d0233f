"""Whether predictions copy training clips, as the report says it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rsvp.report.estimates import NO_SPREAD, ONE_GROUP
from rsvp.report.grids import UNKNOWN, Cell, Grid
from rsvp.report.views import read_picture
from rsvp.runtime.files import read_json

HEADS = {
    "ratio": "distance to training, of real", "nearer": "nearer than real", "copied": "copied"
}  # fmt: skip
NOTES = (
    "distance to training, of real: how far the predicted futures are from the nearest training "
    "clip, relative to the real futures of the same clips; 1 where nothing is copied",
    "nearer than real: the probability that a prediction is nearer to training than some real test "
    "clip is; 0.5 where nothing is copied and predictions are as sharp as real clips",
    "copied: the share of predictions at less than half of the distance of their own truth",
)
CRITERION = "distance < 0.5, or copied > 0"  # of flagged, by whole intervals
PLACES = {"best": "best in PSNR", "worst": "worst in PSNR", "nearest": "nearest to training"}


def read_memorisation(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The rows of all indexes memorisation/<dataset>/index.json, one per row and seed.

    Each with "protocol", in one line, with the "unit" of its distances, and with "folder", from
    which its pictures are named.
    """
    rows = []
    for path in paths:
        index = read_json(path)
        described = index["protocol"]["described_by"]
        unit = f"in {described}" if described.startswith("features") else "grey levels"
        facts = {"protocol": protocol_text(index), "folder": Path(path).parent, "unit": unit}
        rows += [row | facts for row in index["rows"]]
    return rows


def protocol_text(index: dict[str, Any]) -> str:
    """What the numbers depend on."""
    facts = index["protocol"]
    return (
        f"memorisation: {index['dataset']} {facts['split']} split against "
        f"{facts['training_clips']} training clips, {facts['context_frames']} observed + "
        f"{facts['future_frames']} predicted frames, {facts['resolution']} px, "
        f"future {facts['future']}, described by {facts['described_by']}; {facts['distance']}"
    )


def memorisation_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """memorisation.csv: one line per row and seed."""
    lines = [
        {key: row[key] for key in ("protocol", "row", "kind", "seed", "clips", "groups")}
        | {
            name if end == "mean" else f"{name}_{end}": row[name][end]
            for name in HEADS
            for end in ("mean", "low", "high")
        }
        | {"criterion": CRITERION, "flagged": row["flagged"]}
        | {"note": "; ".join(f"{HEADS[name]}: {why}" for name, why in without_interval(row))}
        for row in rows
    ]
    return pd.DataFrame(lines, columns=None if lines else ["row", "seed", "flagged"])


def memorisation_grids(rows: Sequence[dict[str, Any]]) -> list[Grid]:
    """The same for people."""
    if not rows:
        return []
    heads = ["row", "seed", *HEADS.values(), "clips", "flagged where", "flagged"]
    lines = [
        [
            Cell(row["row"], number=False), Cell(str(row["seed"])),
            *(with_interval(row[name]) for name in HEADS),
            Cell(str(row["clips"])), Cell(CRITERION, number=False), Cell(flag(row), number=False),
        ]
        for row in rows
    ]  # fmt: skip
    protocols = dict.fromkeys(row["protocol"] for row in rows)
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, why in without_interval(row):
            reasons.setdefault((name, why), []).append(f"{row['row']} (seed {row['seed']})")
    notes = [
        f"{HEADS[name]} of {', '.join(names)}: {why}" for (name, why), names in reasons.items()
    ]
    caption = f"{'; '.join(protocols)}."
    return [Grid("memorisation", caption, heads, lines, notes=[*NOTES, *notes])]


def without_interval(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, reason) of the statistics of a row that have no interval."""
    why = NO_SPREAD if row["groups"] > 1 else ONE_GROUP
    return [(name, why) for name in HEADS if None in (row[name]["low"], row[name]["high"])]


def flag(row: dict[str, Any]) -> str:
    """Whether a row is flagged; the ceiling has seen the true future, and copies nothing."""
    return UNKNOWN if row["kind"] == "ceiling" else "yes" if row["flagged"] else "no"


def with_interval(values: dict[str, float | None]) -> Cell:
    """A number with its interval, where there is one."""
    if values["low"] is None or values["high"] is None:
        return Cell(f"{values['mean']:.2f}")
    return Cell(f"{values['mean']:.2f}", f"[{values['low']:.2f}, {values['high']:.2f}]")


def nearest_pictures(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    """(title, uint8 RGB) of predictions above their nearest training clips, of the first seeds."""
    first = {row["row"]: row for row in reversed(rows) if row["kind"] == "predictor"}
    return [
        (
            f"{name}, {PLACES[shown['place']]}: {shown['clip']}\nnearest in training: "
            f"{shown['nearest']}, {shown['distance']:.3g} {row['unit']} away "
            f"(its truth {shown['real_distance']:.3g})",
            read_picture(row["folder"] / shown["picture"]),
        )
        for name, row in reversed(first.items())
        for shown in row["shown"]
    ]
