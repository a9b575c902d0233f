"""Loss table of a training stage: CSV for people, TensorBoard for watching."""

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from rsvp.runtime.files import atomic_path

LOOKS = 5  # animations of one training
FRAME_MILLISECONDS = 125  # of an animation
logger = logging.getLogger(__name__)


class History:
    """Rows of named values by step. Rows of one step are one row; empty cells stay empty.

    `rows` and `seconds` are those of earlier runs. Without a folder nothing is written.
    """

    def __init__(
        self,
        tensorboard: Path | None,
        rows: list[dict[str, Any]] | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.rows = list(rows or [])
        self.seconds_before = seconds
        self.started = time.monotonic()
        last = self.rows[-1]["step"] if self.rows else 0
        self.board = tensorboard and SummaryWriter(str(tensorboard), purge_step=last + 1)
        self.watching = 0.0  # seconds that animations took in this run

    @property
    def seconds(self) -> float:
        """Seconds of this training so far, over all its runs."""
        return self.seconds_before + time.monotonic() - self.started

    def add(self, step: int, **values: float) -> None:
        """Note `values` after `step` steps."""
        for name, value in values.items() if self.board else ():
            self.board.add_scalar(name, value, step)
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1] |= values
        else:
            self.rows.append({"step": step, "seconds": round(self.seconds, 3), **values})

    def watch(self, step: int, steps: int, draw: Callable[[], np.ndarray] | None) -> None:
        """Show what `draw` draws, frames (T, H, W, 3) uint8: five times, the last one at the end.

        Its seconds are not of the training.
        """
        due = step * LOOKS // steps > (step - 1) * LOOKS // steps
        if draw is None or self.board is None or not due:
            return
        begun = time.monotonic()
        self.board.file_writer.add_summary(animation("validation clips", draw()), step)
        spent = time.monotonic() - begun
        self.started += spent
        self.watching += spent
        self.board.add_scalar("seconds to draw validation clips", spent, step)

    def write(self, path: Path) -> None:
        """Write the table as CSV, atomically."""
        logger.info("drawing validation clips for TensorBoard took %.1f s", self.watching)
        with atomic_path(path) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        self.board.close()


def animation(tag: str, frames: np.ndarray) -> Summary:
    """Return frames (T, H, W, 3) uint8 as a GIF that plays among TensorBoard's images."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    stream = io.BytesIO()
    first.save(
        stream, "GIF", save_all=True, append_images=rest, duration=FRAME_MILLISECONDS, loop=0
    )
    height, width, colours = frames.shape[1:]
    image = Summary.Image(
        height=height, width=width, colorspace=colours, encoded_image_string=stream.getvalue()
    )
    return Summary(value=[Summary.Value(tag=tag, image=image)])
