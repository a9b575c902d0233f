"""One video as small square frames, by ffmpeg. The only module that knows ffmpeg-python.

The shorter side is resized with an antialiasing filter and the centre is cropped, in one filter
graph. Loads without torch.
"""

import errno
import fcntl
import itertools
import logging
import os
import re
import select
import signal
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, BinaryIO

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
from PIL import Image

from rsvp.config.schema import Resize
from rsvp.data.sources import Source
from rsvp.runtime.errors import UserError, one_line

# With these the scaler rounds the same way on every processor, and keeps all colour samples.
SCALER_FLAGS = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
CHUNK_BYTES = 2**20
SILENCE_SECONDS = 300.0
# A longer side than this after the resize means an image that is a line.
MAX_LONG_SIDE = 16384
# More than twice an 8K image. A header may announce any size, and each frame takes that memory.
MAX_PIXELS = 2**26
# Formats that name other files, or the network, instead of holding images.
PLAYLISTS = {"concat", "hls", "dash", "imf", "applehttp"}
# Headers count a little differently from decoders; a video with fewer of its frames breaks off.
ENOUGH_FRAMES = 0.95
IMAGE_FORMATS = {"PNG": "png", "JPEG": "jpg"}
PIPE_BYTES = 2**20
PAUSE_SECONDS = 0.005
KEPT_COMPLAINTS = 65536
PPM_HEADER = re.compile(rb"P6\n(\d+) (\d+)\n255\n")
logger = logging.getLogger(__name__)


class Rejected(Exception):
    """A video that cannot be used; the text is the reason, in one line."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Metadata of a video: frames per second (the mean where the rate varies), and pixels of its
    stored images, before any rotation that it asks for."""

    fps: float
    width: int
    height: int
    announced: int = 0  # frames by the header's word; 0 where it does not say


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of decoding a video; `damage`: ffmpeg's first complaint, "" without one."""

    probe: Probe
    frames: int
    damage: str


@cache
def find_ffmpeg(binary: str | None) -> str:
    """Return the ffmpeg binary: the named one, or the one that imageio-ffmpeg ships."""
    return binary or imageio_ffmpeg.get_ffmpeg_exe()


@cache
def ffmpeg_version(binary: str | None) -> str:
    """Return the first line of `ffmpeg -version`, to the copyright."""
    try:
        answer = subprocess.run(
            [find_ffmpeg(binary), "-version"], capture_output=True, text=True, timeout=60
        )
        return answer.stdout.splitlines()[0].split(" Copyright")[0]
    except (OSError, IndexError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"{find_ffmpeg(binary)}: cannot run ffmpeg ({error}); see 'ffmpeg' of the dataset"
        ) from None


def filters(resize: Resize) -> str:
    """Describe the filter graph, for the index."""
    return f"shorter side, {resize}+{SCALER_FLAGS}, rgb24, centre crop"


class Decoding(ExitStack):
    """A video that ffmpeg decodes from now on, into a pipe that holds little; then `read` it.

    `fps` stands in where a video does not say (frame folders). Close it, or use it in `with`: this
    stops ffmpeg if it still runs, and removes what stands for the images.
    """

    def __init__(
        self, source: Source, resolution: int, resize: Resize, fps: float, binary: str | None = None
    ) -> None:
        super().__init__()
        self.source, self.resolution = source, resolution
        self.refusal: Rejected | None = None
        images = bool(source.files)
        try:
            self.probe = probe_images(source, fps) if images else probe_video(source, fps)
            check_size(self.probe, resolution)
        except Rejected as refusal:
            self.refusal = refusal
            return
        # "file:" keeps ffmpeg from reading a protocol or an option out of a name.
        links = linked_images(source) if images else nullcontext(f"file:{source.path}")
        name = self.enter_context(links)
        command = ffmpeg_command(name, images, resolution, resize, find_ffmpeg(binary))
        self.complaints = self.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (closed with this)
        self.process = self.enter_context(running(command, self.complaints))

    def read(self, append: Callable[[np.ndarray], None]) -> Decoded:
        """Hand the frames to `append` in chunks (n, R, R, 3) uint8, in order, each stored one once.

        Raises Rejected, maybe after some chunks, which then do not count.
        """
        if self.refusal:
            raise self.refusal
        frames = read_frames(self.process.stdout, append, self.resolution)
        code = self.process.wait()
        self.complaints.seek(0)
        damage = first_line(self.complaints.read(KEPT_COMPLAINTS)) or abnormal_end(code)
        check_end(self.source, code, frames, damage)
        if not damage and frames < ENOUGH_FRAMES * self.probe.announced:
            damage = f"its header announces {self.probe.announced}"
        return Decoded(self.probe, frames, damage)


