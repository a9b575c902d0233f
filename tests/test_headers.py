"""Pictures as players show them, healthy files that look odd, and rates: against drawn shapes,
Pillow, PyAV and the standards' formulas."""

import errno
import shutil
import tempfile

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

from rsvp.data import decoding
from rsvp.data.decoding import full_frames
from rsvp.data.sources import Rejected, list_sources
from rsvp.runtime.errors import UserError
from tests.test_decoding import SIZE, decode_one, ffmpeg, picture

X264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "4"]


def encode(images, path, *output, rate=25):
    """A video file of PIL images."""
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(images):
            image.save(f"{folder}/{number:03d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        ffmpeg("-framerate", rate, "-i", f"{folder}/%03d.png", *output, path)
    return path


def whole(folder, kind="videos"):
    """The frames of the one video in a folder in its own size, as compare reads them."""
    (source,) = list_sources(folder, kind)
    return full_frames(source)


def width_over_height(frame):
    """The shape of the bright thing in a frame."""
    bright = frame.mean(-1) > 128
    return bright.any(0).sum() / bright.any(1).sum()


@pytest.mark.parametrize(
    ("name", "sar", "turn", "output"),
    [
        ("dv_wide.mp4", "64/45", None, X264),
        ("hdv.mkv", "4/3", None, X264),
        ("narrow.mov", "8/9", None, X264),
        ("vcd.mpg", "12/11", None, ["-c:v", "mpeg2video", "-q:v", "2", "-aspect", "16:9"]),
        ("stream.ts", "64/45", None, X264),
        ("turned.mp4", "64/45", "90", X264),
    ],
)
def test_disc_is_round_whatever_the_shape_of_pixels(tmp_path, name, sar, turn, output):
    up, down = map(int, ((16 * 144, 9 * 180) if name.endswith("mpg") else sar.split("/")))
    image = Image.new("RGB", (180, 144))
    half = 45 * down / up
    ImageDraw.Draw(image).ellipse([90 - half, 27, 90 + half, 117], fill="white")
    path = encode([image] * 3, tmp_path / "v" / name, "-vf", f"setsar={sar}", *output)
    if turn:
        moved = path.rename(tmp_path / name)
        ffmpeg("-display_rotation", turn, "-i", moved, "-c", "copy", path)
    frames, decoded = decode_one(tmp_path / "v", resolution=96)
    assert width_over_height(frames[1]) == pytest.approx(1, abs=0.035)
    assert width_over_height(whole(tmp_path / "v")[1]) == pytest.approx(1, abs=0.035)
    assert str(decoded.probe.picture) == "pixels made square"
    assert (decoded.probe.width, decoded.probe.height, decoded.damage) == (180, 144, "")


def bars(frame):
    """The number of bright bars side by side in a frame."""
    bright = (frame.mean((0, 2)) > 60).astype(int)
    return (np.diff(np.pad(bright, 1)) == 1).sum()


def woven(number, top_first=True):
    """A frame of two fields, in the later of which a bar stands 24 pixels further right."""
    fields = np.zeros((576, 720, 3), np.uint8)
    for half in (0, 1):
        left = 48 * number + 24 * (half if top_first else 1 - half)
        fields[half::2, left : left + 12] = 255
    return Image.fromarray(fields)


@pytest.mark.parametrize(
    ("name", "top_first", "output"),
    [
        ("x264.mp4", True, [*X264, "-x264-params", "tff=1"]),
        ("bottom.mkv", False, [*X264, "-x264-params", "bff=1"]),
        ("camera.mts", True, [*X264, "-x264-params", "tff=1", "-f", "mpegts"]),
        ("dvd.mpg", True, ["-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme"]),
        ("broadcast.ts", True, ["-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ildct+ilme"]),
        ("xvid.avi", True, ["-c:v", "mpeg4", "-q:v", "2", "-flags", "+ildct+ilme"]),
        ("archive.mkv", True, ["-c:v", "ffv1", "-pix_fmt", "yuv422p"]),
        ("edit.mov", True, ["-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", "-flags", "+ildct"]),
        ("tape.avi", False, ["-c:v", "dvvideo", "-pix_fmt", "yuv420p"]),
    ],
)
def test_interlaced_video_shows_one_moment(tmp_path, name, top_first, output):
    first = "tff" if top_first else "bff"
    images = [woven(number, top_first) for number in range(6)]
    assert bars(np.asarray(images[2])) == 2
    encode(images, tmp_path / name, "-vf", f"setfield={first}", "-field_order",
           "tt" if top_first else "bb", *output)  # fmt: skip
    frames, decoded = decode_one(tmp_path, resolution=288)
    assert decoded.frames == 6 and "deinterlaced" in str(decoded.probe.picture)
    assert [bars(frame) for frame in whole(tmp_path)[1:5]] == [1] * 4
    assert [bars(frame) for frame in frames[2:5]] == [1] * 3


def test_progressive_video_keeps_its_lines(tmp_path):
    encode([woven(number) for number in range(3)], tmp_path / "a.mp4", *X264)
    assert bars(whole(tmp_path)[1]) == 2
    assert str(decode_one(tmp_path)[1].probe.picture) == ""


def half_transparent(number):
    """Noise that is hidden on the left, half there in the middle, and opaque on the right."""
    pixels = np.random.default_rng(number).integers(60, 255, (6, 12, 4), np.uint8)
    pixels = pixels.repeat(8, 0).repeat(8, 1)
    pixels[..., 3] = np.repeat([0, 128, 255], 32)[None]
    return Image.fromarray(pixels, "RGBA")


def over_black(image):
    """An image over black by Pillow."""
    image = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "black"), image))[..., :3]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_images_lie_over_black(tmp_path, mode):
    (tmp_path / "v").mkdir()
    images = [half_transparent(number) for number in range(3)]
    if mode == "P":
        images = [image.convert("RGB").quantize(16) for image in images]
    for number, image in enumerate(images):
        extra = {"transparency": 3} if mode == "P" else {}
        (image if mode == "P" else image.convert(mode)).save(
            tmp_path / "v" / f"{number}.png", **extra
        )
    kept = [Image.open(tmp_path / "v" / f"{number}.png") for number in range(3)]
    assert (
        np.abs(whole(tmp_path, "frames") - np.stack(list(map(over_black, kept))) * 1.0).max() <= 2
    )
    decoded = decode_one(tmp_path, "frames")[1]
    assert str(decoded.probe.picture) == "alpha laid over black"


