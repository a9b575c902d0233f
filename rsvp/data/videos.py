"""Small videos for people to watch: H.264 files that every browser plays. Loads without torch."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from rsvp.data.fitting import in_colours
from rsvp.runtime.files import atomic_path

GAP = 2  # pixels between panels, before upscaling
PANEL = 192  # pixels of a panel's height, at most, where it is upscaled
BAR = 2  # pixels of the bar that says which part is playing, before upscaling
PAPER = (128, 128, 128)  # behind the panels; reads on a light and on a dark page
OBSERVED_COLOUR = (120, 144, 156)  # bar while the frames are observed: slate
FUTURE_COLOUR = (245, 124, 0)  # bar while the frames are predicted: orange


def write_video(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    crf: int = 18,
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
) -> None:
    """Write `frames` as an H.264 MP4, atomically; the index stands first in the file.

    frames: (T, H, W, C) uint8, RGB or grey; fps: frames per second; crf: x264's quality, 0 lossless
    to 51; pixel_format: yuv420p plays in every browser; codec: libx264rgb takes rgb24.
    For yuv420p odd sizes are padded by one repeated row or column, as 4:2:0 colour needs even ones.
    """
    frames = in_colours(frames, 3)
    height, width = frames.shape[1:3]
    if pixel_format == "yuv420p":
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with atomic_path(path) as temporary:
        options = {"movflags": "+faststart"}
        with av.open(str(temporary), "w", format="mp4", options=options) as container:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pixel_format
            # With macroblock trees on, the same frames give several different files (x264 of
            # PyAV 18: 4 in 60 tries; none in 60 without), and so would all that reads them.
            stream.options = {"crf": str(crf), "preset": "medium", "x264-params": "mbtree=0"}
            stream.codec_context.thread_count = 1
            for frame in frames:
                image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                container.mux(stream.encode(image))
            container.mux(stream.encode())


def write_animation(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """Write frames (T, H, W, 3) uint8 RGB as an endless GIF or lossless WebP, by the path's suffix.

    A GIF has 256 colours, and shows a frame for whole hundredths of a second, two or more: players
    slow down what is faster.
    """
    least = 20 if Path(path).suffix == ".gif" else 1
    first, *rest = (Image.fromarray(frame) for frame in frames)
    with atomic_path(path) as temporary:
        first.save(
            temporary,
            format=Path(path).suffix[1:],
            save_all=True,
            append_images=rest,
            duration=max(least, round(1000 / fps)),
            loop=0,
            lossless=True,
        )


def side_by_side(context: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Draw one video of three panels: observed | truth | prediction.

    context: (C, H, W, 3), truth and prediction: (F, H, W, 3), all uint8 RGB. Returns
    (C + F, h, w, 3) uint8. The observed panel plays the context and then holds its last frame;
    the other two play the context and go on with their future.
    """
    held = np.repeat(context[-1:], len(truth), axis=0)
    return panels_side_by_side(context, [held, truth, prediction])


def panels_side_by_side(
    context: np.ndarray, trajectories: Sequence[np.ndarray], after: np.ndarray | None = None
) -> np.ndarray:
    """Draw one video with a panel of each trajectory (F, H, W, C) after the context (n, H, W, C).

    All are uint8, RGB or grey; `after`: observed frames (A, H, W, C) behind what is predicted. The
    video is (n + F + A, h, w, 3), upscaled by 3 where a panel's height stays within `PANEL`. The
    bar at the foot grows with time and is slate while frames are observed, orange when they are
    predicted.
    """
    after = context[:0] if after is None else after
    panels = [np.concatenate([context, future, after]) for future in trajectories]
    drawn = draw_panels([panels], len(context), after=len(after))
    return upscale(drawn, max(1, min(3, PANEL // panels[0].shape[1])))


def draw_panels(
    rows: Sequence[Sequence[np.ndarray]],
    context: int,
    strip: int = 0,
    paper: tuple[int, int, int] = PAPER,
    after: int = 0,
) -> np.ndarray:
    """Return rows of panels (T, H, W, C) as one clip, RGB, with a bar at the foot; all uint8.

    strip: pixels that stay free above each panel. The bar grows with time and is slate for the
    first `context` frames and the last `after` ones, orange between them.
    """
    frames, height, width = rows[0][0].shape[:3]
    columns = max(map(len, rows))
    shape = (frames, len(rows) * (strip + height + GAP) + BAR, columns * (width + GAP) - GAP, 3)
    drawn = np.empty(shape, np.uint8)
    drawn[:] = paper
    for y, row in enumerate(rows):
        top = y * (strip + height + GAP) + strip
        for x, panel in enumerate(row):
            drawn[:, top : top + height, x * (width + GAP) :][:, :, :width] = panel
    for frame in range(frames):
        reached = round(shape[2] * (frame + 1) / frames)
        begin, end = (round(shape[2] * n / frames) for n in (context, frames - after))
        drawn[frame, -BAR:, :reached] = OBSERVED_COLOUR
        drawn[frame, -BAR:, begin : min(reached, end)] = FUTURE_COLOUR
    return drawn


def upscale(frames: np.ndarray, scale: int) -> np.ndarray:
    """Repeat each pixel: frames (T, H, W, 3) -> (T, scale * H, scale * W, 3)."""
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)
