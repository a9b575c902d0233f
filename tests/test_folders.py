"""Clips in folders: every format gives the same frames, and what does not fit is one line."""

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors.numpy import save_file

from rsvp.data.folders import ClipFolder, trajectories_in
from rsvp.runtime.errors import UserError

MAPS = Path("/proc/self/maps")
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 5, 24, 32, 3), dtype=np.uint8)


def write_video(path: Path, frames: np.ndarray) -> None:
    """A video without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write(kind: str, folder: Path) -> Path:
    """Both clips in a folder, or in one file, as a and b (or 00000 and 00001)."""
    folder.mkdir()
    for name, frames in zip("ab", FRAMES, strict=True):
        if kind == "videos":
            write_video(folder / f"{name}.mkv", frames)
        elif kind == "images":
            (folder / name).mkdir()
            for number, frame in enumerate(frames):
                Image.fromarray(frame).save(folder / name / f"frame{number:03d}.png")
        elif kind == "npy":
            np.save(folder / f"{name}.npy", frames)
    if kind == "all npy":
        np.save(folder / "clips.npy", FRAMES)
    elif kind == "npy file":
        np.save(folder / "clips.npy", FRAMES)
        return folder / "clips.npy"
    elif kind == "safetensors":
        save_file(dict(zip("ab", FRAMES, strict=True)), folder / "clips.safetensors")
    elif kind == "all safetensors":
        save_file({"frames": FRAMES}, folder / "clips.safetensors")
    return folder


@pytest.mark.parametrize(
    "kind",
    ["videos", "images", "npy", "all npy", "npy file", "safetensors", "all safetensors"],
)
def test_every_format_gives_the_same_frames(kind: str, tmp_path: Path) -> None:
    folder = ClipFolder(write(kind, tmp_path / "clips"))
    numbered = kind.startswith("all") or kind == "npy file"
    assert folder.names == (["00000", "00001"] if numbered else ["a", "b"])
    for name, frames in zip(folder.names, FRAMES, strict=True):
        found = folder.frames(name)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, frames)
        np.testing.assert_array_equal(folder.frames(name, 3), frames[:3])


@pytest.mark.skipif(not MAPS.exists(), reason="maps are listed on Linux alone")
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_files_of_one_clip_do_not_stay_mapped(suffix: str, tmp_path: Path) -> None:
    for name, frames in zip("ab", FRAMES, strict=True):
        path = tmp_path / f"{name}{suffix}"
        np.save(path, frames) if suffix == ".npy" else save_file({"frames": frames}, path)
    clips = ClipFolder(tmp_path)
    found = [clips.frames(name) for name in clips.names]
    assert str(tmp_path) not in MAPS.read_text()
    assert np.array_equal(found, FRAMES)


def test_names_are_paths_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "one.npy", FRAMES[0])
    np.save(tmp_path / "many.npy", FRAMES)
    write_video(tmp_path / "v.mkv", FRAMES[1])
    assert ClipFolder(tmp_path).names == ["many/00000", "many/00001", "v", "x/one"]


def test_trajectories_are_found_by_their_names(tmp_path: Path) -> None:
    """In one folder, beside each other or by clip; ten of them, since 10 comes after 9."""
    frames = np.random.default_rng(1).integers(0, 256, (2, 11, 3, 24, 32, 3), dtype=np.uint8)
    for form in ("flat/{}_s{}", "inside/{}/{}", "images/{}/sample{}"):
        for name, clips in zip(("x/a_s1", "b"), frames, strict=True):
            for number, clip in enumerate(clips):
                path = tmp_path / form.format(name, number)
                (path if "images" in form else path.parent).mkdir(parents=True, exist_ok=True)
                if "images" not in form:
                    np.save(f"{path}.npy", clip)
                    continue
                for place, frame in enumerate(clip):
                    Image.fromarray(frame).save(path / f"{place}.png")
    for folder in ("flat", "inside", "images"):
        found = trajectories_in(tmp_path / folder, None, ["b", "x/a_s1"])
        assert len(found) == 11 and {tuple(one.names) for one in found} == {("b", "x/a_s1")}
        for number, one in enumerate(found):
            for name, clips in zip(("x/a_s1", "b"), frames, strict=True):
                np.testing.assert_array_equal(one.frames(name, 2), clips[number, :2])
    assert [one.names for one in trajectories_in(tmp_path / "flat", None, ["b_s0"])] == [
        ClipFolder(tmp_path / "flat").names
    ], "a name of a real clip is no trajectory's"


def test_trajectories_that_are_lacking_are_said(tmp_path: Path) -> None:
    for name in ("a_s0", "a_s1", "b_s0"):
        np.save(tmp_path / f"{name}.npy", FRAMES[0])
    with pytest.raises(UserError, match="'b' has 1 of the 2 trajectories that 'a' has"):
        trajectories_in(tmp_path, None, ["a", "b"])
    np.save(tmp_path / "c_s0.npy", FRAMES[0])
    with pytest.raises(UserError, match="'c_s0' is called like no real clip and no trajectory"):
        trajectories_in(tmp_path, None, ["a", "b"])


def refusals(folder: Path) -> dict[str, tuple[Path, str]]:
    """Folders that are refused when they are opened, and why."""
    for name in ("empty", "flat", "two", "objects", "broken", "twice"):
        (folder / name).mkdir()
    np.save(folder / "flat" / "a.npy", FRAMES[0, 0])
    np.save(folder / "two" / "a.npy", FRAMES[0, ..., :2])
    np.save(folder / "objects" / "a.npy", np.array([{"a": 1}]), allow_pickle=True)
    (folder / "broken" / "a.safetensors").write_bytes(b"no")
    np.save(folder / "twice" / "a.npy", FRAMES[0])
    write_video(folder / "twice" / "a.mkv", FRAMES[0])
    np.save(folder / "twice" / "b.npy", FRAMES[0])
    return {
        "missing": (folder / "none", "no such folder"),
        "empty": (folder / "empty", "no clip in it"),
        "three axes": (folder / "flat", r"is \[24, 32, 3\]; clips are \(T, H, W, 3\)"),
        "two channels": (folder / "two", "clips are"),
        "pickled": (folder / "objects", "not a plain npy array"),
        "broken": (folder / "broken", "not a whole safetensors file"),
        "one name for two": (folder / "twice", "two clips are called 'a'"),
    }


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    for path, message in refusals(tmp_path).values():
        with pytest.raises(UserError, match=message) as caught:
            ClipFolder(path)
        assert "\n" not in str(caught.value)


def test_clips_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "floats.npy", (FRAMES[0] - FRAMES[0].min()) / np.ptp(FRAMES[0]))
    np.save(tmp_path / "counts.npy", FRAMES[0].astype(np.int32))
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    np.save(tmp_path / "good.npy", FRAMES[0])
    folder = ClipFolder(tmp_path)
    for name, reason in {
        "floats": "holds float64 from 0 to 1; --range LOW HIGH",
        "counts": "holds int32; frames are uint8",
        "broken": "cannot be",
    }.items():
        with pytest.raises(UserError, match=f"{name}: {reason}") as caught:
            folder.frames(name)
        assert "\n" not in str(caught.value)


def test_floats_are_taken_between_named_values(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FRAMES[0] / 127.5 - 1.0)
    np.testing.assert_array_equal(ClipFolder(tmp_path, (-1.0, 1.0)).frames("a"), FRAMES[0])
    with pytest.raises(UserError, match=r"holds float64 from -\S+ to \S+; --range LOW HIGH"):
        ClipFolder(tmp_path, (0.0, 1.0)).frames("a")


def test_a_phone_s_video_is_turned_as_ffmpeg_turns_it(shared: Path) -> None:
    """Stored lying with a display matrix; the other is what ffmpeg made of it, stored upright."""
    turned, upright = (
        ClipFolder(shared / "cases/compare_rotation" / side).frames("0")
        for side in ("real", "predicted")
    )
    np.testing.assert_array_equal(turned, upright)


def test_frames_are_turned_as_exif_says(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for number in range(8):  # each of the eight orientations
        image = Image.fromarray(np.kron(FRAMES[0, 0, :4, :4], np.ones((8, 8, 1), np.uint8)))
        image.getexif()[0x0112] = number + 1
        image.save(tmp_path / "v" / f"{number}.jpg", exif=image.getexif(), subsampling=0)
    found = ClipFolder(tmp_path).frames("v")
    for number, frame in enumerate(found):
        with Image.open(tmp_path / "v" / f"{number}.jpg") as image:
            truth = np.asarray(ImageOps.exif_transpose(image), int)
        assert np.abs(frame - truth).max() <= 3, number + 1


def test_grey_of_16_bits_is_scaled(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (3, 16, 16), dtype=np.uint16)
    (tmp_path / "v").mkdir()
    for number, frame in enumerate(values):
        Image.fromarray(frame).save(tmp_path / "v" / f"{number}.png")
    found = ClipFolder(tmp_path).frames("v")
    assert np.abs(found - values[..., None] / 257.0).max() < 2  # ffmpeg rounds twice


def test_a_cover_picture_before_the_video_is_left_out(tmp_path: Path) -> None:
    """As some programs store it: the metadata with the cover stand before the track."""
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "plain.mkv", FRAMES[0])
    Image.fromarray(FRAMES[1, 0, :16]).save(tmp_path / "cover.png")
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", tmp_path / "plain.mkv",
         "-i", tmp_path / "cover.png", "-map", "0", "-map", "1", "-c:v:0", "libx264rgb",
         "-crf:v:0", "0", "-c:v:1", "copy", "-disposition:v:1", "attached_pic",
         tmp_path / "v/a.mp4"],
        check=True,
    )  # fmt: skip
    content = (tmp_path / "v/a.mp4").read_bytes()
    moov, udta = content.rindex(b"moov") - 4, content.rindex(b"udta") - 4
    track = content.index(b"trak", moov) - 4
    moved = content[:track] + content[udta:] + content[track:udta]
    (tmp_path / "v/a.mp4").write_bytes(moved)
    with av.open(str(tmp_path / "v/a.mp4")) as container:
        assert container.streams.video[0].height == 16, "the cover"
    np.testing.assert_array_equal(ClipFolder(tmp_path / "v").frames("a"), FRAMES[0])
