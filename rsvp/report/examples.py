"""The playing examples: which clips are shown, chosen by rule and not by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rsvp.data.clips import Clips
from rsvp.data.predictions import Predictions
from rsvp.report.measures import LPIPS, PSNR
from rsvp.report.panels import ERROR_GAIN, Film, Panel, error_frames, film, filmstrip
from rsvp.report.rows import ResultRow
from rsvp.report.scores import clip_values
from rsvp.report.views import Views
from rsvp.runtime.files import read_json

PLACES = ("best", "median", "worst")
SAMPLES = 4  # futures that play side by side, at most
COLUMNS = 4  # panels of a film side by side


@dataclass(frozen=True)
class Example:
    """One playing clip with the scores of the row that predicted it and of others."""

    place: str  # best, median or worst
    rank: int  # by PSNR among all scored clips, from 1
    clips: int  # how many there are
    clip: str
    film: Film
    strip: str  # data URI of the still picture
    strip_frames: list[int]  # future frames that it shows
    psnr: float  # dB, mean over the futures of the clip
    lpips: float  # NaN where not computed
    others: list[tuple[str, float]]  # label and PSNR of other rows on the same clip


@dataclass(frozen=True)
class Gallery:
    """The examples of one predictor."""

    label: str
    futures: int  # of each clip
    examples: list[Example]
    views: Views  # scene, object and motion, or why they are not shown


def examples(
    row: ResultRow,
    others: Sequence[ResultRow],
    predictions: Iterable[Path],
    datasets: Mapping[str, Path],
    views: Views,
    wanted: int,
) -> list[Example]:
    """The best, median and worst of all scored clips of a row, under its first seed.

    A clip's rank is that of its PSNR, averaged over frames and over all futures of the clip.
    others: rows to hold a clip's PSNR against. datasets: their index files by name. views: what
    the row's autoencoder makes of the clips.
    """
    path = prediction_of(row, predictions)
    scores = row.runs[0].scores
    if path is None or scores is None:
        return []
    psnr = clip_values(scores, PSNR, "single").sort_values(ascending=False, kind="stable")
    lpips = clip_values(scores, LPIPS, "single")
    theirs = [(other.label, clip_values(other.runs[0].scores, PSNR, "single")) for other in others]
    predicted = Predictions(path)
    rivals = {
        other.label: Predictions(found)
        for other in others
        if other.kind == "baseline" and (found := prediction_of(other, predictions))
    }
    clips = Clips(datasets[row.index["dataset"]], "test", row.index["future_frames"])
    context = clips.context_frames
    places = {clip: i for i, clip in enumerate(clips.table["clip"])}
    ranks = {clip: rank for rank, clip in enumerate(psnr.index, start=1)}
    shown = []
    for place, clip in tqdm(pick(list(psnr.index), wanted), desc="films", unit="clip", delay=2):
        truth = clips.frames(places[clip]).numpy()
        futures = predicted.frames(predicted.clips.index(clip)).numpy()
        samples = [np.concatenate([truth[:context], future]) for future in futures[:SAMPLES]]
        beside = {
            label: np.concatenate([truth[:context], row.frames(row.clips.index(clip))[0].numpy()])
            for label, row in rivals.items()
        }
        panels = clip_panels(truth, samples, beside, context) + views.panels(clip, len(truth))
        stills = [truth, samples[0], error_frames(samples[0], truth)]
        strip, strip_frames = filmstrip(stills, context)
        shown.append(Example(
            place, ranks[clip], len(psnr), clip, film(in_rows(panels), context),
            strip, strip_frames, psnr[clip], lpips[clip],
            [(label, values[clip]) for label, values in theirs],
        ))  # fmt: skip
    return shown


def prediction_of(row: ResultRow, predictions: Iterable[Path]) -> Path | None:
    """The index of what the row predicted under its first seed, if it is given."""
    for path in predictions:
        index = read_json(path)
        if (index["row"], index["seed"]) == (row.name, row.index["seed"]):
            return path
    return None


def clip_panels(
    truth: np.ndarray,
    samples: list[np.ndarray],
    others: Mapping[str, np.ndarray],
    context: int,
) -> list[Panel]:
    """What is seen, what came, what was predicted and how far off that is, and by other rows.

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
