"""The verdict on the first predictor in words: did it learn, and if not, what stands in its way.

Each statement is measured, has its number, and names the key of the config to change. How many more
steps would do is not forecast: no such forecast was tested.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rsvp.report.estimates import Estimate, clip_groups, difference, frame_values
from rsvp.report.measures import CRPS, PSNR
from rsvp.report.printing import number
from rsvp.report.records import Record, StageHistory, autoencoder_of, trained_as
from rsvp.report.rows import ResultRow
from rsvp.report.tables import Comparison, Quantity, Tables

BETTER, NOT_YET, CANNOT, UNKNOWN = "it predicts", "not yet", "it cannot", "not known"
COPIED_DB = 46.0  # PSNR of a frame that repeats another, but for what the codec does
MANY_COPIES = 0.05  # share of clips from which on it is said
FEWEST_VALIDATIONS = 6  # from which a trend is read
PARTED = 1.02  # times the lowest validation loss, from which on it has risen
WATCHED = "validation_loss"  # a column of the predictor's history


@dataclass(frozen=True)
class Verdict:
    """A word, a sentence, and sentences on the causes."""

    word: str
    text: str
    causes: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The whole as lines of text."""
        return [f"{self.word}: {self.text}", *(f"  - {cause}" for cause in self.causes)]


def verdict(
    tables: Tables, histories: Sequence[StageHistory], records: Sequence[Record]
) -> Verdict:
    """Judge the first predictor of the tables by CRPS, a proper score that all rows have."""
    first = next(iter(tables.of_kind("predictor")), None)
    if first is None or not tables.own_protocols:
        return Verdict(UNKNOWN, "no predictor was scored frame by frame")
    against = [item for item in tables.comparisons
               if item.predictor is first and item.other.kind == "baseline"
               and item.quantity.measure is CRPS
               and item.quantity.protocol == tables.own_protocols[0]]  # fmt: skip
    if not against or any(item.side in ("no interval", "not computed") for item in against):
        return Verdict(
            UNKNOWN, f"{first.label} has no interval against a baseline: score more clips"
        )
    hardest = max(against, key=lambda item: item.estimate.value)
    text, trained = compared(hardest), trained_as(first.name, records)
    by_heart = parted(histories, trained, tables.index["dataset"])
    if all(item.side == "better" for item in against):
        subject = hardest.scope or f"the method, trained with {hardest.estimate.seeds} seeds,"
        return Verdict(BETTER, f"{subject} is better than every baseline: {text}", tuple(by_heart))
    limits = [
        *beyond_the_ceiling(tables, autoencoder_of(first.name, records)),
        *repeated_frames(tables, tables.index["dataset"]),
    ]
    hints = [*foretold(tables, first, hardest.other), *by_heart]
    falling = still_falling(histories, trained)
    word = CANNOT if limits and not falling else NOT_YET
    return Verdict(word, text, (*falling, *limits, *hints))


def compared(item: Comparison) -> str:
    """A comparison as a clause."""
    mine, other = item.predictor.label, item.other.label
    cell = number(CRPS, item.estimate, sign=True)
    said = {"better": "below", "worse": "above"}.get(item.side)
    if said is None:
        return (
            f"no difference found between the CRPS of {mine} and {other}"
            f" ({cell.value} grey levels, {cell.span})"
        )
    amount = CRPS.text(abs(item.estimate.value))
    return (
        f"the CRPS of {mine} is {amount} grey levels {said} that of {other}, the hardest baseline"
        f" ({cell.span})"
    )


def beyond_the_ceiling(tables: Tables, autoencoder: str) -> list[str]:
    """Say whether the autoencoder's reconstruction is provably no better than the best baseline."""
    ceiling = row_named(tables, f"{autoencoder}.reconstruction")
    key = tables.quantity(PSNR, "single", tables.own_protocols[0])
    best = tables.best(key, "baseline")
    if ceiling is None or best is None:
        return []
    room = tables.difference(ceiling, best, key)
    if not room.has_interval or room.high > 0:
        return []
    top = PSNR.text(tables.cell(ceiling, key).value)
    return [
        f"the autoencoder's reconstruction of the true frames has {top} dB, and {best.label}"
        f" {PSNR.text(tables.cell(best, key).value)} dB: no predictor on it can show more. Train it"
        f" longer (autoencoders.{autoencoder}.pretrain.steps) or make it wider"
        f" (autoencoders.{autoencoder}.width)"
    ]


