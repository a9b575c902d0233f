"""The table of copies: predictions beside their nearest training clips."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rsvp.report.estimates import NO_SPREAD, ONE_GROUP
from rsvp.report.examples import read_picture
from rsvp.report.printing import UNKNOWN, Cell, TableFile, frame_of, pixels, table_of
from rsvp.runtime.files import read_json

HEADS = {
    "ratio": "distance to training, of real", "nearer": "nearer than real", "copied": "copied"
}  # fmt: skip
NOTES = (
    "distance to training, of real: how far the predicted frames are from the nearest training "
    "clip, relative to the real frames of the same clips; 1 where nothing is copied",
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
        more = {"protocol": protocol_text(index), "folder": Path(path).parent, "unit": unit}
        rows += [row | more for row in index["rows"]]
    return rows


def protocol_text(index: dict[str, Any]) -> str:
    """All that the numbers depend on, in one line."""
    protocol = index["protocol"]
    return (
        f"memorisation: {index['dataset']} {protocol['split']} split against "
        f"{protocol['training_clips']} training clips, {protocol['context_frames']} observed + "
        f"{protocol['future_frames']} predicted frames, {pixels(protocol['resolution'])}, "
        f"future {protocol['future']}, described by {protocol['described_by']}; "
        f"{protocol['distance']}"
    )


def memorisation(rows: Sequence[dict[str, Any]]) -> TableFile:
    """One line per row and seed."""
    frame = [
        {key: row[key] for key in ("protocol", "row", "kind", "seed", "clips", "groups")}
        | {name if end == "mean" else f"{name}_{end}": row[name][end]
           for name in HEADS for end in ("mean", "low", "high")}
        | {"criterion": CRITERION, "flagged": row["flagged"]}
        | {"note": "; ".join(f"{HEADS[name]}: {why}" for name, why in without_interval(row))}
        for row in rows
    ]  # fmt: skip
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for reason in without_interval(row):
            reasons.setdefault(reason, []).append(f"{row['row']} (seed {row['seed']})")
    notes = [f"{HEADS[name]} of {', '.join(of)}: {why}" for (name, why), of in reasons.items()]
    columns = (
        {"row": lambda row: row["row"], "seed": lambda row: Cell(str(row["seed"]))}
        | {head: partial(statistic, name) for name, head in HEADS.items()}
        | {"clips": lambda row: Cell(str(row["clips"])), "flagged where": lambda row: CRITERION,
           "flagged": flag}
    )  # fmt: skip
    caption = f"{'; '.join(dict.fromkeys(row['protocol'] for row in rows))}."
    tables = [table_of("memorisation", caption, columns, rows, [*NOTES, *notes])] if rows else []
    return TableFile("memorisation", frame_of(frame, ["row", "seed", "flagged"]), tables)


def without_interval(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, reason) of the statistics of a row that have no interval."""
    why = NO_SPREAD if row["groups"] > 1 else ONE_GROUP
    return [(name, why) for name in HEADS if None in (row[name]["low"], row[name]["high"])]


def flag(row: dict[str, Any]) -> str:
    """Yes where a row is flagged; the ceiling has seen the true future, and copies nothing."""
    return UNKNOWN if row["kind"] == "ceiling" else "yes" if row["flagged"] else "no"


def statistic(name: str, row: dict[str, Any]) -> Cell:
    """A statistic of a row with its interval, where there is one."""
    ends = [row[name]["low"], row[name]["high"]]
    low, high = ("", "") if None in ends else (f"{end:.2f}" for end in ends)
    return Cell(f"{row[name]['mean']:.2f}", low, high)


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
