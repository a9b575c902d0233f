"""Decoding: each stored frame once, the right pixels, and a reason for what cannot be decoded."""

import io
import os
import re
import subprocess
from pathlib import Path
from typing import get_args

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from rsvp.config.schema import Resize, size_of
from rsvp.data import decoding, headers
from rsvp.data.decoding import Decoding
from rsvp.data.fitting import FrameShape
from rsvp.data.sources import Rejected, list_sources
from rsvp.runtime.errors import UserError
from tests.another_user import said_to_another_user

SIZE = 32


def ffmpeg(*arguments):
    """Run the shipped ffmpeg to make test material."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-nostdin",
        "-v",
        "error",
        "-y",
        *map(str, arguments),
    ]
    subprocess.run(command, check=True)


def picture(path, *output, size="80x60", rate=10, seconds=1.2):
    """A video file of a moving test picture: 12 frames unless told otherwise."""
    source = f"testsrc=size={size}:rate={rate}:duration={seconds}"
    ffmpeg("-f", "lavfi", "-i", source, *output, path)
    return path


def decode_one(folder, kind="videos", resolution=SIZE, **options):
    """The frames of the one video in `folder`, and what its decoding said of it."""
    (source,) = list_sources(folder, kind)
    chunks = []
    asked = {name: options.pop(name) for name in ("channels", "fit", "resize") if name in options}
    shape = FrameShape(*size_of(resolution), **asked)
    with Decoding(source, shape, options.pop("fps", 7.0), **options) as decoding:
        decoded = decoding.read(lambda chunk, _: chunks.append(chunk.copy()))
    frames = np.concatenate(chunks)
    assert frames.shape == (decoded.frames, shape.height, shape.width, shape.channels)
    return frames, decoded


def count_with_pyav(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def reason(folder, kind="videos"):
    with pytest.raises(Rejected) as caught:
        decode_one(folder, kind)
    text = str(caught.value)
    assert text and "\n" not in text and len(text) < 300
    return text


def test_frame_counts_of_the_real_clips_equal_pyav(shared):
    clips = shared / "data" / "ucf101-mini"
    sources = list_sources(clips, "videos")
    assert len(sources) == 67
    for source in sources[::4]:
        chunks = []
        with Decoding(source, FrameShape(8, 8, resize="area"), 25.0) as decoding:
            decoded = decoding.read(lambda c, _: chunks.append(len(c)))  # noqa: B023
        assert decoded.frames == sum(chunks) == count_with_pyav(source.path), source.id
        assert (decoded.probe.width, decoded.probe.height) == (320, 240)
        assert round(decoded.fps, 2) in (25, 29.97)


CONTAINERS = {
    "h264.mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
    "h264.mkv": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
    "h264.mov": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
    "ten_bit.mp4": ["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"],
    "alpha.webm": ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-deadline", "realtime"],
    "alpha.mov": ["-c:v", "qtrle", "-pix_fmt", "argb"],
    "xvid.avi": ["-c:v", "mpeg4", "-bf", "2"],
    "gray.mkv": ["-c:v", "ffv1", "-pix_fmt", "gray"],
    "sixteen_bit.mkv": ["-c:v", "ffv1", "-pix_fmt", "rgb48le"],
    "animated.gif": [],
    "upper.AVI": ["-c:v", "mjpeg"],
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_formats(tmp_path, name):
    path = picture(tmp_path / name, *CONTAINERS[name])
    frames, decoded = decode_one(tmp_path)
    assert decoded.frames == count_with_pyav(path) == 12
    assert decoded.fps == pytest.approx(10, rel=0.01)
    assert (decoded.probe.width, decoded.probe.height) == (80, 60)
    assert decoded.damage == ""
    assert frames.std() > 20


@pytest.mark.parametrize("size", ["1x1", "3x2", "31x77", "77x31", "640x32", "33x33", "1000x10"])
def test_sizes(tmp_path, size):
    picture(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", size=size)
    _, decoded = decode_one(tmp_path)
    assert decoded.frames == 12
    assert f"{decoded.probe.width}x{decoded.probe.height}" == size


def test_one_frame(tmp_path):
    picture(tmp_path / "a.mp4", "-frames:v", "1", "-pix_fmt", "yuv420p")
    assert decode_one(tmp_path)[1].frames == 1


def test_variable_rate_stores_each_frame_once(tmp_path):
    # Time stamps of frame n: n², so gaps grow; the muxer's default would fill them.
    picture(
        tmp_path / "a.mkv", "-vf", "setpts=N*N*TB", "-fps_mode", "passthrough", "-c:v", "ffv1"
    )  # fmt: skip
    frames, _ = decode_one(tmp_path)
    assert len(frames) == count_with_pyav(tmp_path / "a.mkv") == 12
    assert len(np.unique(frames.reshape(12, -1), axis=0)) == 12


def test_size_that_changes_within_the_stream(tmp_path):
    parts = [
        picture(tmp_path / f"{s}.ts", "-c:v", "mpeg2video", size=s) for s in ("80x60", "64x96")
    ]
    content = b"".join(part.read_bytes() for part in parts)
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "joined.avi").write_bytes(content)
    frames, _ = decode_one(tmp_path / "v")
    assert len(frames) == count_with_pyav(tmp_path / "v" / "joined.avi") > 20


def test_rotation_by_metadata_is_applied(tmp_path):
    folder = tmp_path / "v"
    folder.mkdir()
    picture(
        tmp_path / "plain.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "1", size="60x60"
    )
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "plain.mp4", "-c", "copy", folder / "r.mp4")
    rotated, _ = decode_one(folder)
    (folder / "r.mp4").unlink()
    (tmp_path / "plain.mp4").rename(folder / "plain.mp4")
    plain, _ = decode_one(folder)
    turned = np.rot90(plain, 1, axes=(1, 2)).astype(int)
    assert np.abs(turned - rotated).mean() < 3 < np.abs(plain.astype(int) - rotated).mean()


def test_resize_then_centre_crop_against_pillow(tmp_path):
    """A smooth picture: the filters' shapes hardly matter, geometry and antialiasing do."""
    y, x = np.mgrid[0:120, 0:200].astype(np.float64)
    image = np.stack([x, y, 127 + 60 * np.sin(x / 17) * np.cos(y / 11)], -1).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "still.png")
    folder = tmp_path / "v"
    folder.mkdir()
    ffmpeg("-i", tmp_path / "still.png", "-c:v", "ffv1", "-pix_fmt", "bgr0", folder / "a.mkv")
    (frame,), _ = decode_one(folder)
    wide = round(200 * SIZE / 120)
    left = (wide - SIZE) // 2
    expected = Image.fromarray(image).resize((wide, SIZE), Image.Resampling.BICUBIC)
    expected = np.asarray(expected)[:, left : left + SIZE]
    assert np.abs(frame.astype(int) - expected).max() <= 3
    assert np.abs(frame.astype(int) - expected).mean() < 0.7


