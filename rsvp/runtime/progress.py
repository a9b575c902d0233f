"""Progress bars whose state stands in a file, too, where `rsvp status` finds it."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rsvp.runtime.files import read_kept

PROGRESS = ".progress.json"  # in the folder of a stage's record
LEAST_SECONDS = 1.0  # between two writes


class Bar(tqdm):
    """A progress bar that is noted in the stage's folder whenever it is drawn."""

    folder: Path | None = None  # of the stage that this process runs
    noted_at = 0.0

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """Draw the bar, or another text in its place."""
        ended = self.total is not None and self.n >= self.total
        if (
            msg is None
            and Bar.folder
            and (ended or time.monotonic() - Bar.noted_at > LEAST_SECONDS)
        ):
            Bar.noted_at = time.monotonic()
            note(Bar.folder, self)
        return super().display(msg, pos)


def note(folder: Path, bar: tqdm) -> None:
    """Write how far a bar is; a full disk is no reason to stop for."""
    drawn = bar.format_dict
    values = {
        "work": drawn["prefix"],
        "unit": drawn["unit"],
        "done": drawn["n"],
        "total": drawn["total"],
        "made": drawn["n"] - drawn["initial"],  # by this process
        "seconds": drawn["elapsed"],
        "time": time.time(),
    }
    path = folder / PROGRESS
    beside = path.with_name(f"{PROGRESS}.tmp")
    with suppress(OSError):
        beside.write_text(json.dumps(values), encoding="utf-8")
        os.replace(beside, path)


def read_progress(folder: Path) -> dict[str, Any]:
    """Return how far the stage in a folder is, or was when it was stopped; empty where unknown."""
    return read_kept(folder / PROGRESS)
