"""Anybody's clips in a folder, for `rsvp compare`: videos, folders of frames, arrays.

Nothing is resized or cut out: frames are scored as they are. What is read is one clip at a time.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from types import EllipsisType
from typing import Any, Protocol

import numpy as np

from rsvp.data.clips import Clips
from rsvp.data.decoding import full_frames
from rsvp.data.frames import KEY, map_arrays
from rsvp.data.images import write_image
from rsvp.data.predictions import Predictions
from rsvp.data.sources import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Rejected,
    absolute,
    find_sources,
    natural_key,
    video_file,
    walk,
)
from rsvp.data.videos import write_video
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, atomic_path, read_json

EXPORTS = ("npy", "frames", "mp4")  # formats of `write_clip`
ARRAY_SUFFIXES = (".npy", ".safetensors")
SAMPLES = (r"_s\d+$", r"/[^/]+$")  # end the names of a clip's trajectories: clip_s0, or clip/0
Limits = tuple[float, float]
Reader = Callable[[int | None], np.ndarray]  # the first so many frames, or all


class NamedClips(Protocol):
    """Clips by name, such as `ClipFolder`."""

    path: Path
    names: Sequence[str]  # of all clips, sorted

    def frames(self, name: str, most: int | None = None) -> np.ndarray:
        """uint8 (T, H, W, 3): the first `most` frames of a clip, or all."""


class ClipFolder:
    """The clips in a folder, or in one file of arrays, by name.

    A video, a folder of images and an array (T, H, W, 3) are a clip each, called by their path
    below the folder without suffix. An array (N, T, H, W, 3) holds N clips, called 00000, … below
    it. The tensors of a safetensors file go by their keys. A folder's only file gives no name.
    limits: the values of black and white in arrays of floats.
    """

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path, self.limits = path, limits
        self.readers: dict[str, Reader] = {}
        for name, read in sorted(readers(path, limits), key=itemgetter(0)):
            if name in self.readers:
                raise UserError(f"{path}: two clips are called '{name}'; rename or remove one")
            self.readers[name] = read
        if not self.readers:
            looked = ", ".join((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, *ARRAY_SUFFIXES))
            raise UserError(f"{path}: no clip in it; looked for {looked}")
        self.names = list(self.readers)

    def frames(self, name: str, most: int | None = None) -> np.ndarray:
        """Return uint8 (T, H, W, 3): the first `most` frames of a clip, or all."""
        try:
            return self.readers[name](most)
        except Rejected as error:
            raise UserError(f"{self.path}: {name}: {error}") from None


class FolderTrajectory:
    """A trajectory of each clip of a folder that holds several: `called` names its clips there."""

    def __init__(self, folder: ClipFolder, called: Mapping[str, str]) -> None:
        self.path, self.folder, self.called = folder.path, folder, called
        self.names = list(called)

    def frames(self, name: str, most: int | None = None) -> np.ndarray:
        """Return uint8 (T, H, W, 3): the first `most` frames of a clip, or all."""
        return self.folder.frames(self.called[name], most)


class DatasetClips:
    """The clips of a side of a dataset of the pipeline's, by name.

    future: frames after the observed ones; None: as many as the dataset's clips have.
    """

    def __init__(self, index: Path, future: int | None = None, split: str = "test") -> None:
        self.path, self.clips = index, Clips(index, split, future)
        if not (fitting := self.clips.fitting[: self.clips.forward]):
            raise UserError(f"{index}: no {split} clip with {future} future frames")
        table = self.clips.table.iloc[fitting]
        self.places = dict(zip(table["clip"], fitting, strict=True))
        self.groups = dict(zip(table["clip"], table["group"], strict=True))
        self.names = list(self.places)

    def frames(self, name: str, most: int | None = None) -> np.ndarray:
        """Return uint8 (T, H, W, C): the first `most` frames of a clip, or all."""
        return self.clips.frames(self.places[name], 0, most).numpy()


class RowTrajectory:
    """A trajectory of each clip of a row of the pipeline's: future frames only."""

    def __init__(self, index: Path, predictions: Predictions, number: int) -> None:
        self.path, self.predictions, self.number = index, predictions, number
        self.places = {clip: place for place, clip in enumerate(predictions.clips)}
        self.names = predictions.clips

    def frames(self, name: str, most: int | None = None) -> np.ndarray:
        """Return uint8 (F, H, W, C): the first `most` frames of a clip, or all."""
        arrays, place = self.predictions.reader.item(self.places[name])
        return np.array(arrays[KEY][place, self.number, :most])


