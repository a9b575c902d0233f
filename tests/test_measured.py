"""Percentiles of training videos as black and white: from the plan to what the report says."""

import argparse
import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plan import Plan
from tiny import CONFIG

from rsvp.config.stages import read_settings
from rsvp.data.frames import read_frame_cache
from rsvp.data.measured import measure
from rsvp.data.sources import Rejected, list_sources
from rsvp.report.records import read_dataset
from rsvp.runtime.errors import UserError
from rsvp.stages import decode, split

SIDES = ("train",) * 3 + ("val", "test")
PERCENTILES = ("2.5%", "95%")


def write_arrays(folder):
    """Arrays (8, 32, 32) of numbers in folders of sides; those of test are far brighter."""
    rng = np.random.default_rng(0)
    arrays = {}
    for number, side in enumerate(SIDES):
        values = rng.gamma(2.0, 100.0, (8, 32, 32)) * (50 if side == "test" else 1)
        path = folder / f"videos/{side}/{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values.astype(np.float32))
        arrays[f"{side}/{number}"] = values.astype(np.float32)
    return arrays


def planned(folder, **values):
    """The plan of a dataset of the videos in `folder`."""
    own = {"source": "arrays", "channels": "gray", "range": list(PERCENTILES), "clip_stride": 1,
           "split": {"kind": "folders"}}  # fmt: skip
    dataset = CONFIG["datasets"]["tiny"] | own | values
    return Plan(copy.deepcopy(CONFIG) | {"datasets": {"tiny": dataset}}, str(folder))


def prepare(folder, monkeypatch, **values):
    """Decode and split the videos in `folder`, as planned; return the dataset's folder."""
    plan, results = planned(folder, **values), folder / "results"
    results.mkdir(exist_ok=True)
    monkeypatch.chdir(results)
    for share in ("0", "1"):
        job = plan.job("decode", dataset="tiny", share=share)
        plan.state.hand_over(job)
        decode.run(argparse.Namespace(
            share=int(share), sources=Path(plan.state.list_file(job)), videos_index=None, code=None,
            index=Path(job.folder, "index.json"), state=Path(job.folder, "state"),
        ), read_settings(job.settings))  # fmt: skip
    job = plan.job("split", dataset="tiny")
    named = {name: Path(job.folder, f"{name}.csv") for name in ("clips", "videos", "rejected")}
    split.run(argparse.Namespace(
        frames=Path(job.folder, "frames"), index=Path(job.folder, "index.json"), videos_index=None,
        **named,
    ), read_settings(job.settings))  # fmt: skip
    return results / job.folder


def stored(folder):
    """Frames (T, H, W) of each decoded video by id."""
    found = {}
    for share in folder.glob("frames/*/index.json"):
        index, frames = read_frame_cache(share)
        for row in index["videos"]:
            found[row["id"]] = frames.frames(row["offset"] + np.arange(row["frames"]))[..., 0]
    return found


def test_percentiles_of_training_videos_alone_are_black_and_white(tmp_path, monkeypatch):
    arrays = write_arrays(tmp_path)
    folder = prepare(tmp_path, monkeypatch)
    training = np.stack([values for name, values in arrays.items() if name.startswith("train")])
    low, high = np.percentile(training, [2.5, 95])
    for name, frames in stored(folder).items():
        scaled = ((arrays[name].astype(float) - low) / (high - low)).clip(0, 1) * 255
        assert np.abs(frames - scaled).max() <= 0.5 + 1e-3
    index = json.loads((folder / "index.json").read_text())
    assert index["range"] == {
        "low": pytest.approx(low), "high": pytest.approx(high), "percentiles": [2.5, 95.0],
        "values": training.size, "videos": 3, "elsewhere": 0,
    }  # fmt: skip
    rows = pd.read_csv(folder / "videos.csv").set_index("id")
    assert rows.filter(like="train", axis=0)["clipped"].mean() == pytest.approx(0.075, abs=1e-3)
    (said,) = (text for text in read_dataset(folder / "index.json")["remarks"] if "bytes" in text)
    measured = f"the percentiles 2.5 and 95 of {training.size} values of 3 training videos"
    assert f"{low:.4g} is black and {high:.4g} white, {measured}." in said
    assert f"{rows['clipped'].mean():.2%} of the values lay outside" in said


