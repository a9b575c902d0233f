"""Clips and stills of examples: labelled panels in a grid that play together. Loads without torch.

All frames are uint8 RGB, (T, R, R, 3) for R pixels.
"""

import base64
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rsvp.data.videos import GAP, draw_panels, upscale, write_video
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json

PAPER = (32, 36, 43)  # behind the panels and their labels; reads on a light and on a dark page
PANEL_PIXELS = 128  # a panel of fewer pixels is enlarged to about this size
RATE = 6.0  # frames per second: slow enough to compare
QUALITY = 22  # x264's crf
ERROR_GAIN = 2  # factor by which an error is drawn brighter than it is
STILLS = 6  # future frames of a strip of stills, at most


@dataclass(frozen=True)
class Panel:
    """One labelled picture that moves."""

    label: str
    frames: np.ndarray


@dataclass(frozen=True)
class PlayingClip:
    """A grid of panels that plays, and the places where the page writes their labels."""

    uri: str
    width: int  # pixels
    height: int
    labels: list[tuple[str, float, float, float, float]]  # text; left, top, width, height in %


def error_frames(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the absolute error, mean over colours, in grey and `ERROR_GAIN` times as bright."""
    error = np.abs(predicted.astype(np.int16) - truth.astype(np.int16)).mean(-1, keepdims=True)
    return np.repeat((ERROR_GAIN * error).clip(0, 255).astype(np.uint8), 3, axis=-1)


def playing_clip(rows: Sequence[Sequence[Panel]], context: int) -> PlayingClip:
    """Return the panels row by row; a bar at the foot turns orange after `context` frames."""
    size = rows[0][0].frames.shape[1]
    scale = max(1, PANEL_PIXELS // size)
    strip = max(6, size // 8)  # above each panel, for its label
    frames = draw_panels([[panel.frames for panel in row] for row in rows], context, strip, PAPER)
    height, width = frames.shape[1:3]
    labels = []
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            left, top = x * (size + GAP) / width, y * (strip + size + GAP) / height
            place = (left, top, size / width, strip / height)
            labels.append((panel.label, *(round(100 * part, 2) for part in place)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        write_video(path, upscale(frames, scale), RATE, crf=QUALITY)
        uri = data_uri("video/mp4", path.read_bytes())
    return PlayingClip(uri, scale * width, scale * height, labels)


def stills(rows: Sequence[np.ndarray], context: int) -> tuple[str, list[int]]:
    """Return a picture as a data URI: the last observed frame and some future ones, row by row.

    The future frames that it shows follow, counted from 1: evenly spread, with the last.
    """
    future = len(rows[0]) - context
    shown = min(future, STILLS)
    chosen = [round(future * (place + 1) / shown) for place in range(shown)]
    frames = [context - 1, *(context + number - 1 for number in chosen)]
    picture = np.concatenate([np.concatenate(list(row[frames]), axis=1) for row in rows])
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".webp", colours, [cv2.IMWRITE_WEBP_QUALITY, 85])[1]
    return data_uri("image/webp", encoded.tobytes()), chosen


def data_uri(kind: str, content: bytes) -> str:
    """Return `content` of a media type as an address that holds it whole."""
    return f"data:{kind};base64," + base64.b64encode(content).decode("ascii")


@dataclass(frozen=True)
class Views:
    """Scene, object and motion of test clips by one autoencoder, or the reason why none are known.

    folder: of the pictures. clips: their names by clip. legend: data URI of the colours of motion.
    """

    reason: str = ""
    folder: Path = Path()
    clips: dict[str, dict[str, Any]] | None = None
    legend: str = ""

    def panels(self, clip: str, frames: int) -> list[Panel]:
        """Return three still panels: scene image, object mask and motion; none if not known."""
        view = (self.clips or {}).get(clip)
        if view is None:
            return []
        motion = f"motion, max {view['motion_pixels']:.0f} px"
        names = {"scene": "scene", "mask": "object mask", "motion": motion}
        return [
            Panel(label, read_picture(self.folder / view[name])[None].repeat(frames, axis=0))
            for name, label in names.items()
        ]


def read_views(semantics: Iterable[Path], autoencoder: str, seed: int) -> Views:
    """Return the views of one autoencoder under one seed, of the indexes semantics/…/index.json."""
    for path in semantics:
        index = read_json(path)
        if (index["autoencoder"], index["seed"]) != (autoencoder, seed):
            continue
        if not index.get("views"):
            return Views(index.get("reason") or "its autoencoder has no such latents")
        legend = data_uri("image/png", read_bytes(path.parent / index["legend"]))
        clips = {view["clip"]: view for view in index["views"]}
        return Views(folder=path.parent, clips=clips, legend=legend)
    return Views("they were not computed in this run")


def read_picture(path: Path) -> np.ndarray:
    """Return a picture file as uint8 RGB (H, W, 3)."""
    picture = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"{path}: no picture; run the stage that made it again")
    return picture[..., ::-1]


def read_bytes(path: Path) -> bytes:
    """Return a file's content; UserError where it is missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that makes it again") from None
