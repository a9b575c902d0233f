"""Frames at a model's shape, in memory: resized as decoding does, and back. Loads without torch."""

from dataclasses import dataclass
from fractions import Fraction

import av
import av.filter
import cv2
import numpy as np

from rsvp.config.schema import Dataset, Fit, Resize, percentiles_of, size_of
from rsvp.runtime.errors import UserError

# With these the scaler rounds the same way on every processor, and keeps all colour samples.
SCALER_FLAGS = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"


@dataclass(frozen=True, slots=True)
class FrameShape:
    """Height, width and channels (3: RGB, 1: grey) of frames, and how others become such ones.

    `range`: the values of stored numbers that become black and white; bytes stay as they are.
    """

    height: int
    width: int
    channels: int = 3
    fit: Fit = "crop"
    resize: Resize = "bicubic"
    range: tuple[float, float] | None = None


def shape_of(dataset: Dataset) -> FrameShape:
    """Return the shape of a dataset's frames; without a range where percentiles are to find it."""
    values = None if percentiles_of(dataset.range) else dataset.range
    return FrameShape(
        *size_of(dataset.resolution),
        channels=1 if dataset.channels == "gray" else 3,
        fit=dataset.fit,
        resize=dataset.resize,
        range=values and (values[0], values[1]),
    )


def fit_frames(frames: np.ndarray, shape: FrameShape) -> np.ndarray:
    """Return uint8 frames (T, H, W, 1 or 3) as frames of a shape, (T, h, w, C).

    Raises UserError for others.
    """
    kinds = frames.ndim == 4 and frames.shape[-1] in (1, 3) and frames.dtype == np.uint8
    if not kinds or not frames.size:
        raise UserError(
            f"frames of shape {frames.shape} and type {frames.dtype}; allowed: uint8"
            " (frames, height, width, 3) with one frame or more; or 1 in place of 3, for grey"
        )
    size = fitted_size(*frames.shape[1:3], shape)
    fitted = resize_frames(in_colours(frames, 3), size, shape.resize)
    if shape.fit == "crop":
        top, left = (round(free / -2) for free in free_sides(size, shape))  # a half to even
        fitted = fitted[:, top : top + shape.height, left : left + shape.width]
    elif shape.fit == "pad":
        fitted = np.pad(fitted, ((0, 0), *margins(size, shape), (0, 0)))
    return in_colours(fitted, shape.channels)


def fitted_size(height: int, width: int, shape: FrameShape) -> tuple[int, int]:
    """Return height and width after the resize of frames, before what `fit` cuts off or adds."""
    if shape.fit == "stretch":
        return shape.height, shape.width
    wider = width * shape.height > height * shape.width
    # The other side rounds as the scaler's -1 does, halves up.
    if wider == (shape.fit == "crop"):
        return shape.height, (2 * shape.height * width + height) // (2 * height)
    return (2 * shape.width * height + width) // (2 * width), shape.width


def free_sides(size: tuple[int, int], shape: FrameShape) -> tuple[int, int]:
    """Return the rows and columns that frames of a size leave free; below 0 where they pass."""
    return shape.height - size[0], shape.width - size[1]


def margins(size: tuple[int, int], shape: FrameShape) -> list[tuple[int, int]]:
    """Return the black rows and columns, before and after, of frames of a size that are padded."""
    return [(free // 2, free - free // 2) for free in free_sides(size, shape)]


def in_colours(frames: np.ndarray, channels: int) -> np.ndarray:
    """Return uint8 frames (…, H, W, 1 or 3) with so many channels."""
    if frames.shape[-1] == channels:
        return frames
    return grey(frames) if channels == 1 else np.repeat(frames, 3, axis=-1)


def grey(frames: np.ndarray) -> np.ndarray:
    """Return the luma of uint8 RGB (…, H, W, 3), by the weights of BT.601: (…, H, W, 1)."""
    rows = np.ascontiguousarray(frames).reshape(-1, *frames.shape[-2:])
    return cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY).reshape(*frames.shape[:-1], 1)


def paste_frames(frames: np.ndarray, last: np.ndarray, shape: FrameShape) -> np.ndarray:
    """Return frames (F, h, w, C) as (F, H, W, C), put back where `fit_frames` took them from.

    last: the video's last observed frame (H, W, 1 or 3), which stays around them; all uint8.
    """
    size = height, width = last.shape[0], last.shape[1]
    if shape.fit == "crop":
        size = seen_size(height, width, shape)
    elif shape.fit == "pad":
        (top, bottom), (left, right) = margins(fitted_size(height, width, shape), shape)
        frames = frames[:, top : shape.height - bottom, left : shape.width - right]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    resized = resize_frames(in_colours(frames, 3), size, shape.resize)
    whole = np.repeat(in_colours(last, shape.channels)[None], len(frames), axis=0)
    whole[:, top : top + size[0], left : left + size[1]] = in_colours(resized, shape.channels)
    return whole


def seen_size(height: int, width: int, shape: FrameShape) -> tuple[int, int]:
    """Return height and width of the part of a frame that a crop keeps."""
    if width * shape.height > height * shape.width:
        return height, round(height * shape.width / shape.height)
    return round(width * shape.height / shape.width), width


def resize_frames(frames: np.ndarray, size: tuple[int, int], resize: Resize) -> np.ndarray:
    """Return uint8 frames (T, H, W, 3) at a size (height, width), by ffmpeg's scaler."""
    if frames.shape[1:3] == size:
        return frames
    height, width = size
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frames.shape[2], height=frames.shape[1], format="rgb24", time_base=Fraction(1, 25)
    )
    flags = f"{resize}+{SCALER_FLAGS}"
    graph.link_nodes(
        source,
        graph.add("scale", f"w={width}:h={height}:flags={flags}"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ).configure()
    resized = []
    for frame in frames:
        graph.push(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
        resized.append(graph.pull().to_ndarray())
    return np.stack(resized)
