"""Sources that are no trees of videos: each read from a tiny imitation, whole and damaged.

They are written by the format's own library where there is one here (NumPy, h5py, webdataset,
tensorboard's records and protobuf's messages), else as its public reader expects them.
"""

import argparse
import gzip
import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import av
import h5py
import numpy as np
import pandas as pd
import pytest
import webdataset
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image
from tensorboard.summary.writer.record_writer import RecordWriter

from rsvp.config.stages import read_settings
from rsvp.data.decoding import Decoding
from rsvp.data.fitting import FrameShape
from rsvp.data.folders import ClipFolder
from rsvp.data.formats.detect import detect
from rsvp.data.hashing import content_hash
from rsvp.data.sources import Options, Rejected, Source, format_of, list_sources
from rsvp.runtime.errors import UserError
from rsvp.stages import decode as decode_stage
from rsvp.stages import split as split_stage

SIDE = 32
SHAPE = FrameShape(SIDE, SIDE)
STEP = 12  # grey levels between the frames of a video, by which they are known again


def numbered(frames: int, first: int = 0) -> np.ndarray:
    """Frames (T, S, S, 3), each of one grey that says its number."""
    levels = (first + np.arange(frames)) * STEP % 256
    return np.broadcast_to(levels[:, None, None, None], (frames, SIDE, SIDE, 3)).astype(np.uint8)


def moving(videos: int, frames: int, seed: int = 0) -> np.ndarray:
    """Videos (N, T, S, S) of a square each that moves by a pixel a frame, uint8."""
    clips = np.zeros((videos, frames, SIDE, SIDE), np.uint8)
    corners = np.random.default_rng(seed).integers(0, 12, (videos, 2))
    for clip, (top, left) in zip(clips, corners, strict=True):
        for number, frame in enumerate(clip):
            frame[top : top + 8, left + number : left + number + 8] = 255
    return clips


def write_mp4(path: Path | io.BytesIO, frames: np.ndarray, rate: int = 10, codec: str = "libx264"):
    """Encode frames, without loss of their number."""
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path if isinstance(path, io.BytesIO) else str(path), "w", format="mp4") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def mp4_bytes(frames: np.ndarray) -> bytes:
    stream = io.BytesIO()
    write_mp4(stream, frames)
    return stream.getvalue()


def write_images(folder: Path, numbers, name="{}.png"):
    folder.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(numbered(1, number)[0]).save(folder / name.format(number))


def decode(source: Source, shape: FrameShape = SHAPE) -> np.ndarray:
    chunks = []
    with Decoding(source, shape, 25.0) as decoding:
        decoding.read(lambda chunk, *_: chunks.append(chunk.copy()))
    return np.concatenate(chunks)


def numbers_of(source: Source) -> list[int]:
    """The numbers that the decoded frames say."""
    return [round(mean / STEP) for mean in decode(source).mean((1, 2, 3))]


def read(path: Path, kind: str, **options) -> dict[str, Source]:
    """The videos of a source by id, as the plan hands them to a job."""
    assert detect(str(path))[0] == kind
    root = str(path if path.is_dir() else path.parent)
    listed = list_sources(path, kind, options=Options(**options))
    handed = [Source.from_row(json.loads(json.dumps(source.row(root))), root) for source in listed]
    assert handed == listed
    assert len({content_hash(source) for source in listed if not source.files}) in (0, len(listed))
    return {source.id: source for source in listed}


def rejections(path: Path, kind: str, **options) -> dict[str, str]:
    """The videos of a source that cannot be decoded, with the reason in one line."""
    found = {}
    for source in list_sources(path, kind, options=Options(**options)):
        try:
            decode(source)
        except Rejected as reason:
            found[source.id] = str(reason)
            assert len(str(reason).splitlines()) == 1
    return found


# ------------------------------------------------------------------------------------------ arrays


@pytest.mark.parametrize("axes", ["NTHW", "TNHW", "NTHWC", "TNHWC", "NTCHW", "NCTHW"])
@pytest.mark.parametrize("suffix", ["npy", "npz", "h5"])
def test_arrays_of_many_videos(tmp_path, axes, suffix):
    """The order of axes is found, also where time is the first one, as in Moving-MNIST's file."""
    clips = moving(5, 4)[..., None].repeat(3 if "C" in axes else 1, axis=-1)
    array = clips[..., 0] if "C" not in axes else clips
    array = array.transpose(["NTHWC".index(axis) for axis in axes])
    path = tmp_path / f"clips.{suffix}"
    if suffix == "npy":
        np.save(path, array)
    elif suffix == "npz":
        np.savez_compressed(path, clips=array, labels=np.arange(5))
    else:
        with h5py.File(path, "w") as file:
            file["set/clips"], file["labels"] = array, np.arange(5)
    found = read(path, "arrays")
    assert list(found) == [f"clips/{number:05d}" for number in range(5)]
    for source, clip in zip(found.values(), clips, strict=True):
        assert np.array_equal(decode(source), np.broadcast_to(clip, (4, SIDE, SIDE, 3)))
        with Decoding(source, SHAPE, 25.0) as decoding:
            assert str(decoding.probe.picture) == f"array read as {axes}"


@pytest.mark.parametrize("shape", [(6, SIDE, SIDE), (6, SIDE, SIDE, 3), (6, 1, SIDE, SIDE)])
def test_arrays_of_one_video(tmp_path, shape):
    (tmp_path / "a").mkdir()
    grey = numbered(6)[..., 0]
    array = grey.reshape(shape) if shape[-1] != 3 else grey[..., None].repeat(3, axis=-1)
    np.save(tmp_path / "a" / "b.npy", array)
    found = read(tmp_path, "arrays")
    assert list(found) == ["a/b"]
    assert numbers_of(found["a/b"]) == list(range(6))


