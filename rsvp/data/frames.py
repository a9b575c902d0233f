"""Frames in safetensors files of bounded size, mapped into memory. Loads without torch."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json

KEY = "frames"  # the tensor's name


def map_tensor(path: str | Path) -> np.ndarray:
    """Map the uint8 tensor "frames" of a safetensors file into memory, read only.

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


class FrameReader:
    """The frames in a list of files as one array, mapped into memory file by file.

    `parts`: [{"file", "items"}] in order, as the index beside the files lists them.
    """

    def __init__(self, folder: str | Path, parts: Sequence[dict[str, Any]]) -> None:
        self.paths = [Path(folder) / part["file"] for part in parts]
        self.bounds = np.cumsum([0] + [part["items"] for part in parts])
        self.maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def rows(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return a copy of the items at `rows`, in any order: uint8 (n, …)."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size == 0 or rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"rows must lie in 0 to {len(self) - 1}, at least one: {rows}")
        parts = np.searchsorted(self.bounds, rows, side="right") - 1
        if parts.min() == parts.max():
            return self.part(int(parts[0]))[rows - self.bounds[parts[0]]]
        return np.concatenate([
            self.part(int(n))[[row - self.bounds[n]]] for n, row in zip(parts, rows, strict=True)
        ])  # fmt: skip

    def part(self, number: int) -> np.ndarray:
        """Return one mapped file, whose length must be what the index says."""
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


def read_frame_cache(index_path: str | Path) -> tuple[dict[str, Any], FrameReader]:
    """Return the index of a decode share, and the frames of all its videos: (N, R, R, 3)."""
    index = read_json(index_path)
    return index, FrameReader(Path(index_path).parent, index["parts"])
