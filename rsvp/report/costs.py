"""The cost of the run, from the run records: one line per stage and thing that it made.

The page lays the same lines out by hand, in page.html.jinja.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from rsvp.report.printing import UNKNOWN, Cell, TableFile, frame_of, table_of
from rsvp.report.records import count, duration

SMALL_JOBS = ("evaluate", "predict_baseline", "decode")  # too many to list one by one
MAGNITUDES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


@dataclass
class Cost:
    """The cost of one stage's work on one thing; None is what its records do not say."""

    stage: str
    of: str  # what was made; empty where jobs are summed up
    jobs: int = 0
    seconds: float = 0.0  # summed over jobs and over all processes of each
    peak_memory_mb: float = 0.0  # resident memory of the largest job, its children included
    gpu_peak_memory_mb: float | None = None  # its tensors on the GPU; None where it used none
    parameters: int | None = None
    flops_forward: int | None = None  # one clip forward; for predict, one trajectory
    samples_per_second: float | None = None  # clips in training, trajectories in prediction
    network_evaluations: int | None = None  # per trajectory
    steps: int | None = None
    clips: int | None = None  # summed over jobs
    device: str | None = None

    @property
    def work(self) -> str:
        """The amount of work, in its own unit."""
        if self.steps:
            return f"{count(self.steps)} steps"
        return f"{count(self.clips)} clips" if self.clips else ""

    @property
    def operations(self) -> str:
        """The operations of one clip with a unit: 1.52 G."""
        return "" if self.flops_forward is None else magnitude(self.flops_forward)

    @property
    def rate(self) -> str:
        """Samples per second, three digits, with what they are: 18.6 trajectories/s."""
        unit = "trajectories" if self.stage == "predict" else "clips"
        return (
            "" if self.samples_per_second is None
            else f"{self.samples_per_second:.3g}\N{NO-BREAK SPACE}{unit}/s"
        )  # fmt: skip


def costs(records: Sequence[dict[str, Any]]) -> list[Cost]:
    """The costs in the order of `records`; jobs of several seeds are one line."""
    lines: dict[tuple[str, str], Cost] = {}
    for record in records:
        stage = record.get("stage", "unknown")
        of = "" if stage in SMALL_JOBS else record["label"]
        line = lines.setdefault((stage, of), Cost(stage, of))
        line.jobs += 1
        line.seconds += record.get("seconds") or 0
        line.peak_memory_mb = max(line.peak_memory_mb, record.get("peak_memory_mb") or 0)
        if on_gpu := record.get("gpu_peak_memory_mb"):
            line.gpu_peak_memory_mb = max(line.gpu_peak_memory_mb or 0, on_gpu)
        if isinstance(record.get("clips"), int):
            line.clips = (line.clips or 0) + record["clips"]
        for name in ("parameters", "flops_forward", "samples_per_second", "network_evaluations",
                     "steps", "device"):  # fmt: skip
            if record.get(name) is not None and not isinstance(record[name], dict):
                setattr(line, name, record[name])
    return list(lines.values())


def cost_file(lines: Sequence[Cost]) -> TableFile:
    """One line per stage and thing."""
    columns = {
        "stage": lambda line: line.stage.replace("_", " "),
        "of": lambda line: line.of,
        "jobs": lambda line: Cell(count(line.jobs)),
        "time": lambda line: Cell(duration(line.seconds)),
        "peak memory (MB)": lambda line: Cell(count(line.peak_memory_mb)),
        "parameters": lambda line: Cell(count(line.parameters)),
        "FLOPs per clip": lambda line: Cell(line.operations or UNKNOWN),
        "samples per second": lambda line: Cell(line.rate or UNKNOWN),
        "NFE": lambda line: Cell(count(line.network_evaluations)),
        "device": lambda line: line.device or UNKNOWN,
    }
    frame = frame_of([asdict(line) for line in lines], [f.name for f in fields(Cost)])
    table = table_of("cost", "Cost of every stage, from the run records.", columns, lines)
    return TableFile("cost", frame, [table])


def magnitude(number: float) -> str:
    """A large number with three digits and a decimal prefix: 1.52 G."""
    for size, prefix in MAGNITUDES:
        if number >= size:
            return f"{number / size:.3g}\N{NO-BREAK SPACE}{prefix}"
    return f"{number:.0f}"
