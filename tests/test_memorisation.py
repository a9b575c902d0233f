"""Copies of training clips are found; real clips are not taken for copies."""

import json
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from generated_dataset import CONTEXT, FUTURE, SIZE, make_dataset

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, clip_places
from rsvp.metrics import memorisation, networks
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import write_json
from rsvp.runtime.journal import SAVE_SECONDS
from rsvp.stages import check_memorisation

SPLITS = ["train"] * 12 + ["test"] * 8


class Row:
    """Predictions in memory."""

    def __init__(self, clips: list[str], futures: list[torch.Tensor]) -> None:
        self.index = {"row": "rsvp-m", "kind": "predictor", "seed": 0}
        self.clips, self.futures = clips, futures

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self):
        return iter(zip(self.clips, [future[None] for future in self.futures], strict=True))

    def frames(self, i: int) -> torch.Tensor:
        return self.futures[i][None]


def checked(folder: Path, monkeypatch, predict, rows: int = 1) -> dict:
    """Return the index's last row; `predict` makes a future of (test clip number, test, train)."""
    dataset = folder / "dataset/index.json"
    if not dataset.exists():
        dataset, _ = make_dataset(folder / "dataset", SPLITS)
    test, train = Clips(dataset, "test"), Clips(dataset, "train")
    futures = [predict(number, test, train) for number in range(len(test))]
    row = Row(test.table["clip"].tolist(), futures)
    monkeypatch.setattr(check_memorisation, "Predictions", lambda path: row)
    write_json(folder / "one.json", {})
    write_json(folder / "inputs.json", {"predictions": [str(folder / "one.json")] * rows})
    arguments = Namespace(
        dataset=dataset, inputs=folder / "inputs.json", index=folder / "out/index.json",
        state=folder / "state", code=None,
    )  # fmt: skip
    settings = Settings()
    settings.compute.threads = 1
    settings.evaluation.bootstrap = 500
    check_memorisation.run(arguments, settings)
    return json.loads(arguments.index.read_text())["rows"][-1]


def real(number, test, train):
    return test.frames(number, CONTEXT)


def test_training_futures_are_flagged(tmp_path, monkeypatch):
    row = checked(tmp_path, monkeypatch, lambda n, test, train: train.frames(n, CONTEXT))
    assert row["flagged"]
    assert row["copied"] == {"mean": 1.0, "low": None, "high": None}, "all agree: no interval"
    assert row["ratio"]["high"] < 0.1 and row["nearer"]["mean"] == 1.0
    for shown in row["shown"]:
        assert shown["distance"] == 0 < shown["real_distance"]
    by_place = {shown["place"]: shown for shown in row["shown"]}
    number = int(by_place["best"]["clip"][1:].split("@")[0]) - 12
    assert by_place["best"]["nearest"] == f"v{number}@000000"
    picture = cv2.imread(str(tmp_path / "out" / by_place["best"]["picture"]))
    assert picture.shape == (2 * SIZE, 4 * SIZE, 3)
    assert np.array_equal(picture[:SIZE], picture[SIZE:])  # the copy above its source


def test_mirrored_and_turned_copies_are_found(tmp_path, monkeypatch):
    row = checked(tmp_path, monkeypatch, turned_copy)
    assert row["flagged"] and row["copied"]["mean"] == 1.0


class Places:
    """A detector that sees which colours are where, and counts how often it is asked."""

    minimum_frames = FUTURE

    def __init__(self) -> None:
        self.asked = 0

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        mean = frames.float().mean(1).permute(0, 3, 1, 2)
        return torch.nn.functional.adaptive_avg_pool2d(mean, 4).flatten(1)


@pytest.fixture
def detector(monkeypatch) -> Places:
    """In place of I3D."""
    places = Places()
    found = networks.Networks(networks.Loaded(None), {"i3d": networks.Loaded(places)})
    monkeypatch.setattr(check_memorisation, "load_networks", lambda *_: found)
    return places


def turned_copy(n, test, train):
    return train.frames(n, CONTEXT).transpose(1, 2).flip(1)


def test_turned_copies_are_found_in_the_features_of_a_detector(tmp_path, monkeypatch, detector):
    row = checked(tmp_path, monkeypatch, turned_copy)
    assert row["flagged"] and row["copied"]["mean"] == 1.0
    assert all(shown["distance"] < 1e-3 < shown["real_distance"] for shown in row["shown"])
    facts = json.loads((tmp_path / "out/index.json").read_text())["protocol"]
    assert facts["described_by"] == "features of I3D"
    assert detector.asked == 12 + 2 * 8, "each training clip, prediction and real future once"