@pytest.mark.parametrize(
    ("name", "output", "most"),
    [
        ("a.mov", ["-c:v", "qtrle", "-pix_fmt", "argb"], 1),
        ("b.mov", ["-c:v", "prores_ks", "-pix_fmt", "yuva444p10le", "-q:v", "1"], 25),
        ("c.mov", ["-c:v", "png", "-pix_fmt", "rgba"], 1),
        ("a.mkv", ["-c:v", "ffv1", "-pix_fmt", "yuva444p"], 6),
        ("a.webm", ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-lossless", "1"], None),
        ("b.webm", ["-c:v", "libvpx", "-pix_fmt", "yuva420p", "-b:v", "4M", "-auto-alt-ref", "0"],
         None),
    ],
)  # fmt: skip
def test_transparent_videos_lie_over_black(tmp_path, name, output, most):
    images = [half_transparent(number) for number in range(3)]
    encode(images, tmp_path / name, *output)
    seen, expected = whole(tmp_path), np.stack(list(map(over_black, images)))
    difference = np.abs(seen - expected * 1.0)
    if most:
        assert difference.max() <= most
    assert difference.mean() < 12  # halved chroma blurs the colours of the noise
    assert seen[:, :, :24].max() <= 2
    frames, decoded = decode_one(tmp_path)
    assert frames.min() <= 2 and "alpha" in str(decoded.probe.picture)


def test_transparent_animation_lies_over_black(tmp_path):
    images = [Image.new("RGBA", (64, 64), (0, 0, 0, 0)) for _ in range(4)]
    for number, image in enumerate(images):
        ImageDraw.Draw(image).rectangle([8 * number, 20, 8 * number + 15, 40], fill="red")
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100,
                   disposal=2)  # fmt: skip
    expected = np.stack([over_black(image) for image in images])
    assert np.abs(whole(tmp_path) - expected * 1.0).max() <= 8


