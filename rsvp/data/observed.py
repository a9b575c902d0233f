"""The frames of a video that a prediction starts from. Loads without torch."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rsvp.config.schema import Dataset
from rsvp.data.decoding import Decoding, full_frames
from rsvp.data.headers import Rejected
from rsvp.data.sources import Source
from rsvp.data.splits import clip_rows, frame_stride
from rsvp.runtime.errors import UserError


class Seen(NamedTuple):
    """Frames that are observed, at a model's size."""

    frames: np.ndarray  # (Tc, R, R, 3) uint8
    rate: float  # of them per second
    numbers: list[int]  # of them among the video's frames, from 0


def observed(source: Source, dataset: Dataset, count: int, at: float | None) -> Seen:
    """Return `count` frames before the time `at` in seconds, or a video's last ones."""
    with opened(source, dataset) as (decoding, rate):
        stride = frame_stride(dataset, rate)
        rows = clip_rows(count, stride)
        check_rate(source, dataset, rate, stride)
        stop = None if at is None else round(at * rate)
        window = Window(int(rows[-1]) + 1, stop)
        decoding.read(window.append)
    if stop is not None and stop > window.read:
        raise UserError(f"--at: {at}: {source.path} has {window.read / rate:.2f} seconds")
    check_enough(source, len(window.frames), int(rows[-1]) + 1)
    end = window.read if stop is None else stop
    numbers = [int(row) + end - len(window.frames) for row in rows]
    return Seen(np.stack(list(window.frames))[rows], rate / stride, numbers)


def observed_ends(source: Source, dataset: Dataset, first: int, last: int) -> Seen:
    """Return a video's first and last frames (first + last, R, R, 3)."""
    chunks: list[np.ndarray] = []
    with opened(source, dataset) as (decoding, rate):
        decoding.read(lambda frames: chunks.append(frames.copy()))
    stride = frame_stride(dataset, rate)
    check_rate(source, dataset, rate, stride)
    frames = np.concatenate(chunks)
    rows = clip_rows(int((len(frames) - 1) / stride) + 1, stride)
    check_enough(source, len(rows), first + last)
    numbers = [int(row) for row in (*rows[:first], *rows[len(rows) - last :])]
    return Seen(frames[numbers], rate / stride, numbers)


def in_own_size(source: Source, numbers: Sequence[int]) -> np.ndarray:
    """Return frames of a video in its own size (n, H, W, 3), uint8, by their increasing numbers."""
    try:
        if source.files:
            return full_frames(replace(source, files=tuple(source.files[n] for n in numbers)))
        return full_frames(source, only=numbers)
    except Rejected as reason:
        raise UserError(f"{source.path}: {reason}") from None


@contextmanager
def opened(source: Source, dataset: Dataset) -> Iterator[tuple[Decoding, float]]:
    """Yield a video's decoding and its frames per second; UserError where it cannot be used."""
    options = (dataset.resolution, dataset.resize, dataset.fps, dataset.ffmpeg)
    try:
        with Decoding(source, *options) as decoding:
            yield decoding, decoding.probe.fps if decoding.refusal is None else dataset.fps
    except Rejected as reason:
        raise UserError(f"{source.path}: {reason}") from None


def check_rate(source: Source, dataset: Dataset, rate: float, stride: float) -> None:
    """UserError where a video has fewer frames per second than a predictor observes."""
    if stride < 1.0:
        raise UserError(
            f"{source.path}: {rate:g} frames per second; the predictor observes"
            f" {dataset.target_fps:g}, which would repeat frames"
        )


def check_enough(source: Source, frames: int, needed: int) -> None:
    """UserError where a video has too few frames to observe."""
    if frames < needed:
        raise UserError(f"{source.path}: {frames} frames to observe; {needed} are needed")


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
