"""The playing examples: clips chosen by rule and not by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rsvp.data.clips import Clips
from rsvp.data.predictions import Predictions
from rsvp.report.estimates import clip_values
from rsvp.report.measures import LPIPS, PSNR
from rsvp.report.panels import (
    ERROR_GAIN,
    Panel,
    PlayingClip,
    Views,
    error_frames,
    playing_clip,
    stills,
)
from rsvp.report.rows import ResultRow
from rsvp.runtime.files import read_json

PLACES = ("best", "median", "worst")
SAMPLES = 4  # trajectories that play side by side, at most
COLUMNS = 4  # panels side by side


@dataclass(frozen=True)
class Example:
    """One playing clip with the scores of the row that predicted it and of others."""

    place: str  # best, median or worst
    rank: int  # by PSNR among all scored clips, from 1
    clips: int  # number of scored clips
    clip: str
    playing: PlayingClip
    strip: str  # data URI of the still picture
    strip_frames: list[int]  # future frames that it shows
    psnr: float  # dB, mean over the trajectories of the clip
    lpips: float  # NaN where not computed
    others: list[tuple[str, float]]  # label and PSNR of other rows on the same clip


@dataclass(frozen=True)
class Gallery:
    """The examples of one predictor."""

    label: str
    trajectories: int  # of each clip
    examples: list[Example]
    views: Views  # scene, object and motion, or why they are not shown


def examples(
    row: ResultRow, others: Sequence[ResultRow], predictions: Iterable[Path],
    datasets: Mapping[str, Path], views: Views, wanted: int,
) -> list[Example]:  # fmt: skip
    """Return the best, median and worst of all scored clips of a row, under its first seed.

    A clip's rank is that of its PSNR, averaged over frames and over all trajectories of the clip.
    others: rows to hold a clip's PSNR against. datasets: their index files by name. views: scene,
    object and motion of the clips.
    """
    first_seeds = {(row.name, row.index["seed"]): row for row in (row, *others)}
    found = {index: Predictions(path) for path in predictions
             if (index := prediction_key(path)) in first_seeds}  # fmt: skip
    predicted = found.pop((row.name, row.index["seed"]), None)
    scores = row.runs[0].scores
    if predicted is None or scores is None:
        return []
    psnr = clip_values(scores, PSNR, "single").sort_values(ascending=False, kind="stable")
    lpips = clip_values(scores, LPIPS, "single")
    theirs = [(other.label, clip_values(other.runs[0].scores, PSNR, "single")) for other in others]
    rivals = {first_seeds[key].label: rows for key, rows in found.items()
              if first_seeds[key].kind == "baseline"}  # fmt: skip
    clips = Clips(datasets[row.index["dataset"]], "test", row.index["future_frames"])
    context = clips.context_frames
    places = {clip: i for i, clip in enumerate(clips.table["clip"])}
    shown = []
    chosen = tqdm(pick(list(psnr.index), wanted), desc="examples", unit="clip", delay=2)
    for place, clip in chosen:
        truth = clips.frames(places[clip]).numpy()

        def whole(rows: Predictions, most: int) -> list[np.ndarray]:
            made = rows.frames(rows.clips.index(clip))[:most].numpy()  # noqa: B023
            return [np.concatenate([truth[:context], frames]) for frames in made]  # noqa: B023

        samples = whole(predicted, SAMPLES)
        beside = {label: whole(rows, 1)[0] for label, rows in rivals.items()}
        panels = clip_panels(truth, samples, beside, context) + views.panels(clip, len(truth))
        strip = stills([truth, samples[0], error_frames(samples[0], truth)], context)
        shown.append(Example(
            place, list(psnr.index).index(clip) + 1, len(psnr), clip,
            playing_clip(in_rows(panels), context), *strip, psnr[clip], lpips[clip],
            [(label, values[clip]) for label, values in theirs],
        ))  # fmt: skip
    return shown


def prediction_key(path: Path) -> tuple[str, int]:
    """Return the row and the seed of an index of predictions."""
    index = read_json(path)
    return index["row"], index["seed"]


def clip_panels(
    truth: np.ndarray, samples: list[np.ndarray], others: Mapping[str, np.ndarray], context: int
) -> list[Panel]:
    """Return panels of the context, the truth, the predictions of this and other rows, the error.

    truth, samples and others: whole clips (T, R, R, 3) uint8 that share `context` frames.
    """
    held = truth[context - 1 : context].repeat(len(truth) - context, axis=0)
    several = len(samples) > 1
    names = [f"sample {number + 1}" for number in range(len(samples))] if several else ["sample"]
    return [
        Panel("observed", np.concatenate([truth[:context], held])),
        Panel("truth", truth),
        *(Panel(name, frames) for name, frames in others.items()),
        *map(Panel, names, samples),
        Panel(f"error{' of 1' if several else ''} ×{ERROR_GAIN}", error_frames(samples[0], truth)),
    ]


def in_rows(panels: Sequence[Panel]) -> list[list[Panel]]:
    """The panels in rows of `COLUMNS`."""
    return [list(panels[first : first + COLUMNS]) for first in range(0, len(panels), COLUMNS)]


def pick(ranked: list[str], wanted: int) -> list[tuple[str, str]]:
    """(place, clip): a third each from the top, the middle and the end of `ranked`, none twice."""
    wanted = min(wanted, len(ranked))
    sizes = [wanted // 3 + (place < wanted % 3) for place in range(3)]
    middle = (len(ranked) - sizes[1]) // 2
    middle = min(max(middle, sizes[0]), len(ranked) - sizes[2] - sizes[1])
    starts = [0, middle, len(ranked) - sizes[2]]
    return [
        (place, clip)
        for place, start, size in zip(PLACES, starts, sizes, strict=True)
        for clip in ranked[start : start + size]
    ]
