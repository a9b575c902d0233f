"""The stage that makes generated videos: its files, and the truth that it says of them."""

import argparse

import av
import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file

from rsvp.config.schema import Dataset, Generated
from rsvp.config.stages import Settings
from rsvp.data.generated import generate_video
from rsvp.runtime.files import read_json, sha256_of_file
from rsvp.stages.generate_videos import SEEDS_PER_SPLIT, list_videos, run

SMALL = Generated(train_videos=3, validation_videos=1, test_videos=2, frames=6, held_out_frames=4)


def make(folder, **changes):
    settings = Settings(dataset=Dataset(resolution=32, generated=SMALL.model_copy(update=changes)))
    files = argparse.Namespace(index=folder / "index.json", jobs=2)
    return run(files, settings)


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_files_show_what_was_generated_and_truth_fits_them(tmp_path):
    assert make(tmp_path) == {"videos": 6}
    videos = {video["id"]: video for video in read_json(tmp_path / "index.json")["videos"]}
    for name, seed, frames in list_videos(SMALL):
        path = tmp_path / videos[name]["path"]
        assert videos[name]["sha256"] == sha256_of_file(path)
        assert videos[name]["frames"] == frames
        truth = path.with_suffix(".safetensors")
        assert videos[name]["truth"] == sha256_of_file(truth)
        tensors = load_file(truth)
        expected, found = generate_video(SMALL, (32, 32), seed, frames), decoded(path)
        assert found.shape == expected.frames.shape
        # The files are nearly lossless, so that the truth stays true.
        error = np.abs(found.astype(int) - expected.frames)
        assert error.mean() < 2 and np.quantile(error, 0.999) < 16
        assert np.array_equal(tensors["alpha"], expected.alpha)
        assert np.array_equal(tensors["background"], expected.background)
        assert np.array_equal(tensors["positions"], expected.positions)


def test_more_videos_leave_the_others_as_they_are(tmp_path):
    make(tmp_path / "few")
    make(tmp_path / "many", train_videos=5, validation_videos=2)
    few = {v["id"]: v for v in read_json(tmp_path / "few/index.json")["videos"]}
    many = {v["id"]: v for v in read_json(tmp_path / "many/index.json")["videos"]}
    assert len(many) == len(few) + 3
    assert {name: many[name] for name in few} == few


def test_fewer_videos_remove_the_others(tmp_path):
    make(tmp_path)
    make(tmp_path, train_videos=1)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.mp4")}
    assert files == {video["path"] for video in read_json(tmp_path / "index.json")["videos"]}
    assert len(files) == 4 == len(list(tmp_path.rglob("*.safetensors")))


def test_splits_and_sets_share_no_seed():
    large = Generated(train_videos=192, validation_videos=24, test_videos=48)
    sets = [list_videos(large.model_copy(update={"seed": seed})) for seed in range(4)]
    seeds = [seed for jobs in sets for _, seed, _ in jobs]
    assert len(set(seeds)) == len(seeds) == 4 * (192 + 24 + 48)
    names = [name for name, _, _ in sets[0]]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == {"train", "validation", "test"}


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_no_more_videos_are_made_than_a_split_has_seeds(side):
    key = f"{side}_videos"
    assert getattr(Generated(**{key: SEEDS_PER_SPLIT}), key) == SEEDS_PER_SPLIT
    with pytest.raises(ValidationError, match=key):
        Generated(**{key: SEEDS_PER_SPLIT + 1})
