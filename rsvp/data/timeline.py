"""Presentation times of a video's stored frames, and the frames that they put into a clip.

Loads without torch.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rsvp.config.schema import Split

# Stored beside the frames, one value for each of them.
COLUMNS = TIMES, CHANGES = "times", "changes"
FIRST_CHANGE = 255.0  # of a frame that none is before
# A share of a frame. Containers round times, to milliseconds often.
JITTER = 0.25
# A cut changes grey levels by this at least on the mean, and this many times as much as the frames
# beside it do.
LEAST_CUT, CUT_RATIO, CUT_WINDOW = 30.0, 3.0, 2


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """A video's stored frames in time.

    times: float64 (T,), ascending seconds. changes: float32 (T,), see `changes`.
    """

    times: np.ndarray
    changes: np.ndarray

    def __getitem__(self, part: slice) -> "Timeline":
        return Timeline(self.times[part], self.changes[part])

    def clip(
        self,
        count: int,
        stride: int,
        target_fps: float | None,
        skip_repeated: bool,
        *,
        to_end: bool = False,
    ) -> np.ndarray:
        """Return the places of a clip's frames from the first one on; fewer where it ends before.

        Every `stride`-th frame, or those nearest to the times of a rate. `skip_repeated` leaves out
        frames that are equal to the one before. `to_end`: the clip ends with the last frame.
        """
        kept = np.arange(len(self.times))
        if skip_repeated:
            kept = kept[(self.changes > 0) | (kept == 0)]
        if target_fps is None:
            places = kept[::-stride][::-1] if to_end else kept[::stride]
        else:
            times = self.times[kept]
            steps = np.arange(int((times[-1] - times[0]) * target_fps + JITTER) + 1) / target_fps
            places = kept[nearest(times, times[-1] - steps[::-1] if to_end else times[0] + steps)]
            places = np.unique(places) if skip_repeated else places
        return places[-count:] if to_end else places[:count]


def changes(frames: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """Return how much each frame differs from the one before: the mean absolute difference.

    frames: uint8 (T, H, W, C); before: the frame before them (H, W, C), if there is one. Returns
    float32 (T,) from 0 (equal) to 255.
    """
    found = np.empty(len(frames), np.float32)
    for place, frame in enumerate(frames):
        found[place] = (
            FIRST_CHANGE if before is None else cv2.norm(frame, before, cv2.NORM_L1) / frame.size
        )
        before = frame
    return found


def cuts(changes: np.ndarray) -> np.ndarray:
    """Return the places of frames that begin a new shot: int (n,).

    There the picture changes much, and far more than around it (the adaptive detector of
    PySceneDetect, with differences of grey levels).
    """
    values = np.concatenate([[0.0], changes[1:]])
    padded = np.pad(values, CUT_WINDOW, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * CUT_WINDOW + 1)
    around = (windows.sum(axis=1) - values) / (2 * CUT_WINDOW)
    return np.flatnonzero((values >= LEAST_CUT) & (values >= CUT_RATIO * around))


def rhythm(times: np.ndarray, announced: float) -> tuple[float, bool]:
    """Return a video's frames per second, and whether its frames come regularly.

    times: (T,) seconds. The rate is the announced one where the times keep to it, else their mean;
    the time that the last frame stays is no part of it.
    """
    span = float(times[-1] - times[0]) if len(times) else 0.0
    if span <= 0:
        return announced, True
    mean = (len(times) - 1) / span
    for fps in (announced, mean):
        if np.abs((times - times[0]) * fps - np.arange(len(times))).max() <= JITTER:
            return fps, True
    return mean, False


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the places of the times nearest to `wanted`, of two as near the earlier: int (n,).

    times: ascending (T,). Times beyond the ends have the end's place.
    """
    return np.searchsorted((times[1:] + times[:-1]) / 2, wanted, side="left")


def parts_in_time(frames: int, fps: float, split: Split) -> tuple[int, int, int]:
    """Return how many frames of a video are for training, validation and test, without the gaps."""
    usable = max(0, frames - 2 * round(split.gap_seconds * fps))
    test = round(usable * split.test_fraction)
    validation = round((usable - test) * split.validation_fraction)
    return usable - test - validation, validation, test
