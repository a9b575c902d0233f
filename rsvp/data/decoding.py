"""One video as small frames, by ffmpeg. The only module that knows ffmpeg-python.

They are resized with an antialiasing filter, and cropped or padded, in one filter graph. Loads
without torch.
"""

import fcntl
import logging
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Any, BinaryIO

import ffmpeg
import imageio_ffmpeg
import numpy as np
from PIL import Image

from rsvp.data.fitting import SCALER_FLAGS, FrameShape, fit_frames, grey
from rsvp.data.formats.extracted import temporary_folder, temporary_space
from rsvp.data.formats.stored import StoredFrames
from rsvp.data.headers import (
    ENOUGH_FRAMES,
    IMAGE_FORMATS,
    Picture,
    Probe,
    check_size,
    probe_images,
    probe_video,
)
from rsvp.data.quantising import Quantiser, range_between
from rsvp.data.sources import DAMAGED, Rejected, Source, Span, format_of
from rsvp.data.timeline import rhythm
from rsvp.runtime.errors import UserError, one_line

CHUNK_BYTES = 2**20
SILENCE_SECONDS = 300.0
# A longer side than this after the resize means an image that is a line.
MAX_LONG_SIDE = 16384
# HDR counts light in nits. White paper has 203 (ITU-R BT.2408), which becomes the white of SDR.
WHITE_NITS = 203
# Light below this share of white stays; above, up to 1000 nits, a curve leads it on to white.
KNEE, PEAK = 0.8, 1000 / WHITE_NITS
HDR_FILTERS = ("zscale", "tonemap")
PIPE_BYTES = 2**20
PAUSE_SECONDS = 0.005
KEPT_COMPLAINTS = 65536
NO_TIME = b"%d" % -(2**63)  # AV_NOPTS_VALUE
INPUT = "input"  # stands for a name, which may hold bytes that ffmpeg-python cannot hash
PPM_HEADER = re.compile(rb"P6\n(\d+) (\d+)\n255\n")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of decoding a video; `damage`: ffmpeg's first complaint, "" without one.

    `fps`: by presentation times, the mean where frames come irregularly. `quantiser`: what has made
    bytes of stored numbers, and says what that cost.
    """

    probe: Probe
    frames: int
    damage: str
    fps: float
    regular: bool
    quantiser: Quantiser | None = None


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


def filters(shape: FrameShape) -> str:
    """Describe the filter graph of a plain video, for the index."""
    ways = {
        "crop": ("shorter side" if shape.height == shape.width else "to cover", "centre crop"),
        "pad": ("to lie within", "padded with black"),
        "stretch": ("each side", ""),
    }
    sides, after = ways[shape.fit]
    steps = [sides, f"{shape.resize}+{SCALER_FLAGS}", "rgb24", after]
    return ", ".join(filter(None, [*steps, "" if shape.channels == 3 else "luma of BT.601"]))


class Decoding(ExitStack):
    """A video that ffmpeg decodes from now on, into a pipe that holds little; then `read` it.

    `fps` stands in where a video does not say (frame folders). Close it, or use it in `with`: this
    stops ffmpeg if it still runs, and removes what stands for the images.
    """

    def __init__(
        self, source: Source, shape: FrameShape, fps: float, binary: str | None = None
    ) -> None:
        super().__init__()
        self.source, self.shape = source, shape
        self.refusal: Rejected | None = None
        try:
            self.content = self.enter_context(opened(source))
            self.probe = probe_content(self.content, fps)
            check_usable(self.probe, shape, binary)
        except Rejected as refusal:
            self.refusal = refusal
            return
        if isinstance(self.content, Source):
            self.start(self.content, binary)

    def start(self, source: Source, binary: str | None) -> None:
        """Start ffmpeg on a file, or on a folder of images."""
        name = self.enter_context(ffmpeg_input(source))
        with temporary_space():
            self.complaints = self.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (closed with this)
            self.times = PresentationTimes(self.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
        images = bool(source.files)
        command = ffmpeg_command(
            name, images, self.probe, self.shape, find_ffmpeg(binary), source.span,
            **({} if images else self.times.options()),
        )  # fmt: skip
        self.process = self.enter_context(running(command, self.complaints, self.times.file))

    def read(self, append: Callable[[np.ndarray, np.ndarray], None]) -> Decoded:
        """Hand the frames to `append` in chunks (n, H, W, C) uint8, in order, each stored one once.

        Beside each chunk stand its presentation times, seconds from the first frame, float64 (n,).
        Raises Rejected, maybe after some chunks, which then do not count.
        """
        if self.refusal:
            raise self.refusal
        announced = self.probe.fps
        if isinstance(self.content, StoredFrames):
            done, limits = 0, self.shape.range
            quantiser = Quantiser(*limits) if limits else None
            for frames in stored_frames(self.content, quantiser):
                times = np.arange(done, done + len(frames)) / announced
                append(fit_frames(frames, self.shape), times)
                done += len(frames)
            return Decoded(self.probe, done, "", announced, True, quantiser)
        frames = read_frames(
            self.process.stdout,
            lambda chunk: append(chunk, self.times.take(len(chunk), announced)),
            self.shape,
        )
        code = self.process.wait()
        self.complaints.seek(0)
        damage = first_line(self.complaints.read(KEPT_COMPLAINTS)) or abnormal_end(code)
        check_end(self.content, code, frames, damage)
        if not damage and not self.content.span and frames < ENOUGH_FRAMES * self.probe.announced:
            damage = f"its header announces {self.probe.announced}"
        if not damage and frames < self.source.frames:
            damage = f"its table announces {self.source.frames}"
        return Decoded(self.probe, frames, damage, *rhythm(np.array(self.times.taken), announced))


class PresentationTimes:
    """The times of decoded frames, which ffmpeg writes into a file, each before its frame."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.read, self.line = file, 0, b""
        self.first: Fraction | None = None
        self.taken: list[float] = []

    def options(self) -> dict[str, str]:
        """Return the options of ffmpeg's output that have them written."""
        file = f"pipe:{self.file.fileno()}"
        return {"stats_enc_pre:v": file, "stats_enc_pre_fmt:v": "{ptsi} {tbi}"}

    def take(self, count: int, announced: float) -> np.ndarray:
        """Return the times of the next frames, seconds from the first one, ascending: (count,).

        A frame without a time, or with an earlier one than that before it (streams that were joined
        do that), comes as the announced rate has it.
        """
        while self.line.count(b"\n") < count:
            # The file's own place is where ffmpeg writes on.
            more = os.pread(self.file.fileno(), CHUNK_BYTES, self.read)
            self.read, self.line = self.read + len(more), self.line + more
            if not more:
                break
        *lines, self.line = self.line.split(b"\n", count)
        for line in [*lines, *[b""] * (count - len(lines))]:
            self.taken.append(self.time(line, announced))
        return np.array(self.taken[len(self.taken) - count :])

    def time(self, line: bytes, announced: float) -> float:
        """Return the time of the next frame, of which ffmpeg says `line`."""
        before = self.taken[-1] if self.taken else -1 / announced
        stamp, _, base = line.partition(b" ")
        if stamp in (b"", NO_TIME):
            return before + 1 / announced
        time = int(stamp) * Fraction(base.decode())
        # The first frames of an AVI with B-frames have no time.
        if self.first is None or time - self.first < before:
            self.first = time - Fraction(before + 1 / announced)
        return float(time - self.first)


