"""The playing examples: clips chosen by rule and not by hand, in panels that play together.

All frames are uint8 RGB, (T, H, W, 3); panels are frames by label.
"""

import base64
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rsvp.data.clips import clip_places
from rsvp.data.fitting import in_colours
from rsvp.data.videos import GAP, draw_panels, upscale, write_video
from rsvp.metrics.row import PredictedClips, RealClips
from rsvp.report.estimates import clip_values
from rsvp.report.measures import LPIPS, PSNR
from rsvp.report.rows import ResultRow
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json
from rsvp.runtime.progress import Bar

PLACES = ("best", "median", "worst")
SAMPLES = 4  # trajectories that play side by side, at most
COLUMNS = 4  # panels side by side
PAPER = (32, 36, 43)  # behind the panels and their labels; reads on a light and on a dark page
MOST_PIXELS = 256  # per side of a panel: a page of large frames still opens
PANEL_PIXELS = 128  # a panel of fewer pixels is enlarged to about this size
RATE = 6.0  # frames per second: slow enough to compare
QUALITY = 22  # x264's crf
ERROR_GAIN = 2  # factor by which an error is drawn brighter than it is
STILLS = 6  # future frames of a strip of stills, at most


@dataclass(frozen=True)
class PlayingClip:
    """A grid of panels that plays, and the places where the page writes their labels."""

    uri: str
    width: int  # pixels
    height: int
    labels: list[tuple[str, float, float, float, float]]  # text; left, top, width, height in %


@dataclass(frozen=True)
class Example:
    """One playing clip with the scores of the row that predicted it and of others."""

    place: str  # best, median or worst
    rank: int  # by PSNR among all scored clips, from 1
    clips: int  # number of scored clips
    clip: str
    playing: PlayingClip
    strip: str  # data URI of the still picture
    strip_frames: list[int]  # future frames that it shows
    lpips: float  # NaN where not computed
    psnr: dict[str, float]  # dB, mean over the trajectories, by label: this row, then others


@dataclass(frozen=True)
class Views:
    """Scene, object and motion of test clips by one autoencoder, or the reason why none are known.

    folder: of the pictures. clips: their names by clip. legend: data URI of the colours of motion.
    """

    reason: str = ""
    folder: Path = Path()
    clips: Mapping[str, dict[str, Any]] | None = None
    legend: str = ""

    def panels(self, clip: str, frames: int) -> dict[str, np.ndarray]:
        """Return three still panels: scene image, object mask and motion; none if not known."""
        view = (self.clips or {}).get(clip)
        if view is None:
            return {}
        motion = f"motion, max {view['motion_pixels']:.0f} px"
        names = {"scene": "scene", "object mask": "mask", motion: "motion"}
        return {
            label: read_picture(self.folder / view[name])[None].repeat(frames, axis=0)
            for label, name in names.items()
        }


@dataclass(frozen=True)
class Gallery:
    """The examples of one predictor."""

    label: str
    trajectories: int  # of each clip
    examples: list[Example]
    views: Views  # scene, object and motion, or why they are not shown


def examples(
    row: ResultRow, others: Sequence[ResultRow], clips: RealClips,
    predictions: Mapping[ResultRow, PredictedClips], views: Views, wanted: int,
) -> list[Example]:  # fmt: skip
    """Return the best, median and worst of all scored clips of a row, under its first seed.

    A clip's rank is that of its PSNR, averaged over frames and over all trajectories of the clip.
    others: rows to hold a clip's PSNR against. clips: the real ones. predictions: of these rows,
    where they are at hand. views: scene, object and motion of the clips.
    """
    if row not in predictions or row.runs[0].scores is None:
        return []
    psnr = {each: clip_values(each.runs[0].scores, PSNR, "single") for each in (row, *others)}
    lpips = clip_values(row.runs[0].scores, LPIPS, "single")
    ranked = list(psnr[row].sort_values(ascending=False, kind="stable").index)
    context, shown = row.index["context_frames"], []
    for place, clip in Bar(
        pick(ranked, wanted), desc="examples", unit="clip", delay=2, disable=None
    ):
        truth = shrunk(clips.frames(clip_places(clips, [clip], row.name)[0]).numpy())
        wholes = {
            each: [np.concatenate([truth[:context], shrunk(frames)])
                   for frames in made.frames(made.index["clips"].index(clip))[:SAMPLES].numpy()]
            for each in (row, *others) if (made := predictions.get(each))
        }  # fmt: skip
        samples = wholes.pop(row)
        beside = {each.label: first for each, (first, *_) in wholes.items()}
        panels = clip_panels(truth, samples, beside, context) | views.panels(clip, len(truth))
        strip = stills([truth, samples[0], error_frames(samples[0], truth)], context)
        shown.append(Example(
            place, ranked.index(clip) + 1, len(ranked), clip, playing_clip(panels, context),
            *strip, lpips[clip], {each.label: values[clip] for each, values in psnr.items()},
        ))  # fmt: skip
    return shown


