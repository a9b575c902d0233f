"""Arrays of frames: npy, npz and HDF5 files, one video or many in each. Loads without torch.

A video is (T, H, W) or (T, H, W, C), many are one axis more. The order of axes is inferred from
the shape, and for two leading axes from the frames: those that follow each other in time are alike.
"""

import json
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from rsvp.data.formats.stored import StoredFrames, frames_along
from rsvp.data.sources import Options, Rejected, Source, needed, parts_of_files
from rsvp.runtime.errors import one_line

COLOURS = (1, 3)
# Of a damaged file: its header is text in the syntax of Python, and may name any size.
DAMAGE = (
    OSError, ValueError, EOFError, KeyError, MemoryError, OverflowError, RuntimeError, TypeError,
    SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
SMALLEST = 8  # pixels of a side, where axes are inferred: fewer are channels
COMPARED = 8  # places along each of two axes at which neighbours are compared


def find(root: str, options: Options) -> Iterable[Source]:
    """Yield the videos in all arrays below a folder, or in one file."""
    return parts_of_files(root, "arrays", lambda whole: parts(whole, options.axes))


def parts(whole: Source, axes: str | None) -> Iterator[Source]:
    """Yield the videos in a file; Rejected where an array of 3 axes or more is none.

    Arrays of fewer axes are something else: labels, actions.
    """
    with opened_arrays(whole.path) as arrays:
        videos = {name: arrays[name] for name in names_in(arrays) if arrays[name].ndim >= 3}
        for name, array in videos.items():
            order = checked_axes(array, axes)
            name_of = f"{whole.id}/{name}" if len(videos) > 1 else whole.id
            if "N" not in order:
                yield replace(whole, id=name_of, part=json.dumps([name, order, 0]))
                continue
            for number in range(array.shape[order.index("N")]):
                part = json.dumps([name, order, number])
                yield replace(whole, id=f"{name_of}/{number:05d}", part=part)


@contextmanager
def opened(source: Source) -> Iterator[StoredFrames]:
    """Yield the frames of a video that `parts` found."""
    name, axes, number = json.loads(source.part)
    with opened_arrays(source.path) as arrays:
        yield frames_along(arrays[name], axes, number)


@contextmanager
def opened_arrays(path: str) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays in a file by name; Rejected where it is damaged or holds objects."""
    try:
        if path.lower().endswith((".h5", ".hdf5")):
            with needed("h5py", path).File(path, "r") as file:
                yield file
        elif path.lower().endswith(".npz"):
            yield npz_arrays(path)
        else:
            yield {"": np.load(path, mmap_mode="r", allow_pickle=False)}
    except DAMAGE as error:
        raise Rejected(f"not a whole file of plain arrays ({one_line(str(error))})") from None


def names_in(arrays: Mapping[str, Any]) -> list[str]:
    """Return the names of arrays, those within the groups of an HDF5 file, too."""
    if not hasattr(arrays, "visititems"):
        return list(arrays)
    names: list[str] = []
    arrays.visititems(lambda name, item: names.append(name) if hasattr(item, "ndim") else None)
    return names


@lru_cache(maxsize=1)  # it holds many videos, and each of them asks for it
def npz_arrays(path: str) -> Mapping[str, np.ndarray]:
    """Return the arrays of an npz file, unpacked."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def checked_axes(array: Any, axes: str | None) -> str:
    """Return the letters of an array's axes, inferred where the config does not name them."""
    if array.dtype.kind not in "buif":
        raise Rejected(f"holds {array.dtype}, not numbers")
    if axes is None:
        return infer_axes(array)
    if len(axes) != array.ndim:
        raise Rejected(f"its shape is {list(array.shape)}, for {len(axes)} axes, {axes}")
    if "C" in axes and array.shape[axes.index("C")] not in COLOURS:
        raise Rejected(f"its shape is {list(array.shape)}, with 1 or 3 colours nowhere in {axes}")
    return axes


def infer_axes(array: Any) -> str:
    """Return the letters of an array's axes; Rejected where it cannot be videos.

    The last axis counts colours where it has 1 or 3, else one before height and width does.
    """
    shape = list(array.shape)
    leading, picture, sides = len(shape) - 2, "HW", shape[-2:]
    if shape[-1] in COLOURS:
        leading, picture, sides = leading - 1, "HWC", shape[-3:-1]
    elif len(shape) > 3 and shape[-3] in COLOURS:
        leading, picture = leading - 1, "CHW"
    elif len(shape) == 5 and shape[1] in COLOURS:
        return "NCTHW"
    if leading not in (1, 2) or min(sides) < SMALLEST:
        known = f"(T, H, W[, C]) or (N, T, H, W[, C]), H and W of {SMALLEST} or more"
        raise Rejected(f"its shape is {shape}; videos are {known}")
    first = "T" if leading == 1 else "TN" if is_time_first(array) else "NT"
    return first + picture


def is_time_first(array: Any) -> bool:
    """Compare neighbours along the first two axes: those along time are more alike."""
    if min(array.shape[:2]) < 2:
        return array.shape[1] == 1 and array.shape[0] > 1
    first, second = (
        np.linspace(0, count - 2, min(COMPARED, count - 1)).astype(int) for count in array.shape[:2]
    )
    along_first = along_second = 0.0
    for i, j in ((i, j) for i in first for j in second):
        here = np.asarray(array[i, j], np.float32)
        along_first += float(np.abs(np.asarray(array[i + 1, j], np.float32) - here).mean())
        along_second += float(np.abs(np.asarray(array[i, j + 1], np.float32) - here).mean())
    return along_first < along_second
