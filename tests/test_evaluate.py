"""The stages that predict by baselines and score rows, on a small dataset made by hand."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from skimage.metrics import peak_signal_noise_ratio
from stored import ANY

from rsvp.commands import compare
from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.predictions import Predictions, RowWriter
from rsvp.metrics import i3d
from rsvp.metrics.motion import motion_distance, motion_features
from rsvp.metrics.self_test import seeded_variables
from rsvp.report.distances import Sets, run_distance
from rsvp.report.estimates import Estimate
from rsvp.report.measures import FVD, KVD, Measure
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import sha256_of_file, write_json
from rsvp.runtime.journal import SAVE_SECONDS, forget
from rsvp.runtime.parts import PartWriter
from rsvp.stages import evaluate, predict_baseline, real_features
from tests.squares import make_dataset, square

CONTEXT, FUTURE, SIZE = 4, 9, 32
SPLITS = ["train"] * 6 + ["test"] * 4


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """The index of ten clips, six to train and four to test in two groups, with their truth."""
    return make_dataset(tmp_path / "datasets" / "squares", SPLITS, CONTEXT, FUTURE, SIZE)


def predict(
    dataset: Path, baseline: str, clips: int | None = None, settings: Settings | None = None
) -> Path:
    path = dataset.parents[2] / "predictions" / f"squares.{baseline}" / "index.json"
    arguments = Namespace(
        dataset=dataset, baseline=baseline, predictions=path, state=path.parent / "state", code=None
    )
    settings = settings or Settings()
    settings.evaluation.max_clips = clips
    predict_baseline.run(arguments, settings)
    return path


def score(
    dataset: Path, predictions: Path, settings: Settings | None = None, threads: int = 1
) -> tuple[dict, pd.DataFrame, dict[str, np.ndarray]]:
    settings = settings or Settings()
    settings.compute.device, settings.compute.threads = "cpu", threads
    settings.windows = settings.windows or [None]
    folder = dataset.parents[2] / "evaluation" / predictions.parent.name
    real = folder / "real"
    real_features.run(
        Namespace(
            dataset=dataset,
            features=real / "features.safetensors",
            index=real / "index.json",
            state=real / "state",
            code=None,
        ),
        settings,
    )
    arguments = Namespace(
        dataset=dataset,
        predictions=predictions,
        real=real / "index.json",
        scores=folder / "scores.parquet",
        features=folder / "features.safetensors",
        index=folder / "index.json",
        state=folder / "state",
        shares=[],
        code=None,
    )
    evaluate.run(arguments, settings)
    index = json.loads(arguments.index.read_text())
    for name, digest in index["files"].items():
        assert sha256_of_file(folder / name) == digest
    return index, pd.read_parquet(arguments.scores), load_file(arguments.features)


def test_scores_of_copy_last_against_their_definitions(dataset: Path) -> None:
    index, scores, features = score(dataset, predict(dataset, "copy-last"))
    assert len(scores) == 4 * 2 * FUTURE  # one trajectory, and the mean over it
    assert set(scores["trajectory"]) == {-1, 0}
    assert scores["lpips"].isna().all() and not scores["object_psnr"].isna().any()
    row = scores.query("clip == 'v8@000000' and trajectory == 0 and frame == 3").iloc[0]
    real, mask = square(8, CONTEXT + FUTURE, SIZE)
    last, future = real[CONTEXT - 1], real[CONTEXT + 2]
    assert row["group"] == "g4"
    assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(future, last, data_range=255))
    inside = (last.astype(float) - future)[mask[CONTEXT + 2] > 0]
    assert row["object_psnr"] == pytest.approx(10 * np.log10(255**2 / np.mean(inside**2)))
    assert (index["row"], index["kind"], index["paired"]) == ("squares.copy-last", "baseline", True)
    assert (index["clips"], index["groups"], index["trajectories"]) == (4, 2, 1)
    assert features["motion_predicted"].shape == features["motion_real"].shape == (4, 32)
    for side, frames in {"real": real[CONTEXT:], "predicted": [last] * FUTURE}.items():
        expected = motion_features(torch.from_numpy(np.stack(frames)))
        np.testing.assert_allclose(features[f"motion_{side}"][2], expected)


def test_validation_clips_are_scored_where_they_are_asked_for(tmp_path: Path) -> None:
    splits = ["train", "train", "validation", "validation", "validation", "test", "test"]
    dataset = make_dataset(tmp_path / "datasets" / "squares", splits, CONTEXT, FUTURE, SIZE)
    settings = Settings()
    settings.evaluation.split = "validation"
    index, scores, _ = score(dataset, predict(dataset, "copy-last", None, settings), settings)
    assert list(scores["clip"].unique()) == ["v2@000000", "v3@000000", "v4@000000"]
    assert index["protocol"]["split"] == "validation"
    real, _ = square(3, CONTEXT + FUTURE, SIZE)
    row = scores.query("clip == 'v3@000000' and trajectory == 0 and frame == 3").iloc[0]
    expected = peak_signal_noise_ratio(real[CONTEXT + 2], real[CONTEXT - 1], data_range=255)
    assert row["psnr"] == pytest.approx(expected)


def test_compare_gives_a_row_the_numbers_of_its_evaluation(dataset: Path) -> None:
    predictions, out = predict(dataset, "context-mean", clips=3), dataset.parents[2] / "compared"
    index, scores, _ = score(dataset, predictions)
    compare.run(
        Namespace(
            real=dataset, predicted=[[f"mine={predictions.parent}"]], protocol="prediction",
            out=out, config=None, context=None, future_only=False, unpaired=False,
            group_pattern=r"_g(\d+)", baselines=[], floor=None, range=None, device="cpu",
            self_test=False, autoencoder=None, examples=0,
        )
    )  # fmt: skip
    pd.testing.assert_frame_equal(pd.read_parquet(out / "mine" / "scores.parquet"), scores)
    own = json.loads((out / "mine" / "index.json").read_text())
    assert (own["clips"], own["groups"]) == (index["clips"], index["groups"])


def test_what_has_no_weights_is_named_with_the_way_out(dataset: Path) -> None:
    index, _, features = score(dataset, predict(dataset, "copy-last"))
    assert not index["lpips"]["computed"] and not index["detectors"]["i3d"]["computed"]
    assert "weights.lpips_backbone is not set" in index["lpips"]["reason"]
    assert "weights.i3d is not set" in index["detectors"]["i3d"]["reason"]
    assert set(features) == {
        f"{name}_{side}" for name in ("motion", "groups") for side in ("predicted", "real")
    }
    assert index["protocol"]["weights"] == {}


def test_the_floor_is_training_clips_and_is_not_paired(dataset: Path) -> None:
    path = predict(dataset, "real")
    predictions = Predictions(path)
    train = Clips(dataset, "train")
    assert predictions.index["kind"] == "floor" and len(predictions) == 4
    places = {clip: number for number, clip in enumerate(train.table["clip"])}
    for clip, frames in predictions:
        assert torch.equal(frames[0], train.frames(places[clip], CONTEXT))
    index, scores, features = score(dataset, path)
    assert not index["paired"] and scores.empty
    assert features["motion_predicted"].shape == features["motion_real"].shape == (4, 32)


def test_trajectories_and_their_mean(dataset: Path) -> None:
    test = Clips(dataset, "test")
    path = dataset.parents[2] / "predictions" / "sampler" / "index.json"
    real = torch.stack([test.frames(i, CONTEXT) for i in range(4)])
    parts = PartWriter(path.parent, path.parent / "state", ANY, "frames")
    writer = RowWriter(path, parts, test, "sampler", "predictor", 0, 2)
    for number, future in enumerate(real):
        brighter, darker = future.clamp(max=235) + 20, future.clamp(min=20) - 20
        writer.add(number, torch.stack([brighter, darker]))
    writer.finish()
    _, scores, _ = score(dataset, path)
    means = scores.groupby("trajectory")["mse"].mean()
    assert set(means.index) == {-1, 0, 1}
    assert means[-1] < 30 and means[0] == pytest.approx(400, rel=0.1)


def test_lpips_with_its_weights(dataset: Path, shared: Path) -> None:
    settings = Settings()
    folder = shared / "weights"
    settings.weights.lpips_backbone = str(folder / "alexnet_features_imagenet1k_v1.safetensors")
    settings.weights.lpips_linear = str(folder / "lpips_lin_v0.1_alex.safetensors")
    index, scores, _ = score(dataset, predict(dataset, "copy-last"), settings)
    assert index["lpips"] == {"computed": True, "reason": "", "backbone": "alex"}
    by_frame = scores.groupby("frame")["lpips"].mean()
    assert by_frame[1] < by_frame[9] and (by_frame > 0).all()
    assert len(index["protocol"]["weights"]["weights.lpips_backbone"]) == 64


def test_i3d_features_of_both_sides_and_equal_scores_of_one_thread_and_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distances too, with their intervals, as the report prints them."""
    splits = [*["train"] * 2, *["test"] * 6]  # KVD's interval needs three groups
    dataset = make_dataset(tmp_path / "datasets" / "squares", splits, CONTEXT, FUTURE, SIZE)
    weights = tmp_path / "i3d.safetensors"
    save_file(seeded_variables(), weights)
    settings = Settings()
    settings.weights.i3d = str(weights)
    settings.evaluation.max_clips = 3
    path = predict(dataset, "copy-last", clips=3)
    with pytest.raises(UserError, match="not the network of the FVD literature"):
        score(dataset, path, settings)
    monkeypatch.setattr(i3d, "check_manifest", lambda *_: None)  # seeded, not pretrained
    used = []
    for threads in (2, 1):
        shutil.rmtree(tmp_path / "evaluation", ignore_errors=True)  # or it would be gone on with
        index, scores, features = score(dataset, path, settings, threads)
        assert torch.get_num_threads() == threads, "evaluate takes the threads of the config"
        used.append((scores, features))
    (scores_2, features_2), (scores, features) = used
    assert index["detectors"]["i3d"] == {"computed": True, "reason": "", "minimum_frames": 9}
    names = {"i3d_predicted", "i3d_real", "i3d_context_predicted", "i3d_context_real"}
    assert {name: features[name].shape for name in names} == dict.fromkeys(names, (3, 400))
    network = i3d.I3D(seeded_variables())
    test = Clips(dataset, "test")
    real = test.frames(evaluation_clips(test, 3)[1])[None]
    for name, expected in {"i3d_real": real[:, CONTEXT:], "i3d_context_real": real}.items():
        np.testing.assert_allclose(features[name][1], network.features(expected)[0], rtol=1e-4)
    pd.testing.assert_frame_equal(scores, scores_2, check_exact=True)
    for name, values in features.items():
        assert np.linalg.norm(values - features_2[name]) < 1e-5 * np.linalg.norm(values), name
    for measure in (FVD, KVD):
        one, two = (i3d_distance(measure, found) for found in (features, features_2))
        assert one.clips == one.groups == 3 and one.has_interval and one.value != 0
        for name in ("value", "low", "high"):
            assert measure.text(getattr(one, name)) == measure.text(getattr(two, name)), name


