"""Copies of training clips: distances to the nearest one, against those of real clips.

A predictor that has learned keeps the distance from training clips that real test clips keep; one
that repeats training clips comes nearer. A future is described by a few of its frames in
coarse colours, which needs no weights and finds copies however sharp they are, or by a detector's
features.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu
from torch import Tensor

from rsvp.data.clips import Clips
from rsvp.data.symmetries import PARTS, turned
from rsvp.metrics.detectors import Detector, clip_feature
from rsvp.metrics.distribution import jackknife
from rsvp.metrics.intervals import group_interval
from rsvp.runtime.parts import PartWriter

CELLS = 8  # per side: a future's frames are averaged over the pixels of each
FRAMES = 4  # of a future, evenly, the last among them
QUERIES = 64  # clips whose distances from a file of training clips are held in memory at once
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
    for block in blocks:
        distances = cdist(flat, block).reshape(count, -1) / np.sqrt(size)
        place = distances.argmin(axis=1)
        found = distances[np.arange(count), place]
        symmetry, clip = np.divmod(place, len(block))
        better = found < best.distance
        best.distance[better] = found[better]
        best.clip[better], best.symmetry[better] = first + clip[better], symmetry[better]
        first += len(block)
    return best


class NearestSearch:
    """Finds the training clips that are nearest to futures.

    In coarse colours; with a detector, in its features, each future under the symmetry in which its
    colours are nearest to any training clip's: so turned copies are found as well. kept: makes the
    writer of descriptions by a name, where a killed run goes on.
    """

    def __init__(
        self, train: Clips, detector: Detector | None, kept: Callable[[str], PartWriter]
    ) -> None:
        self.train, self.detector, self.kept = train, detector, kept
        self.symmetries = range(2 ** len(PARTS[train.augment]))

    def nearest(self, name: str, futures: Sequence[Callable[[], Tensor]]) -> Nearest:
        """Find the training clip nearest to each future, uint8 (F, H, W, 3), that is loaded so.

        name: of what is kept of them.
        """

        def queries() -> Iterator[np.ndarray]:
            for future in futures:
                colours = describe(future())
                under = [turned(colours, each, self.train.augment) for each in self.symmetries]
                yield torch.stack(under).flatten(1).numpy()

        def features(i: int) -> np.ndarray:
            frames = futures[i]().movedim(-1, 1)
            nearest_so = turned(frames, int(found.symmetry[i]), self.train.augment)
            return clip_feature(self.detector, nearest_so.movedim(1, -1))

        count = len(self.train)
        colours = self.blocks(
            "colours", count, lambda i: describe(self.future(i)).flatten().numpy()
        )
        found = nearest(queries(), colours)
        if self.detector is None:
            return found
        own = self.blocks(f"features-{name}", len(futures), features)
        training = self.blocks(
            "features", count, lambda i: clip_feature(self.detector, self.future(i))
        )
        return nearest((one[None] for block in own() for one in block), training)

    def future(self, number: int) -> Tensor:
        """Return the future (F, H, W, 3) of a training clip."""
        return self.train.frames(number, self.train.context_frames)

    def blocks(
        self, name: str, count: int, describe: Callable[[int], np.ndarray]
    ) -> Callable[[], Iterator[np.ndarray]]:
        """Describe each number below `count`, unless that is done; start a pass over the blocks."""
        parts = self.kept(name)
        parts.fill(count, f"describe {name}", lambda i: {"description": describe(i)[None]})
        return lambda: (part["description"] for part in parts)


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
    ends = {
        "ratio": np.exp([ratio.mean, ratio.low, ratio.high]).tolist(),
        "nearer": [nearer.value, nearer.low, nearer.high],
        "copied": [copied.mean, copied.low, copied.high],
    }
    known = {name: [x if np.isfinite(x) else None for x in values] for name, values in ends.items()}
    return {
        **{name: dict(zip(("mean", "low", "high"), known[name], strict=True)) for name in known},
        "clips": ratio.clips,
        "groups": ratio.groups,
        "flagged": bool(ends["ratio"][2] < COPIED or copied.low > 0),
    }


def share_nearer(predicted: np.ndarray, real: np.ndarray) -> float:
    """The share of pairs in which the prediction (N, 1) is nearer than the real clip (M, 1)."""
    pairs = mannwhitneyu(real[:, 0], predicted[:, 0]).statistic
    return float(pairs / (len(predicted) * len(real)))


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
