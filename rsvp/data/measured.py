"""Values of black and white that fit stored numbers: percentiles. Loads without torch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import ceil

import numpy as np

from rsvp.data.decoding import opened
from rsvp.data.formats.stored import StoredFrames
from rsvp.data.quantising import TAILS, range_between
from rsvp.data.sources import Rejected, Source

FRAMES, PIXELS = 16, 2**14  # of the sample: frames of a video, and pixels of each


@dataclass(frozen=True, slots=True)
class Measured:
    """The values that are black and white, and the sample that they were found in.

    `videos`: ids of those that hold numbers. `values`: how many of them were looked at.
    """

    low: float
    high: float
    percentiles: tuple[float, float]
    videos: tuple[str, ...]
    values: int


def measure(
    sources: Iterable[Source],
    percentiles: tuple[float, float] = TAILS,
    counted: Callable[[int], int] = int,
) -> Measured | None:
    """Return the percentiles of the finite values in videos of stored numbers; None without any.

    counted: returns how many of a video's frames, its first ones, count, given their number. Some
    of these are read, spread evenly, and of each some rows and columns. Raises Rejected where all
    values are alike.
    """
    found: dict[str, list[np.ndarray]] = {}
    for source in sources:
        with suppress(Rejected), opened(source) as content:
            if isinstance(content, StoredFrames):
                read = list(sampled(content, counted(content.count)))
                found |= {source.id: read} if read else {}
    if not found:
        return None
    values = np.concatenate([part for parts in found.values() for part in parts])
    low, high = range_between(values, percentiles)
    return Measured(low, high, percentiles, tuple(found), len(values))


def sampled(content: StoredFrames, count: int) -> Iterator[np.ndarray]:
    """Yield finite values of some of the first frames; nothing of frames of bytes."""
    places = np.unique(np.linspace(0, count - 1, FRAMES).round().astype(int)) if count else ()
    for place in places:
        frame = content.read(place, place + 1)
        if frame.dtype in (bool, np.uint8):
            return
        step = ceil((frame.shape[1] * frame.shape[2] / PIXELS) ** 0.5)
        values = frame[:, ::step, ::step].astype(np.float64).ravel()
        yield values[np.isfinite(values)]
