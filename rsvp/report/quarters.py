"""Comparisons with copy-last by quarters of the clips, from the least motion to the most.

On real clips most frames hardly move, and a mean over all hides what a predictor does.
"""

from dataclasses import dataclass, replace

import pandas as pd

from rsvp.metrics.scoring import MOTION
from rsvp.report.estimates import (
    Estimate,
    clip_estimate,
    clip_groups,
    difference,
    samplings,
)
from rsvp.report.rows import ResultRow
from rsvp.report.scores import known_mean
from rsvp.report.tables import OF_FRAMES, Comparison, Quantity, Tables

QUARTERS = ("least motion", "less than half", "more than half", "most motion")
LEAST_CLIPS = 8  # two per quarter
SIGNS = {"better": "+", "worse": "\N{MINUS SIGN}", "no difference found": "="}
UNKNOWN = "?"
YARDSTICK = "copy-last"


@dataclass(frozen=True)
class Quarter:
    """A quarter of the clips: their names, and the range of the truth's motion in grey levels."""

    name: str
    clips: pd.Index
    low: float
    high: float


def quarters(scored: ResultRow) -> list[Quarter]:
    """Divide a row's clips by the motion of the truth's future; none with too few clips.

    The motion of a clip is the mean over its future frames of the mean absolute difference to the
    frame before. Equal ones go by their clips' names.
    """
    scores = scored.runs[0].scores
    motion = pd.Series(known_mean(scores.values(MOTION), axis=(1, 2)), scores.clips).dropna()
    if len(motion) < LEAST_CLIPS:
        return []
    places = pd.qcut(motion.rank(method="first"), len(QUARTERS), labels=False)
    parts = [motion[places == place] for place in range(len(QUARTERS))]
    return [
        Quarter(name, part.index, part.min(), part.max())
        for name, part in zip(QUARTERS, parts, strict=True)
    ]


def by_quarter(tables: Tables, row: ResultRow, key: Quantity) -> list[tuple[Quarter, Comparison]]:
    """Compare a row with copy-last in each quarter of the clips; nothing where it is not known."""
    if (row, key) not in tables.by_motion:
        tables.by_motion[row, key] = compared(tables, row, key)
    return tables.by_motion[row, key]


def compared(tables: Tables, row: ResultRow, key: Quantity) -> list[tuple[Quarter, Comparison]]:
    """Make the comparisons of `by_quarter`."""
    yardstick = yardstick_of(tables)
    if yardstick in (None, row) or key.measure not in OF_FRAMES or not key.measure.ranked:
        return []
    if not all(tables.shown(each, key).known for each in (row, yardstick)):
        return []
    scored, other = (tables.scored[each, key.protocol] for each in (row, yardstick))
    groups, found = clip_groups(scored), []
    for quarter in quarters(scored):
        sides = [estimate(each, key, quarter.clips, tables.resamples) for each in (scored, other)]
        between = replace(difference(*sides, groups, tables.resamples), clip_values=None)
        found.append((quarter, Comparison(row, yardstick, key, between, best_baseline=False)))
    return found


def estimate(scored: ResultRow, key: Quantity, clips: pd.Index, resamples: int) -> Estimate:
    """The mean of a row over these clips alone."""
    runs = (replace(run, scores=run.scores.of_clips(run.scores.clips.isin(clips)))
            for run in scored.runs)  # fmt: skip
    ways = samplings(scored, key.measure)
    sampling = key.sampling if key.sampling in ways else ways[0]
    return clip_estimate(replace(scored, runs=tuple(runs)), key.measure, sampling, resamples)


def signs(tables: Tables, row: ResultRow, key: Quantity) -> str:
    """Say in four signs where a row is better than copy-last; empty where it is not known.

    Equal scores are no difference, though they have no interval.
    """
    return " ".join(
        SIGNS.get(item.side, UNKNOWN) if item.estimate.value else "="
        for _, item in by_quarter(tables, row, key)
    )


def yardstick_of(tables: Tables) -> ResultRow | None:
    """Return the row of copy-last."""
    rows = tables.of_kind("baseline")
    return next((row for row in rows if row.method == YARDSTICK), None)