@pytest.mark.parametrize("name", ["a.gif", "opaque.mov"])
def test_opaque_alpha_changes_no_pixel(tmp_path, name, monkeypatch):
    output = [] if name.endswith("gif") else ["-c:v", "qtrle", "-pix_fmt", "argb"]
    picture(tmp_path / name, *output)
    laid, decoded = decode_one(tmp_path)
    assert decoded.probe.picture.alpha
    monkeypatch.setattr(decoding, "shown", lambda stream, picture: stream)
    assert np.array_equal(decode_one(tmp_path)[0], laid)


PATCHES = [(200, 40, 40), (40, 180, 60), (50, 60, 200), (128, 128, 128), (230, 230, 230)]


def hdr_signal(colour, curve):
    """sRGB as BT.2020 code values from 0 to 1, white at 203 nits: ST 2084, BT.2100 and BT.2087."""
    code = np.array(colour) / 255
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    wide = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    nits = 203 * wide @ linear
    if curve == "smpte2084":
        power = (nits / 10000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    # Scene light from that of a display of 1000 nits, with a gamma of 1.2 for each colour, as the
    # zimg library takes it; BT.2100 has one for their luminance, which differs where colours are
    # saturated.
    scene = (nits / 1000) ** (1 / 1.2)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def hdr_video(path, curve, *output):
    """Patches of sRGB colours side by side, in 16 bits, to HDR."""
    pixels = np.concatenate(
        [np.broadcast_to(hdr_signal(colour, curve), (64, 64, 3)) for colour in PATCHES], 1
    )
    raw = path.with_suffix(".raw")
    raw.write_bytes(np.rint(np.tile(pixels, (4, 1, 1, 1)) * 65535).astype("<u2").tobytes())
    ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "320x64", "-i", raw,
           "-vf", "scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le,"
           f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={curve}:range=tv",
           *output, path)  # fmt: skip
    raw.unlink()


@pytest.mark.parametrize("curve", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("a.mp4", ["-c:v", "libx265", "-x265-params", "log-level=none:crf=2"]),
        ("a.mkv", ["-c:v", "ffv1"]),
    ],
)
def test_hdr_becomes_sdr(tmp_path, name, output, curve):
    hdr_video(tmp_path / name, curve, *output)
    patches = whole(tmp_path)[1][24:40].reshape(16, len(PATCHES), 64, 3)[:, :, 16:48].mean((0, 2))
    assert np.abs(patches - PATCHES).max() < 6
    frames, decoded = decode_one(tmp_path)
    assert np.abs(frames[1][:, 4:-4].mean((0, 1)) - PATCHES[2]).max() < 6  # the middle
    assert "tone-mapped to SDR" in str(decoded.probe.picture)


def test_hdr_cases(shared):
    folder = shared / "cases" / "hdr"
    if not folder.is_dir():
        pytest.skip("no cases")
    for source in list_sources(folder, "videos"):
        frame = full_frames(source)[3]
        assert np.abs(frame[40, 40] - np.array((200, 40, 40))).max() < 6
        assert np.abs(frame[200, 200] - np.array((230, 230, 230))).max() < 6


def test_hdr_is_rejected_by_a_binary_that_cannot_map_it(tmp_path):
    hdr_video(tmp_path / "a.mkv", "smpte2084", "-c:v", "ffv1")
    (tmp_path / "poor").write_text("#!/bin/sh\necho ' .S tonemap  V->V  text'\n")
    (tmp_path / "poor").chmod(0o755)
    with pytest.raises(Rejected, match=r"HDR \(PQ\).*no filter zscale$"):
        decode_one(tmp_path, binary=str(tmp_path / "poor"))


@pytest.mark.parametrize(
    ("size", "matrix", "tag", "told"),
    [
        ((1280, 720), "bt709", "unknown", True),
        ((720, 1280), "bt709", "unknown", True),
        ((1440, 1080), "bt709", "unknown", True),
        ((320, 240), "bt601", "unknown", False),
        ((720, 576), "bt601", "unknown", False),
        ((1280, 720), "bt601", "smpte170m", False),
        ((1280, 720), "bt709", "bt709", False),
    ],
)
def test_untagged_colours_by_size(tmp_path, size, matrix, tag, told):
    image = Image.new("RGB", size, (200, 40, 40))
    matrix = f"scale=out_color_matrix={matrix},format=yuv420p,setparams=colorspace={tag}"
    encode([image] * 2, tmp_path / "a.mp4", "-vf", matrix, *X264)
    frames, decoded = decode_one(tmp_path)
    assert np.abs(frames - np.array((200, 40, 40.0))).max() <= 3
    assert (str(decoded.probe.picture) == "taken for BT.709") == told


