"""Headers of videos: rate, size, and what a player does with the samples. Loads without torch."""

import errno
import itertools
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from PIL import Image

from rsvp.data.sources import Rejected, Source, frame_numbers, gaps_in, stem, why_unread
from rsvp.data.timeline import rhythm
from rsvp.runtime.errors import one_line

# More than twice an 8K image. A header may announce any size, and each frame takes that memory.
MAX_PIXELS = 2**26
# Formats that name other files, or the network, instead of holding images.
PLAYLISTS = {"concat", "hls", "dash", "imf", "applehttp"}
# Files of phones and drones that hold a second picture (MPO) are JPEG files to a decoder.
IMAGE_FORMATS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg"}
SPLIT_GAPS = "gaps: split makes a video of each run"  # the way out where a number is missing
# Encoders round: 401:400 stands in many files whose pixels are square.
NEARLY_SQUARE = 0.01
# Values of AVColorSpace, AVColorTransferCharacteristic and AVFieldOrder.
UNKNOWN_COLOURS = 2
HDR_CURVES = {16: "PQ", 18: "HLG"}
UNKNOWN_FIELDS, PROGRESSIVE = 0, 1
# Players take larger pictures without colour tags for BT.709, smaller ones for BT.601.
HD_WIDTH, SD_HEIGHT = 1280, 576
# Headers count a little differently from decoders; a video with fewer of its frames breaks off.
ENOUGH_FRAMES = 0.95
# The decoders of these leave alpha out, those of libvpx read it.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Packets within which a healthy stream shows its first frame.
FIRST_PACKETS = 64
# Headers of these hold a rate that somebody wished for; time stamps say what it became.
WISHFUL = {"matroska", "webm", "gif"}
MEASURED = 256  # packets whose times are looked at then


@dataclass(frozen=True, slots=True)
class Picture:
    """The ways in which a stream's samples differ from what a player shows.

    `pixel`: width of a pixel over its height. `hdr`: "PQ" or "HLG". `decoder`: the one to take
    instead of ffmpeg's choice. `note`: how frames that are no video are read.
    """

    pixel: float = 1.0
    interlaced: bool = False
    alpha: bool = False
    hdr: str = ""
    hd_untagged: bool = False
    decoder: str = ""
    note: str = ""

    def __str__(self) -> str:
        """Name what is done about them, for the tables; "" for a plain video."""
        done = {
            "pixels made square": self.pixel != 1,
            "deinterlaced": self.interlaced,
            "alpha laid over black": self.alpha,
            f"{self.hdr} tone-mapped to SDR": self.hdr,
            "taken for BT.709": self.hd_untagged,
            self.note: self.note,
        }
        return "; ".join(name for name, needed in done.items() if needed)


@dataclass(frozen=True, slots=True)
class Probe:
    """Metadata of a video: frames per second as its header has it, and pixels of its stored images,
    before any rotation that it asks for."""

    fps: float
    width: int
    height: int
    announced: int = 0  # frames by the header's word; 0 where it does not say
    picture: Picture = Picture()


def check_size(probe: Probe, side: int, longest: int) -> None:
    """Refuse images that have no size, are too large to hold, or are lines.

    Those are lines whose longer side passes `longest` pixels where the shorter one has `side`.
    """
    pixels = f"{probe.width}x{probe.height} pixels"
    for width in (probe.width, probe.width * probe.picture.pixel):
        short, long = sorted((width, probe.height))
        if short == 0:
            raise Rejected("it does not say how large its images are")
        if long * short > MAX_PIXELS:
            raise Rejected(f"{pixels}: too many, {MAX_PIXELS} is the most")
        if long * side > longest * short:
            raise Rejected(f"{pixels}: too narrow to make frames of")


