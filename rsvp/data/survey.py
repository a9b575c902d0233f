"""A look at a source: the headers of all of its videos, and some of them decoded.

Loads without torch.
"""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import TypeVar

import cv2
import numpy as np
from scipy.sparse import csr_array, vstack
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from rsvp.data.decoding import Decoding, opened, probe_content
from rsvp.data.fitting import FrameShape
from rsvp.data.formats.stored import StoredFrames
from rsvp.data.hashing import content_hash, files_of
from rsvp.data.headers import is_turned, video_length
from rsvp.data.measured import measure
from rsvp.data.sources import Rejected, Source
from rsvp.data.timeline import changes, cuts

SIDE = 64  # pixels of the frames that are looked at
RATE = 25.0  # of frames that have none
HASHED_FRAMES = 8  # of a video, at the same shares of its time
HASH_SIDE, HASH_BITS = 32, 64  # of a frame: pixels, and bits of its hash
# Videos whose hashes differ in less of their bits are the same film. Those of real clips at another
# size and rate differed in 0.15 at most, those of different clips in 0.33 at least.
NEAR = 0.2
PLAIN = 4.0  # grey levels of deviation: a frame with less shows nothing that a hash could tell
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a video, which is not decoded for it; `reason`: why it cannot be used, or "".

    `frames` may be an estimate. `width`, `height`: of the picture that a player shows, but for its
    rotation.
    """

    source: Source
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    picture: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """A decoded video; `reason`: why it cannot be used, or "".

    `regular`: whether frames come evenly. `changes`: (T,), see `rsvp.data.timeline.changes`.
    `grey`: whether it has no colour. `turned`: whether a player turns it by a quarter. `content`:
    hex digest of its small frames. `bits`: bool (HASHED_FRAMES * HASH_BITS,), equal for equal
    pictures at any size; empty where the frames show nothing.
    """

    source: Source
    reason: str = ""
    damage: str = ""
    fps: float = 0.0
    regular: bool = True
    changes: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    grey: bool = False
    turned: bool = False
    content: str = ""
    bits: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    seconds: float = 0.0  # that decoding it took

    @property
    def frames(self) -> int:
        """Return the number of its frames."""
        return len(self.changes)

    @property
    def cuts(self) -> int:
        """Return the number of its cuts from shot to shot."""
        return len(cuts(self.changes)) if self.frames else 0

    @property
    def repeated(self) -> int:
        """Return the number of its frames that are equal to the one before."""
        return int((self.changes == 0).sum())


def read_headers(sources: Sequence[Source]) -> list[Header]:
    """Return the headers of videos, under a progress bar."""
    return in_parallel(read_header, sources, "headers")


def read_header(source: Source) -> Header:
    """Return what a video says of itself."""
    try:
        with opened(source) as content:
            probe = probe_content(content, RATE)
            if isinstance(content, StoredFrames):
                frames, fps = content.count, probe.fps
            elif content.files:
                frames, fps = len(content.files), probe.fps
            else:
                frames, fps = video_length(content.path, probe.fps)
            if source.span:
                frames = frames_of_span(source, frames, fps)
    except Rejected as reason:
        return Header(source, reason=str(reason))
    width = round(probe.width * probe.picture.pixel)
    return Header(source, frames, fps, width, probe.height, str(probe.picture))


def frames_of_span(source: Source, frames: int, fps: float) -> int:
    """Return the frames in the part of a video that a source is."""
    start, stop, unit = source.span
    scale = fps if unit == "seconds" else 1.0
    end = frames if stop is None else min(frames, round(stop * scale))
    return max(0, end - round(start * scale))


def value_range(sources: Iterable[Source]) -> tuple[float, float] | None:
    """Return the values of black and white that fit arrays of numbers; None without any."""
    with suppress(Rejected):
        if found := measure(sources):
            return found.low, found.high
    return None


def decode_all(sources: Sequence[Source], limits: tuple[float, float] | None) -> list[Look]:
    """Return a look at each of the videos, all decoded, under a progress bar.

    limits: the `value_range` of arrays of numbers.
    """
    # Stretched: all of the picture, and the same one whatever shape a copy has.
    shape = FrameShape(SIDE, SIDE, fit="stretch", resize="area", range=limits)
    return in_parallel(partial(look_at, shape=shape), sources, "decode")


def look_at(source: Source, shape: FrameShape) -> Look:
    """Decode a video at a shape and return what it shows."""
    began, seen = time.monotonic(), Seen()
    try:
        with Decoding(source, shape, RATE) as decoding:
            decoded = decoding.read(seen.append)
            stored = isinstance(decoding.content, StoredFrames) or decoding.content.files
            turned = not stored and is_turned(decoding.content.path)
    except Rejected as reason:
        return Look(source, reason=str(reason))
    return Look(
        source, "", decoded.damage, decoded.fps, decoded.regular, np.concatenate(seen.changes),
        seen.grey, turned, seen.digest.hexdigest(),
        perceptual_hash(np.stack(seen.small)), time.monotonic() - began,
    )  # fmt: skip


class Seen:
    """All that is kept of a video's frames while it is decoded."""

    def __init__(self) -> None:
        self.before: np.ndarray | None = None
        self.changes: list[np.ndarray] = []
        self.small: list[np.ndarray] = []  # grey, uint8 (HASH_SIDE, HASH_SIDE) each
        self.grey, self.digest = True, hashlib.sha256()

    def append(self, frames: np.ndarray, _times: np.ndarray) -> None:
        """Take the next frames (n, S, S, C), whose memory may be used again."""
        self.changes.append(changes(frames, self.before))
        self.before = frames[-1].copy()
        self.grey = self.grey and bool((frames == frames[..., :1]).all())
        self.digest.update(frames.tobytes())
        for frame in frames.mean(axis=-1).astype(np.uint8):
            small = cv2.resize(frame, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA)
            self.small.append(small)


