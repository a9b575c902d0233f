"""The videos of a source folder: their ids and their shares. Loads without torch.

Trees of video files and of folders of images are found here, other kinds by `rsvp.data.formats`.
"""

import hashlib
import itertools
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from rsvp.config.schema import SourceKind
from rsvp.runtime.errors import UserError, one_line

VIDEO_SUFFIXES = (
    ".avi", ".mp4", ".mkv", ".mov", ".webm", ".gif", ".m4v", ".mpg", ".mpeg", ".ts", ".mts",
    ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".vob", ".mxf", ".dv",
)  # fmt: skip
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
SUFFIXES = {
    "videos": VIDEO_SUFFIXES, "generated": VIDEO_SUFFIXES, "frames": IMAGE_SUFFIXES,
    "tar": (".tar", ".tgz", ".tar.gz"),
    "tfrecord": (".tfrecord", ".tfrecords"),
    "hdf5": (".h5", ".hdf5"),
    "arrays": (".npy", ".npz", ".h5", ".hdf5"),
}  # fmt: skip
TREES = ("videos", "frames", "arrays")  # kinds that take the files of some suffixes
ZIP = ".zip"  # of videos, or of folders of images
FORMATS = (  # modules of rsvp.data.formats
    "arrays", "hdf5", "lerobot", "moving_mnist", "table", "tar", "tfrecord",
)  # fmt: skip
EXTRAS = {"h5py": "hdf5"}  # of pyproject.toml, by the module that they bring
DIGITS = ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte", "train-images.idx3-ubyte")
DAMAGED = "damaged: "  # begins the part of a file that cannot be listed; the reason follows
LFS_POINTER = b"version https://git-lfs"
# Low copies, stills, sound and halves beside the videos of cameras and downloads.
COMPANIONS = (".lrv", ".thm", ".m4a", ".part", ".crdownload", ".download", ".tmp", *IMAGE_SUFFIXES)
VIDEO_BEGINNING = re.compile(
    rb"....ftyp(?!heic|heix|mif1|avif|M4A )|....(?:moov|mdat|wide)|RIFF....AVI |\x1aE\xdf\xa3"
    rb"|FLV\x01|\x00\x00\x01[\xba\xb3]|GIF8|\.RMF|YUV4MPEG2|\x30\x26\xb2\x75\x8e\x66\xcf\x11"
    rb"|\x47.{187}\x47",
    re.DOTALL,
)
SYNC_BYTE = 0x47  # of each packet of a transport stream
SECONDS = re.compile(r"([0-9]+)\.([0-9]+)")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # with all that ends a line
# Years since 1970 in seconds, or any finer unit: no counter of frames comes that far.
EPOCH = 10**9
logger = logging.getLogger(__name__)


class Rejected(Exception):
    """A video that cannot be used; the text is the reason, in one line."""


class Span(NamedTuple):
    """The part of a video from `start` on and before `stop`; None is its end."""

    start: float
    stop: float | None
    unit: Literal["seconds", "frames"]

    def __str__(self) -> str:
        return f"{self.start:g}-{'end' if self.stop is None else format(self.stop, 'g')}"


class Options(NamedTuple):
    """The keys of a dataset that say how its source is read; see `rsvp.config.schema.Dataset`."""

    axes: str | None = None
    camera: str | None = None
    gaps: str | None = None
    generated: Mapping[str, Any] | None = None


INFERRED = Options()


