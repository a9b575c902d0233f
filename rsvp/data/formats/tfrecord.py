"""TFRecord files of videos, as BAIR's robot pushing set has them. Loads without torch.

A record is its length (8 bytes, little-endian), a checksum of that (4), the content, and a checksum
of it (4): tensorflow/core/lib/io/record_writer.h. The content is an Example of Protocol Buffers: a
map of features by name (tensorflow/core/example/feature.proto). Feature `{i}/image_aux1/encoded` is
frame i, raw bytes of 64 x 64 x 3.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import google_crc32c
import numpy as np

from rsvp.data.formats.stored import StoredFrames, frames_of_list
from rsvp.data.sources import Options, Rejected, Source, parts_of_files

IMAGE = re.compile(rb"(\d+)/image_aux1/encoded")
HEAD, TAIL = 12, 4  # bytes before and after a record's content
MASK = 0xA282EAD8  # that checksums are stored with, turned by 15 bits
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # wire types of Protocol Buffers


def find(root: str, options: Options) -> Iterable[Source]:
    """Yield the videos in all TFRecord files below a folder, or in one file."""
    return parts_of_files(root, "tfrecord", parts)


def parts(whole: Source) -> Iterator[Source]:
    """Yield the records of a file by their lengths; Rejected where it ends within one."""
    size, place, number = os.path.getsize(whole.path), 0, 0
    with open(whole.path, "rb") as stream:
        while place < size:
            head = stream.read(HEAD)
            length = int.from_bytes(head[:8], "little")
            if len(head) < HEAD or masked_crc(head[:8]) != head[8:]:
                raise Rejected(f"record {number} has no whole head; no TFRecord file, or damaged")
            if (after := place + HEAD + length + TAIL) > size:
                raise Rejected(f"ends within record {number}")
            part = f"{place + HEAD}+{length}"
            yield replace(whole, id=f"{whole.id}/{number:05d}", part=part)
            place, number = after, number + 1
            stream.seek(place)


@contextmanager
def opened(source: Source) -> Iterator[StoredFrames]:
    """Yield the frames of a record; Rejected where it is damaged or holds no frames."""
    start, length = map(int, source.part.split("+"))
    with open(source.path, "rb") as stream:
        stream.seek(start)
        content, tail = stream.read(length), stream.read(TAIL)
    if masked_crc(content) != tail:
        raise Rejected("its checksum is another one: the record is damaged")
    images = {int(found[1]): value for name, value in features(content)
              if (found := IMAGE.fullmatch(name))}  # fmt: skip
    if sorted(images) != list(range(len(images))) or not images:
        raise Rejected(f"{len(images)} frames called {{i}}/image_aux1/encoded, from 0 without gaps")
    side = math.isqrt(len(images[0]) // 3)
    if side == 0 or {len(value) for value in images.values()} != {side * side * 3}:
        raise Rejected(f"frames of {len(images[0])} bytes are no square images of RGB")
    shaped = (side, side, 3)
    yield frames_of_list(
        lambda i: np.frombuffer(images[i], np.uint8).reshape(shaped), range(len(images))
    )


def masked_crc(content: bytes) -> bytes:
    """Return the checksum of some bytes as a record stores it."""
    crc = google_crc32c.value(content)
    return ((((crc >> 15) | (crc << 17)) + MASK) & 0xFFFFFFFF).to_bytes(4, "little")


def features(example: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the features of an Example that hold bytes, by name, the first value of each.

    Example: 1 features. Features: 1 a map, each entry 1 its key and 2 its Feature. Feature: 1 a
    BytesList. BytesList: 1 a value.
    """
    for entry in fields(only(example, 1), 1):
        value = only(only(only(entry, 2), 1), 1)
        if value:
            yield only(entry, 1), value


def only(message: bytes, number: int) -> bytes:
    """Return the first field of a number in a message; empty where there is none."""
    return next(fields(message, number), b"")


def fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Yield the fields of a number that hold bytes; Rejected where the message is cut off."""
    place = 0
    while place < len(message):
        key, place = varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            _, place = varint(message, place)
            continue
        size, place = varint(message, place) if wire == BYTES else (
            {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(wire, len(message) + 1), place)  # fmt: skip
        if place + size > len(message):
            raise Rejected("the record is no Example of Protocol Buffers")
        if number == wanted and wire == BYTES:
            yield message[place : place + size]
        place += size


def varint(message: bytes, place: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        value, place = value | (byte & 127) << shift, place + 1
        if byte < 128:
            return value, place
    raise Rejected("the record is no Example of Protocol Buffers")