@pytest.mark.parametrize("name", ["a.avi", "a.webm"])
def test_codecs_that_fix_their_matrix_keep_it(tmp_path, name):
    """Motion JPEG and VP8 are BT.601 at each size."""
    image = Image.new("RGB", (1280, 720), (200, 40, 40))
    codec = ["mjpeg", "-q:v", "2"] if name == "a.avi" else ["libvpx", "-b:v", "4M"]
    encode([image] * 2, tmp_path / name, "-c:v", *codec)
    assert np.abs(decode_one(tmp_path)[0] - np.array((200, 40, 40.0))).max() <= 6


def count_shown(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def odd_but_healthy(name, path):
    """Files that are whole, whose header or time stamps are no plain series."""
    plain = picture(path.parent.parent / "plain.mp4", *X264, "-g", "30", rate=25, seconds=2)
    jumps = ["-vf", "setpts='if(mod(N,3),N,N-0.9)*4/25/TB'", "-fps_mode", "passthrough"]
    if name == "edited.mp4":
        ffmpeg("-ss", "0.72", "-i", plain, "-c", "copy", path)
    elif name == "negative.mkv":
        ffmpeg("-i", plain, "-c", "copy", "-avoid_negative_ts", "disabled",
               "-output_ts_offset", "-0.5", path)  # fmt: skip
    elif name == "late.ts":
        ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", "5000", path)
    elif name in ("varying.mp4", "varying.mkv"):
        ffmpeg("-i", plain, *jumps, *X264, "-enc_time_base", "1:90000", path)
    elif name == "equal_times.mkv":
        ffmpeg("-i", plain, "-c", "copy", "-bsf:v", "setts=ts=floor(N/2)*2", path)
    else:  # empty packets stand for pictures that did not change
        ffmpeg("-i", plain, "-vf", "select='not(mod(n,4))'", "-fps_mode", "passthrough",
               "-c:v", "mpeg4", path)  # fmt: skip
    return path


@pytest.mark.parametrize(
    "name",
    ["edited.mp4", "negative.mkv", "late.ts", "varying.mp4", "varying.mkv", "equal_times.mkv",
     "dropped.avi"],
)  # fmt: skip
def test_healthy_files_are_not_called_damaged(tmp_path, name):
    (tmp_path / "v").mkdir()
    path = odd_but_healthy(name, tmp_path / "v" / name)
    _, decoded = decode_one(tmp_path / "v")
    assert decoded.damage == ""
    assert decoded.frames == count_shown(path) > 10


@pytest.mark.parametrize("case", ["edit_list_called_damaged", "variable_rate_called_damaged"])
def test_healthy_cases(shared, case):
    folder = shared / "cases" / case
    if not folder.is_dir():
        pytest.skip("no cases")
    assert decode_one(folder)[1].damage == ""


def test_mp4_that_breaks_off_is_damaged(tmp_path):
    path = picture(tmp_path / "a.mp4", *X264, "-movflags", "faststart", seconds=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    _, decoded = decode_one(tmp_path)
    assert 5 < decoded.frames < 40 and decoded.damage


@pytest.mark.parametrize(
    ("name", "expected"), [("slowed.mkv", 10), ("held.gif", 10), ("browser.webm", 30)]
)
def test_rate_is_that_of_the_presentation_times(tmp_path, name, expected):
    if name == "held.gif":
        images = [Image.new("RGB", (40, 40), (20 * n, 0, 0)) for n in range(11)]
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:],
                       duration=[100] * 10 + [60_000])  # fmt: skip
    else:
        codec = ["libvpx"] if name == "browser.webm" else ["libx264", "-pix_fmt", "yuv420p"]
        picture(tmp_path / f"{name}.avi", "-c:v", "mpeg4", rate=40)
        source, target = tmp_path / f"{name}.avi", tmp_path / "v" / name
        target.parent.mkdir()
        ffmpeg("-i", source, "-c:v", *codec, tmp_path / name)
        ffmpeg("-i", tmp_path / name, "-c", "copy", "-bsf:v", f"setts=ts=TS*40/{expected}", target)
        shutil.move(target, tmp_path / name)
        source.unlink()
        target.parent.rmdir()
    rate = decode_one(tmp_path)[1].fps
    assert rate == pytest.approx(expected, rel=0.02)


