"""The training of each row, stage one and stage two, from the run records.

An autoencoder that several rows share counts in full for each: it is what the row would cost alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rsvp.report.printing import UNKNOWN, Cell, TableFile, frame_of, table_of
from rsvp.report.records import count, duration

EARLY = ("patience", "diverged")  # why fine-tuning ends before its steps are made
PARTS = ("pretraining", "finetuning", "diffusion")
COLUMNS = (
    "row", "seed", "autoencoder",
    *(f"{part}_{key}" for part in PARTS for key in ("seconds", "steps", "asked")),
    "stage_one_seconds", "stage_two_seconds", "seconds", "stopped_by",
)  # fmt: skip
Record = Mapping[str, Any]


def budgets(records: Sequence[Record]) -> TableFile:
    """One line for each predictor and seed, in the order of `records`; times in seconds.

    A row that is the `same_as` another costs as much as that one's training.
    """
    made = {(r.get("stage"), name_of(r), r.get("seed")): r for r in records}
    lines = {}
    for record in records:
        if record.get("stage") == "train_diffusion":
            line = budget(record, made)
            lines[line["row"], line["seed"]] = line
    for record in records:
        shared = (record.get("settings") or {}).get("predictor", {}).get("same_as")
        key = (shared, record.get("seed") or 0)
        if record.get("stage") == "predict" and key in lines:
            lines[name_of(record), key[1]] = lines[key] | {"row": name_of(record)}
    caption = (
        "Budget of each row: time of training, validations included, from the run records. A shared"
        " autoencoder counts in full for each of its rows."
    )
    columns = {
        "row": lambda line: line["row"],
        "seed": lambda line: str(line["seed"]),
        "autoencoder": lambda line: line["autoencoder"] or UNKNOWN,
        "pretraining": lambda line: work(line, "pretraining"),
        "fine-tuning": lambda line: work(line, "finetuning") + early(line["stopped_by"]),
        "stage one": lambda line: time(line["stage_one_seconds"]),
        "stage two": lambda line: work(line, "diffusion"),
        "sum": lambda line: time(line["seconds"]),
    }
    found = list(lines.values())
    tables = [table_of("budgets", caption, columns, found)] if found else []
    return TableFile("budgets", frame_of(found, COLUMNS), tables)


def budget(record: Record, made: Mapping[tuple, Record]) -> dict[str, Any]:
    """The line of a predictor's training; None is what no record says."""
    seed = record.get("seed")
    autoencoder = (record.get("settings") or {}).get("predictor", {}).get("autoencoder", "")
    first, second = (
        made.get((stage, autoencoder, seed), {})
        for stage in ("pretrain_autoencoder", "finetune_autoencoder")
    )
    trained = dict(zip(PARTS, (first, second, record), strict=True))
    seconds = {part: r.get("training_seconds") for part, r in trained.items()}
    one = total(seconds["pretraining"], seconds["finetuning"])
    line = {"row": name_of(record), "seed": seed or 0, "autoencoder": autoencoder}
    for part, r in trained.items():
        asked = (r.get("calibration") or {}).get("seconds")
        line |= {f"{part}_seconds": seconds[part], f"{part}_steps": r.get("steps"),
                 f"{part}_asked": asked}  # fmt: skip
    return line | {
        "stage_one_seconds": one, "stage_two_seconds": seconds["diffusion"],
        "seconds": total(one, seconds["diffusion"]), "stopped_by": second.get("stopped_by") or "",
    }  # fmt: skip


def total(*values: float | None) -> float | None:
    """The sum; None where a part is not known."""
    return None if None in values else sum(values)


def name_of(record: Record) -> str:
    """The name of the autoencoder or predictor that a training stage made."""
    return (record.get("settings") or {}).get("name", "")


def work(line: Mapping[str, Any], part: str) -> str:
    """The time of a training, of how much, and its steps: "9 min 58 s of 10 min 00 s, 4 steps"."""
    seconds, steps, asked = (line[f"{part}_{key}"] for key in ("seconds", "steps", "asked"))
    if seconds is None:
        return UNKNOWN
    of = f" of {duration(asked)}" if asked is not None else ""
    return f"{duration(seconds)}{of}, {count(steps)} steps"


def early(stopped_by: str) -> str:
    """A remark where fine-tuning ended before its steps were made."""
    return f" (stopped early: {stopped_by})" if stopped_by in EARLY else ""


def time(seconds: float | None) -> Cell:
    """A time, or that it is not known."""
    return Cell(UNKNOWN if seconds is None else duration(seconds))
