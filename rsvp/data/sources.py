"""The videos of a source folder: their ids and their shares. Loads without torch."""

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from pathlib import Path

from rsvp.config.schema import SourceKind
from rsvp.runtime.errors import UserError, one_line

VIDEO_SUFFIXES = (
    ".avi", ".mp4", ".mkv", ".mov", ".webm", ".gif", ".m4v", ".mpg", ".mpeg", ".ts", ".mts",
    ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".vob", ".mxf", ".dv",
)  # fmt: skip
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
SUFFIXES = {"videos": VIDEO_SUFFIXES, "generated": VIDEO_SUFFIXES, "frames": IMAGE_SUFFIXES}
SYNC_BYTE = 0x47  # of each packet of a transport stream
SECONDS = re.compile(r"([0-9]+)\.([0-9]+)")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # with all that ends a line
# Years since 1970 in seconds, or any finer unit: no counter of frames comes that far.
EPOCH = 10**9
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """One video: a file, or a folder of image files.

    `id`: path below the source folder without suffix, joined by "/". `path`: where it lies.
    `files`: the image files of a frame folder in natural order (absolute); empty for a file.
    """

    id: str
    path: str
    files: tuple[str, ...] = ()

    @property
    def class_name(self) -> str:
        """Return the name of the folder that the video lies in; "" at the top."""
        return self.id.rpartition("/")[0].rpartition("/")[2]


def list_sources(
    folder: str | Path, kind: SourceKind, max_videos: int | None = None
) -> list[Source]:
    """Return the videos below `folder`, sorted by id.

    Hidden files are left out; linked folders are followed, each folder once. With `max_videos`,
    the first ones by hash of their id. Raises UserError when the folder is missing or holds none.
    """
    root = absolute(folder)
    if not os.path.isdir(root):
        what = "is a file; name the folder that holds it" if os.path.exists(root) else "no folder"
        raise UserError(f"{root}: {what}; see 'path' of the dataset in the config")
    unreadable: list[str] = []
    found = sources_by_id(find_sources(root, kind, unreadable))
    if not found:
        what = "no folder of images" if kind == "frames" else "no video"
        what = "; ".join((f"{what} in it", *unreadable[:3]))
        raise UserError(f"{root}: {what}; looked for {', '.join(SUFFIXES[kind])}")
    for reason in unreadable:
        logger.warning("%s; left out", one_line(reason))
    chosen = sorted(found, key=id_hash)[:max_videos]
    return [found[name] for name in sorted(chosen)]


def absolute(path: str | Path) -> str:
    """Return an absolute path; `link/..` is the folder above the one that the link leads to."""
    path = os.path.expanduser(path)
    text, real = os.path.abspath(path), os.path.realpath(path)
    return text if os.path.realpath(text) == real else real


def find_sources(root: str, kind: SourceKind, unreadable: list[str] | None = None) -> list[Source]:
    """Return the videos below a folder, or the folders of images.

    Folders that cannot be read are left out, and appended to `unreadable` with the reason.
    """
    found = walk(root, SUFFIXES[kind], unreadable)
    if kind == "frames":
        return [frame_folder(root, path, files) for path, files in found]
    return [video_file(root, file) for _, files in found for file in files]


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

    Each real folder comes once, so links in a circle end; a folder that is reached both directly
    and by a link comes by its own path.
    """
    seen: set[tuple[int, int]] = set()

    def leave_out(error: OSError) -> None:
        gone = isinstance(error, FileNotFoundError)  # just removed
        # Each disk has one, for its owner only.
        if unreadable is not None and not gone and os.path.basename(error.filename) != "lost+found":
            unreadable.append(f"{error.filename}: {error.strerror}")

    tops = [root]
    for top in tops:  # links to folders are added on the way, and so come last
        for folder, folders, files in os.walk(top, onerror=leave_out):
            status = os.stat(folder)
            known = (status.st_dev, status.st_ino) in seen
            seen.add((status.st_dev, status.st_ino))
            folders[:] = [] if known else sorted(n for n in folders if not n.startswith("."))
            below = [os.path.join(folder, name) for name in folders]
            tops += filter(os.path.islink, below)  # which os.walk names, and does not enter
            names = sorted(n for n in files if n.lower().endswith(suffixes) and n[0] != ".")
            paths = [os.path.join(folder, name) for name in names]
            paths = [path for path in paths if not is_typescript(path)]
            if paths and not known:
                yield folder, paths


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
    """Return the source of one video file."""
    return Source(plain(os.path.splitext(os.path.relpath(path, root))[0]), path)


def frame_folder(root: str, path: str, files: Sequence[str]) -> Source:
    """Return the source of one folder of images; the source folder itself goes by its own name."""
    relative = os.path.relpath(path, root)
    name = os.path.basename(root) if relative == os.curdir else relative
    return Source(plain(name), path, in_order(files))


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