def test_split_in_time_counts_the_training_part(tmp_path, monkeypatch):
    """Later frames are far brighter."""
    (tmp_path / "videos").mkdir()
    arrays = [np.random.default_rng(n).uniform(0, 1, (64, 32, 32)) for n in range(2)]
    for number, values in enumerate(arrays):
        values[44:] *= 1000
        np.save(tmp_path / f"videos/{number}.npy", values)
    by_time = {
        "kind": "time",
        "gap_seconds": 0.08,
        "test_fraction": 0.2,
        "validation_fraction": 0.3,
    }
    folder = prepare(tmp_path, monkeypatch, split=by_time)
    found = json.loads((folder / "index.json").read_text())["range"]
    assert 0.9 < found["high"] < 1


def test_change_of_a_training_video_or_of_the_split_decodes_all_again(tmp_path, monkeypatch):
    """A change of a test video does not."""
    write_arrays(tmp_path)
    made, jobs = {}, {}

    def changed(**values):
        """Return how many decode jobs change, by the plan and by what they keep."""
        plan = planned(tmp_path, **values)
        before = dict(jobs), dict(made)
        for share in ("0", "1"):
            job = plan.job("decode", dataset="tiny", share=share)
            jobs[share] = json.dumps([job.settings, job.contents])
        folder = prepare(tmp_path, monkeypatch, **values)
        for file in folder.glob("frames/*/state/frames.json"):
            made[str(file)] = json.loads(file.read_text())["key"]
        counts = [sum(old.get(name) != now[name] for name in now)
                  for old, now in zip(before, (jobs, made), strict=True)]  # fmt: skip
        assert counts[0] == counts[1]
        return counts[0]

    assert changed() == 2
    assert changed() == 0
    np.save(tmp_path / "videos/test/4.npy", np.full((8, 32, 32), 7.5))
    assert changed() == 1
    np.save(tmp_path / "videos/train/0.npy", np.full((8, 32, 32), 7.5))
    assert changed() == 2
    assert changed(split={"kind": "groups", "test_fraction": 0.4}) == 2
    assert changed(split={"kind": "groups", "test_fraction": 0.4}, clip_frames=7) == 0


def test_videos_that_turn_out_to_be_elsewhere_are_told(tmp_path, monkeypatch, caplog):
    """Videos without a finite value are rejected, and the others are divided without them."""
    rng = np.random.default_rng(0)
    (tmp_path / "videos").mkdir()
    for number in range(24):
        values = rng.uniform(0, 1, (8, 32, 32))
        values[0, 0, 0] = np.nan if number % 2 else 0
        np.save(tmp_path / f"videos/{number}.npy", values)
    ways = {"split": {"kind": "groups", "test_fraction": 0.4}, "max_rejected_fraction": 0.6}
    folder = prepare(tmp_path, monkeypatch, **ways)
    found = json.loads((folder / "index.json").read_text())["range"]
    sides = pd.read_csv(folder / "videos.csv", dtype=str).set_index("id")["split"]
    names = json.loads((folder / "frames/0/index.json").read_text())["range"]["videos"]
    others = [name for name in names if sides.get(name, "train") != "train"]
    assert found["elsewhere"] == len(others) > 0
    said = f"({len(others)} of them turned out to be for validation or test)"
    assert any(said in text for text in read_dataset(folder / "index.json")["remarks"])
    assert f"{len(others)} of the {len(names)} videos that it was measured in" in caplog.text


def test_videos_of_bytes_have_no_range(tmp_path, monkeypatch):
    for number, side in enumerate(SIDES):
        path = tmp_path / f"videos/{side}/{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.random.default_rng(number).integers(0, 256, (8, 32, 32), np.uint8))
    folder = prepare(tmp_path, monkeypatch)
    assert "range" not in json.loads((folder / "index.json").read_text())
    for name, frames in stored(folder).items():
        assert np.array_equal(frames, np.load(tmp_path / f"videos/{name}.npy"))


def test_values_that_are_alike_are_refused_in_one_line(tmp_path, monkeypatch):
    for number, side in enumerate(SIDES):
        path = tmp_path / f"videos/{side}/{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((8, 32, 32), 3.5))
    expected = r"range of the dataset: the percentiles 2\.5 and 95 of its values are both 3\.5"
    with pytest.raises(UserError, match=expected):
        prepare(tmp_path, monkeypatch)


def test_sample_of_large_frames_is_spread_over_them(tmp_path):
    """Of 512 rows and columns every fourth is read."""
    rows = np.arange(512.0)[:, None] + np.zeros((1, 512))
    np.save(tmp_path / "a.npy", np.stack([rows + 1000 * time for time in range(40)]))
    sources = list_sources(tmp_path, "arrays")
    found = measure(sources, (0, 100))
    assert (found.low, found.high, found.values) == (0, 39_508, 16 * 128**2)
    np.save(tmp_path / "a.npy", np.full((3, 8, 8), np.nan))
    with pytest.raises(Rejected, match="no value is finite"):
        measure(sources)
