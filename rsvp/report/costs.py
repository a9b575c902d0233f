"""The cost of the run and of each row, from the run records."""

from collections.abc import Mapping, Sequence

import pandas as pd

from rsvp.report.printing import UNKNOWN, Cell, TableFile, frame_of, table_of
from rsvp.report.records import Record, count
from rsvp.runtime.words import duration

SMALL_JOBS = ("evaluate", "predict_baseline", "decode")  # too many to list one by one
MAGNITUDES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
# The columns of the table of costs, and what the jobs of one line come to.
MERGED = {
    "seconds": "sum", "peak_memory_mb": "max", "gpu_peak_memory_mb": "max", "parameters": "last",
    "flops_forward": "last", "samples_per_second": "last", "network_evaluations": "last",
    "steps": "last", "clips": lambda clips: clips.sum(min_count=1), "device": "last",
}  # fmt: skip
COST_NOTES = (
    "time: summed over jobs and over all processes of each",
    "peak memory: the largest job’s, its child processes included; on the GPU, that of tensors",
    "FLOPs per clip: one clip forward (autoencoder: encode and decode; denoiser: one evaluation; "
    "predict: one trajectory), a multiply-add counted as two, element-wise operations left out",
    "NFE: network evaluations per trajectory",
)
UNEVEN = 1.5  # between the steps that seeds of a training do in equal seconds
EARLY = ("patience", "diverged")  # why fine-tuning ends before its steps are made
TRAININGS = {
    "pretraining": "pretrain_autoencoder", "finetuning": "finetune_autoencoder",
    "diffusion": "train_diffusion",
}  # fmt: skip
STAGE_TWO = ("train_diffusion", "train_simvp")


def cost(records: Sequence[Record]) -> TableFile:
    """One line per stage and thing that it made: jobs of several seeds, and small jobs, are one."""
    frame = pd.DataFrame([
        {
            "stage": (stage := record.get("stage", "unknown")),
            "of": "" if stage in SMALL_JOBS else record["label"],
            **{name: record[name] for name in MERGED
               if isinstance(record.get(name), int | float | str)},
        }
        for record in records
    ], columns=["stage", "of", *MERGED])  # fmt: skip
    numbers = dict.fromkeys(MERGED.keys() - {"device"}, float)
    groups = frame.astype(numbers).groupby(["stage", "of"], sort=False)
    merged = groups.agg(MERGED)
    merged.insert(0, "jobs", groups.size())
    merged = merged.reset_index()
    columns = {
        "stage": lambda line: line["stage"].replace("_", " ") + (line["of"] and f": {line['of']}"),
        "jobs": lambda line: counted(line, "jobs"),
        "time": lambda line: Cell(duration(line["seconds"])),
        "peak memory (MB)": lambda line: counted(line, "peak_memory_mb"),
        "on the GPU (MB)": lambda line: counted(line, "gpu_peak_memory_mb"),
        "parameters": lambda line: counted(line, "parameters"),
        "FLOPs per clip": lambda line: Cell(magnitude(line["flops_forward"])),
        "samples per second": rate,
        "NFE": lambda line: counted(line, "network_evaluations"),
        "work": work,
        "device": lambda line: line["device"] or UNKNOWN,
    }
    if merged["gpu_peak_memory_mb"].isna().all():
        del columns["on the GPU (MB)"]
    total = duration(merged["seconds"].sum())
    caption = f"Cost of every stage, from the run records; {total} in all."
    lines = merged.astype(object).where(merged.notna(), None).to_dict("records")
    return TableFile("cost", merged, [table_of("cost", caption, columns, lines, COST_NOTES)])


def counted(line: Record, name: str) -> Cell:
    """A count of a line."""
    return Cell(count(line[name]))


def work(line: Record) -> str:
    """The amount of work of a line, in its own unit."""
    if line["steps"]:
        return f"{count(line['steps'])} steps"
    return f"{count(line['clips'])} clips" if line["clips"] else ""


def rate(line: Record) -> Cell:
    """Samples per second, three digits, with what they are: 18.6 trajectories/s."""
    if line["samples_per_second"] is None:
        return Cell(UNKNOWN)
    unit = "trajectories" if line["stage"] == "predict" else "clips"
    return Cell(f"{line['samples_per_second']:.3g} {unit}/s")


def magnitude(number: float | None) -> str:
    """A large number with three digits and a decimal prefix: 1.52 G."""
    for size, prefix in MAGNITUDES:
        if number is not None and number >= size:
            return f"{number / size:.3g}\N{NO-BREAK SPACE}{prefix}"
    return UNKNOWN if number is None else f"{number:.0f}"


