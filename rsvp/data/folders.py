"""Anybody's clips in a folder: videos, folders of frames, npy or safetensors arrays.

Nothing is resized or cut out: frames are scored as they are. What is read is one clip at a time.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path

import av
import numpy as np
from PIL import Image

from rsvp.data.decoding import Rejected, probe_images, probe_video
from rsvp.data.frames import map_arrays
from rsvp.data.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source, find_sources, video_file, walk
from rsvp.runtime.errors import UserError

ARRAY_SUFFIXES = (".npy", ".safetensors")
Reader = Callable[[int | None], np.ndarray]  # the first so many frames, or all


class ClipFolder:
    """The clips in a folder, or in one file of arrays, by name.

    A video, a folder of images and an array (T, H, W, 3) are a clip each, called by their path
    below the folder without suffix. An array (N, T, H, W, 3) holds N clips, called 00000, … below
    it. The tensors of a safetensors file go by their keys. A folder's only file gives no name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.readers: dict[str, Reader] = {}
        for name, read in sorted(readers(path), key=itemgetter(0)):
            if name in self.readers:
                raise UserError(f"{path}: two clips are called '{name}'; rename or remove one")
            self.readers[name] = read
        if not self.readers:
            looked = ", ".join((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, *ARRAY_SUFFIXES))
            raise UserError(f"{path}: no clip in it; looked for {looked}")

    @property
    def names(self) -> list[str]:
        """Return the names of all clips, sorted."""
        return list(self.readers)

    def frames(self, name: str, most: int | None = None) -> np.ndarray:
        """Return uint8 (T, H, W, 3): the first `most` frames of a clip, or all."""
        try:
            return self.readers[name](most)
        except Rejected as error:
            raise UserError(f"{self.path}: {name}: {error}") from None


def readers(path: Path) -> Iterator[tuple[str, Reader]]:
    """Yield every clip below a path, by name."""
    if path.is_file() and path.suffix in ARRAY_SUFFIXES:
        yield from array_readers(path, "")
        return
    if not path.is_dir():
        raise UserError(f"{path}: no such folder, and no npy or safetensors file")
    root = os.path.abspath(path)
    for source in find_sources(root, "videos"):
        yield source.id, partial(read_video, source)
    for source in find_sources(root, "frames"):
        yield source.id, partial(read_images, source)
    arrays = [file for _, files in walk(root, ARRAY_SUFFIXES) for file in files]
    for file in arrays:
        prefix = "" if len(arrays) == 1 else video_file(root, file).id
        yield from array_readers(Path(file), prefix)


def read_video(source: Source, most: int | None) -> np.ndarray:
    """Return frames of a video file in its own size; Rejected where it cannot be decoded."""
    probe_video(source, fps=1.0)
    try:
        with av.open(f"file:{source.path}", options={"protocol_whitelist": "file"}) as container:
            decoded = itertools.islice(container.decode(video=0), most)
            frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise Rejected(f"cannot be decoded: {getattr(error, 'strerror', None) or error}") from None
    if not frames:
        raise Rejected("no frame could be decoded")
    return np.stack(frames)


def read_images(source: Source, most: int | None) -> np.ndarray:
    """Return frames of a folder of images in the order of their numbers."""
    probe_images(source, fps=1.0)
    frames = []
    for path in source.files[:most]:
        try:
            with Image.open(path) as image:
                frames.append(np.asarray(image.convert("RGB")))
        except (OSError, ValueError) as error:
            raise Rejected(f"{os.path.basename(path)} cannot be read: {error}") from None
    return np.stack(frames)


def array_readers(path: Path, prefix: str) -> Iterator[tuple[str, Reader]]:
    """Yield the clips in a file of arrays; they are mapped into memory."""
    arrays = {"": npy_array(path)} if path.suffix == ".npy" else map_arrays(path)
    for key, array in sorted(arrays.items()):
        own = key if len(arrays) > 1 or array.ndim == 4 else ""
        called = "/".join(filter(None, (prefix, own)))
        if array.ndim not in (4, 5) or array.shape[-1] != 3:
            raise UserError(
                f"{path}: {key or 'its array'} is {list(array.shape)}; clips are (T, H, W, 3), or "
                "(N, T, H, W, 3) of N clips"
            )
        if array.ndim == 4:
            yield called or path.stem, partial(read_array, array)
            continue
        for number, clip in enumerate(array):
            yield "/".join(filter(None, (called, f"{number:05d}"))), partial(read_array, clip)


def read_array(array: np.ndarray, most: int | None) -> np.ndarray:
    """Return frames of a clip that is an array (T, H, W, 3)."""
    if array.dtype != np.uint8:
        raise Rejected(f"holds {array.dtype}; frames are uint8 from 0 to 255, RGB")
    return np.array(array[:most])


def npy_array(path: Path) -> np.ndarray:
    """Return a memory-mapped npy file; one that holds pickled objects is refused."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a plain npy array ({' '.join(str(error).split())})") from None
