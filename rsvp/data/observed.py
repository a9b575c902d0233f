"""The frames of a video that a prediction starts from. Loads without torch."""

from collections import deque

import numpy as np

from rsvp.config.schema import Dataset
from rsvp.data.decoding import Decoding, Rejected
from rsvp.data.sources import Source
from rsvp.data.splits import clip_rows, frame_stride
from rsvp.runtime.errors import UserError


def observed(
    source: Source, dataset: Dataset, count: int, at: float | None
) -> tuple[np.ndarray, float]:
    """Return `count` frames (Tc, R, R, 3) before the time `at`, or the last; frames per second."""
    options = (dataset.resolution, dataset.resize, dataset.fps, dataset.ffmpeg)
    try:
        with Decoding(source, *options) as decoding:
            rate = decoding.probe.fps if decoding.refusal is None else dataset.fps
            stride = frame_stride(dataset, rate)
            rows = clip_rows(count, stride)
            stop = None if at is None else round(at * rate)
            window = Window(int(rows[-1]) + 1, stop)
            decoding.read(window.append)
    except Rejected as reason:
        raise UserError(f"{source.path}: {reason}") from None
    if stop is not None and stop > window.read:
        raise UserError(f"--at: {at}: {source.path} has {window.read / rate:.2f} seconds")
    if len(window.frames) <= rows[-1]:
        raise UserError(
            f"{source.path}: {len(window.frames)} frames to observe; {rows[-1] + 1} are needed"
        )
    return np.stack(list(window.frames))[rows], rate / stride


class Window:
    """The last `length` frames of what is appended, or of its first `stop` ones."""

    def __init__(self, length: int, stop: int | None) -> None:
        self.frames: deque[np.ndarray] = deque(maxlen=length)
        self.stop, self.read = stop, 0

    def append(self, frames: np.ndarray) -> None:
        """Take the next frames (n, R, R, 3), whose memory may be used again."""
        wanted = frames if self.stop is None else frames[: max(0, self.stop - self.read)]
        self.frames.extend(frame.copy() for frame in wanted[-(self.frames.maxlen or 0) :])
        self.read += len(frames)