@dataclass(frozen=True, slots=True)
class Source:
    """One video: a file, a folder of image files, or a part of one.

    `id`: path below the source folder without suffix, joined by "/". `path`: where it lies.
    `files`: the image files of a frame folder in natural order (absolute, or their names in an
    archive); empty for a file.
    `kind`, `part`: the format that finds a part in the file, and what it is called there.
    `group`, `side`, `frames`: those that the source itself knows.
    """

    id: str
    path: str
    files: tuple[str, ...] = ()
    kind: str = ""
    part: str = ""
    span: Span | None = None
    group: str = ""
    side: str = ""
    frames: int = 0

    @property
    def class_name(self) -> str:
        """Return the name of the folder that the video lies in; "" at the top."""
        return self.id.rpartition("/")[0].rpartition("/")[2]

    @property
    def place(self) -> str:
        """Return what of the file it is; "" for all of it."""
        part = [self.kind, self.part, *(self.files if self.kind else ()), self.span]
        return json.dumps(part) if self.part or self.span else ""

    @property
    def identity(self) -> str:
        """Return its id, with what the source itself knows of it."""
        return "\0".join((self.id, *self.known.values()))

    @property
    def known(self) -> dict[str, str]:
        """Return the group and the side that the source itself knows."""
        return {key: value for key in ("group", "side") if (value := getattr(self, key))}

    def row(self, root: str) -> list[Any]:
        """Return it as JSON values, its paths as seen from a folder; see `from_row`."""
        files = [file if self.kind else os.path.relpath(file, root) for file in self.files]
        keys = ("kind", "part", "span", "frames")
        more = {key: value for key in keys if (value := getattr(self, key))}
        return [self.id, os.path.relpath(self.path, root), files, more | self.known]

    @classmethod
    def from_row(cls, row: Sequence[Any], root: str) -> "Source":
        """Return the source of a row."""
        name, path, files, more = row
        span = Span(*more["span"]) if "span" in more else None
        images = tuple(file if "kind" in more else os.path.join(root, file) for file in files)
        return cls(
            name, os.path.normpath(os.path.join(root, path)), images, **more | {"span": span}
        )


def list_sources(
    folder: str | Path,
    kind: SourceKind,
    max_videos: int | None = None,
    options: Options = INFERRED,
) -> list[Source]:
    """Return the videos of a source, sorted by id.

    Hidden files are left out; linked folders are followed, each folder once. With `max_videos`,
    the first ones by hash of their id. Raises UserError when the folder is missing or holds none.
    """
    root = absolute(folder)
    if not os.path.exists(root):
        raise UserError(f"{root}: no folder; see 'path' of the dataset in the config")
    if os.path.isfile(root) and kind in ("videos", "frames") and not root.endswith(".zip"):
        what = "is a file; name the folder that holds it"
        raise UserError(f"{root}: {what}; see 'path' of the dataset in the config")
    unreadable: list[str] = []
    named = find_sources(root, kind, unreadable, options)
    found = sources_by_id(dict.fromkeys(named))  # rows of a table may be equal
    if again := len(named) - len(found):
        logger.warning("%s: %d videos are named again; each is taken once", root, again)
    if not found:
        what = "no folder of images" if kind == "frames" else "no video"
        what = "; ".join((f"{what} in it", *unreadable[:3]))
        looked = ", ".join(SUFFIXES.get(kind, [f"those of a {kind}"]))
        raise UserError(f"{root}: {what}; looked for {looked}")
    for reason in unreadable:
        logger.warning("%s; left out", one_line(reason))
    chosen = sorted(found, key=id_hash)[:max_videos]
    return [found[name] for name in sorted(chosen)]


def unused_files(
    folder: str | Path, kind: SourceKind, sources: Iterable[Source]
) -> list[dict[str, Any]]:
    """Return what files of a source are no part of its videos, a row for each suffix.

    A row has its `suffix`, the number of `files`, and the `path` of the first one, as seen from the
    folder. Formats that say themselves which files they hold have no such rows.
    """
    if kind not in TREES:
        return []
    root = absolute(folder)
    used = {path for source in sources for path in (source.path, *source.files)}
    others = sorted(path for _, paths in walk(root, ("",)) for path in paths if path not in used)
    counts = Counter(os.path.splitext(path)[1].lower() for path in others)
    first = {os.path.splitext(path)[1].lower(): path for path in reversed(others)}
    return [
        {"suffix": suffix, "files": count, "path": plain(os.path.relpath(first[suffix], root))}
        for suffix, count in counts.most_common()
    ]


def absolute(path: str | Path) -> str:
    """Return an absolute path; `link/..` is the folder above the one that the link leads to."""
    path = os.path.expanduser(path)
    text, real = os.path.abspath(path), os.path.realpath(path)
    return text if os.path.realpath(text) == real else real