def probe_content(content: Source | StoredFrames, fps: float) -> Probe:
    """Read rate, size and picture of what `opened` gives; Rejected where it is no video."""
    if isinstance(content, Source):
        return probe_images(content, fps) if content.files else probe_video(content, fps)
    if content.count == 0:
        raise Rejected("no frame in it")
    _, height, width, _ = content.read(0, 1).shape
    return Probe(fps, width, height, picture=Picture(note=content.note))


def stored_frames(content: StoredFrames, quantiser: Quantiser | None) -> Iterator[np.ndarray]:
    """Yield stored frames as uint8 (n, H, W, C), a few at a time.

    quantiser: of those that are neither bytes nor bool; without one they are refused.
    """
    most = max(1, CHUNK_BYTES // content.read(0, 1).nbytes)
    for start in range(0, content.count, most):
        frames = content.read(start, min(start + most, content.count))
        if frames.dtype == bool:
            frames = frames * np.uint8(255)
        if frames.dtype != np.uint8:
            if quantiser is None:
                low, high = range_between(frames)
                raise Rejected(
                    f"holds {frames.dtype}, the first frames mostly from {low:g} to {high:g};"
                    " 'range' of the dataset says which values are black and white"
                )
            frames = quantiser(frames)
        yield frames


def check_usable(probe: Probe, shape: FrameShape, binary: str | None) -> None:
    """Refuse pictures of an impossible size, and HDR where the binary cannot map its tones."""
    if shape.fit == "pad":  # a line is what leaves no pixel of the shorter side
        check_size(probe, 1, min(shape.height, shape.width))
    check_size(probe, max(shape.height, shape.width), MAX_LONG_SIDE)
    if probe.picture.hdr and (missing := missing_filters(binary)):
        raise Rejected(
            f"HDR ({probe.picture.hdr}), which this ffmpeg cannot map to SDR: it has no filter"
            f" {' and no '.join(missing)}"
        )


@cache
def missing_filters(binary: str | None) -> list[str]:
    """Return the filters that HDR needs and the binary lacks."""
    asked = [find_ffmpeg(binary), "-v", "quiet", "-filters"]
    words = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout.split()
    return [name for name in HDR_FILTERS if name not in words]


def opened(source: Source) -> AbstractContextManager[Source | StoredFrames]:
    """Return a part of a file as a file of its own, or as frames; other sources as they are."""
    if source.part.startswith(DAMAGED):
        raise Rejected(source.part.removeprefix(DAMAGED))
    return format_of(source.kind).opened(source) if source.part else nullcontext(source)


def ffmpeg_input(source: Source) -> AbstractContextManager[str]:
    """Return the name of a video for ffmpeg, as long as the context is open."""
    # "file:" keeps ffmpeg from reading a protocol or an option out of a name.
    return linked_images(source) if source.files else nullcontext(f"file:{source.path}")


def ffmpeg_command(
    name: str,
    images: bool,
    probe: Probe,
    shape: FrameShape,
    binary: str,
    span: Span | None = None,
    **output: str,
) -> list[str]:
    """Return the command line that writes the frames of a shape, in RGB."""
    picture = probe.picture
    width, height = scaled_sides(shape, picture.pixel != 1)
    stream = video_stream(images, picture, span_options(span, probe.fps))
    if span and span.unit == "frames":
        stop = {} if span.stop is None else {"end_frame": int(span.stop)}
        stream = stream.filter("trim", start_frame=int(span.start), **stop)
    stream = shown(stream, picture)
    stream = stream.filter("scale", w=width, h=height, flags=f"{shape.resize}+{SCALER_FLAGS}")
    stream = tone_mapped(stream, picture).filter("format", "rgb24")
    if shape.fit == "crop":
        stream = stream.filter("crop", shape.width, shape.height)
    elif shape.fit == "pad":
        middle = {"x": "floor((ow-iw)/2)", "y": "floor((oh-ih)/2)"}
        stream = stream.filter("pad", shape.width, shape.height, **middle)
    # Its buffer is written when full, not after each frame: fewer switches between ffmpeg and us.
    return compiled(stream, name, binary, format="rawvideo", flush_packets=0, **output)


def scaled_sides(shape: FrameShape, wide_pixels: bool) -> tuple[str, str]:
    """Return the scaler's expressions for width and height: one side is the shape's, or both are.

    wide_pixels: whether pixels are stored that are not square.
    """
    width, height = shape.width, shape.height
    if shape.fit == "stretch":
        return f"{width}", f"{height}"
    shown_width = "iw*sar" if wide_pixels else "iw"
    wider = f"gt({shown_width}*{height},ih*{width})"  # than the shape
    if not wide_pixels:
        followed = ("-1", "-1")  # rounded
    elif shape.fit == "crop":
        followed = (f"max({width},{height}*(iw*sar/ih))", f"max({height},{width}*(ih/(iw*sar)))")
    else:
        followed = (f"min({width},{height}*(iw*sar/ih))", f"min({height},{width}*(ih/(iw*sar)))")
    if shape.fit == "pad":  # the side that crop would let pass the shape is the shape's
        wider = f"not({wider})"
    return f"if({wider},{followed[0]},{width})", f"if({wider},{height},{followed[1]})"


def shown(stream: ffmpeg.nodes.Stream, picture: Picture) -> ffmpeg.nodes.Stream:
    """Return a video with the matrix of its colours, without fields, without alpha."""
    if picture.hd_untagged:
        stream = stream.filter("setparams", colorspace="bt709")
    if picture.interlaced:
        stream = stream.filter("bwdif", mode="send_frame", deint="interlaced")
    if picture.alpha:
        # To multiply by alpha is to lay over black; with 16 bits, what is opaque keeps its values.
        stream = stream.filter("scale", flags=SCALER_FLAGS).filter("format", "gbrap|gbrap16le")
        stream = stream.filter("format", "gbrap16le")
        stream = stream.filter("premultiply", inplace=1).filter("format", "bgra")
    return stream


def tone_mapped(stream: ffmpeg.nodes.Stream, picture: Picture) -> ffmpeg.nodes.Stream:
    """Return HDR as SDR in sRGB: white paper becomes white; what is brighter is compressed.

    The small image is mapped, not the large one: floats of 4K take ten times as long as decoding.
    """
    if not picture.hdr:
        return stream
    stream = stream.filter("format", "yuv444p16le|gbrp16le")
    stream = stream.filter("zscale", transfer="linear", primaries="bt709", npl=WHITE_NITS)
    stream = stream.filter("format", "gbrpf32le")
    stream = stream.filter("tonemap", "mobius", param=KNEE, peak=PEAK, desat=0)
    return stream.filter("zscale", transfer="iec61966-2-1").filter("format", "gbrp")


def span_options(span: Span | None, fps: float) -> dict[str, float]:
    """Return the options of an input that is read between two times.

    They lie half a frame before the first one of the part, and of what follows it: time stamps are
    rounded.
    """
    if span is None or span.unit == "frames":
        return {}
    start = max(0.0, span.start - 0.5 / fps)
    if span.stop is None:
        return {"ss": start}
    return {"ss": start, "t": max(0.5 / fps, span.stop - 0.5 / fps - start)}


def video_stream(
    images: bool, picture: Picture, options: Mapping[str, float] = MappingProxyType({})
) -> ffmpeg.nodes.Stream:
    """Return the video of a file, or of an image2 pattern of images; `compiled` puts in its name.

    The whitelist keeps playlists from the network. One thread each: the jobs are the parallelism.
    """
    if images:
        stream = ffmpeg.input(INPUT, format="image2", start_number=0, threads=1)
    else:
        decoder = {"vcodec": picture.decoder} if picture.decoder else {}
        stream = ffmpeg.input(INPUT, protocol_whitelist="file", threads=1, **decoder, **options)
    return stream["V:0"]  # V: no cover pictures


def compiled(stream: ffmpeg.nodes.Stream, name: str, binary: str, **output: Any) -> list[str]:
    """Return the command line that writes a stream of the file of that name to a pipe."""
    # passthrough: each decoded frame once, whatever its time stamp; the default invents frames.
    # setts: what we write has no time stamps, and no complaint about those of the source.
    output |= {"bsf:v": "setts=ts=N:duration=1"}
    stream = stream.output("pipe:", fps_mode="passthrough", **output)
    stream = stream.global_args(
        "-nostdin", "-hide_banner", "-loglevel", "error", "-filter_complex_threads", "1"
    )
    command = ffmpeg.compile(stream, cmd=binary)
    return [name if argument == INPUT else argument for argument in command]


def full_frames(
    source: Source, most: int | None = None, only: Sequence[int] | None = None
) -> np.ndarray:
    """Decode the first `most` frames of a video, or all, in its own size: uint8 (T, H, W, 3).

    only: increasing numbers of the frames that are wanted; by default all are.
    They are turned as a player turns them, like those of `Decoding`. Rejected where there are none,
    and where the source holds numbers, not videos or images.
    """
    with opened(source) as content:
        if isinstance(content, StoredFrames):
            raise Rejected("no video and no images, but numbers; name the array itself")
        return file_frames(content, most, only)


def file_frames(source: Source, most: int | None, only: Sequence[int] | None) -> np.ndarray:
    """Return what `full_frames` does of a file, or of a folder of images."""
    images = bool(source.files)
    probe = probe_content(source, 1.0)
    check_usable(probe, FrameShape(1, 1), None)
    wanted = replace(source, files=source.files[:most])
    with ffmpeg_input(wanted) as name:
        stream = shown(video_stream(images, probe.picture), probe.picture)
        if only is not None:
            stream = stream.filter("select", "+".join(f"eq(n,{number})" for number in only))
            most = len(only)  # after which ffmpeg ends
        square = {"w": "iw*sar", "h": "ih"} if probe.picture.pixel != 1 else {}
        stream = tone_mapped(stream.filter("scale", flags=SCALER_FLAGS, **square), probe.picture)
        limit = {} if most is None else {"frames:v": most}
        command = compiled(
            stream.filter("format", "rgb24"), name, find_ffmpeg(None), format="image2pipe",
            vcodec="ppm", **limit,
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
    with temporary_folder("rsvp-frames-") as folder:
        with temporary_space():
            for number, path in enumerate(source.files):
                os.symlink(path, os.path.join(folder, f"{number:08d}.{suffix}"))
        # A % in TMPDIR would be taken for a pattern.
        yield os.path.join(folder.replace("%", "%%"), f"%08d.{suffix}")


@contextmanager
def running(
    command: list[str], complaints: BinaryIO, *files: BinaryIO
) -> Iterator[subprocess.Popen]:
    """Run a process, its output on a pipe, its errors in a file; kill it if it is there still.

    It may write to `files`, by their descriptors.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            bufsize=0,
            pass_fds=[file.fileno() for file in files],
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


def read_frames(output: BinaryIO, append: Callable[[np.ndarray], None], shape: FrameShape) -> int:
    """Hand over what ffmpeg decodes, a megabyte at a time; return the number of frames."""
    frame_bytes = shape.height * shape.width * 3
    frames = max(1, CHUNK_BYTES // frame_bytes)
    buffer = np.empty((frames, shape.height, shape.width, 3), np.uint8)
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
                append(buffer[:whole] if shape.channels == 3 else grey(buffer[:whole]))
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
