"""The rows of the report: one predictor, baseline, ceiling or floor each, scored per seed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rsvp.config.schema import Protocol
from rsvp.metrics.definitions import DEFINITIONS
from rsvp.report.scores import Scores, read_scores
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json

INDEX_KEYS = {
    "clips", "context_frames", "dataset", "future_frames", "kind", "paired", "protocol", "row",
    "seed", "trajectories",
}  # fmt: skip
KINDS = ("predictor", "baseline", "ceiling", "floor")
UNPAIRED = "its clips are no predictions of the test clips"
FIRST_FRAMES = "the protocol takes the first frames of clips, and others are observed"


@dataclass(frozen=True)
class Run:
    """One row under one seed: its evaluation index, and the folder that it stands in."""

    index: dict[str, Any]
    folder: Path
    scores: Scores | None  # None if unpaired


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
    def trained(self) -> bool:
        """True where another training would have other numbers."""
        return self.kind in ("predictor", "ceiling")

    @property
    def label(self) -> str:
        """The name without the dataset that qualifies it in paths; each ceiling has its own."""
        return self.name.replace(".", " ") if self.kind == "ceiling" else self.method

    @property
    def method(self) -> str:
        """The method alone, whatever the dataset or autoencoder: copy-last, reconstruction."""
        if self.kind == "predictor":
            return self.name
        name = self.name.rsplit(".", 1)[-1]
        return name.partition("_")[0] if self.kind in ("baseline", "floor") else name

    @property
    def context(self) -> str:
        """The frames that it observes, in words; empty for the first ones of a clip."""
        protocol = self.index["protocol"]
        if "predicted" not in protocol:
            return ""
        observed = sorted(place + 1 for place in protocol["observed"])
        if not observed:
            return "nothing observed"
        frames = len(observed) + len(protocol["predicted"])
        return f"frames {', '.join(map(str, observed))} of {frames} observed"

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
    if lacking := sorted(INDEX_KEYS - set(index)):
        raise UserError(f"{path}: lacks {', '.join(lacking)}; run the stage evaluate again")
    if not index["paired"]:
        return Run(index, path.parent, None)
    return Run(index, path.parent, read_scores(path.parent / "scores.parquet"))


def check_rows(rows: list[ResultRow]) -> None:
    """UserError for several datasets, and for other clips in two paired rows of one context.

    No difference would mean anything.
    """
    datasets = sorted({run.index["dataset"] for row in rows for run in row.runs})
    if len(datasets) > 1:
        raise UserError(f"rows of several datasets ({', '.join(datasets)}); name rows of one")
    seen: dict[str, tuple[str, set[str]]] = {}
    for row in rows:
        for run in row.runs:
            if run.scores is None:
                continue
            clips = set(run.scores.clips)
            first = seen.setdefault(row.context, (row.name, clips))
            if clips != first[1]:
                raise UserError(
                    f"{row.name} was scored on other clips than {first[0]} "
                    f"({len(clips)} and {len(first[1])}); run the stage evaluate again for both"
                )


def under_protocol(row: ResultRow, protocol: Protocol) -> ResultRow | str:
    """The row with the scores that a protocol of frames counts, or why there are none."""
    index = row.index
    if row.runs[0].scores is None:
        return UNPAIRED
    if reason := too_few_clips(protocol, index["clips"]):
        return reason
    frames, context = protocol.frames, index["context_frames"]
    if frames is not None and row.context:
        return FIRST_FRAMES
    whole = context + index["future_frames"]
    if frames is not None and not context < frames <= whole:
        return (
            f"the protocol takes clips of {frames} frames; these have {context} observed of {whole}"
        )
    wanted, had = protocol.trajectories, index["trajectories"]
    sampled = row.kind == "predictor" and not index.get("point_forecast")
    if wanted is not None and sampled and had < wanted:
        return too_few_trajectories(wanted, had)
    last, wanted = (frames or whole) - context, wanted if sampled else None
    definition = DEFINITIONS[protocol.definition]
    counts = (run.scores.counted(protocol.clips, last, wanted) for run in row.runs)
    runs = [replace(run, scores=scores.defined(definition))
            for run, scores in zip(row.runs, counts, strict=True)]  # fmt: skip
    return replace(row, runs=tuple(runs))


def too_few_clips(protocol: Protocol, clips: int) -> str:
    """Return the reason why a protocol has no number on so few clips; empty without one."""
    if protocol.clips is None or clips >= protocol.clips:
        return ""
    return f"the protocol takes {protocol.clips} clips, and {clips} are predicted"


def too_few_trajectories(wanted: int, had: int) -> str:
    """Return the reason why a protocol of more trajectories has no number."""
    return f"the protocol takes {wanted} trajectories per clip, and {had} are sampled"
