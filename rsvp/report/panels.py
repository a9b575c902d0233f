"""Films and stills of one clip: labelled panels in a grid that play together. Loads without torch.

All frames are uint8 RGB, (T, R, R, 3) for R pixels.
"""

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rsvp.data.videos import BAR, FUTURE_COLOUR, GAP, OBSERVED_COLOUR, upscale, write_video

PAPER = (32, 36, 43)  # behind the panels and their labels; reads on a light and on a dark page
PANEL_PIXELS = 128  # a panel of fewer pixels is enlarged to about this size
RATE = 6.0  # frames per second: slow enough to compare
QUALITY = 22  # x264's crf
ERROR_GAIN = 2  # how much brighter than it is an error is drawn
STILLS = 6  # future frames of a filmstrip, at most


@dataclass(frozen=True)
class Panel:
    """One labelled picture that moves."""

    label: str
    frames: np.ndarray


@dataclass(frozen=True)
class Film:
    """A playing grid of panels, and where the page writes each panel's label."""

    uri: str
    width: int  # pixels
    height: int
    labels: list[tuple[str, float, float, float, float]]  # text; left, top, width, height in %


def error_frames(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The absolute error, mean over colours, drawn in grey and `ERROR_GAIN` times as bright."""
    error = np.abs(predicted.astype(np.int16) - truth.astype(np.int16)).mean(-1, keepdims=True)
    return np.repeat((ERROR_GAIN * error).clip(0, 255).astype(np.uint8), 3, axis=-1)


def film(rows: Sequence[Sequence[Panel]], context: int) -> Film:
    """The panels row by row as a film; a bar at the foot turns orange after `context` frames."""
    size = rows[0][0].frames.shape[1]
    scale = max(1, PANEL_PIXELS // size)
    strip = max(6, size // 8)  # above each panel, for its label
    columns = max(map(len, rows))
    width = columns * (size + GAP) - GAP
    height = len(rows) * (strip + size + GAP) + BAR
    count = len(rows[0][0].frames)
    picture = np.empty((count, height, width, 3), np.uint8)
    picture[:] = PAPER
    labels = []
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            left, top = x * (size + GAP), y * (strip + size + GAP)
            picture[:, top + strip : top + strip + size, left : left + size] = panel.frames
            place = (left / width, top / height, size / width, strip / height)
            labels.append((panel.label, *(round(100 * part, 2) for part in place)))
    for frame in range(count):
        reached = round(width * (frame + 1) / count)
        seen = min(reached, round(width * context / count))
        picture[frame, -BAR:, :seen] = OBSERVED_COLOUR
        picture[frame, -BAR:, seen:reached] = FUTURE_COLOUR
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        write_video(path, upscale(picture, scale), RATE, crf=QUALITY)
        uri = data_uri("video/mp4", path.read_bytes())
    return Film(uri, scale * width, scale * height, labels)


def filmstrip(rows: Sequence[np.ndarray], context: int) -> tuple[str, list[int]]:
    """A still picture as a data URI: the last observed frame and some future ones, row by row.

    Returns the future frames that it shows too, counted from 1, evenly spread with the last.
    """
    future = len(rows[0]) - context
    shown = min(future, STILLS)
    chosen = [round(future * (place + 1) / shown) for place in range(shown)]
    frames = [context - 1, *(context + number - 1 for number in chosen)]
    picture = np.concatenate([np.concatenate(list(row[frames]), axis=1) for row in rows])
    encoded = cv2.imencode(
        ".webp", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, 85]
    )[1]
    return data_uri("image/webp", encoded.tobytes()), chosen


def data_uri(kind: str, content: bytes) -> str:
    """`content` of a media type as an address that holds it whole."""
    return f"data:{kind};base64," + base64.b64encode(content).decode("ascii")