def budgets(records: Sequence[Record]) -> TableFile:
    """One line for each predictor and seed, in the order of `records`; times in seconds.

    An autoencoder that several rows share counts in full for each: it is what the row would cost
    alone. A row that is the `same_as` another costs as much as that one's training.
    """
    made = {(r.get("stage"), name_of(r), r.get("seed")): r for r in records}
    lines = {(name, seed or 0): budget(stage, name, seed, made)
             for stage, name, seed in made if stage in STAGE_TWO}  # fmt: skip
    for (stage, name, seed), record in made.items():
        shared = ((record.get("settings") or {}).get("predictor") or {}).get("same_as")
        if stage == "predict" and (shared, seed or 0) in lines:
            lines[name, seed or 0] = lines[shared, seed or 0] | {"row": name}
    columns = {
        "row": lambda line: line["row"],
        "seed": lambda line: str(line["seed"]),
        "autoencoder": lambda line: line["autoencoder"] or UNKNOWN,
        "pretraining": lambda line: training(line, "pretraining"),
        "fine-tuning": lambda line: training(line, "finetuning") + early(line["stopped_by"]),
        "stage one": lambda line: time(line["stage_one_seconds"]),
        "stage two": lambda line: training(line, "diffusion") + early(line["stage_two_stopped_by"]),
        "sum": lambda line: time(line["seconds"]),
    }
    caption = (
        "Budget of each row: time of training, validations included, from the run records. A shared"
        " autoencoder counts in full for each of its rows."
    )
    found = list(lines.values())
    tables = [table_of("budgets", caption, columns, found, uneven(records))] if found else []
    return TableFile("budgets", frame_of(found, budget("", "", 0, {})), tables)


def budget(stage: str, name: str, seed: int | None, made: Mapping[tuple, Record]) -> Record:
    """The line of a predictor's training; None is what no record says."""
    own = made.get((stage, name, seed), {})
    autoencoder = (own.get("settings") or {}).get("predictor", {}).get("autoencoder", "")
    line = {"row": name, "seed": seed or 0, "autoencoder": autoencoder}
    for part, before in TRAININGS.items():
        record = own if part == "diffusion" else made.get((before, autoencoder, seed), {})
        line |= {f"{part}_seconds": record.get("training_seconds"),
                 f"{part}_steps": record.get("steps"),
                 f"{part}_asked": (record.get("calibration") or {}).get("seconds")}  # fmt: skip
    one = total(line["pretraining_seconds"], line["finetuning_seconds"])
    if stage == "train_simvp":  # without an autoencoder
        one = 0.0
    two = line["diffusion_seconds"]
    stopped_by = made.get((TRAININGS["finetuning"], autoencoder, seed), {}).get("stopped_by")
    return line | {"stage_one_seconds": one, "stage_two_seconds": two, "seconds": total(one, two),
                   "stopped_by": stopped_by or "",
                   "stage_two_stopped_by": own.get("stopped_by") or ""}  # fmt: skip


def uneven(records: Sequence[Record]) -> list[str]:
    """Notes on trainings whose seeds were planned far more or fewer steps for equal seconds."""
    planned: dict[tuple[str, str], list[int]] = {}
    for record in records:
        if steps := (record.get("calibration") or {}).get("steps"):
            planned.setdefault((record["stage"], name_of(record)), []).append(steps)
    return [
        f"{stage.replace('_', ' ')} of {name}: {count(min(steps))} to {count(max(steps))} steps by "
        "seed for equal seconds, as they were timed; a busy or a slower machine gives fewer, and a "
        "row is then judged by less than it learns in that time elsewhere"
        for (stage, name), steps in planned.items()
        if max(steps) > UNEVEN * min(steps)
    ]


def total(*values: float | None) -> float | None:
    """The sum; None where a part is not known."""
    return None if None in values else sum(values)


def name_of(record: Record) -> str:
    """The name of the dataset, autoencoder or predictor that a stage made."""
    return (record.get("settings") or {}).get("name", "")


def training(line: Record, part: str) -> str:
    """The time of a training, of how much, and its steps: "9 min 58 s of 10 min 00 s, 4 steps"."""
    seconds, steps, asked = (line[f"{part}_{key}"] for key in ("seconds", "steps", "asked"))
    if seconds is None:
        return UNKNOWN
    of = f" of {duration(asked)}" if asked is not None else ""
    return f"{duration(seconds)}{of}, {count(steps)} steps"


def early(stopped_by: str) -> str:
    """A remark where a training ended before its steps were made."""
    return f" (stopped early: {stopped_by})" if stopped_by in EARLY else ""


def time(seconds: float | None) -> Cell:
    """A time, or that it is not known."""
    return Cell(UNKNOWN if seconds is None else duration(seconds))