def test_browser_recording_case(shared):
    folder = shared / "cases" / "browser_recording"
    if not folder.is_dir():
        pytest.skip("no cases")
    assert decode_one(folder)[1].fps == pytest.approx(30, rel=0.02)


NAMES = {
    "cityscapes": [f"aachen_000000_{n:06d}_leftImg8bit" for n in (9, 10, 11)],
    "sequences": ["a_000000_000029_leftImg8bit", "a_000001_000000_leftImg8bit",
                  "a_000001_000001_leftImg8bit"],
    "camera": [f"{n:06d}_cam2" for n in (9, 10, 11)],
    "height": [f"frame_{n}_1080p" for n in (9, 10, 100)][:2],
    "no zeros": [f"{n}" for n in (8, 9, 10, 11)],
    "no zeros, camera": [f"{n}_cam2" for n in (8, 9, 10, 11)],
    "EuRoC": ["1403636579763555584", "1403636579813555456", "1403636580863555584"],
    "TUM": ["1305031102.175304", "1305031102.211214", "1305031103.043"],
    "TUM, uneven": ["1305031102.25", "1305031102.5", "1305031103.125"],
    "milliseconds": ["33", "67", "100", "133", "167"],
    "date": ["20240131T235958", "20240131T235959", "20240201T000000"],
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMES)
def test_order_of_names(tmp_path, kind):
    folder = tmp_path / "v"
    folder.mkdir()
    for place, name in enumerate(NAMES[kind], 1):
        Image.new("RGB", (40, 40), (40 * place,) * 3).save(folder / f"{name}.png")
    frames, _ = decode_one(tmp_path, "frames")
    expected = [40 * place for place in range(1, len(NAMES[kind]) + 1)]
    assert np.abs(frames.mean((1, 2, 3)) - expected).max() < 2


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["x_1_leftImg8bit", "x_2_leftImg8bit", "x_4_leftImg8bit"], "number 3 is missing"),
        (["1_cam2", "01_cam2", "2_cam2"], "number 1 comes twice: 01_cam2.png, 1_cam2.png"),
        (["10", "20", "30", "50", "60"], "number 40 is missing"),
    ],
)
def test_gaps_in_names(tmp_path, names, words):
    (tmp_path / "v").mkdir()
    for name in names:
        Image.new("RGB", (40, 40)).save(tmp_path / "v" / f"{name}.png")
    with pytest.raises(Rejected, match=words):
        decode_one(tmp_path, "frames")


def test_jpeg_files_with_a_second_picture(tmp_path):
    (tmp_path / "v").mkdir()
    for number in range(1, 4):
        image = Image.new("RGB", (80, 60), (40 * number,) * 3)
        second = [Image.new("RGB", (20, 15), "white")]
        more = {"save_all": True, "append_images": second} if number < 3 else {}
        image.save(tmp_path / "v" / f"{number}.jpg", format="MPO" if more else "JPEG", **more)
    frames, _ = decode_one(tmp_path, "frames")
    assert np.abs(frames.mean((1, 2, 3)) - [40, 80, 120]).max() < 2
    assert whole(tmp_path, "frames").shape == (3, 60, 80, 3)


@pytest.mark.parametrize("kind", ["videos", "frames"])
def test_full_folder_of_temporary_files_is_named(tmp_path, monkeypatch, kind):
    (tmp_path / "v").mkdir()
    picture(tmp_path / "v" / "a.avi", "-c:v", "mpeg4")
    Image.new("RGB", (40, 40)).save(tmp_path / "v" / "1.png")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("TMPDIR", "/where/it is full")
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with pytest.raises(UserError, match=r"^/where/it is full: No space left.*TMPDIR$"):
        decode_one(tmp_path, kind, resolution=SIZE)
