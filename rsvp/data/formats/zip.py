"""Zip files of videos, or of folders of images (as StyleGAN-V packs them). Loads without torch."""

import lzma
import os
import shutil
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

from rsvp.data.formats.extracted import temporary_folder, temporary_space
from rsvp.data.sources import (
    DAMAGED,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Options,
    Rejected,
    Source,
    frame_folders,
    plain,
    video_file,
)
from rsvp.runtime.errors import one_line

IMAGES = "images"  # the part that `Source.files` lists
DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, RuntimeError)


def parts(root: str, path: str, kind: str, options: Options) -> Iterator[Source]:
    """Yield the videos in a zip file, or its folders of images; what is damaged comes as one."""
    whole = replace(video_file(root, path), kind="zip")
    try:
        names = visible(archive_at(path, state_of(path)))
    except DAMAGE as error:
        reason = f"not a whole zip file ({one_line(str(error))})"
        yield replace(whole, part=f"{DAMAGED}{reason}")
        return
    if kind == "videos":
        for name in (name for name in names if name.lower().endswith(VIDEO_SUFFIXES)):
            yield replace(whole, id=plain(f"{whole.id}/{os.path.splitext(name)[0]}"), part=name)
        return
    folders = defaultdict(list)
    for name in names:
        if name.lower().endswith(IMAGE_SUFFIXES):
            folders[os.path.dirname(name) or os.curdir].append(name)
    for folder, files in sorted(folders.items()):
        for found in frame_folders(os.curdir, folder, files, options):
            name = "/".join(filter(None, (whole.id, found.id.lstrip(os.curdir))))
            yield replace(found, id=name, path=path, kind="zip", part=IMAGES)


def visible(archive: zipfile.ZipFile) -> list[str]:
    """Return the names of the files that are not hidden, nor macOS's own, sorted."""
    names = [item.filename for item in archive.infolist() if not item.is_dir()]
    return sorted(
        n for n in names if not any(p.startswith((".", "__MACOSX")) for p in n.split("/"))
    )


@lru_cache(maxsize=1)  # it holds many videos, and reading its directory takes long
def archive_at(path: str, state: tuple[int, ...]) -> zipfile.ZipFile:
    """Return the open archive in a file of that state."""
    return zipfile.ZipFile(path)


def state_of(path: str) -> tuple[int, ...]:
    """Return numbers that change where a file is written anew."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def opened(source: Source) -> Iterator[Source]:
    """Yield a video as a file of its own, or a folder of its images."""
    members = source.files or (source.part,)
    with temporary_folder("rsvp-zip-") as folder:
        paths = tuple(os.path.join(folder, os.path.basename(member)) for member in members)
        try:
            archive = archive_at(source.path, state_of(source.path))
            for member, path in zip(members, paths, strict=True):
                with archive.open(member) as packed, temporary_space(), open(path, "wb") as file:
                    shutil.copyfileobj(packed, file)
        except DAMAGE as error:
            raise Rejected(f"cannot be unpacked: {one_line(str(error))}") from None
        yield Source(source.id, folder, paths) if source.files else Source(source.id, paths[0])
