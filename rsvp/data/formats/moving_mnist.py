"""Moving-MNIST: its test set, and training videos made from MNIST's digits. Loads without torch.

A folder holds `mnist_test_seq.npy`, (20, 10000, 64, 64), which is the test set that the field
compares on, and the digits, `train-images-idx3-ubyte.gz`. Two digits move straight over 64 x 64
pixels, a tenth of their free way a frame, and bounce (Srivastava et al. 2015, arXiv 1502.04681).
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import numpy as np

from rsvp.data.formats import arrays
from rsvp.data.formats.stored import StoredFrames, frames_along
from rsvp.data.sources import DIGITS, Options, Rejected, Source
from rsvp.runtime.errors import UserError, one_line

TEST, TEST_AXES = "mnist_test_seq.npy", "TNHW"
HEAD = 16  # bytes before the digits: a magic number, and their number, rows and columns
MAGIC = bytes([0, 0, 8, 3])
DAMAGE = (OSError, EOFError, zlib.error)
SIDE, DIGIT = 64, 28  # pixels
OBJECTS = 2
STEP = 0.1  # of the way that a digit has


def find(root: str, options: Options) -> Iterator[Source]:
    """Yield the videos of the test set, and as many for training as the options say.

    UserError where one of the two files is missing, or the digits are no digits.
    """
    test, digits = os.path.join(root, TEST), digits_in(root)
    if digits is None or not os.path.isfile(test):
        raise UserError(f"{root}: holds not both {TEST} and {DIGITS[0]}; put them there")
    check_digits(digits)
    try:
        for source in arrays.parts(Source("test", test, kind="arrays"), TEST_AXES):
            yield replace(source, side="test")
    except Rejected as reason:
        raise UserError(f"{test}: {reason}") from None
    made = options.generated or {}
    for number in range(made["train_videos"]):
        part = f"{made['seed']}/{number}/{made['frames']}"
        yield Source(f"train/{number:05d}", digits, kind="moving_mnist", part=part, side="train")


def digits_in(root: str) -> str | None:
    """Return the file of digits in a folder, if there is one."""
    paths = (os.path.join(root, name) for name in DIGITS)
    return next(filter(os.path.isfile, paths), None)


def check_digits(path: str) -> None:
    """UserError where a file does not begin as digits do."""
    try:
        with open_digits(path) as stream:
            head = stream.read(HEAD)
    except DAMAGE as error:
        raise UserError(f"{path}: cannot be read: {one_line(str(error))}") from None
    if head[:4] != MAGIC or head[8:] != 2 * DIGIT.to_bytes(4, "big"):
        raise UserError(f"{path}: not MNIST's digits, 28 x 28 bytes in an idx3-ubyte file")


def open_digits(path: str):
    """Open the file, packed or not."""
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


@lru_cache(maxsize=1)
def read_digits(path: str) -> np.ndarray:
    """Return all digits: uint8 (n, 28, 28)."""
    with open_digits(path) as stream:
        content = np.frombuffer(stream.read()[HEAD:], np.uint8)
    return content.reshape(-1, DIGIT, DIGIT)


@contextmanager
def opened(source: Source) -> Iterator[StoredFrames]:
    """Yield the frames of a training video; they depend on seed and number alone."""
    seed, number, frames = map(int, source.part.split("/"))
    try:
        digits = read_digits(source.path)
    except (*DAMAGE, ValueError) as error:
        raise Rejected(f"its digits cannot be read: {one_line(str(error))}") from None
    random = np.random.default_rng([seed, number])
    canvas = np.zeros((frames, SIDE, SIDE), np.uint8)
    for _ in range(OBJECTS):
        digit = digits[random.integers(len(digits))]
        for frame, (top, left) in zip(canvas, trajectory(random, frames), strict=True):
            place = frame[top : top + DIGIT, left : left + DIGIT]
            np.maximum(place, digit, out=place)
    yield frames_along(canvas, "THW")


def trajectory(random: np.random.Generator, frames: int) -> np.ndarray:
    """Return the corners of a digit that bounces: int (T, 2), rows and columns."""
    place, angle = random.random(2), random.uniform(0.0, 2 * np.pi)
    speed = STEP * np.array([np.sin(angle), np.cos(angle)])
    places = np.empty((frames, 2))
    for frame in range(frames):
        place = place + speed
        speed = np.where((place <= 0) | (place >= 1), -speed, speed)
        place = places[frame] = np.clip(place, 0.0, 1.0)
    return (places * (SIDE - DIGIT)).astype(int)