def i3d_distance(measure: Measure, features: dict[str, np.ndarray]) -> Estimate:
    """The distance of a paired row, as the report makes it of its features."""
    kept = [features[f"{name}_{side}"] for name in ("i3d", "groups")
            for side in ("predicted", "real")]  # fmt: skip
    return run_distance(measure, Sets(*kept, paired=True, note=""))


def test_predictions_of_another_dataset_are_refused(dataset: Path) -> None:
    path = predict(dataset, "copy-last")
    index = json.loads(path.read_text())
    index["clips"][0] = "elsewhere@000000"
    write_json(path, index)
    with pytest.raises(UserError, match="elsewhere@000000"):
        score(dataset, path)


def test_an_unknown_baseline_is_one_line(dataset: Path) -> None:
    with pytest.raises(UserError, match="copy-last") as caught:
        predict(dataset, "copy")
    assert "\n" not in str(caught.value)


def test_a_killed_evaluation_goes_on_and_ends_the_same(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = predict(dataset, "flow-extrapolation")
    index, scores, features = score(dataset, path)
    forget(dataset.parents[2] / "evaluation" / path.parent.name / "state")
    monkeypatch.setenv(SAVE_SECONDS, "0")
    measured: list[int] = []
    measure = evaluate.RowScorer.measure

    def killed(self: evaluate.RowScorer, number: int, *others):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(number)
        return measure(self, number, *others)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate.RowScorer, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            score(dataset, path)
    assert measured == [0, 1, 2]

    def counted(self: evaluate.RowScorer, number: int, *others):
        measured.append(number)
        return measure(self, number, *others)

    monkeypatch.setattr(evaluate.RowScorer, "measure", counted)
    again, scores_again, features_again = score(dataset, path)
    assert measured == [0, 1, 2, 3]
    assert again == index and scores_again.equals(scores)
    assert all(np.array_equal(values, features_again[name]) for name, values in features.items())
    # A run that died before Snakemake noted that it was finished has nothing left to measure.
    score(dataset, path)
    assert measured == [0, 1, 2, 3]


def test_the_order_of_clips_changes_no_number(dataset: Path) -> None:
    path = predict(dataset, "copy-last")
    _, scores, features = score(dataset, path)
    test = Clips(dataset, "test")
    turned = dataset.parents[2] / "predictions" / "turned" / "index.json"
    parts = PartWriter(turned.parent, turned.parent / "state", ANY, "frames")
    writer = RowWriter(turned, parts, test, "turned", "baseline", 0)
    for clip, frames in reversed(list(Predictions(path))):
        writer.add(test.table["clip"].tolist().index(clip), frames)
    writer.finish()
    _, turned_scores, turned_features = score(dataset, turned)
    by = ["clip", "trajectory", "frame"]
    pd.testing.assert_frame_equal(
        scores.sort_values(by, ignore_index=True), turned_scores.sort_values(by, ignore_index=True)
    )
    for name, values in features.items():
        np.testing.assert_array_equal(values[::-1], turned_features[name])


def test_copy_last_is_far_above_the_floor_in_motion(dataset: Path) -> None:
    distances = {
        baseline: motion_distance(features["motion_predicted"], features["motion_real"])
        for baseline in ("copy-last", "real")
        for _, _, features in [score(dataset, predict(dataset, baseline))]
    }
    assert distances["copy-last"] > 10 * distances["real"]


def test_the_floor_keeps_the_groups_of_both_its_sides(dataset: Path) -> None:
    _, _, features = score(dataset, predict(dataset, "real"))
    assert len(set(features["groups_predicted"])) == 3 and len(set(features["groups_real"])) == 2
    _, _, paired = score(dataset, predict(dataset, "copy-last"))
    np.testing.assert_array_equal(paired["groups_predicted"], paired["groups_real"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", {"weights.i3d": "0" * 64}),
        ("windows", [None, 12]),
        ("dataset_index", "0" * 64),
        ("clip_frames", CONTEXT + FUTURE + 1),
        ("context_frames", CONTEXT - 1),
    ],
)
def test_real_features_of_something_else_are_refused(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object
) -> None:
    path = predict(dataset, "copy-last")

    def altered(path: Path, index: dict) -> None:
        write_json(path, index | {key: value})

    monkeypatch.setattr(real_features, "write_json", altered)
    with pytest.raises(UserError, match=f"json: {key} are not those of the row") as caught:
        score(dataset, path)
    assert str(caught.value).endswith("run the stage real_features again")


def test_real_features_of_fewer_clips_are_refused(dataset: Path) -> None:
    path = predict(dataset, "copy-last")
    settings = Settings()
    settings.evaluation.max_clips = 2
    with pytest.raises(UserError, match="run the stage real_features again"):
        score(dataset, path, settings)
