"""Frames in memory at a model's size, resized as decoding does, and back. Loads without torch."""

from fractions import Fraction

import av
import av.filter
import numpy as np

from rsvp.config.schema import Resize
from rsvp.runtime.errors import UserError

# With these the scaler rounds the same way on every processor, and keeps all colour samples.
SCALER_FLAGS = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"


def fit_frames(frames: np.ndarray, resolution: int, resize: Resize) -> np.ndarray:
    """Return uint8 frames (T, H, W, 3) as (T, R, R, 3): shorter side resized, centre cropped.

    Raises UserError for another shape or type.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise UserError(
            f"frames of shape {frames.shape} and type {frames.dtype}; allowed: uint8"
            " (frames, height, width, 3) with one frame or more"
        )
    height, width = frames.shape[1:3]
    # The longer side rounds as the scaler's -1 does, halves up.
    short, long = sorted((height, width))
    longer = (2 * resolution * long + short) // (2 * short)
    size = (resolution, longer) if height <= width else (longer, resolution)
    resized = resize_frames(frames, size, resize)
    top, left = (round((side - resolution) / 2) for side in size)  # a half to even, as ffmpeg's
    return resized[:, top : top + resolution, left : left + resolution]


def paste_frames(frames: np.ndarray, last: np.ndarray, resize: Resize) -> np.ndarray:
    """Return frames (F, R, R, 3) as (F, H, W, 3), put back where `fit_frames` took them from.

    last: the video's last observed frame (H, W, 3), which stays around the square; all uint8.
    """
    side = min(last.shape[:2])
    top, left = ((length - side) // 2 for length in last.shape[:2])
    whole = np.repeat(last[None], len(frames), axis=0)
    whole[:, top : top + side, left : left + side] = resize_frames(frames, (side, side), resize)
    return whole


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
