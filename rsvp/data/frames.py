"""Arrays in safetensors files of bounded size, mapped into memory. Reading them loads torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json

KEY = "frames"  # the tensor's name
Arrays = dict[str, np.ndarray]


def map_arrays(path: str | Path) -> Arrays:
    """Map the tensors of a safetensors file into memory.

    Raises UserError when the file is missing or is not whole.
    """
    try:
        with safe_open(path, "pt") as stream:  # as torch maps it; other frameworks copy
            return {name: stream.get_tensor(name).numpy() for name in stream.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that makes it again") from None
    except (SafetensorError, TypeError) as error:  # TypeError: a type that NumPy lacks
        raise UserError(f"{path}: not a whole safetensors file ({error}); make it again") from None


class PartReader:
    """The items in a list of files, mapped into memory file by file.

    `parts`: [{"file", "items"}] in order, as the index beside the files lists them.
    """

    def __init__(self, folder: str | Path, parts: Sequence[dict[str, Any]]) -> None:
        self.paths = [Path(folder) / part["file"] for part in parts]
        self.bounds = np.cumsum([0] + [part["items"] for part in parts])
        self.maps: dict[int, Arrays] = {}

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def item(self, row: int) -> tuple[Arrays, int]:
        """Return the arrays of the file that holds an item, and its place there."""
        number = int(np.searchsorted(self.bounds, row, side="right")) - 1
        return self.part(number), row - int(self.bounds[number])

    def frames(self, rows: Sequence[int] | np.ndarray, key: str = KEY) -> np.ndarray:
        """Return a copy of the frames at `rows`, in any order: uint8 (n, …)."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size == 0 or rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"rows must lie in 0 to {len(self) - 1}, at least one: {rows}")
        parts = np.searchsorted(self.bounds, rows, side="right") - 1
        if parts.min() == parts.max():
            return self.part(int(parts[0]))[key][rows - self.bounds[parts[0]]]
        return np.stack([part[key][place] for part, place in map(self.item, rows.tolist())])

    def part(self, number: int) -> Arrays:
        """Return the arrays of one file, each as long as the index says."""
        if number not in self.maps:
            arrays = map_arrays(self.paths[number])
            expected = self.bounds[number + 1] - self.bounds[number]
            if any(len(array) != expected for array in arrays.values()):
                raise UserError(
                    f"{self.paths[number]}: does not hold {expected} items, as its index says;"
                    " delete it and run the stage again"
                )
            self.maps[number] = arrays
        return self.maps[number]


def read_column(folder: str | Path, parts: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    """Return one array of the items in a list of files: (N, …). Loads without torch.

    Raises UserError when a file is missing or is not whole.
    """
    found = []
    for part in parts:
        path = Path(folder) / part["file"]
        try:
            with safe_open(path, "np") as stream:
                found.append(stream.get_tensor(key))
        except (FileNotFoundError, SafetensorError) as error:
            raise UserError(f"{path}: not whole ({error}); make it again") from None
    return np.concatenate(found) if found else np.empty(0)


def read_frame_cache(index_path: str | Path) -> tuple[dict[str, Any], PartReader]:
    """Return the index of a decode share, and the frames of all its videos: (N, H, W, C)."""
    index = read_json(index_path)
    return index, PartReader(Path(index_path).parent, index["parts"])