def probe_video(source: Source, fps: float) -> Probe:
    """Read rate, size and picture of a video file from its headers."""
    path = source.path
    if reason := why_no_file(path):
        raise Rejected(reason)
    try:
        if os.path.getsize(path) == 0:
            raise Rejected("an empty file (0 bytes)")
        with opened(path) as container:
            stream = video_of(container)
            rate = stream.average_rate or stream.guessed_rate
            rate, announced = float(rate) if rate else fps, announced_frames(container, stream)
            size, picture = (stream.width, stream.height), picture_of(container, stream)
        return Probe(rate, *size, announced, picture)
    except (av.FFmpegError, OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.EPERM:
            raise Rejected("names other files or addresses, as a playlist does") from None
        reason = one_line(getattr(error, "strerror", None) or str(error))
        raise Rejected(why_unread(path, f"cannot be opened as a video: {reason}")) from None


def opened(path: str) -> av.container.InputContainer:
    """Open a file, and nothing that it may name."""
    return av.open(f"file:{path}", options={"protocol_whitelist": "file"})


def video_of(container: av.container.InputContainer) -> av.VideoStream:
    """Return the stream that is decoded: the first that is no cover picture."""
    if PLAYLISTS & set(container.format.name.split(",")):
        raise Rejected(f"a playlist ({container.format.name}), not a video")
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        raise Rejected("no video stream in it")
    if streams[0].codec_context is None:
        raise Rejected("cannot be decoded: its codec is unknown or its header broken")
    return streams[0]


def announced_frames(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """Return the frames that a header promises where decoding does not complain of lost ones.

    An AVI that breaks off ends in silence. The tables of MP4 and others also count what an edit
    list hides, and ffmpeg complains when a sample of theirs is not there.
    """
    if container.format.name != "avi":
        return 0
    index = stream.index_entries
    # The header counts empty frames, "the last picture again", and a whole index leaves them out.
    whole = len(index) and index[-1].timestamp >= ENOUGH_FRAMES * stream.frames - 1
    return len(index) if whole else stream.frames


def video_length(path: str, announced: float) -> tuple[int, float]:
    """Return the frames of a video, and how many come a second, without decoding it.

    Where headers hold a rate that somebody wished for, the first packets' times say what it is.
    The frames are an estimate where the header counts none.
    """
    with opened(path) as container:
        stream = video_of(container)
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        seconds = seconds or (container.duration or 0) / av.time_base
        fps, count = announced, stream.frames
        if WISHFUL & set(container.format.name.split(",")) or not (count or seconds):
            packets = list(itertools.islice(container.demux(stream), MEASURED))
            shown = sorted({packet.pts for packet in packets if packet.pts is not None})
            if len(shown) > 1:
                fps, _ = rhythm(np.array(shown) * float(stream.time_base), announced)
            if len(packets) < MEASURED:
                return len(shown), fps
        return count or round(seconds * fps), fps


def is_turned(path: str) -> bool:
    """Check whether a player turns a video by a quarter, as its first frame asks."""
    with opened(path) as container:
        frames = first_frames(container, video_of(container))
        return any(frame.rotation % 180 for frame in frames)


def picture_of(container: av.container.InputContainer, stream: av.VideoStream) -> Picture:
    """Return what a stream says of its display; its first frame is asked where headers do not."""
    codec, shape = stream.codec_context, stream.sample_aspect_ratio
    if codec.format is None:
        return Picture()
    pixel = float(shape) if shape and abs(shape - 1) > NEARLY_SQUARE else 1.0
    large = stream.width >= HD_WIDTH or stream.height > SD_HEIGHT
    fields, colours = codec.field_order, codec.colorspace
    coloured = sum(part.is_chroma for part in codec.format.components) == 2
    untagged = large and coloured and colours == UNKNOWN_COLOURS and not codec.format.is_rgb
    if fields == UNKNOWN_FIELDS or untagged:
        for frame in first_frames(container, stream):
            fields = fields or PROGRESSIVE + frame.interlaced_frame
            untagged = untagged and frame.colorspace == UNKNOWN_COLOURS
    beside = codec.name in ALPHA_DECODERS and stream.metadata.get("alpha_mode") == "1"
    within = any(part.is_alpha for part in codec.format.components)
    return Picture(
        pixel,
        fields > PROGRESSIVE,
        beside or within,
        HDR_CURVES.get(codec.color_trc, ""),
        untagged,
        ALPHA_DECODERS[codec.name] if beside else "",
    )


def first_frames(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Yield the first frame of a stream, unless it is damaged or late."""
    try:
        for packet in itertools.islice(container.demux(stream), FIRST_PACKETS):
            if frames := packet.decode():
                yield frames[0]
                return
    except (av.FFmpegError, ValueError):
        return


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
    """Read rate, size and picture of a frame folder; Rejected when they do not make one video."""
    check_numbers(source)
    sizes, formats, alpha = set(), set(), False
    for path in source.files:
        name = one_line(os.path.basename(path))
        if reason := why_no_file(path):
            raise Rejected(f"{name} is {reason}")
        size, kind, own_alpha = probe_image(path, name)
        sizes.add(size)
        formats.add(kind)
        alpha |= own_alpha
        if len(sizes) > 1:
            raise Rejected(f"images of different sizes (first seen at {name})")
    if not formats <= set(IMAGE_FORMATS) or len({IMAGE_FORMATS[kind] for kind in formats}) > 1:
        raise Rejected(
            f"images of one kind are needed, png or jpg; found {', '.join(sorted(formats))}"
        )
    return Probe(fps, *sizes.pop(), picture=Picture(alpha=alpha))


def probe_image(path: str, name: str) -> tuple[tuple[int, int], str, bool]:
    """Read size and format of one image file from its header, and whether it has alpha."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image.size, image.format, image.has_transparency_data
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Rejected(f"{name} has too many pixels, {MAX_PIXELS} is the most") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None)
        what = f"{name} cannot be read: {reason}" if reason else f"{name} is not an image"
        raise Rejected(why_unread(path, what)) from None


def check_numbers(source: Source) -> None:
    """Refuse frame folders in which a number is missing or comes twice.

    A folder without any numbers is taken in the order of its names.
    """
    numbers = frame_numbers(source.files)
    if all(number is None for number in numbers):
        return
    if None in numbers:
        name = one_line(stem(source.files[numbers.index(None)]))
        raise Rejected(f"{name} has no number, other images have")
    for place, (before, after) in enumerate(itertools.pairwise(numbers)):
        if after == before:
            twice = (one_line(os.path.basename(file)) for file in source.files[place : place + 2])
            raise Rejected(
                f"frame number {'_'.join(map(str, after))} comes twice: {', '.join(twice)}"
            )
    if gaps := gaps_in(numbers):
        (before,), (after,) = numbers[gaps[0] - 1 : gaps[0] + 1]
        step = min(b - a for (a,), (b,) in itertools.pairwise(numbers))
        raise Rejected(f"frame number {before + step} is missing; {SPLIT_GAPS}")