def row_index(path: Path) -> dict[str, Any] | None:
    """Return the index of a row's predictions in a folder of the pipeline's; None in others."""
    index = read_json(path / INDEX) if (path / INDEX).is_file() else {}
    if not {"row", "parts", "trajectories"} <= set(index):
        return None
    if not index["paired"] or "predicted" in index:
        raise UserError(
            f"{path}: {index['row']} predicts no frames that follow the first ones of test clips"
        )
    return index


def row_trajectories(path: Path) -> list[RowTrajectory]:
    """Return the trajectories in a folder for which `row_index` has an index."""
    predictions = Predictions(path / INDEX)
    count = predictions.index["trajectories"]
    return [RowTrajectory(path, predictions, number) for number in range(count)]


def trajectories_in(
    path: Path, limits: Limits | None, names: Collection[str] | None
) -> Sequence[NamedClips]:
    """Return the trajectories of the clips of these `names` in a folder.

    It holds the clips themselves; or each several times, as clip_s0, clip_s1, … or in a folder
    clip/; or sub-folders that hold them all. names: of the real clips; None where names mean
    nothing.
    """
    folder = ClipFolder(path, limits)
    if names is None or set(folder.names) & set(names):
        return [folder]
    if several := samples_in(folder, names):
        return several
    if path.is_file():
        return [folder]
    inside = sorted((item for item in path.iterdir() if item.is_dir()), key=natural_key)
    found = [ClipFolder(item, limits) for item in inside if any(readers(item, limits))]
    return found if any(set(item.names) & set(names) for item in found) else [folder]


def samples_in(folder: ClipFolder, names: Collection[str]) -> list[FolderTrajectory]:
    """Return the trajectories in a folder whose clips end as in `SAMPLES`; none in others.

    UserError where clips have different numbers of them, and for a clip of another name.
    """
    known, samples = set(names), {}
    for called in sorted(folder.names, key=natural_key):
        clip = next((clip for end in SAMPLES if (clip := re.sub(end, "", called)) in known), None)
        samples.setdefault(clip, []).append(called)
    if samples.keys() <= {None}:
        return []
    if None in samples:
        raise UserError(
            f"{folder.path}: '{samples[None][0]}' is called like no real clip and no trajectory of"
            " one, clip_s0 or clip/0; correct its name, or remove it"
        )
    most, least = (choose(samples, key=lambda clip: len(samples[clip])) for choose in (max, min))
    if len(samples[most]) > len(samples[least]):
        raise UserError(
            f"{folder.path}: '{least}' has {len(samples[least])} of the {len(samples[most])} "
            f"trajectories that '{most}' has; as many are needed of each clip"
        )
    return [
        FolderTrajectory(folder, {clip: samples[clip][number] for clip in sorted(samples)})
        for number in range(len(samples[most]))
    ]


