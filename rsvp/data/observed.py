"""The frames of a video that a prediction starts from. Loads without torch."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rsvp.config.schema import Dataset
from rsvp.data.decoding import Decoding, full_frames
from rsvp.data.fitting import shape_of
from rsvp.data.sources import Rejected, Source
from rsvp.data.splits import Video, by_time, clip_offsets, clip_rows, frame_stride
from rsvp.data.timeline import FIRST_CHANGE, Timeline, changes, nearest
from rsvp.runtime.errors import UserError


class Seen(NamedTuple):
    """Frames that are observed, at a model's size."""

    frames: np.ndarray  # (Tc, H, W, C) uint8
    rate: float  # of them per second
    numbers: list[int]  # of them among the video's frames, from 0


def observed(source: Source, dataset: Dataset, count: int, at: float | None) -> Seen:
    """Return `count` frames before the time `at`, or a video's last ones.

    The future begins with the frame nearest to `at`, in seconds from the first frame.
    """
    window = Window(count, dataset, at)
    with opened(source, dataset) as decoding:
        decoded = decoding.read(window.append)
    stride = stride_of(source, dataset, decoded.fps)
    period = 1 / decoded.fps
    if at is not None and window.last + 1.5 * period < at:
        raise UserError(f"--at: {at}: {source.path} has {window.last + period:.2f} seconds")
    seen = window.before_future(period)
    if seen and by_time(dataset, decoded.regular, window.repeated):
        rows = window.timeline(seen).clip(
            count, dataset.frame_stride, dataset.target_fps, bool(dataset.skip_repeated),
            to_end=True,
        )  # fmt: skip
        check_enough(source, len(rows), count)
    else:
        rows = clip_rows(count, stride)
        needed = int(rows[-1]) + 1
        rows += seen - needed
        check_enough(source, seen, needed)
    frames, numbers = zip(*(window.kept[row] for row in rows), strict=True)
    return Seen(np.stack(frames), decoded.fps / stride, list(numbers))


def observed_ends(source: Source, dataset: Dataset, first: int, last: int) -> Seen:
    """Return a video's first and last frames (first + last, H, W, C)."""
    chunks: list[tuple[np.ndarray, np.ndarray]] = []
    with opened(source, dataset) as decoding:
        decoded = decoding.read(lambda *chunk: chunks.append((chunk[0].copy(), chunk[1])))
    stride = stride_of(source, dataset, decoded.fps)
    frames, times = map(np.concatenate, zip(*chunks, strict=True))
    timeline = Timeline(times, changes(frames, None))
    video = Video(source.id, "", "", len(frames), decoded.fps, decoded.regular, timeline)
    rows = clip_offsets(video, 0, len(frames), len(frames), dataset).tolist()
    check_enough(source, len(rows), first + last)
    numbers = [*rows[:first], *rows[len(rows) - last :]]
    return Seen(frames[numbers], decoded.fps / stride, numbers)


def in_own_size(source: Source, numbers: Sequence[int]) -> np.ndarray:
    """Return frames of a video in its own size (n, H, W, 3), uint8, by their ascending numbers."""
    once, places = np.unique(numbers, return_inverse=True)
    try:
        if source.files:
            frames = full_frames(replace(source, files=tuple(source.files[n] for n in once)))
        else:
            frames = full_frames(source, only=once)
    except Rejected as reason:
        raise UserError(f"{source.path}: {reason}") from None
    return frames[places]


@contextmanager
def opened(source: Source, dataset: Dataset) -> Iterator[Decoding]:
    """Yield a video's decoding; UserError where it cannot be used."""
    options = (shape_of(dataset), dataset.fps, dataset.ffmpeg)
    try:
        with Decoding(source, *options) as decoding:
            yield decoding
    except Rejected as reason:
        raise UserError(f"{source.path}: {reason}") from None


def stride_of(source: Source, dataset: Dataset, rate: float) -> float:
    """Return the frames from one observed frame to the next.

    UserError where a video has fewer frames per second than a predictor observes.
    """
    stride = frame_stride(dataset, rate)
    if stride < 1.0:
        raise UserError(
            f"{source.path}: {rate:g} frames per second; the predictor observes"
            f" {dataset.target_fps:g}, which would repeat frames"
        )
    return stride


def check_enough(source: Source, frames: int, needed: int) -> None:
    """UserError where a video has too few frames to observe."""
    if frames < needed:
        raise UserError(f"{source.path}: {frames} frames to observe; {needed} are needed")


class Window:
    """The frames of a video that `count` observed ones are among: its last, or those before `at`.

    `kept` are these frames (H, W, C), each with its number in the video, and `times` theirs. The
    last two may be of the future already. `last`: the time of the last frame that was read.
    `repeated`: whether frames were left out that equal the one before.
    """

    def __init__(self, count: int, dataset: Dataset, at: float | None) -> None:
        self.at, self.skip_repeated = at, dataset.skip_repeated
        rate = dataset.target_fps
        self.seconds = (count - 1) / rate if rate else 0.0
        self.least = 3 if rate else (count - 1) * dataset.frame_stride + 3
        # A still moment gives one frame, however long it lasts.
        self.longest = 1 / rate if rate and dataset.skip_repeated else math.inf
        self.kept: deque[tuple[np.ndarray, int]] = deque()
        self.times: deque[float] = deque()
        self.passed: deque[float] = deque()  # seconds up to each, but of no gap more than `longest`
        self.read, self.last, self.repeated = 0, 0.0, False

    def append(self, frames: np.ndarray, times: np.ndarray) -> None:
        """Take the next frames (n, H, W, C), whose memory may be used again, and their times."""
        for number, (frame, time) in enumerate(zip(frames, times.tolist(), strict=True), self.read):
            if self.at is not None and self.times and self.last >= self.at:
                break
            self.last = time
            if self.skip_repeated and self.kept and np.array_equal(frame, self.kept[-1][0]):
                self.repeated = True
                continue
            gap = min(time - self.times[-1], self.longest) if self.times else 0.0
            self.passed.append(self.passed[-1] + gap if self.passed else 0.0)
            self.kept.append((frame.copy(), number))
            self.times.append(time)
            # One frame more than wanted, so that the one nearest to the first time is there.
            while len(self.times) > self.least and self.passed[1] <= self.passed[-3] - self.seconds:
                for frames_before in (self.kept, self.times, self.passed):
                    frames_before.popleft()
        self.read += len(frames)

    def timeline(self, count: int) -> Timeline:
        """Return the first `count` of the frames kept, in time; none equals the one before."""
        return Timeline(np.array(self.times)[:count], np.full(count, FIRST_CHANGE, np.float32))

    def before_future(self, period: float) -> int:
        """Return how many of those kept the future comes after; `period`: of the last one."""
        if self.at is None:
            return len(self.times)
        times = np.array(self.times)
        if times[-1] < self.at:
            times = np.append(times, times[-1] + period)
        return int(nearest(times, np.array(self.at)))
