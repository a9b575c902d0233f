"""What a stage measures item by item, in files beside its journal: so a killed run goes on.

Each item gives named arrays, whose rows are put below those of the items before it. Loads without
torch.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from rsvp.runtime.files import atomic_path
from rsvp.runtime.journal import Journal

PENDING = 64  # items that are held in memory, at most
logger = logging.getLogger(__name__)


class Parts:
    """Rows of named arrays by item, kept in `part-00000.safetensors`, … in the journal's folder."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        done = journal.done or {"items": 0, "parts": 0}
        if not all(self.path(number).exists() for number in range(done["parts"])):
            logger.warning(
                "%s: parts that its journal names are missing; starting anew", journal.folder
            )
            done = {"items": 0, "parts": 0}
        self.items: int = done["items"]  # of this run and of those that were killed
        self.parts: int = done["parts"]
        self.pending: list[dict[str, np.ndarray]] = []

    def append(self, item: dict[str, np.ndarray]) -> None:
        """Add an item: arrays (rows, …) by name, the same names and shapes of rows each time."""
        self.pending.append(item)
        self.items += 1
        if self.journal.due or len(self.pending) >= PENDING:
            self.save()

    def save(self) -> None:
        """Put what is held in memory on disk, and note it."""
        if self.pending:
            with atomic_path(self.path(self.parts)) as path:
                save_file(stack(self.pending), path)
            self.parts += 1
            self.pending = []
        self.journal.save({"items": self.items, "parts": self.parts})

    def path(self, number: int) -> Path:
        """Where a part is."""
        return self.journal.folder / f"part-{number:05d}.safetensors"

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """The parts in order, each read when it is asked for; all items must be saved."""
        for number in range(self.parts):
            yield load_file(self.path(number))

    def stacked(self, prefix: str = "") -> dict[str, np.ndarray]:
        """The arrays of all items whose name begins with `prefix`, which is taken off."""
        return stack([
            {name.removeprefix(prefix): rows for name, rows in part.items()
             if name.startswith(prefix)}
            for part in self
        ])  # fmt: skip


def stack(items: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The rows of all items below each other, by name."""
    names = items[0] if items else {}
    return {name: np.concatenate([item[name] for item in items]) for name in names}
