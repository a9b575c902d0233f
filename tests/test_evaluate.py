"""The stages that predict by baselines and score rows, on a small dataset made by hand."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from seeded_i3d import seeded_variables
from skimage.metrics import peak_signal_noise_ratio

from rsvp import evaluate, predict_baseline
from rsvp.config import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.frames import ShardWriter
from rsvp.data.predictions import Predictions, RowWriter
from rsvp.errors import UserError
from rsvp.files import sha256_of_file, write_json
from rsvp.metrics import i3d
from rsvp.metrics.motion import motion_features

CONTEXT, FUTURE, SIZE = 4, 9, 32
SPLITS = ["train"] * 6 + ["test"] * 4


def square(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip of a bright square that moves over a dark texture, and its mask."""
    random = np.random.default_rng(number)
    background = random.integers(0, 90, (SIZE // 4, SIZE // 4, 3)).repeat(4, 0).repeat(4, 1)
    clip = np.repeat(background[None], CONTEXT + FUTURE, axis=0).astype(np.uint8)
    mask = np.zeros(clip.shape[:3], dtype=np.uint8)
    for frame in range(len(clip)):
        clip[frame, 10:20, 2 + frame : 12 + frame] = 150 + 10 * number
        mask[frame, 10:20, 2 + frame : 12 + frame] = 1
    return clip, mask


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """The index of ten clips, six to train and four to test in two groups, with their truth."""
    folder = tmp_path / "datasets" / "squares"
    clips, masks = zip(*(square(number) for number in range(len(SPLITS))), strict=True)
    with ShardWriter(folder / "frames" / "0", (SIZE, SIZE, 3), 50) as writer:
        writer.append(np.concatenate(clips))
        shards = writer.finish()
    for shard in shards:
        shard["frames"] = shard.pop("items")
    write_json(folder / "frames/0/index.json", {"shards": shards, "videos": [], "rejected": []})
    length = CONTEXT + FUTURE
    rows = [
        (f"v{n}@000000", f"v{n}", "", f"g{n // 2}", split, 0, n * length, 0, 1)
        for n, split in enumerate(SPLITS)
    ]
    names = ["clip", "video", "class", "group", "split", "share", "offset", "start", "stride"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "clips.csv", index=False)
    truth = {f"v{n}/mask": mask for n, mask in enumerate(masks)}
    truth |= {f"v{n}/background": clip[0] for n, clip in enumerate(clips)}
    save_file(truth, folder / "truth.safetensors")
    write_json(folder / "truth.json", {"file": "truth.safetensors"})
    index = {
        "dataset": "squares", "resolution": SIZE, "clip_frames": length,
        "context_frames": CONTEXT, "frame_rate": 25.0, "augment": "none",
        "files": {"clips.csv": sha256_of_file(folder / "clips.csv")},
        "shares": [{"index": "frames/0/index.json",
                    "sha256": sha256_of_file(folder / "frames/0/index.json")}],
        "truth": "truth.json",
    }  # fmt: skip
    write_json(folder / "index.json", index)
    return folder / "index.json"


def predict(dataset: Path, baseline: str, clips: int | None = None) -> Path:
    path = dataset.parents[2] / "predictions" / f"squares.{baseline}" / "index.json"
    arguments = Namespace(dataset=dataset, baseline=baseline, predictions=path)
    settings = Settings()
    settings.evaluation.max_clips = clips
    predict_baseline.run(arguments, settings)
    return path


def score(
    dataset: Path, predictions: Path, settings: Settings | None = None
) -> tuple[dict, pd.DataFrame, dict[str, np.ndarray]]:
    folder = dataset.parents[2] / "evaluation" / predictions.parent.name
    arguments = Namespace(
        dataset=dataset,
        predictions=predictions,
        scores=folder / "scores.parquet",
        features=folder / "features.safetensors",
        index=folder / "index.json",
    )
    settings = settings or Settings()
    settings.compute.device, settings.compute.threads = "cpu", 1
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
    real, mask = square(8)
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


def test_what_has_no_weights_is_named_with_the_way_out(dataset: Path) -> None:
    index, _, features = score(dataset, predict(dataset, "copy-last"))
    assert not index["lpips"]["computed"] and not index["detector"]["computed"]
    assert "weights.lpips_backbone is not set" in index["lpips"]["reason"]
    assert "weights.i3d is not set" in index["detector"]["reason"]
    assert set(features) == {"motion_predicted", "motion_real"}
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
    with RowWriter(path, test, "sampler", "predictor", 0, trajectories=2, videos=0) as writer:
        for number, future in enumerate(real):
            brighter, darker = future.clamp(max=235) + 20, future.clamp(min=20) - 20
            writer.add(number, torch.stack([brighter, darker]))
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


def test_i3d_features_of_both_sides(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "i3d.safetensors"
    save_file(seeded_variables(), weights)
    settings = Settings()
    settings.weights.i3d = str(weights)
    path = predict(dataset, "copy-last", clips=2)
    with pytest.raises(UserError, match="not the network of the FVD literature"):
        score(dataset, path, settings)
    monkeypatch.setattr(i3d, "check_manifest", i3d.check_shapes)  # seeded, not pretrained
    index, _, features = score(dataset, path, settings)
    assert index["detector"] == {"computed": True, "reason": "", "name": "i3d"}
    names = {"i3d_predicted", "i3d_real", "i3d_context_predicted", "i3d_context_real"}
    assert {name: features[name].shape for name in names} == dict.fromkeys(names, (2, 400))
    network = i3d.I3D(seeded_variables())
    test = Clips(dataset, "test")
    real = test.frames(evaluation_clips(test, 2)[1])[None]
    for name, expected in {"i3d_real": real[:, CONTEXT:], "i3d_context_real": real}.items():
        np.testing.assert_allclose(features[name][1], network.features(expected)[0], rtol=1e-4)


def test_short_futures_have_features_with_context_only() -> None:
    network = i3d.I3D(seeded_variables())
    frames = torch.randint(0, 256, (10, SIZE, SIZE, 3), dtype=torch.uint8)
    pair = evaluate.Pair("a", "g", frames[None, 4:], frames[:4], frames, None)
    features = evaluate.clip_features(pair, network)
    assert "i3d_real" not in features
    np.testing.assert_array_equal(features["i3d_context_real"], features["i3d_context_predicted"])


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
