"""Shards of WebDataset: tar files of videos, `key.mp4` beside `key.json`. Loads without torch."""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from rsvp.data.formats.extracted import temporary_folder, temporary_space
from rsvp.data.sources import (
    VIDEO_SUFFIXES,
    Options,
    Rejected,
    Source,
    parts_of_files,
    plain,
)
from rsvp.runtime.errors import one_line

CHUNK_BYTES = 2**20


def find(root: str, options: Options) -> Iterable[Source]:
    """Yield the videos in all tar files below a folder, or in one file."""
    return parts_of_files(root, "tar", parts)


def parts(whole: Source) -> Iterator[Source]:
    """Yield the videos in a shard; Rejected where it breaks off, or is compressed.

    The metadata beside a video may name its `group` and its `split`.
    """
    if not whole.path.lower().endswith(".tar"):
        raise Rejected("compressed, so no video in it can be reached alone; unpack it (gunzip)")
    size = os.path.getsize(whole.path)
    videos: list[tarfile.TarInfo] = []
    metadata: dict[str, dict[str, Any]] = {}
    reason = ""
    try:
        with tarfile.open(whole.path, "r:") as archive:
            for member in archive:
                if member.offset_data + member.size > size:
                    reason = f"ends within {one_line(member.name)}"
                    break
                name = os.path.basename(member.name)
                if member.isfile() and name.lower().endswith(VIDEO_SUFFIXES) and name[0] != ".":
                    videos.append(member)
                elif member.isfile() and name.endswith(".json"):
                    metadata[key_of(member)] = described(archive.extractfile(member).read())
            else:
                reason = why_it_ended(whole.path, archive.offset)
    except (OSError, tarfile.TarError) as error:
        reason = f"not a whole tar file ({one_line(str(error))})"
    counts = Counter(map(key_of, videos))
    for member in videos:
        key, (rest, suffix) = key_of(member), os.path.splitext(os.path.basename(member.name))
        known = {name: str(value) for name, value in metadata.get(key, {}).items()
                 if value is not None}  # fmt: skip
        own, group = f"{whole.id}/{key}", known.get("group", "")
        if counts[key] > 1:  # of several cameras: k.left.mp4, k.right.mp4
            own, group = f"{own}.{rest.partition('.')[2]}".rstrip("."), group or plain(own)
        yield replace(
            whole, id=plain(own), part=f"{member.offset_data}+{member.size}{suffix}",
            group=group, side=known.get("split", ""),
        )  # fmt: skip
    if reason or not videos:
        raise Rejected(reason or "no video in it")


def why_it_ended(path: str, place: int) -> str:
    """Return why no member is read at a place behind others; "" at the end of an archive.

    tarfile takes a damaged header for the end, which is a block of zeros.
    """
    with open(path, "rb") as stream:
        stream.seek(place)
        return f"damaged at byte {place}" if any(stream.read(tarfile.BLOCKSIZE)) else ""


def key_of(member: tarfile.TarInfo) -> str:
    """Return the key of a sample: its path up to the first dot of its name."""
    folder, _, name = member.name.rpartition("/")
    return "/".join(filter(None, (folder.removeprefix("./").strip("."), name.partition(".")[0])))


def described(content: bytes) -> dict[str, Any]:
    """Return the metadata of a sample; empty where it is none."""
    with suppress(ValueError, RecursionError):
        found = json.loads(content)
        return found if isinstance(found, dict) else {}
    return {}


@contextmanager
def opened(source: Source) -> Iterator[Source]:
    """Yield a video as a file of its own."""
    place, _, suffix = source.part.partition(".")
    start, size = map(int, place.split("+"))
    with temporary_folder("rsvp-video-") as folder:
        path = os.path.join(folder, f"video.{suffix}")
        with open(source.path, "rb") as shard, temporary_space(), open(path, "wb") as file:
            shard.seek(start)
            while chunk := shard.read(min(size, CHUNK_BYTES)):
                file.write(chunk)
                size -= len(chunk)
        yield Source(source.id, path)