def in_parallel(
    work: Callable[[Source], Found], sources: Sequence[Source], name: str
) -> list[Found]:
    """Return what `work` finds of each video, as many at once as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(work, sources)
        return list(tqdm(found, name, len(sources), unit="video", delay=1, leave=False))


def perceptual_hash(frames: np.ndarray) -> np.ndarray:
    """Return the signs of the low frequencies of frames spread over a video, as bits.

    frames: grey, uint8 (T, S, S). The 8 by 8 lowest of the cosine transform, each above or below
    their median, as pHash (Zauner 2010) has it. Empty where some frame is plain.
    """
    places = ((np.arange(HASHED_FRAMES) + 0.5) / HASHED_FRAMES * len(frames)).astype(int)
    bits = []
    for frame in frames[places].astype(np.float32):
        if frame.std() < PLAIN:
            return np.empty(0, bool)
        low = cv2.dct(frame)[:8, :8].ravel()
        bits.append(low > np.median(low))
    return np.concatenate(bits)


def equal_files(sources: Sequence[Source]) -> list[list[Source]]:
    """Return groups of videos whose files have equal content; parts of files are left out.

    Files of equal sizes alone are read: their ends first, then the whole of those with equal ends.
    """
    whole = [source for source in sources if not source.part and not source.span]
    groups = [whole]
    for key in (sizes, ends, content_hash):
        groups = [members for group in groups for members in grouped(group, key)]
    return groups


def grouped(items: Iterable[Found], key: Callable[[Found], Hashable]) -> list[list[Found]]:
    """Return the groups of two or more items with equal keys; items with key None are left out."""
    found: defaultdict[Hashable, list[Found]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    found.pop(None, None)
    return [members for members in found.values() if len(members) > 1]


def sizes(source: Source) -> tuple[int, ...] | None:
    """Return the sizes of a video's files; None where one cannot be read, or is empty."""
    try:
        found = tuple(os.path.getsize(path) for path in files_of(source))
    except OSError:
        return None
    return found if all(found) else None


def ends(source: Source) -> str | None:
    """Return a digest of the ends of a video's first and last file; None where none is there."""
    digest = hashlib.sha256()
    try:
        for path in files_of(source)[:: max(1, len(files_of(source)) - 1)]:
            with open(path, "rb") as stream:
                digest.update(stream.read(4096))
                stream.seek(-min(4096, os.path.getsize(path)), os.SEEK_END)
                digest.update(stream.read())
    except OSError:
        return None
    return digest.hexdigest()


def near_duplicates(looks: Sequence[Look]) -> list[list[Source]]:
    """Return groups of videos that show the same film, at another size, rate or compression.

    Videos of equal content are no such group. Each is compared with each other one.
    """
    shown = [look for look in looks if len(look.bits)]
    if not shown:
        return []
    signs = np.stack([look.bits for look in shown]).astype(np.float32) * 2 - 1
    least = signs.shape[1] * (1 - 2 * NEAR)  # of the product of two videos' signs
    blocks = (signs[start : start + 1024] for start in range(0, len(shown), 1024))
    near = vstack([csr_array(block @ signs.T >= least) for block in blocks])
    _, component = connected_components(near, directed=False)
    groups = grouped(range(len(shown)), component.__getitem__)
    members = [[shown[place] for place in group] for group in groups]
    return [
        [look.source for look in group]
        for group in members
        if any(a.content != b.content for a, b in combinations(group, 2))
    ]
