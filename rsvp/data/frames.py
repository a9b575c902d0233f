"""Arrays of equal items (frames, say) in safetensors files of bounded size. Loads without torch.

A writer streams items to disk; a reader maps the files into memory. Neither holds more than the
items that it is handed, whatever the length of the array.
"""

import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json, sha256_of_file

KEY = "frames"
# The header's size must be known before the number of items is: it is padded with spaces, as the
# format allows, to this many bytes, its length field included.
HEADER_BYTES = 512
SHARD_BYTES = 64 * 2**20  # of one file of stored frames, at most
logger = logging.getLogger(__name__)


class ShardWriter:
    """Appends uint8 items to files `<stem>-00000.safetensors`, …, of `items_per_shard` items.

    The files have temporary names until `finish`. What is left of them when the `with` block ends
    without it is taken up by a writer that gets `resume`, what `checkpoint` gave last, if all of it
    is there (`resumed`); any other writer removes it.
    """

    def __init__(
        self,
        folder: str | Path,
        item_shape: Sequence[int],
        items_per_shard: int,
        stem: str = "frames",
        resume: dict[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.item_shape = tuple(item_shape)
        self.items_per_shard = items_per_shard
        self.stem = stem
        self.item_bytes = math.prod(self.item_shape)
        self.length = 0  # items written so far
        self.closed: list[dict[str, Any]] = []
        self.stream: BinaryIO | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resumed = resume is not None and self.take_up(resume)
        if not self.resumed:
            for path in self.folder.glob(f".{self.stem}-*.part"):
                path.unlink()

    def checkpoint(self) -> dict[str, Any]:
        """Bring what was appended to the disk; returns what a later writer resumes with."""
        if self.stream:
            self.stream.flush()
            os.fsync(self.stream.fileno())
        return {"length": self.length, "closed": list(self.closed)}

    def take_up(self, checkpoint: dict[str, Any]) -> bool:
        """Go on after the items of `checkpoint`, dropping later ones; False: not all is there."""
        closed = list(checkpoint["closed"])
        rest = checkpoint["length"] - sum(shard["items"] for shard in closed)
        whole = all(self.holds(number, shard) for number, shard in enumerate(closed))
        if not whole or (rest and self.written(len(closed)) < rest):
            logger.warning(
                "%s: files that the journal of an earlier run names are missing or broken;"
                " starting anew",
                self.folder,
            )
            return False
        self.length, self.closed = checkpoint["length"], closed
        if rest:
            self.reopen(len(closed), rest)
        return True

    def holds(self, number: int, shard: dict[str, Any]) -> bool:
        """Whether a closed file is there whole: this writer's, or one that got its name already."""
        if self.temporary(number).exists():
            return self.written(number) == shard["items"]
        final = self.folder / shard["file"]
        # Under this name another run may have written.
        return final.is_file() and sha256_of_file(final) == shard["sha256"]

    def written(self, number: int) -> int:
        """How many whole items a file under its temporary name holds."""
        try:
            size = self.temporary(number).stat().st_size
        except FileNotFoundError:
            return 0
        return (size - HEADER_BYTES) // self.item_bytes

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.stream:
            self.stream.close()

    def append(self, items: np.ndarray) -> None:
        """Write `items`, (n, *item_shape) uint8, at the end."""
        if items.dtype != np.uint8 or items.shape[1:] != self.item_shape:
            raise ValueError(
                f"expected uint8 (n, {self.item_shape}), got {items.dtype} {items.shape}"
            )
        items = np.ascontiguousarray(items)
        while len(items):
            self.open_shard()
            assert self.stream is not None
            part = items[: self.items_per_shard - self.length % self.items_per_shard]
            self.stream.write(memoryview(part).cast("B"))
            self.length += len(part)
            items = items[len(part) :]
            if self.length % self.items_per_shard == 0:
                self.close_shard()

    def rollback(self, length: int) -> None:
        """Forget all items after the first `length`."""
        if length == self.length:
            return
        if self.stream:
            self.stream.close()
            self.stream = None
        last = (self.length - 1) // self.items_per_shard
        shard, rest = divmod(length, self.items_per_shard)
        for number in range(shard + (rest > 0), last + 1):
            self.temporary(number).unlink()
        del self.closed[shard:]
        self.length = length
        if rest:
            self.reopen(shard, rest)

    def reopen(self, shard: int, items: int) -> None:
        """Go on writing a file after its first `items` items."""
        self.stream = open(self.temporary(shard), "r+b")  # noqa: SIM115 closed by __exit__
        self.stream.truncate(HEADER_BYTES + items * self.item_bytes)
        self.stream.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Close the last file; nothing may be appended any more.

        A stage notes the `checkpoint` that holds after this before `finish`: one that names an
        unfinished file could not be taken up once that file has another name.
        """
        if self.stream:
            self.close_shard()

    def finish(self) -> list[dict[str, Any]]:
        """Give the files their names; returns [{"file", "sha256", "items"}] in order."""
        self.close()
        for number, shard in enumerate(self.closed):
            # A run that was killed right here has named some of them already.
            if self.temporary(number).exists():
                os.replace(self.temporary(number), self.folder / shard["file"])
        return self.closed

    def temporary(self, number: int) -> Path:
        """Where a shard grows; the lock of its stage's folder keeps two runs apart."""
        return self.folder / f".{self.stem}-{number:05d}.safetensors.part"

    def open_shard(self) -> None:
        """Start a file, its header left blank, unless one is open."""
        if self.stream is None:
            self.stream = open(self.temporary(len(self.closed)), "w+b")  # noqa: SIM115
            self.stream.write(b" " * HEADER_BYTES)

    def close_shard(self) -> None:
        """Write the header now that the number of items is known, sync and hash the file."""
        assert self.stream is not None
        number = len(self.closed)
        count = self.length - number * self.items_per_shard
        self.stream.seek(0)
        self.stream.write(header((count, *self.item_shape)))
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        self.stream = None
        self.closed.append({
            "file": f"{self.stem}-{number:05d}.safetensors",
            "sha256": sha256_of_file(self.temporary(number)),
            "items": count,
        })  # fmt: skip


def remove_leftovers(folder: Path, kept: set[str]) -> None:
    """Remove frame files that an earlier run left: more of them than now, or unfinished ones."""
    for pattern in ("frames-*.safetensors", ".frames-*.safetensors.part"):
        for path in folder.glob(pattern):
            if path.name not in kept:
                path.unlink()


def header(shape: tuple[int, ...]) -> bytes:
    """The head of a safetensors file with one uint8 tensor of `shape`.

    https://github.com/huggingface/safetensors#format: an 8-byte little-endian length, then JSON.
    """
    entry = {"dtype": "U8", "shape": list(shape), "data_offsets": [0, math.prod(shape)]}
    text = json.dumps({KEY: entry}).encode().ljust(HEADER_BYTES - 8)
    if len(text) > HEADER_BYTES - 8:
        raise ValueError(f"shape {shape} does not fit the header")
    return (HEADER_BYTES - 8).to_bytes(8, "little") + text


def map_tensor(path: str | Path) -> np.ndarray:
    """The uint8 tensor "frames" of a safetensors file, mapped into memory, read only.

    Raises UserError when the file is missing or is not whole.
    """
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            entry = json.loads(stream.read(length))[KEY]
        shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
        if entry["dtype"] != "U8" or stop - start != math.prod(shape):
            raise ValueError("not a tensor of bytes")
        # A plain view: the class memmap makes each indexing slower.
        return np.asarray(np.memmap(path, np.uint8, "r", offset=8 + length + start, shape=shape))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that makes it again") from None
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path}: not a whole frame file ({error}); delete it and run the stage again"
        ) from None


