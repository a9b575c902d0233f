"""Frames that a file holds as numbers, not as a video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rsvp.data.sources import Rejected
from rsvp.runtime.errors import one_line


@dataclass(frozen=True, slots=True)
class StoredFrames:
    """The frames of a video.

    `count`: their number. `stored`: returns those from a first one on and before a last one, as an
    array (n, H, W, C) of any type, C of 1 or 3. `note`: how they are read, for the tables.
    """

    count: int
    stored: Callable[[int, int], np.ndarray]
    note: str = ""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return what is stored; Rejected where the file is damaged there."""
        try:
            return self.stored(start, stop)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            reason = one_line(str(error))
            raise Rejected(f"frames {start} to {stop} cannot be read ({reason})") from None


def frames_along(array: Any, axes: str, index: int = 0) -> StoredFrames:
    """Return the frames of a video in an array, of which no more is read than they are.

    axes: a letter of each: N counts videos, T frames, H and W rows and columns, C colours. index:
    of the video.
    """

    def read(start: int, stop: int) -> np.ndarray:
        places = {"N": index, "T": slice(start, stop)}
        found = np.asarray(array[tuple(places.get(axis, slice(None)) for axis in axes)])
        left = axes.replace("N", "")
        found = found.transpose([left.index(axis) for axis in "THWC" if axis in left])
        return found if "C" in left else found[..., None]

    return StoredFrames(array.shape[axes.index("T")], read, f"array read as {axes}")


def frames_of_list(read: Callable[[int], np.ndarray], places: Sequence[int]) -> StoredFrames:
    """Return the frames (H, W) or (H, W, C) that `read` gives at some places."""

    def stack(start: int, stop: int) -> np.ndarray:
        found = np.stack([read(place) for place in places[start:stop]])
        return found if found.ndim == 4 else found[..., None]

    return StoredFrames(len(places), stack)
