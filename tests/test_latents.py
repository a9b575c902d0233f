"""The latent cache: what is written is read back, normalised over the training split."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from dying import dies_at
from safetensors import safe_open
from stored import write_latents

from rsvp.data.latents import (
    CONSTANT,
    Latents,
    LatentStatistics,
    LatentWriter,
    TemporalScope,
    split_latents,
)
from rsvp.runtime import parts as parts_module
from rsvp.runtime.files import read_json, sha256_of_file, write_json
from rsvp.runtime.journal import SAVE_SECONDS, StateKey, forget
from rsvp.runtime.parts import PartWriter

SHAPES = {"scene": (3, 4, 4), "object": (2, 4, 4), "motion": (5, 6, 4, 4)}
BYTES = 4 * 16 * (3 + 2 + 5 * 6)  # of one clip
NOISE = 0.1
METADATA = {
    "context_frames": 2,
    "scopes": {"scene": "context", "object": "context", "motion": "frames"},
}


def draw(count, seed):
    random = torch.Generator().manual_seed(seed)
    scale = {"scene": 3.0, "object": 0.5, "motion": 1.0}
    return {
        kind: scale[kind] * torch.randn(count, *shape, generator=random) + seed
        for kind, shape in SHAPES.items()
    }


def write(folder, counts, batch=3, batches=10**9):
    """A cache of some clips per split; returns the raw latents by split and kind.

    Goes on after what an earlier run noted, and is killed after some `batches`.
    """
    raw, splits = {}, {}
    for seed, (split, count) in enumerate(counts.items()):
        raw[split] = draw(count, seed)
        parts = PartWriter(folder, folder / "state", StateKey("code", "work"), split)
        writer = LatentWriter(parts)
        for first in range(len(writer.clips), count, batch):
            if batches == 0:
                raise KeyboardInterrupt
            part = {kind: value[first : first + batch] for kind, value in raw[split].items()}
            names = [f"{split}{i}" for i in range(first, min(first + batch, count))]
            writer.add(names, part)
            parts.checkpoint()
            batches -= 1
        splits[split] = writer.finish()
        if split == "train":
            statistics = writer.results(NOISE)
    index = METADATA | {"statistics": statistics, "splits": splits}
    write_json(folder / "index.json", index)
    return raw


@pytest.fixture
def small_files(monkeypatch):
    """Files of at most four clips."""
    monkeypatch.setattr(parts_module, "PART_BYTES", 4 * BYTES + 100)


COUNTS = {"train": 11, "validation": 4, "test": 5}
FEW = {"train": 5, "validation": 1, "test": 2}  # two files, and one of each other split


def content(folder):
    """All files of a folder and what is in them, but for what the next stage clears up."""
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".tmp"]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.usefixtures("small_files")
def test_killed_run_ends_as_an_undisturbed_one(tmp_path, monkeypatch):
    """Killed after one, then two batches more, and so on; statistics are sums of floats."""
    monkeypatch.setenv(SAVE_SECONDS, "0")
    write(tmp_path / "whole", COUNTS)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "run", COUNTS, batches=1)
    for batches in (2, 1, 1, 1):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "run", COUNTS, batches=batches)
    write(tmp_path / "run", COUNTS)
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    (tmp_path / "run/index.json").unlink()
    write(tmp_path / "run", COUNTS, batches=0)  # nothing is left to do, but the index
    assert content(tmp_path / "run") == content(tmp_path / "whole")


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("full", [False, True])
def test_runs_that_die_while_they_finish_end_as_an_undisturbed_one(tmp_path, monkeypatch, full):
    """Killed, or the disk full, at each change of the disk."""
    monkeypatch.setenv(SAVE_SECONDS, "0")
    write(tmp_path / "whole", FEW)
    for call in itertools.count():
        if not dies_at(call, lambda: write(tmp_path / "run", FEW), full):
            break
        write(tmp_path / "run", FEW)
        assert content(tmp_path / "run") == content(tmp_path / "whole"), call
        shutil.rmtree(tmp_path / "run")
    assert call > 8


@pytest.mark.usefixtures("small_files")
def test_round_trip_over_several_files(tmp_path):
    raw = write(tmp_path, COUNTS)
    for split, count in COUNTS.items():
        read = Latents(tmp_path / "index.json", split)
        assert len(read) == count and read.clips == [f"{split}{i}" for i in range(count)]
        for indices in ([0], [count - 1, 0, 3], list(range(count))):
            batch = read.batch(indices)
            for kind in SHAPES:
                restored = read.statistics[kind].restore(batch[kind])
                torch.testing.assert_close(restored, raw[split][kind][indices])
    assert read.metadata["context_frames"] == 2


@pytest.mark.usefixtures("small_files")
def test_files_are_bounded_and_hashed(tmp_path):
    write(tmp_path, COUNTS)
    splits = read_json(tmp_path / "index.json")["splits"]
    assert [part["items"] for part in splits["train"]["parts"]] == [4, 4, 3]
    named = [part for split in splits.values() for part in split["parts"]]
    assert {entry["file"] for entry in named} == {p.name for p in tmp_path.glob("*.safetensors")}
    for entry in named:
        path = tmp_path / entry["file"]
        assert entry["sha256"] == sha256_of_file(path)
        assert path.stat().st_size < 4 * BYTES + 1000
        with safe_open(path, "np") as file:
            assert file.get_tensor("motion").dtype == np.float32


@pytest.mark.usefixtures("small_files")
def test_statistics_are_of_the_training_split_alone(tmp_path):
    """Against numpy over the whole split; the noise that decoders look through is added."""
    raw = write(tmp_path, COUNTS)
    statistics = read_json(tmp_path / "index.json")["statistics"]
    for kind in SHAPES:
        values = raw["train"][kind].numpy().astype(np.float64)
        axes = tuple(axis for axis in range(values.ndim) if axis != values.ndim - 3)
        deviation = np.sqrt(values.var(axis=axes) + NOISE**2)
        np.testing.assert_allclose(statistics[kind]["mean"], values.mean(axis=axes), rtol=1e-9)
        np.testing.assert_allclose(statistics[kind]["deviation"], deviation, rtol=1e-9)


def test_training_latents_read_as_standard(tmp_path):
    write(tmp_path, {"train": 200, "validation": 1, "test": 1}, batch=64)
    read = Latents(tmp_path / "index.json", "train")
    for value in read.batch(range(200)).values():
        dims = tuple(axis for axis in range(value.dim()) if axis != value.dim() - 3)
        assert value.mean(dims).abs().max() < 1e-5
        assert (value.std(dims) <= 1.001).all() and (value.std(dims) > 0.97).all()


@pytest.mark.parametrize("noise", [NOISE, 0.0])
def test_constant_channel_is_not_blown_up(tmp_path, noise):
    still = {kind: torch.full((4, *shape), 7.0) for kind, shape in SHAPES.items()}
    read = write_latents(tmp_path, METADATA, list("abcd"), still, noise)
    assert read.statistics["scene"].deviation == pytest.approx([max(noise, CONSTANT)] * 3)
    assert all(value.abs().max() < 1e-5 for value in read.batch([0, 3]).values())


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 5, 3, 4, 4)])
def test_restore_is_the_opposite_of_normalise(shape):
    statistics = LatentStatistics([1.0, -2.0, 30.0], [0.1, 2.0, 5.0])
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(statistics.restore(statistics.normalise(values)), values)
    torch.testing.assert_close(
        statistics.normalise(values)[..., 1, :, :], (values[..., 1, :, :] + 2) / 2
    )


@pytest.mark.usefixtures("small_files")
def test_smaller_second_cache_leaves_nothing_of_the_first(tmp_path):
    write(tmp_path, COUNTS)
    forget(tmp_path / "state")
    raw = write(tmp_path, {"train": 3, "validation": 1, "test": 1})
    names = content(tmp_path).keys()
    splits = ("train", "validation", "test")
    assert names == {"index.json", *(f"{split}-00000.safetensors" for split in splits)}
    read = Latents(tmp_path / "index.json", "train")
    torch.testing.assert_close(
        read.statistics["motion"].restore(read.batch([2])["motion"]), raw["train"]["motion"][2:]
    )


def test_split_without_clips_is_empty(tmp_path):
    write(tmp_path, {"train": 2})
    assert len(Latents(tmp_path / "index.json", "test")) == 0


def test_what_is_observed_is_told_from_what_is_predicted():
    """Of each scope one; the order is that of the scopes, not of the latents."""
    draw = torch.Generator().manual_seed(0)
    still, wide, motion = (
        torch.rand(2, *s, generator=draw) for s in ((3, 4, 4), (3, 1, 4, 1), (5, 2, 4, 4))
    )
    scopes = {
        "a": TemporalScope.context,
        "d": TemporalScope.future,
        "c": TemporalScope.frames,
        "b": TemporalScope.context,
    }
    latents = {"c": motion, "b": wide, "a": still, "d": still + 1}
    observed, future = split_latents(latents, scopes, 2)
    assert list(observed) == ["a", "c", "b"] and list(future) == ["d", "c"]
    assert torch.equal(observed["a"], still[:, None]) and torch.equal(observed["b"], wide)
    assert torch.equal(observed["c"], motion[:, :2]) and torch.equal(future["c"], motion[:, 2:])
    assert torch.equal(future["d"], still[:, None] + 1)
    # A clip that ends with its context has nothing to predict.
    observed, future = split_latents({"a": still, "c": motion[:, :2]}, scopes, 2)
    assert list(observed) == ["a", "c"] and future == {}
