"""Copies of training clips: distances to the nearest one, against those of real clips.

A predictor that has learned keeps the distance from training clips that real test clips keep; one
that repeats training clips comes nearer. A future is described by a few of its frames in
coarse colours, which needs no weights and finds copies however sharp they are, or by a detector's
features.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu
from torch import Tensor

from rsvp.metrics.distribution import jackknife
from rsvp.metrics.intervals import group_interval

CELLS = 8  # per side: a future's frames are averaged over the pixels of each
FRAMES = 4  # of a future, evenly, the last among them
QUERIES = 512  # clips whose descriptions are held in memory at once
BLOCK = 1024  # training clips whose distances from these are held in memory at once
COPIED = 0.5  # a prediction this much nearer to training than its own truth is looks copied
ROUNDING = 0.01  # of the median real distance: those below it are those of rounding


@dataclass(frozen=True)
class Nearest:
    """The nearest training clip of each of Q clips."""

    distance: np.ndarray  # (Q,) root mean square difference, in the unit of the descriptions
    clip: np.ndarray  # (Q,) its number
    symmetry: np.ndarray  # (Q,) of the query, under which it is so near


def described_frames(frames: int) -> list[int]:
    """Numbers of the frames that describe a future."""
    count = min(FRAMES, frames)
    return [frames * (number + 1) // count - 1 for number in range(count)]


def describe(future: Tensor) -> Tensor:
    """Coarse colours (T, 3, 8, 8), in grey levels, of a future, uint8 (F, H, W, 3)."""
    chosen = future[described_frames(len(future))].permute(0, 3, 1, 2).double()
    return F.adaptive_avg_pool2d(chosen, CELLS)


def nearest(queries: Iterable[np.ndarray], training: Callable[[], Iterable[np.ndarray]]) -> Nearest:
    """Find the nearest training clip of each query under any of its symmetries.

    queries: (S, D) each, the S symmetries under which training saw clips; `QUERIES` of them are
    held at a time. training: starts a pass over blocks (B, D) of training clips, in order; one
    block is held at a time.
    """
    rest = iter(queries)
    found = []
    while held := list(itertools.islice(rest, QUERIES)):
        found.append(_nearest(np.stack(held), training()))
    return Nearest(*(np.concatenate([getattr(part, f.name) for part in found])
                     for f in fields(Nearest)))  # fmt: skip


def _nearest(queries: np.ndarray, blocks: Iterable[np.ndarray]) -> Nearest:
    """Find the nearest clip in `blocks`, (B, D) each, of each of the queries (Q, S, D)."""
    count, _, size = queries.shape
    flat = queries.reshape(-1, size)
    best = Nearest(np.full(count, np.inf), *np.zeros((2, count), int))
    first = 0
    for block in _smaller(blocks):
        distances = cdist(flat, block).reshape(count, -1) / np.sqrt(size)
        place = distances.argmin(axis=1)
        found = distances[np.arange(count), place]
        symmetry, clip = np.divmod(place, len(block))
        better = found < best.distance
        best.distance[better] = found[better]
        best.clip[better], best.symmetry[better] = first + clip[better], symmetry[better]
        first += len(block)
    return best


def _smaller(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cut blocks to at most `BLOCK` clips each: distances of all queries to one are held."""
    for block in blocks:
        for first in range(0, len(block), BLOCK):
            yield block[first : first + BLOCK]


def statistics(
    predicted: np.ndarray, real: np.ndarray, groups: Sequence[str], resamples: int
) -> dict[str, Any]:
    """Compare the distances (Q,) of predictions with those of their own real future frames.

    "ratio": the geometric mean of predicted over real distance, clip by clip; 1 where predictions
    keep the distance that real clips keep. "nearer": the probability that a prediction is nearer to
    training than some real test clip is, a half where nothing is copied; it is the Mann-Whitney
    statistic of the data-copying test (Meehan, Chaudhuri and Dasgupta 2020, section 3), with a
    jackknife over groups instead of its z-score, which takes clips for independent. "copied": the
    share of predictions at less than half of their own truth's distance. Intervals resample groups.
    "flagged": the ratio's interval lies below a half, or that of "copied" above 0.
    """
    least = max(ROUNDING * float(np.median(real)), np.finfo(np.float32).eps)
    logs = np.log(np.maximum(predicted, least)) - np.log(np.maximum(real, least))
    ratio = group_interval(logs, groups, resamples)
    copied = group_interval((predicted < COPIED * real).astype(float), groups, resamples)
    nearer = jackknife(share_nearer, predicted[:, None], real[:, None], groups)
    ratio_high = np.exp(ratio.high)
    return {
        "ratio": finite({"mean": np.exp(ratio.mean), "low": np.exp(ratio.low), "high": ratio_high}),
        "nearer": finite({"mean": nearer.value, "low": nearer.low, "high": nearer.high}),
        "copied": finite({name: asdict(copied)[name] for name in ("mean", "low", "high")}),
        "clips": ratio.clips,
        "groups": ratio.groups,
        "flagged": bool(ratio_high < COPIED or copied.low > 0),
    }


def share_nearer(predicted: np.ndarray, real: np.ndarray) -> float:
    """The share of pairs in which the prediction (N, 1) is nearer than the real clip (M, 1)."""
    pairs = mannwhitneyu(real[:, 0], predicted[:, 0]).statistic
    return float(pairs / (len(predicted) * len(real)))


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """Return numbers for JSON: None for those that are undefined."""
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}


def shown_clips(psnr: np.ndarray, distance: np.ndarray) -> dict[str, int]:
    """Choose the predictions that are shown beside their nearest training clip."""
    return {
        "best": int(psnr.argmax()),
        "worst": int(psnr.argmin()),
        "nearest": int(distance.argmin()),
    }


def strip(predicted: Tensor, training: Tensor) -> np.ndarray:
    """Draw the described frames of a prediction above those of a training clip, (2 H, T W, 3)."""
    rows = [future[described_frames(len(future))] for future in (predicted, training)]
    return torch.cat([torch.cat(list(row), dim=1) for row in rows]).numpy()