@pytest.mark.parametrize(("kind", "scale"), [(np.uint16, 4095), (np.float32, 2.0), (np.int16, 800)])
def test_numbers_that_are_no_bytes_become_them_by_a_range(tmp_path, kind, scale):
    levels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE), np.uint8)
    array = (levels / 255 * scale).round(3).astype(kind)
    array[0, 0, 0] = 5 * scale  # beyond white
    np.save(tmp_path / "radar.npy", array)
    (source,) = read(tmp_path, "arrays").values()
    with Decoding(source, FrameShape(SIDE, SIDE, 1, range=(0, scale)), 25.0) as decoding:
        chunks = []
        quantiser = decoding.read(lambda chunk, _: chunks.append(chunk)).quantiser
    found = np.concatenate(chunks)[..., 0].astype(int)
    levels[0, 0, 0] = 255
    assert np.abs(found - levels).max() <= 1 and found[0, 0, 0] == 255
    assert quantiser.clipped_share == 1 / levels.size
    with pytest.raises(
        Rejected, match=f"holds {np.dtype(kind)}, .* mostly from .*; 'range' of the"
    ):
        decode(source)


def test_axes_that_the_config_names(tmp_path):
    """Noise says nothing of time, so the first axis counts videos unless it is said otherwise."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 7, SIDE, SIDE), np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    assert len(read(tmp_path, "arrays", axes="TNHW")) == 7
    found = read(tmp_path, "arrays", axes="NTHW")
    assert np.array_equal(decode(found["noise/00002"])[..., 0], noise[2])
    assert "shape" in rejections(tmp_path, "arrays", axes="NTHWC")["noise"]


def test_arrays_that_are_no_videos(tmp_path):
    np.save(tmp_path / "good.npy", numbered(3))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    np.save(tmp_path / "labels.npy", np.arange(9))
    np.save(tmp_path / "deep.npy", np.zeros((2, 2, 2, 2, 8, 8), np.uint8))
    np.save(tmp_path / "words.npy", np.full((2, 8, 8), "a"))
    np.save(tmp_path / "flow.npy", np.zeros((5, SIDE, SIDE, 2), np.float32))
    np.save(tmp_path / "alpha.npy", np.zeros((5, SIDE, SIDE, 4), np.uint8))
    whole = (tmp_path / "good.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-50])
    (tmp_path / "packed.npz").write_bytes(b"PK\3\4" + whole[:70])
    (tmp_path / "tree.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(60))
    (tmp_path / "none.npy").write_bytes(b"")
    (tmp_path / "bracket.npy").write_bytes(whole.replace(b"'shape': (3", b"'shape': ((", 1))
    (tmp_path / "huge.npy").write_bytes(whole.replace(b"(3, 32, 32, 3)", b"(9**99, 3, 3)", 1))
    noise = np.random.default_rng(0).integers(0, 99, (9, 32, 32), np.uint8)
    np.savez_compressed(tmp_path / "flipped.npz", noise)
    content = bytearray((tmp_path / "flipped.npz").read_bytes())
    content[2000:2050] = bytes(50)
    (tmp_path / "flipped.npz").write_bytes(content)
    reasons = rejections(tmp_path, "arrays")
    words = {"objects": "plain arrays", "words": "not numbers"}
    words |= dict.fromkeys(("deep", "flow", "alpha"), "its shape is")
    damaged = ("cut", "packed", "tree", "none", "bracket", "huge", "flipped")
    words |= dict.fromkeys(damaged, "not a whole file")
    assert set(reasons) == set(words)  # labels are left out, as text files are
    assert all(word in reasons[name] for name, word in words.items())


# -------------------------------------------------------------------------------------------- HDF5


def test_file_of_videogpt(tmp_path):
    """The last video of a side ends with its array."""
    with h5py.File(tmp_path / "ucf.hdf5", "w") as file:
        file["train_data"], file["train_idx"] = numbered(12), np.array([0, 4, 7])
        file["test_data"], file["test_idx"] = numbered(5), np.array([0])
    found = read(tmp_path / "ucf.hdf5", "hdf5")
    assert {name: numbers_of(source) for name, source in found.items()} == {
        "test/ucf/00000": [0, 1, 2, 3, 4],
        "train/ucf/00000": [0, 1, 2, 3],
        "train/ucf/00001": [4, 5, 6],
        "train/ucf/00002": [7, 8, 9, 10, 11],
    }
    assert {source.side for source in found.values()} == {"train", "test"}


def test_frames_of_hdf5_are_grey_or_of_three_colours(tmp_path):
    """Those of VideoGPT as (frames, H, W) are grey; others are rejected, each with its reason."""
    frames = numbered(5)
    held = {
        "flat": frames[..., 0],
        "grey": frames[..., :1],
        "alpha": frames[..., [0, 1, 2, 2]],
        "first": frames.transpose(0, 3, 1, 2),
        "rows": frames[:, 0, :, 0],
        "words": np.full((5, 8, 8), b"a"),
    }
    for name, data in held.items():
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file["train_data"], file["train_idx"] = data, np.array([0, 2])
    with h5py.File(tmp_path / "group.hdf5", "w") as file:
        file["train_data/0"], file["train_idx"] = frames, np.array([0, 0])
    with h5py.File(tmp_path / "number.hdf5", "w") as file:
        file["train_data"], file["train_idx"] = 5, np.array([[0, 0]])
    found = read(tmp_path, "hdf5")
    for name in ("flat", "grey"):
        parts = [numbers_of(found[f"train/{name}/{part:05d}"]) for part in range(2)]
        assert parts == [[0, 1], [2, 3, 4]]
    reasons = rejections(tmp_path, "hdf5")
    assert reasons.pop("train/alpha/00001") == (
        "the shape of a frame is [32, 32, 4]; it is (H, W), (H, W, 1) or (H, W, 3)"
    )
    assert "[3, 32, 32]" in reasons["train/first/00000"]
    assert "not numbers" in reasons["train/words/00000"]
    assert {name.split("/")[-2] for name in reasons if "/" in name} == {
        "alpha", "first", "rows", "words",
    }  # fmt: skip
    assert "0 at 0 to 0" in reasons["group"] and "not a whole HDF5 file" in reasons["number"]


def mcvd_shard(path: Path, lengths, **more):
    """A shard as MCVD's HDF5Maker.add_video_data writes it (datasets/h5.py)."""
    with h5py.File(path, "w") as file:
        for number, length in enumerate(lengths):
            file[f"len/{number}"] = length
            for frame, image in enumerate(numbered(length, number)):
                file.create_dataset(f"{number}/{frame}", data=image, compression="lzf")
        for name, value in more.items():
            file[name] = value


