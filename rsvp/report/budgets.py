"""What each row's training cost: stage one and stage two, from the run records.

An autoencoder that several rows share counts in full for each: it is what the row would cost alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pandas as pd

from rsvp.report.grids import UNKNOWN, Cell, Grid
from rsvp.report.records import count, duration

EARLY = ("patience", "diverged")  # why fine-tuning ends before its steps are made
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """What one training stage took; None is what its record does not say."""

    seconds: float | None = None  # of all its runs, validations included
    steps: int | None = None
    asked: float | None = None  # seconds that the config gave it; None where it gave steps

    @property
    def text(self) -> str:
        """The time, of how much, and the steps: "9 min 58 s of 10 min 00 s, 4 210 steps"."""
        if self.seconds is None:
            return UNKNOWN
        asked = f" of {duration(self.asked)}" if self.asked is not None else ""
        return f"{duration(self.seconds)}{asked}, {count(self.steps)} steps"


@dataclass(frozen=True)
class Budget:
    """What one predictor of one seed cost."""

    row: str
    seed: int
    autoencoder: str
    pretraining: Training
    finetuning: Training
    diffusion: Training
    stopped_by: str = ""  # why fine-tuning ended: steps, patience, diverged

    @property
    def stage_one(self) -> float | None:
        """Seconds of the autoencoder."""
        return total(self.pretraining.seconds, self.finetuning.seconds)

    @property
    def seconds(self) -> float | None:
        """Seconds of both stages."""
        return total(self.stage_one, self.diffusion.seconds)


def total(*values: float | None) -> float | None:
    """The sum; None where a part is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def budgets(records: Sequence[Record]) -> list[Budget]:
    """One budget for each predictor and seed, in the order of `records`.

    A row that is the `same_as` another costs what that one's training did.
    """
    made = {(r.get("stage"), name_of(r), r.get("seed")): r for r in records}
    lines = []
    for record in records:
        if record.get("stage") != "train_diffusion":
            continue
        seed = record.get("seed")
        autoencoder = (record.get("settings") or {}).get("predictor", {}).get("autoencoder", "")
        first, second = (
            made.get((stage, autoencoder, seed), {})
            for stage in ("pretrain_autoencoder", "finetune_autoencoder")
        )
        lines.append(
            Budget(
                name_of(record), seed or 0, autoencoder, training(first), training(second),
                training(record), second.get("stopped_by") or "",
            )
        )  # fmt: skip
    trained = {(line.row, line.seed): line for line in lines}
    for record in records:
        shared = (record.get("settings") or {}).get("predictor", {}).get("same_as")
        if record.get("stage") == "predict" and shared:
            line = trained.get((shared, record.get("seed") or 0))
            lines += [replace(line, row=name_of(record))] if line else []
    return lines


def name_of(record: Record) -> str:
    """What a training stage made: the name of an autoencoder or a predictor."""
    return (record.get("settings") or {}).get("name", "")


def training(record: Record) -> Training:
    """What a record says of its training."""
    asked = (record.get("calibration") or {}).get("seconds")
    return Training(record.get("training_seconds"), record.get("steps"), asked)


def budget_table(lines: Iterable[Budget]) -> pd.DataFrame:
    """budgets.csv: one line per predictor and seed, times in seconds."""
    parts = ("pretraining", "finetuning", "diffusion")
    columns = [f"{part}_{field.name}" for part in parts for field in fields(Training)]
    table = [
        {"row": line.row, "seed": line.seed, "autoencoder": line.autoencoder}
        | {f"{p}_{key}": v for p in parts for key, v in asdict(getattr(line, p)).items()}
        | {"stage_one_seconds": line.stage_one, "stage_two_seconds": line.diffusion.seconds,
           "seconds": line.seconds, "stopped_by": line.stopped_by}
        for line in lines
    ]  # fmt: skip
    ends = ["stage_one_seconds", "stage_two_seconds", "seconds", "stopped_by"]
    return pd.DataFrame(table, columns=["row", "seed", "autoencoder", *columns, *ends])


def budget_grids(lines: Sequence[Budget]) -> list[Grid]:
    """The same for people; nothing where nothing was trained."""
    if not lines:
        return []
    heads = ["row", "seed", "autoencoder", "pretraining", "fine-tuning", "stage one", "stage two",
             "sum"]  # fmt: skip
    caption = (
        "Budget of each row: time of training, validations included, from the run records. A shared"
        " autoencoder counts in full for each of its rows."
    )
    return [Grid("budgets", caption, heads, [cells(line) for line in lines])]


def cells(line: Budget) -> list[Cell]:
    """One line of the table for people."""
    early = f" (stopped early: {line.stopped_by})" if line.stopped_by in EARLY else ""
    texts = [line.row, str(line.seed), line.autoencoder or UNKNOWN, line.pretraining.text,
             line.finetuning.text + early]  # fmt: skip
    stage_two = Cell(line.diffusion.text, number=False)
    first = [Cell(text, number=False) for text in texts]
    return [*first, time(line.stage_one), stage_two, time(line.seconds)]


def time(seconds: float | None) -> Cell:
    """A time, or that it is not known."""
    return Cell(UNKNOWN if seconds is None else duration(seconds))
