"""Arrays that a stage makes item by item, in files from which a killed run goes on.

Loads without torch.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, atomic_path, read_json, sha256_of_file, write_json
from rsvp.runtime.journal import JOURNAL, StateKey, forget, save_seconds
from rsvp.runtime.lock import end_without_starter, starter_ended
from rsvp.runtime.progress import Bar
from rsvp.runtime.record import USAGE, save_usage

PART_BYTES = 64 * 2**20
BROKEN = (UserError, SafetensorError, FileNotFoundError, ValueError, KeyError, TypeError)
Arrays = dict[str, np.ndarray]
logger = logging.getLogger(__name__)


class PartWriter:
    """Items of named arrays, below each other in files `<stem>-00000.safetensors`, …

    A file holds at most `part_bytes`, or what was appended at once. It appears whole, and the last
    one is replaced by a longer one until it is full: so neither kills nor the times of saving
    change any file. `state` holds a journal of what `save` saved last: the items, and `note`, JSON
    of the caller. A later writer with the same key goes on from there; the journal of another key
    is removed. `items` counts those of all runs.
    """

    def __init__(
        self, folder: Path, state: Path, key: StateKey, stem: str, part_bytes: int | None = None
    ) -> None:
        self.folder, self.state, self.key = folder, state, asdict(key)
        self.part_bytes = part_bytes or PART_BYTES
        self.stem, self.journal = stem, state / f"{stem}{JOURNAL}"
        self.note: dict[str, Any] = {}
        self.items = 0
        self.parts: list[dict[str, Any]] = []  # full files: {"file", "sha256", "items"}
        self.pending: list[Arrays] = []  # of the next file
        self.rows: dict[str, int] = {}  # of the pending arrays, by name
        self.pending_bytes = 0
        self.saved_at = time.monotonic()
        if self.journal.exists():
            self.resume()

    def resume(self) -> None:
        """Take up what an earlier run saved, if it did the same work and all of it is there."""
        try:
            saved = read_json(self.journal)
            if saved["key"] != self.key:
                logger.warning("%s: of other settings, code or inputs; starting anew", self.journal)
                forget(self.state)
                return
            for part in saved["parts"]:
                if sha256_of_file(self.folder / part["file"]) != part["sha256"]:
                    raise ValueError(f"{part['file']} is not whole")
            pending = self.read(len(saved["parts"]), saved["rows"])
            self.parts, self.items, self.note = saved["parts"], saved["items"], saved["note"]
            self.set_pending(pending)
        except BROKEN as error:
            logger.warning("%s: %s; starting anew", self.journal, error)
            # The files that it names are about to be written over.
            self.journal.unlink()
            (self.state / USAGE).unlink(missing_ok=True)

    def read(self, number: int, rows: Mapping[str, int]) -> Arrays:
        """Read the first `rows` of a file's arrays; it may have got more since."""
        arrays = load_file(self.path(number)) if rows else {}
        if any(len(arrays[name]) < count for name, count in rows.items()):
            raise ValueError(f"{self.path(number)} is not whole")
        return {name: arrays[name][:count] for name, count in rows.items()}

    def path(self, number: int) -> Path:
        """Return the path of a file."""
        return self.folder / f"{self.stem}-{number:05d}.safetensors"

    def append(self, arrays: Arrays, items: int = 1) -> None:
        """Add arrays (rows, …) by name, which are one item, or several that stay in one file.

        The names, types and shapes of rows are the same each time; memory may be used again.
        """
        size = sum(array.nbytes for array in arrays.values())
        if self.pending and self.pending_bytes + size > self.part_bytes:
            self.end_part()
        # In C order: safetensors writes the bytes as they lie in memory.
        self.pending.append({n: np.array(array, order="C") for n, array in arrays.items()})
        self.pending_bytes += size
        for name, array in arrays.items():
            self.rows[name] = self.rows.get(name, 0) + len(array)
        self.items += items

    def set_pending(self, arrays: Arrays) -> None:
        """Let `arrays` be all that is not in a full file yet."""
        self.pending = [arrays] if arrays else []
        self.rows = {name: len(array) for name, array in arrays.items()}
        self.pending_bytes = sum(array.nbytes for array in arrays.values())

    def mark(self) -> dict[str, Any]:
        """Return a mark of what was appended so far."""
        return {"parts": len(self.parts), "items": self.items, "rows": dict(self.rows)}

    def take(self, index: Path, parts: Iterable[Mapping[str, Any]]) -> None:
        """Append the files of another writer, which `index` in a folder below this one lists."""
        folder = index.parent.relative_to(self.folder)
        for part in parts:
            self.parts.append({**part, "file": (folder / part["file"]).as_posix()})
            self.items += part["items"]

    def rollback(self, mark: Mapping[str, Any]) -> None:
        """Forget what was appended after a mark; nothing of it may have been saved."""
        if len(self.parts) > mark["parts"]:
            kept = self.read(mark["parts"], mark["rows"])
            del self.parts[mark["parts"] :]
        else:
            arrays = stack(self.pending)
            kept = {name: arrays[name][:count] for name, count in mark["rows"].items()}
        self.set_pending(kept)
        self.items = mark["items"]

    def checkpoint(self) -> None:
        """Save when it is time to, and end this process if what started it has ended."""
        if starter_ended() or time.monotonic() - self.saved_at >= save_seconds():
            self.save()
            end_without_starter()

    def save(self) -> None:
        """Bring what was appended to the disk, and note it."""
        if self.pending:
            self.write()
        saved = {"key": self.key, "parts": self.parts, "note": self.note}
        write_json(self.journal, self.mark() | saved)
        save_usage(self.state)
        self.saved_at = time.monotonic()

    def write(self) -> Path:
        """Write the pending items into the next file."""
        # Until a new index stands, none may: an old one would describe new files.
        (self.folder / INDEX).unlink(missing_ok=True)
        path = self.path(len(self.parts))
        with atomic_path(path) as temporary:
            save_file(stack(self.pending), temporary)
        return path

    def end_part(self) -> None:
        """Write a file to which nothing is added any more."""
        path, items = self.write(), self.items - sum(part["items"] for part in self.parts)
        self.parts.append({"file": path.name, "sha256": sha256_of_file(path), "items": items})
        self.set_pending({})

    def fill(self, count: int, name: str, make: Callable[[int], Arrays]) -> None:
        """Append `make(i)` for each number below `count` that is not there yet, and finish."""
        for number in batches(self.items, count, 1, name):
            self.append(make(number))
            self.checkpoint()
        self.finish()

    def finish(self) -> list[dict[str, Any]]:
        """Write what is left and remove files of earlier runs; return the files, in order."""
        if self.pending:
            self.end_part()
        self.save()
        names = {part["file"] for part in self.parts}
        for path in self.folder.glob(f"{self.stem}-?????.safetensors"):
            if path.name not in names:
                path.unlink()
        return self.parts

    def __iter__(self) -> Iterator[Arrays]:
        """Yield the arrays of each file in order, once all are written."""
        for part in self.parts:
            yield load_file(self.folder / part["file"])

    def stacked(self, prefix: str = "") -> Arrays:
        """Return the arrays of all items whose name begins with `prefix`, which is taken off."""
        return stack([
            {name.removeprefix(prefix): rows for name, rows in part.items()
             if name.startswith(prefix)}
            for part in self
        ])  # fmt: skip


def stack(items: list[Arrays]) -> Arrays:
    """Return the rows of all items below each other, by name."""
    names = items[0] if items else {}
    return {name: np.concatenate([item[name] for item in items]) for name in names}


def share_bounds(count: int, size: int, share: tuple[int, int] | None) -> tuple[int, int]:
    """Return the first of `count` items that falls to a share, and the first of the next one.

    share: its number, and that of all shares; None is all. Whole batches of `size` fall to each: so
    each batch holds the same items whatever the number of shares.
    """
    number, shares = share or (0, 1)
    whole = -(-count // size)
    first, last = (size * (whole * place // shares) for place in (number, number + 1))
    return min(first, count), min(last, count)


def batches(done: int, count: int, size: int, name: str) -> Bar:
    """Return the first item of each batch of `size` of `count` items after the first `done`.

    `done` is a multiple of `size`, or all. Under a progress bar of all batches.
    """
    return Bar(
        range(done, count, size),
        initial=-(-done // size),
        total=-(-count // size),
        desc=name,
        unit="batch" if size > 1 else "clip",
    )