class ShardReader:
    """The items of a `ShardWriter`'s files as one array, mapped into memory file by file.

    `shards`: [{"file", …, <count>: n}] in order, as the index beside the files lists them.
    Can be sent to other processes: the maps stay behind.
    """

    def __init__(
        self, folder: str | Path, shards: Sequence[dict[str, Any]], count: str = "items"
    ) -> None:
        self.paths = [Path(folder) / shard["file"] for shard in shards]
        self.bounds = np.cumsum([0] + [shard[count] for shard in shards])
        self.maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"maps": {}}

    def rows(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """A copy of the items at `rows`, any order: uint8 (n, *item_shape)."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size == 0 or rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"rows must lie in 0 to {len(self) - 1}, at least one: {rows}")
        shards = np.searchsorted(self.bounds, rows, side="right") - 1
        if shards.min() == shards.max():
            return self.shard(int(shards[0]))[rows - self.bounds[shards[0]]]
        parts = [
            self.shard(int(n))[[row - self.bounds[n]]] for n, row in zip(shards, rows, strict=True)
        ]
        return np.concatenate(parts)

    def shard(self, number: int) -> np.ndarray:
        """One mapped file, whose length must be what the index says."""
        if number not in self.maps:
            tensor = map_tensor(self.paths[number])
            expected = self.bounds[number + 1] - self.bounds[number]
            if len(tensor) != expected:
                raise UserError(
                    f"{self.paths[number]}: holds {len(tensor)} items, its index says {expected};"
                    " delete it and run the stage again"
                )
            self.maps[number] = tensor
        return self.maps[number]


def read_frame_cache(index_path: str | Path) -> tuple[dict[str, Any], ShardReader]:
    """The index of a decode share, and the frames of all its videos: (N, R, R, 3)."""
    index = read_json(index_path)
    return index, ShardReader(Path(index_path).parent, index["shards"], count="frames")
