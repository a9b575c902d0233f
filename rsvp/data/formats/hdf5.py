"""HDF5 files of videos as VideoGPT and MCVD write them. Loads without torch.

VideoGPT (videogpt/data.py): `train_data` and `test_data` (frames, H, W, 3) hold one video after the
other, `train_idx` and `test_idx` their first frames; (frames, H, W) is grey. MCVD
(datasets/h5.py): `len/<i>` is the number of frames of video i, `<i>/<frame>` is one of them;
`num_train` videos are for training, and `person/<i>` is who is seen.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from rsvp.data.formats.stored import StoredFrames, frames_of_list
from rsvp.data.sources import Options, Rejected, Source, needed, parts_of_files
from rsvp.runtime.errors import one_line

SIDES = ("train", "test")
LENGTHS = "len"


def find(root: str, options: Options) -> Iterable[Source]:
    """Yield the videos in all HDF5 files below a folder, or in one file."""
    return parts_of_files(root, "hdf5", parts)


def parts(whole: Source) -> Iterator[Source]:
    """Yield the videos in a file; Rejected where it is of neither layout, or damaged."""
    with opened_file(whole.path) as file:
        if layout(file) == "VideoGPT":
            for side in SIDES:
                yield from joined_videos(whole, file, side)
        elif layout(file) == "MCVD":
            yield from separate_videos(whole, file)
        else:
            raise Rejected(f"holds {', '.join(list(file)[:5])}; neither train_data nor len")


def layout(file: Any) -> str | None:
    """Return whose layout an open file has."""
    if any(f"{side}_data" in file and f"{side}_idx" in file for side in SIDES):
        return "VideoGPT"
    return "MCVD" if LENGTHS in file and hasattr(file[LENGTHS], "keys") else None


def joined_videos(whole: Source, file: Any, side: str) -> Iterator[Source]:
    """Yield the videos of one side of a VideoGPT file; the last one ends with the array."""
    if f"{side}_data" not in file:
        return
    frames = file[f"{side}_data"]
    starts = [*map(int, file[f"{side}_idx"][()]), len(frames)]
    for number, (start, stop) in enumerate(pairwise(starts)):
        if not 0 <= start < stop <= len(frames):
            raise Rejected(f"{side}_idx puts video {number} at {start} to {stop} of {len(frames)}")
        part = f"{side}_data/{start}-{stop}"
        yield replace(whole, id=f"{side}/{whole.id}/{number:05d}", part=part, side=side)


def separate_videos(whole: Source, file: Any) -> Iterator[Source]:
    """Yield the videos of an MCVD shard."""
    train = int(file["num_train"][()]) if "num_train" in file else None
    for number in sorted(map(int, file[LENGTHS])):
        side = "" if train is None else SIDES[number >= train]
        person = f"person{int(file['person'][str(number)][()])}" if "person" in file else ""
        part = f"{number}/{int(file[LENGTHS][str(number)][()])}"
        yield replace(whole, id=f"{whole.id}/{number:05d}", part=part, side=side, group=person)


@contextmanager
def opened(source: Source) -> Iterator[StoredFrames]:
    """Yield the frames of a video that `parts` found."""
    name, _, places = source.part.partition("/")
    with opened_file(source.path) as file:
        frames = file[name]
        if name.isdecimal():
            count = int(places)
            if len(frames) != count:
                raise Rejected(f"{len(frames)} frames, {LENGTHS}/{name} says {count}")
            yield frames_of_list(lambda place: np.asarray(frames[str(place)]), range(count))
        else:
            start, stop = map(int, places.split("-"))
            yield StoredFrames(stop - start, lambda a, b: frames[start + a : start + b])


@contextmanager
def opened_file(path: str) -> Iterator[Any]:
    """Yield an open HDF5 file; Rejected where it is damaged."""
    try:
        with needed("h5py", path).File(path, "r") as file:
            yield file
    except (AttributeError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Rejected(f"not a whole HDF5 file ({one_line(str(error))})") from None