def find_sources(
    root: str,
    kind: SourceKind,
    unreadable: list[str] | None = None,
    options: Options = INFERRED,
) -> list[Source]:
    """Return the videos of a source.

    Folders that cannot be read are left out, and appended to `unreadable` with the reason.
    """
    if kind in FORMATS:
        return list(format_of(kind).find(root, options))
    sources: list[Source] = []
    for folder, files in walk(root, (*SUFFIXES[kind], ZIP), unreadable):
        zips = [file for file in files if file.lower().endswith(ZIP)]
        files = [file for file in files if file not in zips]
        if files and kind == "frames":
            sources += frame_folders(root, folder, files, options)
        else:
            found = [video_file(root, file) for file in files]
            # Beside film.mp4 there may be film.divx.
            sources += (
                source if source.path.lower().endswith(SUFFIXES[kind])
                else replace(source, id=plain(os.path.relpath(source.path, base_of(root))))
                for source in found
            )  # fmt: skip
        for file in zips:
            sources += format_of("zip").parts(root, file, kind, options)
    runs = Counter(source.path for source in sources if source.files and not source.kind)
    if cut := [path for path, count in runs.items() if count > 1]:
        logger.warning(
            "%d of the folders of images have gaps, the first is %s; split there",
            len(cut), one_line(cut[0]),
        )  # fmt: skip
    return sources


def format_of(kind: str) -> ModuleType:
    """Return the module of a format, loaded when it is used: a stage's code holds no other.

    Its `find` yields the videos of a source, its `opened` gives the frames of one of them.
    """
    return import_module(format_module(kind))


def format_module(kind: str) -> str:
    """Return the name of the module that knows a format."""
    return f"rsvp.data.formats.{kind}"


def sources_by_id(sources: Iterable[Source]) -> dict[str, Source]:
    """Return sources by their ids; UserError where two have one."""
    found: dict[str, Source] = {}
    for source in sources:
        other = found.setdefault(source.id, source)
        if other is not source:
            raise UserError(
                f"{other.path} and {source.path}: two videos have the id '{source.id}';"
                " rename or remove one"
            )
    return found


def named_sources(paths: Iterable[Path]) -> dict[str, Source]:
    """Return the videos at some paths by their outputs' names; UserError where two have one."""
    return sources_by_id(source for path in paths for source in sources_at(path))


def sources_at(path: Path) -> list[Source]:
    """Return a video file, a folder of one video's images, or the videos below a folder."""
    place = absolute(path)
    if not os.path.isdir(place):
        return [video_file(os.path.dirname(place), place)]
    images = {folder: files for folder, files in walk(place, IMAGE_SUFFIXES)}
    # Pictures may lie beside videos.
    videos = any(folder == place for folder, _ in walk(place, VIDEO_SUFFIXES))
    if place in images and not videos:
        return [frame_folder(place, place, images[place])]
    return list_sources(place, "videos")


def walk(
    root: str, suffixes: tuple[str, ...], unreadable: list[str] | None = None
) -> Iterable[tuple[str, list[str]]]:
    """Yield folders below `root` that hold files with one of the suffixes, with those files' paths.

    `root` may be such a file itself.
    Each real folder comes once, so links in a circle end; a folder that is reached both directly
    and by a link comes by its own path.
    """
    seen: set[tuple[int, int]] = set()
    if os.path.isfile(root) and root.lower().endswith(suffixes):
        yield os.path.dirname(root), [root]

    def leave_out(error: OSError) -> None:
        gone = isinstance(error, FileNotFoundError)  # just removed
        # Each disk has one, for its owner only.
        if unreadable is not None and not gone and os.path.basename(error.filename) != "lost+found":
            unreadable.append(f"{error.filename}: {error.strerror}")

    tops = [root] if os.path.isdir(root) else []
    for top in tops:  # links to folders are added on the way, and so come last
        for folder, folders, files in os.walk(top, onerror=leave_out):
            status = os.stat(folder)
            known = (status.st_dev, status.st_ino) in seen
            seen.add((status.st_dev, status.st_ino))
            folders[:] = [] if known else sorted(n for n in folders if not n.startswith("."))
            below = [os.path.join(folder, name) for name in folders]
            tops += filter(os.path.islink, below)  # which os.walk names, and does not enter
            paths = [os.path.join(folder, name) for name in sorted(files) if name[0] != "."]
            paths = [] if known else [path for path in paths if is_sought(path, suffixes)]
            if paths:
                yield folder, paths