def pick(ranked: list[str], wanted: int) -> list[tuple[str, str]]:
    """(place, clip): a third each from the top, the middle and the end of `ranked`, none twice."""
    wanted = min(wanted, len(ranked))
    sizes = [wanted // 3 + (place < wanted % 3) for place in range(3)]
    middle = (len(ranked) - sizes[1]) // 2
    middle = min(max(middle, sizes[0]), len(ranked) - sizes[2] - sizes[1])
    starts = [0, middle, len(ranked) - sizes[2]]
    return [
        (place, clip)
        for place, start, size in zip(PLACES, starts, sizes, strict=True)
        for clip in ranked[start : start + size]
    ]


def shrunk(frames: np.ndarray) -> np.ndarray:
    """Return frames (T, H, W, C) of at most `MOST_PIXELS` per side, means over areas."""
    height, width = frames.shape[1:3]
    factor = max(height, width) / MOST_PIXELS
    if factor <= 1:
        return frames
    size = round(width / factor), round(height / factor)
    images = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(images).reshape(len(frames), size[1], size[0], -1)


def clip_panels(
    truth: np.ndarray, samples: list[np.ndarray], others: Mapping[str, np.ndarray], context: int
) -> dict[str, np.ndarray]:
    """Return panels of the context, the truth, the predictions of this and other rows, the error.

    truth, samples and others: whole clips (T, H, W, 3) uint8 that share `context` frames.
    """
    held = truth[context - 1 : context].repeat(len(truth) - context, axis=0)
    several = len(samples) > 1
    names = [f"sample {number + 1}" for number in range(len(samples))] if several else ["sample"]
    error = f"error{' of 1' if several else ''} ×{ERROR_GAIN}"
    return {
        "observed": np.concatenate([truth[:context], held]), "truth": truth, **others,
        **dict(zip(names, samples, strict=True)), error: error_frames(samples[0], truth),
    }  # fmt: skip


def error_frames(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the absolute error, mean over colours, in grey and `ERROR_GAIN` times as bright."""
    error = np.abs(predicted.astype(np.int16) - truth.astype(np.int16)).mean(-1, keepdims=True)
    return in_colours((ERROR_GAIN * error).clip(0, 255).astype(np.uint8), 3)


def playing_clip(
    panels: Mapping[str, np.ndarray], context: int, columns: int = COLUMNS
) -> PlayingClip:
    """Return the panels row by row; a bar at the foot turns orange after `context` frames."""
    names, (size, across) = list(panels), next(iter(panels.values())).shape[1:3]
    rows = [names[first : first + columns] for first in range(0, len(names), columns)]
    scale = max(1, PANEL_PIXELS // size)
    strip = max(6, size // 8)  # above each panel, for its label
    grid = [[panels[name] for name in row] for row in rows]
    frames = draw_panels(grid, context, strip, PAPER)
    height, width = frames.shape[1:3]
    labels = []
    for number, name in enumerate(names):
        y, x = divmod(number, columns)
        left, top = x * (across + GAP) / width, y * (strip + size + GAP) / height
        place = (left, top, across / width, strip / height)
        labels.append((name, *(round(100 * part, 2) for part in place)))
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
    coloured = [in_colours(row[frames], 3) for row in rows]
    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in coloured])
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".webp", colours, [cv2.IMWRITE_WEBP_QUALITY, 85])[1]
    return data_uri("image/webp", encoded.tobytes()), chosen


def read_views(semantics: Iterable[Path], autoencoder: str, seed: int) -> Views:
    """Return the views of one autoencoder under one seed, of the indexes semantics/…/index.json."""
    for path in semantics:
        index = read_json(path)
        if (index["autoencoder"], index["seed"]) != (autoencoder, seed):
            continue
        if not index.get("views"):
            return Views(index.get("reason") or "its autoencoder has no such latents")
        legend = data_uri("image/png", (path.parent / index["legend"]).read_bytes())
        return Views("", path.parent, {view["clip"]: view for view in index["views"]}, legend)
    return Views("they were not computed in this run")


def read_picture(path: Path) -> np.ndarray:
    """Return a picture file as uint8 RGB (H, W, 3)."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"{path}: no picture; run the stage that made it again")
    return picture[..., ::-1]


def data_uri(kind: str, content: bytes) -> str:
    """Return `content` of a media type as an address that holds it whole."""
    return f"data:{kind};base64," + base64.b64encode(content).decode("ascii")