@pytest.mark.parametrize("resize", get_args(Resize))
def test_every_filter_averages_fine_detail_away(tmp_path, resize):
    """A one-pixel checkerboard becomes flat grey; without antialiasing it stays black and white."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    folder = tmp_path / "v"
    folder.mkdir()
    ffmpeg("-i", tmp_path / "board.png", "-c:v", "ffv1", "-pix_fmt", "gray", folder / "a.mkv")
    (frame,), _ = decode_one(folder, resize=resize)
    assert np.abs(frame[2:-2, 2:-2].astype(int) - 127.5).max() < 6


def test_colours_come_through(tmp_path):
    for name, colour in (("red", (255, 0, 0)), ("lime", (0, 255, 0)), ("blue", (0, 0, 255))):
        folder = tmp_path / name
        folder.mkdir()
        source = f"color={name}:size=64x48:rate=5:duration=1"
        ffmpeg("-f", "lavfi", "-i", source, "-c:v", "mpeg4", "-q:v", "1", folder / "a.avi")
        frames, _ = decode_one(folder)
        assert np.abs(frames.astype(int) - colour).max() <= 4


def test_same_pixels_again(tmp_path):
    picture(tmp_path / "a.mp4", "-pix_fmt", "yuv420p")
    assert np.array_equal(decode_one(tmp_path)[0], decode_one(tmp_path)[0])


@pytest.mark.parametrize(
    "name",
    [
        "-i",
        "it's",
        'say "hi"',
        "two\nlines",
        "日本語 🎬",
        "a%05d",
        "http:x",
        "sp ace",
        "[0],;",
        "caf\udce9",
    ],
)
def test_strange_names(tmp_path, name):
    picture(tmp_path / "plain.avi", "-c:v", "mpeg4")
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / "plain.avi").rename(folder / f"{name}.avi")
    assert decode_one(folder)[1].frames == 12


def test_name_with_a_leading_dash_from_its_own_folder(tmp_path, monkeypatch):
    picture(tmp_path / "plain.avi", "-c:v", "mpeg4")
    (tmp_path / "plain.avi").rename(tmp_path / "-y.avi")
    monkeypatch.chdir(tmp_path)
    assert decode_one(".")[1].frames == 12


def test_cover_picture_is_no_video(tmp_path):
    picture(tmp_path / "cover.png", "-frames:v", "1")
    folder = tmp_path / "v"
    folder.mkdir()
    sound = ["-f", "lavfi", "-i", "sine=duration=1"]
    ffmpeg(*sound, "-i", tmp_path / "cover.png", "-map", "0", "-map", "1",
           "-c:v", "copy", "-disposition:v:0", "attached_pic", folder / "song.mp4")  # fmt: skip
    assert "no video stream" in reason(folder)


def test_sound_only(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "a.mp4")
    assert "no video stream" in reason(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.avi", b"", "empty file"),
        ("a.avi", b"just some text\n" * 50, "cannot be opened"),
        ("a.mp4", os.urandom(20_000), "cannot be opened|no frame|no video stream"),
        ("a.avi", b"RIFF\xff\xff\xff\x7fAVI LIST" + b"\0" * 500, "cannot be opened|no "),
        ("a.gif", b"GIF89a", "cannot be opened|no frame|how large"),
        ("a.avi", b"#EXTM3U\n#EXTINF:1,\nhttp://localhost:1/a.ts\n#EXT-X-ENDLIST\n", "opened"),
    ],
)  # fmt: skip
def test_files_that_are_no_videos(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    text = reason(tmp_path)
    assert any(word in text for word in words.split("|")), text


def test_playlist_of_other_files(tmp_path):
    (tmp_path / "v").mkdir()
    picture(tmp_path / "v" / ".other.mp4", "-pix_fmt", "yuv420p")
    (tmp_path / "v" / "a.avi").write_text("ffconcat version 1.0\nfile .other.mp4\n")
    reason(tmp_path / "v")
    (tmp_path / "v" / ".other.mp4").rename(tmp_path / "other")  # there, it would be a video
    (tmp_path / "v" / "a.avi").write_text("ffconcat version 1.0\nfile ../other\n")
    assert "playlist" in reason(tmp_path / "v")


def test_links_to_nothing_folders_and_pipes(tmp_path):
    (tmp_path / "a.avi").symlink_to(tmp_path / "gone")
    assert "link" in reason(tmp_path)
    (tmp_path / "a.avi").unlink()
    os.mkfifo(tmp_path / "a.avi")
    assert "regular file" in reason(tmp_path)


def test_truncated_mp4_is_rejected_and_truncated_avi_keeps_its_start(tmp_path):
    mp4 = picture(tmp_path / "a.mp4", "-pix_fmt", "yuv420p")
    mp4.write_bytes(mp4.read_bytes()[:-600])
    reason(tmp_path)
    mp4.unlink()
    avi = picture(tmp_path / "a.avi", "-c:v", "mpeg4", seconds=4)
    avi.write_bytes(avi.read_bytes()[: avi.stat().st_size // 2])
    _, decoded = decode_one(tmp_path)
    assert 5 < decoded.frames < 40
    assert decoded.damage and " 0x" not in decoded.damage


def test_damage_within_a_video_is_told(tmp_path):
    # The encoder's threads decide on the file, and so on what the damage hits.
    path = picture(tmp_path / "a.avi", "-c:v", "mpeg4", "-threads", "2", "-g", "5", seconds=4)
    content = bytearray(path.read_bytes())
    start = content.index(b"movi") + 3000
    content[start : start + 8000] = np.random.default_rng(0).bytes(8000)
    path.write_bytes(content)
    _, decoded = decode_one(tmp_path)
    assert 10 < decoded.frames < 40
    assert decoded.damage == "its header announces 40"


def test_line_shaped_pictures_are_rejected(tmp_path):
    picture(tmp_path / "a.mkv", "-c:v", "ffv1", size="2000x2")
    assert "2000x2" in reason(tmp_path)


@pytest.mark.parametrize("mode", [0o000, 0o200])
def test_video_that_may_not_be_read_is_rejected(open_folder, mode):
    picture(open_folder / "a.avi", "-c:v", "mpeg4")
    (open_folder / "a.avi").chmod(mode)
    assert "ermission denied" in said_to_another_user(lambda: decode_one(open_folder))


def test_frame_folder_of_an_image_that_may_not_be_read_is_rejected(open_folder):
    frame_folder(open_folder / "a", ["1", "2", "3"])
    (open_folder / "a/2.png").chmod(0)
    reason = said_to_another_user(lambda: decode_one(open_folder, "frames"))
    assert "2.png" in reason and "ermission denied" in reason


@pytest.mark.parametrize("mode", [0o000, 0o644])
def test_folder_that_may_not_be_read_is_one_line(open_folder, mode):
    (open_folder / "in").mkdir()
    picture(open_folder / "in/a.avi", "-c:v", "mpeg4")
    (open_folder / "in").chmod(mode)
    reason = said_to_another_user(lambda: decode_one(open_folder))
    assert "ermission denied" in reason


def test_silent_ffmpeg_is_given_up(tmp_path, monkeypatch):
    picture(tmp_path / "a.avi", "-c:v", "mpeg4")
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(decoding, "SILENCE_SECONDS", 0.2)
    with pytest.raises(Rejected, match="gave nothing"):
        decode_one(tmp_path, binary=str(sleeper))


def test_flood_of_complaints_does_not_block(tmp_path):
    picture(tmp_path / "a.avi", "-c:v", "mpeg4")
    noisy = tmp_path / "noisy"
    noisy.write_text("#!/bin/sh\nyes complaint | head -c 3000000 >&2\nexit 1\n")
    noisy.chmod(0o755)
    with pytest.raises(Rejected, match=r"no frame could be decoded: complaint$"):
        decode_one(tmp_path, binary=str(noisy))


@pytest.mark.parametrize(
    ("end", "told"),
    [("kill -SEGV $$", "ffmpeg crashed (SIGSEGV)"), ("exit 3", "ffmpeg failed (exit code 3)")],
)
def test_crash_of_ffmpeg_without_a_word_is_told(tmp_path, end, told):
    """The frames before it are kept, and called damaged; without any the video is rejected."""
    picture(tmp_path / "a.avi", "-c:v", "mpeg4")
    for frames in (0, 9):
        crashing = tmp_path / f"crashing after {frames}"
        crashing.write_text(f"#!/bin/sh\nhead -c {frames * SIZE * SIZE * 3} /dev/zero\n{end}\n")
        crashing.chmod(0o755)
        if frames:
            _, decoded = decode_one(tmp_path, binary=str(crashing))
            assert (decoded.frames, decoded.damage) == (frames, told)
        else:
            with pytest.raises(Rejected, match=re.escape(f"no frame could be decoded: {told}")):
                decode_one(tmp_path, binary=str(crashing))


def test_missing_ffmpeg_is_one_line(tmp_path):
    picture(tmp_path / "a.avi", "-c:v", "mpeg4")
    with pytest.raises(UserError, match="cannot run ffmpeg"):
        decode_one(tmp_path, binary=str(tmp_path / "no-ffmpeg"))
    with pytest.raises(UserError, match="cannot run ffmpeg"):
        decoding.ffmpeg_version(str(tmp_path / "no-ffmpeg"))


def frame_folder(folder: Path, names, size=(80, 60), suffix="png"):
    """Images whose brightness tells their place: 10, 20, 30, …"""
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names, 1):
        Image.new("RGB", size, (10 * place,) * 3).save(folder / f"{name}.{suffix}", quality=95)
    return folder


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize(
    "names",
    [
        ["f0", "f1", "f2"],
        ["frame9", "frame10", "frame11"],
        ["00005", "00010", "00015"],
        ["-i 1", "-i 2", "-i 3"],
        ["a", "b", "c"],
        ["it's\n%04d 7", "it's\n%04d 8", "it's\n%04d 9"],
        ["0.0", "0.25", "0.5"],
        ["0.08", "0.375", "0.4"],
        ["0.9", "0.10", "0.11"],
    ],
)
def test_frame_folders_in_order(tmp_path, names, suffix):
    frame_folder(tmp_path / "c" / "v", names, suffix=suffix)
    frames, decoded = decode_one(tmp_path, "frames")
    assert np.abs(frames.mean((1, 2, 3)) - [10, 20, 30]).max() < 2
    assert decoded.probe == headers.Probe(7.0, 80, 60)


def test_frame_folder_gives_the_same_pixels_as_a_video(tmp_path):
    picture(tmp_path / "v.mkv", "-c:v", "ffv1", "-pix_fmt", "bgr0", size="90x70")
    (tmp_path / "f").mkdir()
    ffmpeg("-i", tmp_path / "v.mkv", tmp_path / "f" / "%03d.png")
    video, _ = decode_one(tmp_path)
    images, _ = decode_one(tmp_path, "frames")
    assert np.array_equal(video, images)


def test_images_of_many_modes(tmp_path):
    (tmp_path / "v").mkdir()
    grey = Image.new("L", (40, 40), 100)
    for number, mode in enumerate(["L", "RGB", "RGBA", "P", "LA"]):
        grey.convert(mode).save(tmp_path / "v" / f"{number}.png")
    frames, _ = decode_one(tmp_path, "frames")
    assert len(frames) == 5
    assert np.abs(frames.astype(int) - 100).max() <= 1


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["f1", "f2", "f4"], "number 3 is missing"),
        (["f1", "f01", "f2"], "number 1 comes twice"),
        (["f1", "f2", "cover"], "cover has no number"),
    ],
)
def test_frame_folders_with_bad_numbers(tmp_path, names, words):
    frame_folder(tmp_path / "v", names)
    assert words in reason(tmp_path, "frames")


def test_frame_folders_with_bad_images(tmp_path):
    folder = frame_folder(tmp_path / "v", ["1", "2", "3"])
    Image.new("RGB", (81, 60)).save(folder / "4.png")
    assert "different sizes (first seen at 4.png)" in reason(tmp_path, "frames")
    (folder / "4.png").write_bytes(b"nonsense")
    assert "4.png is not an image" in reason(tmp_path, "frames")
    Image.new("RGB", (80, 60)).save(folder / "4.png", format="JPEG")
    assert "one kind" in reason(tmp_path, "frames")
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)).save(
        buffer, format="PNG"
    )
    (folder / "4.png").write_bytes(buffer.getvalue()[:80])  # a whole header, no picture
    assert "only 3 of 4" in reason(tmp_path, "frames")
