"""The kind of a source, found by looking at it; nothing is read with it. Loads without torch."""

import os
import zipfile
from collections import Counter
from contextlib import suppress

from rsvp.config.schema import SourceKind
from rsvp.data.formats import table
from rsvp.data.formats.lerobot import INFO
from rsvp.data.sources import DIGITS, IMAGE_SUFFIXES, SUFFIXES, VIDEO_SUFFIXES, ZIP, absolute, walk
from rsvp.runtime.errors import UserError

# Of equally many, the first one.
KINDS: tuple[SourceKind, ...] = ("videos", "frames", "arrays", "tar", "tfrecord")
NAMED = 5  # suffixes of files that are no videos
NAMES = {
    "videos": "video files", "frames": "folders of images", "arrays": "files of arrays",
    "tar": "tar files of WebDataset", "tfrecord": "TFRecord files",
}  # fmt: skip


def detect(path: str) -> tuple[SourceKind, str]:
    """Return the kind of a source, and in words what was found; UserError where nothing was.

    A folder of several kinds has the one with most files, folders of images counting as one.
    """
    root = absolute(path)
    if not os.path.exists(root):
        raise UserError(f"{root}: no folder; see 'path' of the dataset in the config")
    if os.path.isfile(os.path.join(root, INFO)):
        return "lerobot", f"a dataset of LeRobot ({INFO})"
    if any(os.path.isfile(os.path.join(root, name)) for name in DIGITS):
        return "moving_mnist", "MNIST's digits to make videos of"
    if os.path.isfile(root) and root.endswith(table.SUFFIXES):
        return "table", f"a table of videos ({os.path.basename(root)})"
    # A folder may hold other tables of that name.
    if os.path.isdir(root) and (tables := list(filter(table.names_videos, table.tables(root)))):
        return "table", f"a table of videos ({os.path.basename(tables[0])})"
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    every = tuple(suffix for kind in KINDS for suffix in SUFFIXES[kind])
    for _, files in walk(root, (*every, ZIP)):
        for kind in KINDS:
            own = [file for file in files if file.lower().endswith(SUFFIXES[kind])]
            if kind == "videos":  # also those that only begin as such
                own += [file for file in files if not file.lower().endswith((*every, ZIP))]
            if own:
                counts[kind] += 1 if kind == "frames" else len(own)
                first.setdefault(kind, own[0])
        for file in (file for file in files if file.lower().endswith(ZIP)):
            counts[kind_in_zip(file)] += 1
    if not counts:
        looked = ", ".join((*dict.fromkeys(every), ZIP, *table.METADATA))
        raise UserError(f"{root}: no video in it, {held_in(root)}; looked for {looked}")
    robots = [path.partition(f"{os.sep}videos{os.sep}")[0] for path in first.values()]
    if robots := [robot for robot in robots if os.path.isfile(os.path.join(robot, INFO))]:
        raise UserError(f"{robots[0]}: a dataset of LeRobot within {root}; name its own folder")
    kind = max(KINDS, key=lambda kind: counts[kind])
    others = [f"{NAMES[k]} ({counts[k]})" for k in KINDS if counts[k] and k != kind]
    words = f"{NAMES[kind]} ({counts[kind]})" + (f", beside {', '.join(others)}" if others else "")
    if kind == "arrays" and is_hdf5_of_videos(first["arrays"]):
        return "hdf5", words.replace(NAMES["arrays"], "HDF5 files of videos")
    return kind, words


def held_in(root: str) -> str:
    """Say what files lie below a folder, by suffix."""
    paths = [path for _, files in walk(root, ("",)) for path in files]
    counts = Counter(os.path.splitext(path)[1].lower() or "no suffix" for path in paths)
    named = ", ".join(f"{suffix} ({count})" for suffix, count in counts.most_common(NAMED))
    return f"but {named}" if named else "nor any other file"


def kind_in_zip(path: str) -> SourceKind:
    """Return frames where a zip file holds more images than videos, else videos."""
    names: list[str] = []
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = [name.lower() for name in archive.namelist()]
    images, videos = (sum(n.endswith(s) for n in names) for s in (IMAGE_SUFFIXES, VIDEO_SUFFIXES))
    return "frames" if images > videos else "videos"


def is_hdf5_of_videos(path: str) -> bool:
    """Check whether a file is of VideoGPT's or MCVD's layout."""
    if not path.lower().endswith(SUFFIXES["hdf5"]):
        return False
    from rsvp.data.formats import hdf5
    from rsvp.data.sources import Rejected

    with suppress(Rejected), hdf5.opened_file(path) as file:
        return hdf5.layout(file) is not None
    return False
