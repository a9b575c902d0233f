"""The folder of a finished predictor: its card, and the command that continues videos with it."""

import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout

import av
import numpy as np
import pandas as pd
import pytest
import yaml
from here import run_here
from PIL import Image
from tiny import CONTEXT, FRAMES, moving_squares, write_lossless

from rsvp.commands import predict as command
from rsvp.data.predictions import Predictions

BUNDLE = "results/predictors/rsvp-m/seed0/bundle"


@pytest.fixture
def predict(finished, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in the project's folder; returns its exit code and what it printed."""
    monkeypatch.chdir(finished.folder)

    def run(*arguments: str) -> tuple[int, str, str]:
        with redirect_stdout(io.StringIO()) as printed:
            code, terminal = run_here(command, "--predictor", BUNDLE, *arguments)
        return code, printed.getvalue(), terminal

    return run


def test_the_card_says_what_the_predictor_is(finished):
    folder = finished.folder / BUNDLE
    head, text = (folder / "README.md").read_text().split("---\n")[1:3]
    (model,) = yaml.safe_load(head)["model-index"]
    results = {m["name"]: m for group in model["results"] for m in group["metrics"]}
    metrics = pd.read_csv(folder / "metrics.csv")
    own = metrics[metrics["row"] == "rsvp-m"].set_index(["metric", "sampling"])
    psnr = results["psnr, single"]
    assert psnr["value"] == pytest.approx(own.loc[("psnr", "single"), "value"])
    assert psnr["args"]["interval_95"][0] < psnr["value"] < psnr["args"]["interval_95"][1]
    assert all("prediction" in g["source"]["name"] or "distribution" in g["source"]["name"]
               for g in model["results"])  # fmt: skip
    index = json.loads((finished.folder / "results/datasets/tiny/index.json").read_text())
    for digest in index["files"].values():
        assert digest in text
    assert f"{index['clips']['train']} clips (train)" in text
    # Its ceiling, its floor and a baseline stand beside it.
    for row in ("| rsvp-m |", "| tiny.copy-last |", "| rsvp.reconstruction |", "| tiny.real |"):
        assert row in text
    with Image.open(folder / "examples.webp") as image:
        assert image.n_frames == FRAMES


def test_the_folder_holds_what_is_handed_on_and_nothing_else(finished):
    networks = {f"{network}/{file}" for network in ("autoencoder", "denoiser")
                for file in ("config.json", "model.safetensors")}  # fmt: skip
    folder = finished.folder / BUNDLE
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == networks | {
        "config.json", "README.md", "metrics.csv", "examples.webp", "run.json"
    }  # fmt: skip


def test_the_folder_names_no_place_of_this_machine(finished):
    for path in (finished.folder / BUNDLE).rglob("*"):
        if path.suffix in (".json", ".md", ".csv", ".txt"):
            assert str(finished.folder.parent) not in path.read_text(), path


def test_trajectories_are_those_of_the_predict_stage(finished, predict, tmp_path):
    """For the frames of a test clip, whose noise is that of the first clip."""
    predictions = Predictions(finished.folder / "results/predictions/rsvp-m/seed0/index.json")
    clips = pd.read_csv(finished.folder / "results/datasets/tiny/clips.csv")
    clip = clips[clips["split"] == "test"].iloc[0]
    assert clip["clip"] == predictions.clips[0]
    (video,) = (finished.folder / "videos").rglob(f"{clip['video']}.*")
    with av.open(str(video)) as container:
        rate = float(container.streams.video[0].average_rate)
    at = (clip["start"] + CONTEXT) / rate
    told = ["--out", str(tmp_path), "--at", str(at), "--trajectories", "2"]
    code, _, terminal = predict(str(video), *told)
    assert not code, terminal
    made = [np.load(tmp_path / f"trajectory{k}" / f"{video.stem}.npy") for k in range(2)]
    expected = predictions.frames(0).numpy()
    # Batches of other sizes may round otherwise.
    difference = np.abs(np.stack(made).astype(int) - expected.astype(int))
    assert difference.max() <= 1 and difference.mean() < 0.01
    assert len(np.unique(expected[0] - expected[1])) > 1


def test_a_moved_folder_continues_videos_of_no_dataset_in_every_format(finished, predict, tmp_path):
    moved = shutil.copytree(finished.folder / BUNDLE, tmp_path / "a copy")
    video = tmp_path / "of $(mine) 'x'.avi"
    write_lossless(video, moving_squares(1)[: CONTEXT + 2])
    out = tmp_path / "out"
    code, printed, terminal = predict(
        str(video), "--predictor", str(moved), "--out", str(out), "--trajectories", "3",
        "--frames", str(2 * FRAMES), "--format", "mp4", "gif", "webp", "npy", "frames",
    )  # fmt: skip
    assert not code, terminal
    shown = [out / f"{video.stem}.{suffix}" for suffix in ("mp4", "gif", "webp")]
    assert printed.splitlines() == list(map(str, shown))
    for path in shown:
        with av.open(str(path)) as container:
            assert path.suffix == ".webp" or (
                sum(1 for _ in container.decode(video=0)) == CONTEXT + 2 * FRAMES
            )
    for k in range(3):
        made = np.load(out / f"trajectory{k}" / f"{video.stem}.npy")
        assert made.shape == (2 * FRAMES, 32, 32, 3)
        images = sorted((out / f"trajectory{k}" / video.stem).iterdir())
        assert np.array_equal(np.stack([np.asarray(Image.open(path)) for path in images]), made)


@pytest.mark.parametrize("name", ["missing.mp4", "short.avi"])
def test_bad_videos_are_refused_in_one_line(predict, tmp_path, name):
    write_lossless(tmp_path / "short.avi", moving_squares(1)[: CONTEXT - 1])
    code, _, terminal = predict(str(tmp_path / name), "--out", str(tmp_path / "out"))
    assert code == 2
    assert name in terminal and len(terminal.strip().splitlines()) == 1