def is_sought(path: str, suffixes: tuple[str, ...]) -> bool:
    """Check whether a file has one of the suffixes; or begins as videos do, where those are sought.

    A program in TypeScript has the suffix of a transport stream.
    """
    name = path.lower()
    if name.endswith(suffixes):
        return not is_typescript(path)
    return VIDEO_SUFFIXES[0] in suffixes and not name.endswith(COMPANIONS) and is_video(path)


def is_video(path: str) -> bool:
    """Check whether a file begins as videos do, whatever it is called."""
    try:
        with open(path, "rb", opener=without_waiting) as stream:
            return bool(VIDEO_BEGINNING.match(stream.read(192)))
    except OSError:
        return False


def without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to would never open."""
    return os.open(path, flags | os.O_NONBLOCK)


def is_typescript(path: str) -> bool:
    """Check whether a .ts file is text, a program and no transport stream of MPEG."""
    if not path.lower().endswith(".ts") or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as stream:
            start = stream.read(256)
    except OSError:
        return False
    return bool(start) and start[0] != SYNC_BYTE and b"\0" not in start


def video_file(root: str, path: str) -> Source:
    """Return the source of one video file; the source may be that file itself."""
    return Source(plain(os.path.splitext(os.path.relpath(path, base_of(root)))[0]), path)


def base_of(root: str) -> str:
    """Return the folder of a source, which may be a file."""
    return os.path.dirname(root) if os.path.isfile(root) else root


def frame_folder(root: str, path: str, files: Sequence[str]) -> Source:
    """Return the source of one folder of images; the source folder itself goes by its own name.

    Folders that are called as the one above them and a number are parts of one video, a group.
    """
    relative = os.path.relpath(path, root)
    name = os.path.basename(root) if relative == os.curdir else relative
    above, _, own = name.rpartition(os.sep)
    part = re.fullmatch(rf"{re.escape(os.path.basename(above))}_\d+", own)
    group = plain(above) if part and above else ""
    return Source(plain(name), path, in_order(files), group=group)


def frame_folders(root: str, path: str, files: Sequence[str], options: Options) -> Iterator[Source]:
    """Yield the source of a folder of images; of each of its runs, where it is split at gaps.

    Runs of one sequence are a group.
    """
    whole = frame_folder(root, path, files)
    numbers = frame_numbers(whole.files)
    starts = starts_of_runs(numbers) if options.gaps == "split" else [0]
    if len(starts) == 1:
        yield whole
        return
    for start, stop in itertools.pairwise([*starts, len(whole.files)]):
        *sequence, _ = map(str, numbers[start])
        group = "@".join(filter(None, (whole.id, "_".join(sequence))))
        name = f"{whole.id}@{'_'.join(map(str, numbers[start]))}"
        yield replace(whole, id=name, files=whole.files[start:stop], group=whole.group or group)


def starts_of_runs(numbers: Sequence[tuple[int | Fraction, ...] | None]) -> list[int]:
    """Return the places where runs of images begin: behind gaps, and where a sequence begins.

    Numbers before a frame's own, as in <sequence>_<frame>, name its sequence; not where they change
    with most frames, nor where they are seconds.
    """
    if None in numbers or any(isinstance(part, Fraction) for part in numbers[0]):
        return [0]
    sequences = [0, *(place for place in range(1, len(numbers))
                      if numbers[place][:-1] != numbers[place - 1][:-1])]  # fmt: skip
    if 2 * len(sequences) > len(numbers):
        return [0]
    return [
        start + place
        for start, stop in itertools.pairwise([*sequences, len(numbers)])
        for place in (0, *gaps_in([number[-1:] for number in numbers[start:stop]]))
    ]


def gaps_in(numbers: Sequence[tuple[int | Fraction, ...] | None]) -> list[int]:
    """Return the places of the images that follow a gap in a regular series of frame numbers.

    Every n-th number is as good as every one, and time stamps come as they come.
    """
    if not numbers or None in numbers or len(numbers[0]) > 1 or numbers[-1][0] >= EPOCH:
        return []
    steps = [after - before for (before,), (after,) in itertools.pairwise(numbers)]
    # Time stamps jitter, so half a step more is no gap; neither is what most steps exceed.
    gaps = [place + 1 for place, step in enumerate(steps) if 2 * step >= 3 * min(steps)]
    return gaps if 2 * len(gaps) <= len(steps) else []


def parts_of_files(
    root: str, kind: SourceKind, list_parts: Callable[[Source], Iterable[Source]]
) -> Iterator[Source]:
    """Yield the videos in each file of a kind; what of a file cannot be listed comes as one.

    list_parts: yields the videos in a file, and may raise Rejected.
    """
    unreadable: list[str] = []
    for _, files in walk(root, SUFFIXES[kind], unreadable):
        for file in files:
            whole = replace(video_file(root, file), kind=kind)
            try:
                yield from list_parts(whole)
            except (Rejected, OSError) as reason:
                why = why_unread(file, one_line(str(reason)))
                yield replace(whole, part=f"{DAMAGED}{why}")
    for reason in unreadable:
        logger.warning("%s; left out", one_line(reason))


def why_unread(path: str, reason: str) -> str:
    """Return why a file cannot be read: a reason, unless a clone without Git LFS lacks the file."""
    with suppress(OSError), open(path, "rb", opener=without_waiting) as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            return "a pointer of Git LFS, not the file itself; git lfs pull"
    return reason


def needed(module: str, path: str) -> ModuleType:
    """Import a library that only one format needs; UserError says how to get it."""
    try:
        return import_module(module)
    except ImportError:
        extra = f"pip install 'rsvp[{EXTRAS[module]}]'"
        raise UserError(f"{path}: reading it needs {module}: {extra}") from None


def in_order(files: Sequence[str]) -> tuple[str, ...]:
    """Return images in the order of their frame numbers; where one has none, of their names."""
    files = sorted(files, key=natural_key)
    numbers = frame_numbers(files)
    if None in numbers:
        return tuple(files)
    return tuple(file for _, file in sorted(zip(numbers, files, strict=True), key=itemgetter(0)))


def frame_numbers(files: Sequence[str]) -> list[tuple[int | Fraction, ...] | None]:
    """Return the frame number of each image by its name; None where it has no digits.

    It is the number that varies from name to name: 000019_leftImg8bit has one that does not. Where
    several vary (sequence and frame), it has as many parts. Where the names have different counts
    of numbers, it is the last one. Names such as 0.5 and 0.25 are times; 1.9 and 1.10 are counted.
    """
    stems = [stem(file) for file in files]
    seconds = [SECONDS.fullmatch(name) for name in stems]
    if all(seconds) and are_times([(found[1], found[2]) for found in seconds]):
        return [(int(found[1]), Fraction(f"0.{found[2]}")) for found in seconds]
    found = [[int(digits) for digits in re.findall("[0-9]+", name)] for name in stems]
    if len({len(numbers) for numbers in found}) > 1:
        return [tuple(numbers[-1:]) or None for numbers in found]
    columns = list(zip(*found, strict=True))
    varying = [column for column in columns if len(set(column)) > 1] or columns[-1:]
    return list(zip(*varying, strict=True)) or [None] * len(files)


def are_times(parts: Sequence[tuple[str, str]]) -> bool:
    """Check whether numbers, as the digits before and after their points, are seconds.

    They are where the first part varies. Of one second, only a counter goes from 9 to 10, and
    digits of one length have one order.
    """
    if len({before for before, _ in parts}) > 1:
        return True
    afters = [after for _, after in parts]
    counted = any(after.endswith("0") and after.strip("0") for after in afters)
    return len(set(map(len, afters))) > 1 and not counted


def stem(path: str) -> str:
    """Return the name of a file without its suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def plain(name: str) -> str:
    """Return `name` with "/" between folders, in one line of a table.

    Control characters, and bytes that are not UTF-8, become backslash escapes.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace").replace(os.sep, "/")
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def natural_key(path: str) -> tuple[list[tuple[int, int | str]], str]:
    """Return a sort key by which frame2 comes before frame10."""
    name = os.path.basename(path)
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts], name


def id_hash(video_id: str) -> str:
    """Return the hex SHA-256 of a video's id."""
    return hashlib.sha256(video_id.encode()).hexdigest()


def share_of(video_id: str, jobs: int) -> int:
    """Return the decode job, 0 to jobs - 1, of a video, whatever other videos there are."""
    return int(id_hash(video_id)[:8], 16) % jobs


def share_within(video_id: str, shares: int) -> int:
    """Return the share, 0 to shares - 1, of a video within its decode job."""
    return int(id_hash(video_id)[8:16], 16) % shares
