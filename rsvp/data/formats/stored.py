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
    array. `note`: how they are read, for the tables.
    """

    count: int
    stored: Callable[[int, int], np.ndarray]
    note: str = ""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return numbers (n, H, W, C), C of 1 or 3; an array (n, H, W) is grey.

        Rejected where they are others, or the file is damaged there.
        """
        try:
            found = np.asarray(self.stored(start, stop))
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = one_line(str(error))
            raise Rejected(f"frames {start} to {stop} cannot be read ({reason})") from None
        if found.dtype.kind not in "buif":
            raise Rejected(f"holds {found.dtype}, not numbers")
        frames = found[..., None] if found.ndim == 3 else found
        if frames.ndim != 4 or frames.shape[-1] not in (1, 3):
            shape = list(found.shape[1:])
            raise Rejected(f"the shape of a frame is {shape}; it is (H, W), (H, W, 1) or (H, W, 3)")
        return frames


def frames_along(array: Any, axes: str, index: int = 0) -> StoredFrames:
    """Return the frames of a video in an array, of which no more is read than they are.

    axes: a letter of each: N counts videos, T frames, H and W rows and columns, C colours. index:
    of the video.
    """

    def read(start: int, stop: int) -> np.ndarray:
        places = {"N": index, "T": slice(start, stop)}
        found = np.asarray(array[tuple(places.get(axis, slice(None)) for axis in axes)])
        left = axes.replace("N", "")
        return found.transpose([left.index(axis) for axis in "THWC" if axis in left])

    return StoredFrames(array.shape[axes.index("T")], read, f"array read as {axes}")


def frames_of_list(read: Callable[[int], np.ndarray], places: Sequence[int]) -> StoredFrames:
    """Return the frames (H, W) or (H, W, C) that `read` gives at some places."""

    return StoredFrames(
        len(places), lambda start, stop: np.stack([read(place) for place in places[start:stop]])
    )