def check_size(probe: Probe, resolution: int) -> None:
    """Refuse images that have no size, are too large to hold, or are lines."""
    short, long = sorted((probe.width, probe.height))
    if short == 0:
        raise Rejected("it does not say how large its images are")
    if long * short > MAX_PIXELS:
        raise Rejected(f"{probe.width}x{probe.height} pixels: too many, {MAX_PIXELS} is the most")
    if long * resolution > MAX_LONG_SIDE * short:
        raise Rejected(f"{probe.width}x{probe.height} pixels: too narrow to crop a square from")


def probe_video(source: Source, fps: float) -> Probe:
    """Read rate and size of a video file from its headers."""
    path = source.path
    if reason := why_no_file(path):
        raise Rejected(reason)
    try:
        if os.path.getsize(path) == 0:
            raise Rejected("an empty file (0 bytes)")
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            if PLAYLISTS & set(container.format.name.split(",")):
                raise Rejected(f"a playlist ({container.format.name}), not a video")
            cover = av.stream.Disposition.attached_pic
            streams = [s for s in container.streams.video if not s.disposition & cover]
            if not streams:
                raise Rejected("no video stream in it")
            stream = streams[0]
            if stream.codec_context is None:
                raise Rejected("cannot be decoded: its codec is unknown or its header broken")
            rate = stream.average_rate or stream.guessed_rate
            return Probe(float(rate) if rate else fps, stream.width, stream.height, stream.frames)
    except (av.FFmpegError, OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.EPERM:
            raise Rejected("names other files or addresses, as a playlist does") from None
        reason = getattr(error, "strerror", None) or str(error)
        raise Rejected(f"cannot be opened as a video: {one_line(reason)}") from None


def why_no_file(path: str) -> str | None:
    """Return why there is no file to read at `path`, or None; opening a pipe would never end."""
    try:
        mode = os.stat(path).st_mode
    except PermissionError as error:
        return f"out of reach ({error.strerror})"
    except OSError:
        return "a link to nothing" if os.path.islink(path) else "no such file"
    return None if stat.S_ISREG(mode) else "not a regular file"


def probe_images(source: Source, fps: float) -> Probe:
    """Read rate and size of a frame folder; Rejected when its images do not make one video."""
    check_numbers(source)
    sizes, formats = set(), set()
    for path in source.files:
        name = one_line(os.path.basename(path))
        if reason := why_no_file(path):
            raise Rejected(f"{name} is {reason}")
        size, kind = probe_image(path, name)
        sizes.add(size)
        formats.add(kind)
        if len(sizes) > 1:
            raise Rejected(f"images of different sizes (first seen at {name})")
    if len(formats) > 1 or not formats <= set(IMAGE_FORMATS):
        raise Rejected(
            f"images of one kind are needed, png or jpg; found {', '.join(sorted(formats))}"
        )
    return Probe(fps, *sizes.pop())


def probe_image(path: str, name: str) -> tuple[tuple[int, int], str]:
    """Read size and format of one image file from its header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image.size, image.format
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Rejected(f"{name} has too many pixels, {MAX_PIXELS} is the most") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None)
        what = f"cannot be read: {reason}" if reason else "is not an image"
        raise Rejected(f"{name} {what}") from None


def check_numbers(source: Source) -> None:
    """Refuse frame folders in which a number is missing or comes twice.

    The number is the last run of digits of the name. Every n-th number is as good as every one;
    a folder without any numbers is taken in the order of its names.
    """
    stems = [os.path.splitext(os.path.basename(path))[0] for path in source.files]
    digits = [re.findall("[0-9]+", stem)[-1:] for stem in stems]
    if not any(digits):
        return
    if [] in digits:
        raise Rejected(f"{one_line(stems[digits.index([])])} has no number, other images have")
    numbers = [int(number) for (number,) in digits]
    order = sorted(numbers)
    step = min((b - a for a, b in itertools.pairwise(order)), default=1)
    for before, after in itertools.pairwise(order):
        if after == before:
            raise Rejected(f"frame number {after} comes twice")
        if after - before != step:
            raise Rejected(f"frame number {before + step} is missing")
    if order != numbers:
        raise Rejected("the images' names and their numbers give different orders")


def ffmpeg_command(
    name: str, images: bool, resolution: int, resize: Resize, binary: str
) -> list[str]:
    """Return the command line; the shorter side becomes `resolution`, the longer one follows."""
    wide = "gt(iw,ih)"
    stream = (
        video_stream(name, images)
        .filter("scale", w=f"if({wide},-1,{resolution})", h=f"if({wide},{resolution},-1)",
                flags=f"{resize}+{SCALER_FLAGS}")
        .filter("format", "rgb24")
        .filter("crop", resolution, resolution)
    )  # fmt: skip
    # Its buffer is written when full, not after each frame: fewer switches between ffmpeg and us.
    return compiled(stream, binary, format="rawvideo", flush_packets=0)


def video_stream(name: str, images: bool) -> ffmpeg.nodes.Stream:
    """Return the video of a file, or of an image2 pattern of images.

    The whitelist keeps playlists from the network. One thread each: the jobs are the parallelism.
    """
    if images:
        stream = ffmpeg.input(name, format="image2", start_number=0, threads=1)
    else:
        stream = ffmpeg.input(name, protocol_whitelist="file", threads=1)
    return stream["V:0"]  # V: no cover pictures


def compiled(stream: ffmpeg.nodes.Stream, binary: str, **output: Any) -> list[str]:
    """Return the command line that writes a stream to a pipe."""
    # passthrough: each decoded frame once, whatever its time stamp; the default invents frames.
    stream = stream.output("pipe:", fps_mode="passthrough", **output)
    stream = stream.global_args(
        "-nostdin", "-hide_banner", "-loglevel", "error", "-filter_complex_threads", "1"
    )
    return ffmpeg.compile(stream, cmd=binary)


def full_frames(source: Source, most: int | None = None) -> np.ndarray:
    """Decode the first `most` frames of a video, or all, in its own size: uint8 (T, H, W, 3).

    They are turned as a player turns them, like those of `Decoding`. Rejected where there are none.
    """
    images = bool(source.files)
    check_size(probe_images(source, 1.0) if images else probe_video(source, 1.0), 1)
    wanted = replace(source, files=source.files[:most])
    with linked_images(wanted) if images else nullcontext(f"file:{source.path}") as name:
        stream = video_stream(name, images).filter("scale", flags=SCALER_FLAGS)
        limit = {} if most is None else {"frames:v": most}
        command = compiled(
            stream.filter("format", "rgb24"), find_ffmpeg(None), format="image2pipe", vcodec="ppm",
            **limit,
        )  # fmt: skip
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    frames = list(ppm_images(done.stdout))
    damage = first_line(done.stderr) or abnormal_end(done.returncode)
    check_end(wanted, done.returncode, len(frames), damage)
    if damage:
        logger.warning("%s: %s", source.path, damage)
    if len({frame.shape for frame in frames}) > 1:
        raise Rejected("images of different sizes")
    return np.stack(frames)


def ppm_images(stream: bytes) -> Iterator[np.ndarray]:
    """Yield the images (H, W, 3) of a stream of PPM files of 8 bits; each says its size."""
    start = 0
    while header := PPM_HEADER.match(stream, start):
        width, height = int(header[1]), int(header[2])
        start = header.end() + 3 * width * height
        image = np.frombuffer(stream[header.end() : start], np.uint8)
        yield image.reshape(height, width, 3)


@contextmanager
def linked_images(source: Source) -> Iterator[str]:
    """Yield an image2 pattern of links to a frame folder's files, whatever their names."""
    with Image.open(source.files[0]) as image:
        suffix = IMAGE_FORMATS[image.format]
    with tempfile.TemporaryDirectory(prefix="rsvp-frames-") as folder:
        for number, path in enumerate(source.files):
            os.symlink(path, os.path.join(folder, f"{number:08d}.{suffix}"))
        # A % in TMPDIR would be taken for a pattern.
        yield os.path.join(folder.replace("%", "%%"), f"%08d.{suffix}")


@contextmanager
def running(command: list[str], complaints: BinaryIO) -> Iterator[subprocess.Popen]:
    """Run a process, its output on a pipe, its errors in a file; kill it if it is there still."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            bufsize=0,
        )
    except OSError as error:
        raise UserError(
            f"{command[0]}: cannot run ffmpeg ({error.strerror}); see 'ffmpeg' of the dataset"
        ) from None
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.wait()


def read_frames(output: BinaryIO, append: Callable[[np.ndarray], None], resolution: int) -> int:
    """Hand over what ffmpeg decodes, a megabyte at a time; return the number of frames."""
    frame_bytes = resolution * resolution * 3
    buffer = np.empty((max(1, CHUNK_BYTES // frame_bytes), resolution, resolution, 3), np.uint8)
    view = memoryview(buffer).cast("B")
    # A reader that wakes for each piece that ffmpeg writes costs 3 % of the decoding.
    pause = PAUSE_SECONDS if enlarge_pipe(output) else 0.0
    count = filled = 0
    while True:
        if not select.select([output], [], [], SILENCE_SECONDS)[0]:
            raise Rejected(f"ffmpeg gave nothing for {SILENCE_SECONDS:g} s")
        size = output.readinto(view[filled:])
        filled += size
        if filled == len(view) or not size:
            if whole := filled // frame_bytes:
                append(buffer[:whole])
            count, filled = count + whole, 0
        if not size:
            return count
        time.sleep(pause)


def enlarge_pipe(pipe: BinaryIO) -> bool:
    """Make a pipe hold `PIPE_BYTES`; False where the system does not (only Linux does)."""
    try:
        return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES) >= PIPE_BYTES
    except (AttributeError, OSError):
        return False


def check_end(source: Source, code: int, count: int, message: str) -> None:
    """Refuse what ffmpeg could not decode.

    A video that breaks off is worth its frames; one image missing from a frame folder is not,
    since later frames would move up.
    """
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        # Not the video's fault: whoever killed ffmpeg wants us to stop or to need less memory.
        raise UserError(f"{source.path}: ffmpeg was killed (signal {-code}); run again")
    reason = f": {message}" if message else ""
    if count == 0:
        raise Rejected(f"no frame could be decoded{reason}")
    if source.files and count != len(source.files):
        raise Rejected(f"only {count} of {len(source.files)} images could be decoded{reason}")


def abnormal_end(code: int) -> str:
    """Describe an exit code that ffmpeg gave no complaint with, a crash say; "" for a good end."""
    if code < 0:
        return f"ffmpeg crashed ({signal.Signals(-code).name})"
    return f"ffmpeg failed (exit code {code})" if code else ""


def first_line(complaints: bytes) -> str:
    """Return ffmpeg's first complaint (its last line only sums up), or ""."""
    # Addresses differ from run to run, and the index should not.
    lines = re.sub(r" @ 0x[0-9a-f]+", "", complaints.decode("utf-8", "replace")).splitlines()
    return next((one_line(line.strip())[:200] for line in lines if line.strip()), "")
