"""Clips in folders: every format gives the same frames, and what does not fit is one line."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from rsvp.data.folders import ClipFolder
from rsvp.runtime.errors import UserError

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


def test_names_are_paths_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "one.npy", FRAMES[0])
    np.save(tmp_path / "many.npy", FRAMES)
    write_video(tmp_path / "v.mkv", FRAMES[1])
    assert ClipFolder(tmp_path).names == ["many/00000", "many/00001", "v", "x/one"]


def refusals(folder: Path) -> dict[str, tuple[Path, str]]:
    """Folders that are refused when they are opened, and why."""
    for name in ("empty", "flat", "grey", "objects", "broken", "twice"):
        (folder / name).mkdir()
    np.save(folder / "flat" / "a.npy", FRAMES[0, 0])
    np.save(folder / "grey" / "a.npy", FRAMES[0, ..., :1])
    np.save(folder / "objects" / "a.npy", np.array([{"a": 1}]), allow_pickle=True)
    (folder / "broken" / "a.safetensors").write_bytes(b"no")
    np.save(folder / "twice" / "a.npy", FRAMES[0])
    write_video(folder / "twice" / "a.mkv", FRAMES[0])
    np.save(folder / "twice" / "b.npy", FRAMES[0])
    return {
        "missing": (folder / "none", "no such folder"),
        "empty": (folder / "empty", "no clip in it"),
        "three axes": (folder / "flat", r"is \[24, 32, 3\]; clips are \(T, H, W, 3\)"),
        "grey": (folder / "grey", "clips are"),
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
    np.save(tmp_path / "floats.npy", FRAMES[0] / 255.0)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    np.save(tmp_path / "good.npy", FRAMES[0])
    folder = ClipFolder(tmp_path)
    for name, reason in {
        "floats": "holds float64; frames are uint8",
        "broken": "cannot be",
    }.items():
        with pytest.raises(UserError, match=f"{name}: {reason}") as caught:
            folder.frames(name)
        assert "\n" not in str(caught.value)