def readers(path: Path, limits: Limits | None) -> Iterator[tuple[str, Reader]]:
    """Yield every clip below a path, by name."""
    if path.is_file() and path.suffix in ARRAY_SUFFIXES:
        yield from array_readers(path, "", limits)
        return
    if not path.is_dir():
        raise UserError(f"{path}: no such folder, and no npy or safetensors file")
    root = absolute(path)
    videos = find_sources(root, "videos")
    known = {source.id for source in videos if source.part}  # a damaged archive is found twice
    for source in (*videos, *(s for s in find_sources(root, "frames") if s.id not in known)):
        yield source.id, partial(full_frames, source)
    arrays = [file for _, files in walk(root, ARRAY_SUFFIXES) for file in files]
    for file in arrays:
        prefix = "" if len(arrays) == 1 else video_file(root, file).id
        yield from array_readers(Path(file), prefix, limits)


def array_readers(path: Path, prefix: str, limits: Limits | None) -> Iterator[tuple[str, Reader]]:
    """Yield the clips in a file of arrays, which is mapped into memory.

    A file of one clip is mapped when the clip is read: a process may map some 65,000 files.
    """
    arrays = arrays_in(path)
    for key, array in sorted(arrays.items()):
        own = key if len(arrays) > 1 or array.ndim == 4 else ""
        called = "/".join(filter(None, (prefix, own)))
        if array.ndim not in (4, 5) or array.shape[-1] not in (1, 3):
            raise UserError(
                f"{path}: {key or 'its array'} is {list(array.shape)}; clips are (T, H, W, 3), or "
                "(N, T, H, W, 3) of N clips; 1 in place of 3 is grey"
            )
        if array.ndim == 4 and len(arrays) == 1:
            yield called or path.stem, partial(read_file, str(path), limits)
        elif array.ndim == 4:
            yield called, partial(read_array, array, ..., limits)
        else:
            for number in range(len(array)):
                clip = "/".join(filter(None, (called, f"{number:05d}")))
                yield clip, partial(read_array, array, number, limits)


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    """Map the arrays in a file, by their keys; that of an npy file has none."""
    return {"": npy_array(path)} if path.suffix == ".npy" else map_arrays(path)


def read_file(path: str, limits: Limits | None, most: int | None) -> np.ndarray:
    """Return frames of the only clip in a file of arrays."""
    (array,) = arrays_in(Path(path)).values()
    return read_array(array, ..., limits, most)


def read_array(
    array: np.ndarray, place: int | EllipsisType, limits: Limits | None, most: int | None
) -> np.ndarray:
    """Return frames of a clip (T, H, W, 3) at a place of an array, floats between `limits`."""
    frames = np.array(array[place][:most])
    if frames.dtype == np.uint8:
        return frames
    if frames.dtype.kind != "f":
        raise Rejected(f"holds {frames.dtype}; frames are uint8 from 0 to 255, RGB")
    low, high = float(frames.min()), float(frames.max())
    if limits is None or low < limits[0] or high > limits[1] or np.isnan(low):
        raise Rejected(
            f"holds {frames.dtype} from {low:g} to {high:g}; --range LOW HIGH names the values of "
            "black and white, between which all are"
        )
    scaled = (frames.astype(np.float64) - limits[0]) / (limits[1] - limits[0])
    return np.rint(255.0 * scaled).astype(np.uint8)


def npy_array(path: Path) -> np.ndarray:
    """Return a memory-mapped npy file; one that holds pickled objects is refused."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a plain npy array ({' '.join(str(error).split())})") from None


def write_clip(path: Path, frames: np.ndarray, kind: str, rate: float) -> None:
    """Write frames (T, H, W, C) without loss: `path`.npy, `path`.mp4, or a folder of images.

    kind: of `EXPORTS`. The video is H.264 of RGB, which programs read and browsers do not.
    """
    if kind == "npy":
        with atomic_path(f"{path}.npy") as temporary, open(temporary, "wb") as stream:
            np.save(stream, frames, allow_pickle=False)
    elif kind == "mp4":
        write_video(f"{path}.mp4", frames, rate, crf=0, pixel_format="rgb24", codec="libx264rgb")
    else:
        for place, frame in enumerate(frames):
            write_image(path / f"{place:05d}.png", frame)