def test_real_clips_are_described_once_for_all_rows(tmp_path, monkeypatch, detector):
    described, describe = [], memorisation.describe
    monkeypatch.setattr(
        memorisation, "describe", lambda future: described.append(1) or describe(future)
    )
    one = checked(tmp_path / "one", monkeypatch, real)
    assert detector.asked == len(described) == 12 + 2 * 8
    assert checked(tmp_path / "three", monkeypatch, real, rows=3) == one
    assert detector.asked - 28 == len(described) - 28 == 12 + (1 + 3) * 8


def test_a_killed_check_goes_on_and_ends_the_same(tmp_path, monkeypatch, detector):
    whole = checked(tmp_path / "whole", monkeypatch, real)
    monkeypatch.setenv(SAVE_SECONDS, "0")
    features, detector.asked = Places.features, 0

    def killed(self, frames):
        if self.asked == 20:
            raise KeyboardInterrupt
        return features(self, frames)

    with monkeypatch.context() as patch:
        patch.setattr(Places, "features", killed)
        with pytest.raises(KeyboardInterrupt):
            checked(tmp_path / "killed", monkeypatch, real)
    again = checked(tmp_path / "killed", monkeypatch, real)
    assert detector.asked == 12 + 2 * 8, "nothing is described twice"
    assert again == whole
    assert checked(tmp_path / "killed", monkeypatch, real) == whole
    assert detector.asked == 12 + 2 * 8, "what is done is not described again"


def test_a_few_copies_are_flagged(tmp_path, monkeypatch):
    def some(n, test, train):
        return train.frames(n, CONTEXT) if n < 4 else real(n, test, train)

    row = checked(tmp_path, monkeypatch, some)
    assert row["flagged"] and row["copied"]["mean"] == 0.5


@pytest.mark.parametrize("noise", [0, 20])
def test_real_clips_are_not_flagged(tmp_path, monkeypatch, noise):
    def noisy(n, test, train):
        random = np.random.default_rng(n)
        future = real(n, test, train).numpy() + noise * random.standard_normal((FUTURE, 1, 1, 3))
        return torch.from_numpy(future.clip(0, 255).astype(np.uint8))

    row = checked(tmp_path, monkeypatch, noisy)
    assert not row["flagged"] and row["copied"]["mean"] == 0
    assert row["ratio"]["mean"] == pytest.approx(1, abs=0.2)
    assert row["nearer"]["mean"] == 0.5 or noise
    assert row["clips"] == row["groups"] == 8


def test_nearest_against_all_distances_by_hand(monkeypatch):
    random = np.random.default_rng(0)
    queries, training = random.normal(size=(5, 2, 6)), random.normal(size=(23, 6))
    passes = []

    def blocks():
        passes.append(1)
        return (training[first : first + 7] for first in range(0, 23, 7))

    monkeypatch.setattr(memorisation, "QUERIES", 2)
    found = memorisation.nearest(iter(queries), blocks)
    assert len(passes) == 3, "two queries are held at a time"
    by_hand = np.sqrt(((queries[:, :, None] - training) ** 2).mean(-1)).min(1)
    np.testing.assert_allclose(found.distance, by_hand.min(1))
    assert found.clip.tolist() == by_hand.argmin(1).tolist()


def test_share_nearer_counts_pairs():
    predicted, real_ = np.array([[1.0], [4.0]]), np.array([[2.0], [3.0], [4.0]])
    # 1 is nearer than all three, 4 than none, and it ties with one.
    assert memorisation.share_nearer(predicted, real_) == pytest.approx(3.5 / 6)


def test_one_group_has_no_interval_and_no_flag():
    distances = np.array([5.0, 6.0, 7.0])
    found = memorisation.statistics(distances, 10 * distances, ["g"] * 3, 100)
    assert found["ratio"]["mean"] == pytest.approx(0.1) and found["ratio"]["low"] is None
    assert not found["flagged"]


def test_descriptions_are_mean_colours_of_frames_to_the_end():
    assert memorisation.described_frames(12) == [2, 5, 8, 11]
    assert memorisation.described_frames(2) == [0, 1]
    future = torch.zeros(4, 16, 16, 3, dtype=torch.uint8)
    future[3, :2, :2, 1] = 200
    coarse = memorisation.describe(future)
    assert coarse.shape == (4, 3, 8, 8) and coarse[3, 1, 0, 0] == 200
    assert coarse.sum() == 200


def test_predictions_of_other_clips_are_refused(tmp_path):
    dataset, _ = make_dataset(tmp_path, SPLITS)
    write_json(tmp_path / "unused.json", {})
    with pytest.raises(UserError, match="predicts elsewhere"):
        clip_places(Clips(dataset, "test"), ["elsewhere"], "a row")