def repeated_frames(tables: Tables, dataset: str) -> list[str]:
    """Say in how many clips the first future frame repeats the last observed one."""
    copying = row_named(tables, f"{dataset}.copy-last")
    if copying is None or copying.runs[0].scores is None:
        return []
    values = frame_values(copying.runs[0].scores, PSNR, "single")
    share = float((values.iloc[:, 0] >= COPIED_DB).mean())
    if share < MANY_COPIES:
        return []
    return [
        f"in {share:.0%} of the {tables.split} clips the first future frame repeats the last"
        " observed one, where copying is exact: take a rate at which frames differ"
        f" (datasets.{dataset}.target_fps or frame_stride)"
    ]


def foretold(tables: Tables, first: ResultRow, baseline: ResultRow) -> list[str]:
    """Say up to which future frame a predictor is better than a baseline."""
    key = Quantity(CRPS, "all", tables.own_protocols[0])
    if not all(tables.horizon.get((row, key)) for row in (first, baseline)):
        return []
    both = [tables.at_frames(row, key) for row in (first, baseline)]
    groups = clip_groups(tables.scored[first, key.protocol])
    differences = [difference(*pair, groups, tables.resamples) for pair in zip(*both, strict=False)]
    ahead = [estimate.has_interval and estimate.high < 0 for estimate in differences]
    count = ahead.index(False) if False in ahead else len(ahead)
    if count == len(ahead):
        return []
    upto = (
        f"only up to frame {count} of {len(ahead)}: motion is foretold no further"
        if count
        else "in no future frame: motion is not foretold"
    )
    return [
        f"its CRPS is proven below that of {baseline.label} {upto}. More observed frames"
        " (context_frames), a shorter clip (clip_frames) or more videos may help"
    ]


def still_falling(histories: Iterable[StageHistory], predictor: str) -> list[str]:
    """Say how fast a predictor's validation loss fell at the end, where it did provably."""
    found = []
    for steps, losses in validations(histories, predictor):
        half = slice(len(steps) // 2, None)
        rate = fall(steps[half], losses[half])
        if rate.has_interval and rate.low > 0:
            found.append(rate)
    if not found:
        return []
    least = min(found, key=lambda rate: rate.value)
    return [
        f"the validation loss still fell by {least.value:.1%} ({least.low:.1%} to"
        f" {least.high:.1%}) per 1000 steps in the second half of the training: more steps may"
        f" help (predictors.{predictor}.steps or seconds)"
    ]


def fall(steps: np.ndarray, losses: np.ndarray) -> Estimate:
    """The relative fall of a loss per 1000 steps: a straight line through its logarithm.

    The interval takes the deviations from the line as independent (ordinary least squares).
    """
    if len(steps) < FEWEST_VALIDATIONS // 2 or (losses <= 0).any():
        return Estimate()
    line = stats.linregress(steps / 1000.0, np.log(losses))
    reach = stats.t.ppf(0.975, len(steps) - 2) * line.stderr
    value, low, high = (-np.expm1(line.slope + shift) for shift in (0.0, reach, -reach))
    return Estimate(float(value), float(low), float(high))


def parted(histories: Iterable[StageHistory], predictor: str, dataset: str) -> list[str]:
    """Say where the validation loss rose from its lowest value: training and validation part."""
    for steps, losses in validations(histories, predictor):
        place = int(losses.argmin())
        last = float(losses[-2:].mean())
        # One validation may be low by chance: its neighbours have to be, too.
        around = float(losses[max(0, place - 1) : place + 2].mean())
        if place < 0.75 * len(losses) and last > PARTED * around:
            return [
                f"the validation loss was lowest at step {steps[place]:.0f} of {steps[-1]:.0f} and"
                f" rose by {last / losses[place] - 1:.1%} after it: the predictor learns its"
                " training clips by heart, and keeps weights of about then. More videos help most;"
                " else more"
                f" clips of each (datasets.{dataset}.training_stride, backwards) and augmentation"
                f" (predictors.{predictor}.augment_latents, the dataset's augment)"
            ]
    return []


def validations(
    histories: Iterable[StageHistory], predictor: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps and validation losses of a predictor's trainings that have enough of them."""
    found = []
    for history in histories:
        if history.stage != f"predictor {predictor}" or WATCHED not in history.table:
            continue
        table = history.table.dropna(subset=[WATCHED])
        if len(table) >= FEWEST_VALIDATIONS:
            found.append((table["step"].to_numpy(float), table[WATCHED].to_numpy(float)))
    return found


def row_named(tables: Tables, name: str) -> ResultRow | None:
    """The row of a name; None where there is none."""
    return next((row for row in tables.rows if row.name == name), None)