def test_shards_of_mcvd(tmp_path):
    mcvd_shard(tmp_path / "shard_0001.hdf5", [12, 3], num_train=1, num_test=1)
    mcvd_shard(tmp_path / "shard_0002.hdf5", [2])
    found = read(tmp_path, "hdf5")
    assert [numbers_of(source) for source in found.values()] == [
        list(range(12)),
        [1, 2, 3],
        [0, 1],
    ]
    assert [source.side for source in found.values()] == ["train", "test", ""]


def test_damaged_hdf5(tmp_path):
    mcvd_shard(tmp_path / "a.hdf5", [3, 4])
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        del file["1/2"]
    mcvd_shard(tmp_path / "hole.hdf5", [3])
    with h5py.File(tmp_path / "hole.hdf5", "a") as file:
        file.move("0/1", "0/5")
    mcvd_shard(tmp_path / "cut.hdf5", [3])
    (tmp_path / "cut.hdf5").write_bytes((tmp_path / "cut.hdf5").read_bytes()[:-200])
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["actions"] = np.zeros(3)
    with h5py.File(tmp_path / "index.hdf5", "w") as file:
        file["train_data"], file["train_idx"] = numbered(5), np.array([0, 9])
    reasons = rejections(tmp_path, "hdf5")
    assert set(reasons) == {"a/00001", "hole/00000", "cut", "other", "index"}
    assert "frames 0 to 3 cannot be read" in reasons["hole/00000"]
    assert "3 frames, len/1 says 4" in reasons["a/00001"]
    assert "actions" in reasons["other"] and "9" in reasons["index"]


def test_missing_library_says_how_to_get_it(tmp_path, monkeypatch):
    mcvd_shard(tmp_path / "a.hdf5", [3])
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"a\.hdf5.*pip install 'rsvp\[hdf5\]'"):
        list_sources(tmp_path, "hdf5")


# --------------------------------------------------------------------------------------------- tar


def test_shards_of_webdataset(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "shard-000000.tar")) as shard:
        for number in range(3):
            about = {"group": f"g{number // 2}", "split": "train"}
            video = mp4_bytes(numbered(4, number))
            shard.write({"__key__": f"a/video{number}", "mp4": video, "json": about})
    found = read(tmp_path, "tar")
    assert [numbers_of(s) for s in found.values()] == [[n, n + 1, n + 2, n + 3] for n in range(3)]
    assert list(found) == [f"shard-000000/a/video{n}" for n in range(3)]
    assert [(s.group, s.side) for s in found.values()] == [
        (f"g{n // 2}", "train") for n in range(3)
    ]


def test_samples_of_several_cameras_and_of_no_group(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "s.tar")) as shard:
        for number, key in enumerate("ab"):
            views = {view: mp4_bytes(numbered(4, 10 * number + place))
                     for place, view in enumerate(("left.mp4", "right.mp4"))}  # fmt: skip
            shard.write({"__key__": key, **views, "json": {"group": None, "split": None}})
    found = list_sources(tmp_path, "tar")
    assert [source.id for source in found] == ["s/a.left", "s/a.right", "s/b.left", "s/b.right"]
    assert [source.group for source in found] == ["s/a", "s/a", "s/b", "s/b"]
    assert {source.side for source in found} == {""}
    assert [numbers_of(source)[0] for source in found] == [0, 1, 10, 11]


