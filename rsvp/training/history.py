"""Loss table of a training stage: CSV for people, TensorBoard for watching."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.tensorboard import SummaryWriter

from rsvp.runtime.files import atomic_path


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

    def write(self, path: Path) -> None:
        """Write the table as CSV, atomically."""
        with atomic_path(path) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        self.board.close()