def test_damaged_shards(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as shard:
        for number in range(2):
            shard.write({"__key__": str(number), "mp4": mp4_bytes(numbered(4))})
        shard.write({"__key__": "text", "mp4": b"no video"})
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:2200])
    (tmp_path / "noise.tar").write_bytes(b"noise" * 300)
    with tarfile.open(tmp_path / "a.tar") as archive:
        second = archive.getmembers()[1].offset
    (tmp_path / "header.tar").write_bytes(whole[:second] + bytes([1]) * 200 + whole[second + 200 :])
    (tmp_path / "packed.tar.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "gone.tar").symlink_to("nowhere")
    reasons = rejections(tmp_path, "tar")
    assert set(reasons) == {"a/text", "cut", "noise", "packed.tar", "gone", "header"}
    assert reasons["header"] == f"damaged at byte {second}"
    assert "header/0" in {source.id for source in list_sources(tmp_path, "tar")}
    assert "ends within" in reasons["cut"] and "unpack" in reasons["packed.tar"]


# -------------------------------------------------------------------------------------- LeRobot


def lerobot(
    root: Path,
    version: str,
    cameras=("observation.images.top",),
    codec="libx264",
    lengths=(4, 3, 5),
):
    """Episodes of so many frames, 10 a second, laid out as lerobot's readers look for them
    (lerobot/datasets/utils.py, DEFAULT_VIDEO_PATH; v30/convert_dataset_v21_to_v30.py)."""
    ends = np.cumsum(lengths)
    v3 = version == "v3.0"
    info = {
        "codebase_version": version, "fps": 10, "chunks_size": 1000, "splits": {"train": "0:3"},
        "features": {camera: {"dtype": "video"} for camera in cameras} | {"action": {"dtype": "f"}},
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if v3
        else "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }  # fmt: skip
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    rows = [{"episode_index": n, "tasks": ["push"], "length": m} for n, m in enumerate(lengths)]
    for camera in cameras:
        for row, end in zip(rows, ends, strict=True):
            of, start = f"videos/{camera}", int(end) - row["length"]
            row |= {f"{of}/chunk_index": 0, f"{of}/file_index": 0}
            row |= {f"{of}/from_timestamp": start / 10, f"{of}/to_timestamp": end / 10}
            if not v3:
                name = f"videos/chunk-000/{camera}/episode_{row['episode_index']:06d}.mp4"
                write_mp4(root / name, numbered(row["length"], start), codec=codec)
        if v3:
            write_mp4(
                root / f"videos/{camera}/chunk-000/file-000.mp4",
                numbered(sum(lengths)),
                codec=codec,
            )
    if v3:
        (root / "meta/episodes/chunk-000").mkdir(parents=True)
        pd.DataFrame(rows).to_parquet(root / "meta/episodes/chunk-000/file-000.parquet")
    else:
        lines = [
            json.dumps({k: row[k] for k in ("episode_index", "tasks", "length")}) for row in rows
        ]
        (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1"])
@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_episodes_of_lerobot(tmp_path, version, codec):
    found = read(lerobot(tmp_path, version, codec=codec), "lerobot")
    assert {name: numbers_of(source) for name, source in found.items()} == {
        "episode_000000": [0, 1, 2, 3],
        "episode_000001": [4, 5, 6],
        "episode_000002": [7, 8, 9, 10, 11],
    }
    assert {source.side for source in found.values()} == {"train"}


def test_dataset_that_lerobot_itself_writes(tmp_path, monkeypatch):
    """v3.0 in AV1. The library shares no environment with rsvp (it asks for PyAV below 16)."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    library = pytest.importorskip("lerobot.datasets.lerobot_dataset")
    camera = {"dtype": "video", "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]}
    made = library.LeRobotDataset.create(
        "me/toy", fps=10, root=tmp_path / "set", features={"observation.images.top": camera}
    )
    for length in (9, 7, 12):
        for frame in numbered(length):
            made.add_frame({"observation.images.top": frame, "task": "push"})
        made.save_episode()
    made.finalize()
    found = read(tmp_path / "set", "lerobot")
    lengths = {"episode_000000": 9, "episode_000001": 7, "episode_000002": 12}
    assert {name: numbers_of(source) for name, source in found.items()} == {
        name: list(range(length)) for name, length in lengths.items()
    }
    assert {source.side for source in found.values()} == {"train"}


def test_cameras_of_lerobot(tmp_path):
    root = lerobot(tmp_path, "v3.0", ("top", "wrist"))
    with pytest.raises(UserError, match=r"camera: missing.*top, wrist"):
        list_sources(root, "lerobot")
    found = read(root, "lerobot", camera="wrist")
    assert {Path(source.path).parts[-3] for source in found.values()} == {"wrist"}


def test_episodes_whose_place_is_not_known_are_rejected(tmp_path):
    """The others are used."""
    root = lerobot(tmp_path, "v3.0", lengths=(4, 3, 5, 4))
    (path,) = root.rglob("*.parquet")
    rows = pd.read_parquet(path)
    of = "videos/observation.images.top"
    rows.loc[1, f"{of}/to_timestamp"] = None
    rows.loc[2, f"{of}/to_timestamp"] = 0.2
    rows[f"{of}/file_index"] = [0, 0, 0, None]
    rows.to_parquet(path)
    assert rejections(root, "lerobot") == {
        "episode_000001": "meta/episodes has it from 0.4 to None s of file 0-0.0",
        "episode_000002": "meta/episodes has it from 0.7 to 0.2 s of file 0-0.0",
        "episode_000003": "meta/episodes has it from 1.2 to 1.6 s of file 0-None",
    }
    assert numbers_of(list_sources(root, "lerobot")[0]) == [0, 1, 2, 3]


def test_a_folder_of_datasets_of_lerobot_is_no_folder_of_videos(tmp_path):
    """Each file of v3.0 holds many episodes."""
    for name in "ab":
        lerobot(tmp_path / "hub" / name, "v3.0")
    with pytest.raises(UserError, match=r"hub/a: a dataset of LeRobot within .*; name its own"):
        detect(str(tmp_path))


def test_damaged_lerobot(tmp_path):
    old, new = lerobot(tmp_path / "old", "v2.1"), lerobot(tmp_path / "new", "v3.0")
    write_mp4(new / "videos/observation.images.top/chunk-000/file-000.mp4", numbered(10))
    with Decoding(list_sources(new, "lerobot")[2], SHAPE, 25.0) as decoding:
        assert decoding.read(lambda *_: None).damage == "its table announces 5"
    videos = old / "videos/chunk-000/observation.images.top"
    (videos / "episode_000001.mp4").unlink()
    assert rejections(old, "lerobot") == {"episode_000001": "no such file"}
    (old / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 4}\n{"episode_in')
    with pytest.raises(UserError, match=r"episodes\.jsonl: cannot be read as a table"):
        list_sources(old, "lerobot")
    for path in (new / "meta").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(UserError, match="no table in meta/episodes"):
        list_sources(new, "lerobot")
    (new / "meta/info.json").write_text('{"codebase_version": "v4.7"}')
    with pytest.raises(UserError, match=r"version v4\.7; known: v2"):
        list_sources(new, "lerobot")
    features = '"features": {"a": {"dtype": "video"}}'
    for more in ('"features": {"a": 5}', f'{features}, "splits": {{"train": 5}}',
                 f'{features}, "splits": {{"train": "a:b"}}'):  # fmt: skip
        (old / "meta/info.json").write_text(f'{{"codebase_version": "v2.1", {more}}}')
        with pytest.raises(UserError, match=r"episodes lack what v2\.1 has"):
            list_sources(old, "lerobot")
    (old / "meta/info.json").write_text('{"codebase')
    with pytest.raises(UserError, match=r"info\.json: cannot be read: Unterminated string"):
        list_sources(old, "lerobot")
    (old / "meta/info.json").write_text("[]")
    with pytest.raises(UserError, match=r"info\.json: version None; known"):
        list_sources(old, "lerobot")


# --------------------------------------------------------------------------------------- TFRecord


def example_message():
    """The class of tf.train.Example, from its public definition (example.proto, feature.proto)."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, **fields):
        made = file.message_type.add(name=name)
        for number, (field, (kind, label)) in enumerate(fields.items(), 1):
            named = {"type": kind} if isinstance(kind, int) else {"type_name": kind, "type": 11}
            made.field.add(name=field, number=number, label=label, **named)
        return made

    message("BytesList", value=(kinds.TYPE_BYTES, 3))
    message("FloatList", value=(kinds.TYPE_FLOAT, 3))
    message("Feature", bytes_list=("BytesList", 1), float_list=("FloatList", 1))
    message("Entry", key=(kinds.TYPE_STRING, 1), value=("Feature", 1))
    message("Features", feature=("Entry", 3))  # a map is written as its entries
    message("Example", features=("Features", 1))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Example"))


def bair_record(frames: np.ndarray) -> bytes:
    """A trajectory of BAIR's robot: both cameras, actions and positions of each frame."""
    example = example_message()()
    for number, frame in enumerate(frames):
        for name, value in (("image_main", 255 - frame), ("image_aux1", frame)):
            entry = example.features.feature.add(key=f"{number}/{name}/encoded")
            entry.value.bytes_list.value.append(value.tobytes())
        entry = example.features.feature.add(key=f"{number}/action")
        entry.value.float_list.value.extend([0.5, 1.0, 2.0, 3.0])
    return example.SerializeToString()


def write_records(path: Path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        writer = RecordWriter(stream)
        for record in records:
            writer.write(record)


def test_records_of_bair(tmp_path):
    root = tmp_path / "softmotion30_44k"
    write_records(root / "train/traj_0_to_1.tfrecords", [bair_record(numbered(12)),
                                                         bair_record(numbered(3, 4))])  # fmt: skip
    write_records(root / "test/traj_0_to_0.tfrecords", [bair_record(numbered(2, 7))])
    found = read(root, "tfrecord")
    assert {name: numbers_of(source) for name, source in found.items()} == {
        "test/traj_0_to_0/00000": [7, 8],
        "train/traj_0_to_1/00000": list(range(12)),
        "train/traj_0_to_1/00001": [4, 5, 6],
    }


def test_damaged_records(tmp_path):
    good, other = bair_record(numbered(3)), example_message()()
    write_records(tmp_path / "a.tfrecords", [good, good, other.SerializeToString()])
    content = bytearray((tmp_path / "a.tfrecords").read_bytes())
    (tmp_path / "cut.tfrecords").write_bytes(content[: 12 + len(good) + 4 + 100])
    content[12 + len(good) // 2] ^= 1  # a bit of the first record's content
    (tmp_path / "a.tfrecords").write_bytes(content)
    (tmp_path / "noise.tfrecords").write_bytes(bytes(range(64)))
    reasons = rejections(tmp_path, "tfrecord")
    assert set(reasons) == {"a/00000", "a/00002", "cut", "noise"}
    assert "checksum" in reasons["a/00000"] and "0 frames" in reasons["a/00002"]
    assert reasons["cut"] == "ends within record 1"


# ------------------------------------------------------------------------------------ Moving-MNIST


@pytest.fixture
def digits(tmp_path):
    """A folder of Moving-MNIST: three test videos, and five squares for digits."""
    np.save(tmp_path / "mnist_test_seq.npy", moving(3, 4).swapaxes(0, 1))
    shapes = np.zeros((5, 28, 28), np.uint8)
    for number, shape in enumerate(shapes):
        shape[8:20, 8:20] = 50 + 40 * number
    head = bytes([0, 0, 8, 3]) + np.array([5, 28, 28], ">i4").tobytes()
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as stream:
        stream.write(head + shapes.tobytes())
    return tmp_path


def test_videos_made_of_digits(digits):
    """Digits keep their shape, stay within, move straight and bounce, the same ones each time."""
    generated = {"train_videos": 40, "seed": 3, "frames": 20}
    found = read(digits, "moving_mnist", generated=generated)
    assert Counter(source.side for source in found.values()) == {"test": 3, "train": 40}
    assert np.array_equal(decode(found["test/00001"])[..., 0], moving(3, 4)[1])
    bounces = 0
    for number in range(40):
        source = found[f"train/{number:05d}"]
        with format_of("moving_mnist").opened(source) as stored:
            frames = stored.read(0, 20)
        assert frames.shape == (20, 64, 64, 1)
        assert set(np.unique(frames)) <= {0, 50, 90, 130, 170, 210}
        area = (frames > 0).sum((1, 2, 3))
        assert area.max() <= 2 * 144 and area.min() >= 144
        brightest = frames[..., 0] == frames.max()
        centres = np.array([np.argwhere(frame).mean(0) for frame in brightest])
        steps = np.diff(centres, axis=0)
        bounces += (np.sign(steps[1:]) * np.sign(steps[:-1]) < 0).any()
        assert np.abs(steps).max() <= 36 * 0.1 + 1
    assert bounces > 20
    again = read(digits, "moving_mnist", generated=generated | {"train_videos": 50})
    assert np.array_equal(decode(again["train/00007"]), decode(found["train/00007"]))
    assert not np.array_equal(decode(again["train/00007"]), decode(found["train/00008"]))


def test_damaged_digits(digits):
    made = Options(generated={"train_videos": 2, "seed": 0, "frames": 4})
    path = digits / "train-images-idx3-ubyte.gz"
    noise = np.random.default_rng(0).integers(0, 256, 60 * 784, np.uint8).tobytes()
    whole = gzip.compress(gzip.decompress(path.read_bytes())[:16] + noise)
    path.write_bytes(whole[:-1000])
    reasons = rejections(digits, "moving_mnist", generated=made.generated)
    assert set(reasons) == {"train/00000", "train/00001"}
    path.write_bytes(whole[:20000] + bytes(50) + whole[20050:])
    assert (
        "cannot be read"
        in rejections(digits, "moving_mnist", generated=made.generated).popitem()[1]
    )
    for content in (b"no gzip", whole[:10] + b"\xff" * 50):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"idx3-ubyte\.gz: cannot be read"):
            list_sources(digits, "moving_mnist", options=made)
    path.write_bytes(gzip.compress(bytes(99)))
    with pytest.raises(UserError, match="not MNIST's digits"):
        list_sources(digits, "moving_mnist", options=made)
    (digits / "mnist_test_seq.npy").unlink()
    with pytest.raises(UserError, match=r"mnist_test_seq\.npy and train"):
        list_sources(digits, "moving_mnist", options=made)


# ------------------------------------------------------------------------------------------- table


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video of 20 frames, 10 a second."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_mp4(path, numbered(20))
    return path


def write_table(path: Path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        pd.DataFrame(rows).to_parquet(path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_metadata_of_hugging_face(tmp_path, film, name):
    for video in ("one", "two"):
        (tmp_path / "train" / video).parent.mkdir(exist_ok=True)
        (tmp_path / "train" / f"{video}.mp4").write_bytes(film.read_bytes())
    rows = [{"file_name": "one.mp4", "split": "val", "group": 7}, {"file_name": "two.mp4"}]
    write_table(tmp_path / "train" / name, rows)
    found = list_sources(tmp_path, "table")
    assert detect(str(tmp_path))[0] == "table"
    assert [source.id for source in found] == ["train/one", "train/two"]
    assert found[0].side == "val" and found[0].group.startswith("7")
    assert numbers_of(found[1]) == list(range(20))


def test_parts_by_seconds_and_by_frames(tmp_path, film):
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    rows = [{"path": "film.mp4", "start": 0.5, "end": 0.8}, {"path": "film.mp4", "start": 1.0}]
    write_table(tmp_path / "seconds.csv", rows)
    found = read(tmp_path / "seconds.csv", "table")
    assert {name: numbers_of(source) for name, source in found.items()} == {
        "film@0.5-0.8": [5, 6, 7],
        "film@1-end": list(range(10, 20)),
    }
    assert {source.group for source in found.values()} == {"film"}
    frames = [{"path": "film.mp4", "start_frame": 3, "end_frame": 6}]
    write_table(tmp_path / "frames.jsonl", frames)
    assert numbers_of(*read(tmp_path / "frames.jsonl", "table").values()) == [3, 4, 5]


def test_rows_of_json_lines_may_lack_what_others_have(tmp_path, film):
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    rows = [{"path": "film.mp4"}, {"path": "film.mp4", "start": 0.5, "end": 0.8, "split": "test"}]
    write_table(tmp_path / "rows.jsonl", rows)
    whole, part = list_sources(tmp_path / "rows.jsonl", "table")
    assert len(numbers_of(whole)) == 20 and whole.side == ""
    assert numbers_of(part) == [5, 6, 7] and part.side == "test"


@pytest.mark.parametrize(("start", "end"), [("nan", 5), (0, "inf"), (2, 1), (-1, 2), (0, "nan")])
def test_times_that_bound_no_part_of_a_video(tmp_path, film, start, end):
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    (tmp_path / "rows.csv").write_text(f"path,start,end\nfilm.mp4,{start},{end}\n")
    (reason,) = rejections(tmp_path / "rows.csv", "table").values()
    assert "is no part of a video" in reason


def test_table_of_kinetics(tmp_path, film):
    """Files may be cut already; what is missing is rejected with its reason."""
    for name in ("archery/abc_000001_000002.mp4", "archery/whole.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(film.read_bytes())
    part = {"label": "archery", "time_start": 1, "time_end": 2, "split": "test"}
    rows = [part | {"youtube_id": video} for video in ("abc", "whole", "gone")]
    write_table(tmp_path / "kinetics.csv", rows)
    found = read(tmp_path / "kinetics.csv", "table")
    assert list(found) == ["archery/abc_000001_000002", "archery/gone@1-2", "archery/whole@1-2"]
    assert [source.class_name for source in found.values()] == ["archery"] * 3
    assert numbers_of(found["archery/abc_000001_000002"]) == list(range(20))
    assert numbers_of(found["archery/whole@1-2"]) == list(range(10, 20))
    assert rejections(tmp_path / "kinetics.csv", "table") == {"archery/gone@1-2": "no such file"}


def test_sequences_of_kth(tmp_path, film):
    """Frames count from 1, the last one included."""
    path = tmp_path / "boxing" / "person02_boxing_d1_uncomp.avi"
    path.parent.mkdir()
    path.write_bytes(film.read_bytes())
    lines = "Training: person11, 12\n\nperson02_boxing_d1 \t frames  1-5, 8-10\n"
    (tmp_path / "00sequences.txt").write_text(lines)
    found = read(tmp_path / "00sequences.txt", "table")
    assert {name: numbers_of(source) for name, source in found.items()} == {
        "boxing/person02_boxing_d1@1-5": [0, 1, 2, 3, 4],
        "boxing/person02_boxing_d1@8-10": [7, 8, 9],
    }
    assert {(s.class_name, s.group) for s in found.values()} == {("boxing", "person02")}


def test_rows_that_name_a_video_again(tmp_path, film, caplog):
    """As tables of captions do; each video is taken once."""
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    rows = [{"path": "film.mp4", "caption": word, "split": "test"} for word in ("a", "b", "c")]
    write_table(tmp_path / "rows.csv", rows)
    assert [source.side for source in list_sources(tmp_path / "rows.csv", "table")] == ["test"]
    assert "2 videos are named again; each is taken once" in caplog.text
    write_table(tmp_path / "two.csv", [rows[0], rows[1] | {"split": "train"}])
    with pytest.raises(UserError, match="two videos have the id 'film'"):
        list_sources(tmp_path / "two.csv", "table")


def test_metadata_that_is_no_table_of_videos_is_told(tmp_path, film, caplog):
    """Its splits would be lost without a word."""
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "film.mp4"}\n{"file_na')
    assert detect(str(tmp_path))[0] == "videos"
    assert "metadata.jsonl: cannot be read as a table" in caplog.text


def test_damaged_tables(tmp_path, film):
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    rows = [{"path": "film.mp4", "start": 1, "end": 0.5}, {"path": None}, {"path": "film.mp4"},
            {"path": "film.mp4", "start": [1]}, {"path": "film.mp4", "end": 10**400},
            {"path": {"bytes": "AA==", "path": "film.mp4"}}, {"path": "fi\0lm.mp4"}]  # fmt: skip
    write_table(tmp_path / "rows.jsonl", rows)
    reasons = rejections(tmp_path / "rows.jsonl", "table")
    assert "row 4: " in reasons.pop("rows@row4") and "row 5: " in reasons.pop("rows@row5")
    assert reasons == {
        "rows@row1": "row 1: from 1 to 0.5 is no part of a video",
        "rows@row2": "row 2 names no file",
        "rows@row6": "row 6: holds dict, not the name of a file",
        "rows@row7": "row 7: a name with a zero byte",
    }
    for line in ("5", "null", '["x"]', "[" * 100000):
        (tmp_path / "lines.jsonl").write_text(f'{{"path": "film.mp4"}}\n{line}\n')
        with pytest.raises(UserError, match=r"lines\.jsonl: cannot be read as a table"):
            list_sources(tmp_path / "lines.jsonl", "table")
    write_table(tmp_path / "late.csv", [{"path": "film.mp4", "start": 30, "end": 40}])
    assert "no frame" in rejections(tmp_path / "late.csv", "table")["film@30-40"]
    bad = {"cells.csv": "a,b\n1,2\n", "cut.jsonl": '{"path": ', "cut.parquet": "PAR1"}
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=rf"{name}: (no column of paths|cannot be read)"):
            list_sources(tmp_path / name, "table")


# ---------------------------------------------------------------------------------- trees of frames


def test_folders_nested_twice_in_numeric_order(tmp_path):
    """SkyTimelapse: parts of one long video are a group."""
    for part in ("a_1", "a_2"):
        write_images(tmp_path / "sky_train" / "a" / part, [1, 2, 10, 3, 4, 5, 6, 7, 8, 9])
    found = read(tmp_path, "frames")
    assert list(found) == ["sky_train/a/a_1", "sky_train/a/a_2"]
    assert numbers_of(found["sky_train/a/a_1"]) == list(range(1, 11))
    assert {source.group for source in found.values()} == {"sky_train/a"}


def zipped(path: Path, folder: Path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/v/._1.png", b"")
        archive.writestr("v/.DS_Store", b"")


def test_zip_files(tmp_path, film):
    write_images(tmp_path / "tree" / "c" / "v", [9, 10, 11])
    (tmp_path / "data").mkdir()
    zipped(tmp_path / "data" / "sky.zip", tmp_path / "tree")
    found = read(tmp_path / "data", "frames")
    assert list(found) == ["sky/c/v"]
    assert numbers_of(found["sky/c/v"]) == [9, 10, 11]
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        archive.write(film, "b/film.mp4")
        archive.writestr("b/broken.mp4", b"nothing")
    found = read(tmp_path / "films.zip", "videos")
    assert list(found) == ["films/b/broken", "films/b/film"]
    assert numbers_of(found["films/b/film"]) == list(range(20))
    assert set(rejections(tmp_path / "films.zip", "videos")) == {"films/b/broken"}


def test_zip_files_are_compared(tmp_path):
    """As folders of clips are; one that is damaged is told when it is read."""
    write_images(tmp_path / "tree" / "v", [3, 4, 5])
    (tmp_path / "data").mkdir()
    zipped(tmp_path / "data" / "sky.zip", tmp_path / "tree")
    (tmp_path / "data" / "cut.zip").write_bytes(b"PK")
    clips = ClipFolder(tmp_path / "data")
    assert clips.names == ["cut", "sky/v"]
    assert np.array_equal(clips.frames("sky/v"), numbered(3, 3))
    with pytest.raises(UserError, match="cut: not a whole zip file"):
        clips.frames("cut")


def test_parts_of_folders_of_images_are_frames_that_are_there(tmp_path):
    """Images have no rate, so no seconds."""
    write_images(tmp_path / "v", range(10))
    (tmp_path / "empty").mkdir()
    rows = [{"path": "v", "start_frame": 2, "end_frame": 5}, {"path": "v", "start_frame": 8},
            {"path": "v", "start_frame": 10, "end_frame": 20}, {"path": "v", "start": 0, "end": 1},
            {"path": "empty"}]  # fmt: skip
    write_table(tmp_path / "rows.jsonl", rows)
    table = tmp_path / "rows.jsonl"
    found = {source.id: source for source in list_sources(table, "table")}
    assert [numbers_of(found[name]) for name in ("v@2-5", "v@8-end")] == [[2, 3, 4], [8, 9]]
    assert rejections(table, "table") == {
        "rows@row3": "row 3: v: none of the 10 images is in the part 10-20",
        "rows@row4": "row 4: seconds of images, which have no rate; name start_frame, end_frame",
        "rows@row5": "row 5: empty: no image",
    }


def test_the_directory_of_a_zip_file_is_read_once(tmp_path, monkeypatch):
    """Of many thousand images it takes long, and each of their folders is a video."""
    for video in range(4):
        write_images(tmp_path / "tree" / f"v{video}", [video, 9])
    path = tmp_path / "sky.zip"
    zipped(path, tmp_path / "tree")
    opened, whole = [], zipfile.ZipFile

    def counted(*arguments):
        opened.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(zipfile, "ZipFile", counted)
    sources = list_sources(path, "frames")
    assert [numbers_of(source) for source in sources] == [[n, 9] for n in range(4)]
    assert len(opened) == 1
    monkeypatch.undo()
    path.unlink()
    write_images(tmp_path / "tree" / "v0" / "more", [5])
    zipped(path, tmp_path / "tree" / "v0")
    (source,) = (s for s in list_sources(path, "frames") if s.id == "sky/more")
    assert numbers_of(source) == [5]
    assert "cannot be unpacked" in rejections_of(sources[3])


def rejections_of(source: Source) -> str:
    """Return why a video cannot be decoded."""
    with pytest.raises(Rejected) as reason:
        decode(source)
    return str(reason.value)


def test_damaged_zip_files(tmp_path):
    write_images(tmp_path / "tree" / "v", [1, 2])
    (tmp_path / "data").mkdir()
    zipped(tmp_path / "data" / "good.zip", tmp_path / "tree")
    content = bytearray((tmp_path / "data/good.zip").read_bytes())
    (tmp_path / "data/cut.zip").write_bytes(content[:-30])
    content[60] ^= 255  # within the first image
    (tmp_path / "data/flipped.zip").write_bytes(content)
    reasons = rejections(tmp_path / "data", "frames")
    assert set(reasons) == {"cut", "flipped/v"}
    assert "not a whole zip file" in reasons["cut"] and "unpacked" in reasons["flipped/v"]


def test_gaps_split_a_folder(tmp_path, caplog):
    write_images(tmp_path / "v", [1, 2, 3, 5, 6, 9, 10, 11])
    assert "number 4 is missing; gaps: split" in rejections(tmp_path, "frames")["v"]
    found = read(tmp_path, "frames", gaps="split")
    assert {name: numbers_of(source) for name, source in found.items()} == {
        "v@1": [1, 2, 3],
        "v@5": [5, 6],
        "v@9": [9, 10, 11],
    }
    assert {source.group for source in found.values()} == {"v"}
    assert "1 of the folders of images have gaps, the first is" in caplog.text


def test_gaps_split_sequences_of_one_folder(tmp_path):
    """Cityscapes' names are <city>_<sequence>_<frame>: each sequence is a group."""
    names = {n: f"bonn_{n // 10:06d}_{n % 10:06d}_leftImg8bit" for n in (3, 4, 5, 13, 14, 15, 18)}
    for number, name in names.items():
        (tmp_path / "bonn").mkdir(exist_ok=True)
        Image.fromarray(numbered(1, number)[0]).save(tmp_path / f"bonn/{name}.png")
    assert [numbers_of(s) for s in read(tmp_path, "frames").values()] == [list(names)]
    found = read(tmp_path, "frames", gaps="split")
    assert {name: numbers_of(source) for name, source in found.items()} == {
        "bonn@0_3": [3, 4, 5], "bonn@1_3": [13, 14, 15], "bonn@1_8": [18],
    }  # fmt: skip
    assert [source.group for source in found.values()] == ["bonn@0", "bonn@1", "bonn@1"]


@pytest.mark.parametrize("name", ["{:03d}_{:d}77", "{1}.{0:02d}"])
def test_gaps_split_no_frames_with_time_stamps(tmp_path, name):
    """A number that changes with each frame names no sequence, nor do seconds."""
    (tmp_path / "v").mkdir()
    for number in range(8):
        file = tmp_path / "v" / f"{name.format(number, 7 + number // 4)}.png"
        Image.fromarray(numbered(1, number)[0]).save(file)
    assert list(read(tmp_path, "frames", gaps="split")) == ["v"]


# ----------------------------------------------------------------------- through the stages of data


def run_stage(module, settings: dict, **files):
    values = settings | {"name": "d"}
    module.run(argparse.Namespace(code=None, **files), read_settings(values))


def test_arrays_become_a_dataset(tmp_path):
    """Damage is one row of rejected.csv; a video that lies in two files is on one side."""
    (tmp_path / "arrays").mkdir()
    clips = moving(20, 8)
    np.save(tmp_path / "arrays/a.npy", clips)
    np.save(tmp_path / "arrays/b.npy", np.concatenate([clips[3:4], moving(3, 8, seed=1)]))
    (tmp_path / "arrays/cut.npy").write_bytes((tmp_path / "arrays/b.npy").read_bytes()[:-9])
    dataset = {"path": str(tmp_path / "arrays"), "resolution": 32, "clip_frames": 8,
               "decode_jobs": 1}  # fmt: skip
    frames = tmp_path / "frames/0/index.json"
    frames.parent.mkdir(parents=True)
    files = {"share": 0, "sources": None, "videos_index": None, "index": frames}
    run_stage(decode_stage, {"dataset": dataset}, **files, state=tmp_path / "state")
    tables = {name: tmp_path / f"{name}.csv" for name in ("clips", "videos", "rejected")}
    run_stage(split_stage, {"dataset": dataset}, frames=tmp_path / "frames",
              index=tmp_path / "index.json", videos_index=None, **tables)  # fmt: skip
    (rejected,) = pd.read_csv(tables["rejected"]).to_dict("records")
    assert rejected["path"] == "cut.npy" and "not a whole file" in rejected["reason"]
    videos = pd.read_csv(tables["videos"]).set_index("id")
    assert len(videos) == 24 and set(videos["split"]) == {"train", "validation", "test"}
    assert videos.loc["a/00003", "group"] == videos.loc["b/00000", "group"]
    assert videos["group"].nunique() == 23
    assert set(videos["picture"]) == {"array read as NTHW"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("videos", "v.mp4"), ("frames", "v/1.png"), ("arrays", "v.npy"), ("hdf5", "v.hdf5"),
     ("tar", "v.tar"), ("tfrecord", "v.tfrecord")],
)  # fmt: skip
def test_pointers_of_git_lfs_are_told(tmp_path, kind, name):
    """A clone without it has them in the place of large files."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "a pointer of Git LFS" in rejections(tmp_path, kind)["v"]
    (tmp_path / "episodes.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"episodes\.parquet: a pointer of Git LFS"):
        list_sources(tmp_path / "episodes.parquet", "table")


# --------------------------------------------------------------------------------------- detection


def test_a_folder_of_several_kinds_has_the_kind_of_most_files(tmp_path, film):
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(film.read_bytes())
    np.save(tmp_path / "labels.npy", np.arange(3))
    write_images(tmp_path / "thumbnails", range(5))
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "._0.mp4").write_bytes(b"x")
    (tmp_path / "my_metadata.csv").write_text("path\n0.mp4\n")
    (tmp_path / "metadata.csv").write_text("camera,place\nA,street\n")  # of something else
    kind, words = detect(str(tmp_path))
    assert kind == "videos"
    assert words == "video files (3), beside folders of images (1), files of arrays (1)"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no video in it, nor any other file; looked for \.avi"):
        detect(str(tmp_path / "empty"))
    (tmp_path / "empty" / "cells.tif").touch()
    with pytest.raises(UserError, match=r"no video in it, but \.tif \(1\); looked for \.avi"):
        detect(str(tmp_path / "empty"))
