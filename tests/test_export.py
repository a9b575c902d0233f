"""Exported clips are those of the dataset and of the row, and compare scores them alike."""

from argparse import Namespace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from rsvp.commands import compare, export
from rsvp.config.load import structured
from rsvp.config.schema import Autoencoder
from rsvp.data.clips import Clips
from rsvp.data.folders import EXPORTS, ClipFolder
from rsvp.data.predictions import STEM, Predictions, RowWriter
from rsvp.models.autoencoders.kinds import autoencoder_arguments, make_autoencoder
from rsvp.models.bundle import save_bundle
from rsvp.runtime.errors import UserError
from rsvp.runtime.journal import StateKey
from rsvp.runtime.parts import PartWriter
from tests.squares import make_dataset

CONTEXT, FUTURE, SIZE, TRAJECTORIES = 4, 6, 32, 2


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "squares", ["train"] * 2 + ["test"] * 5, CONTEXT, FUTURE, SIZE)


@pytest.fixture
def row(dataset: Path) -> Path:
    """The folder of noisy predictions of three test clips."""
    clips, folder = Clips(dataset, "test"), dataset.parents[1] / "predictions/mine/seed0"
    parts = PartWriter(folder, folder / "state", StateKey(None, ""), STEM)
    writer = RowWriter(folder / "index.json", parts, clips, row="mine", kind="predictor", seed=0,
                       trajectories=TRAJECTORIES)  # fmt: skip
    for i in (0, 2, 4):
        truth = clips.frames(i, CONTEXT).numpy()
        noise = np.random.default_rng(i).integers(0, 30, (TRAJECTORIES, *truth.shape))
        writer.add(i, torch.from_numpy(np.clip(truth + noise, 0, 255).astype(np.uint8)))
    writer.finish()
    return folder


def exported(source: Path, out: Path, **changed: object) -> Path:
    arguments = {"source": source, "out": out, "format": "npy", "split": "test", "clips": None}
    export.run(Namespace(**arguments | changed))
    return out


def scored(real: Path, predicted: list[str], out: Path, **changed: object) -> pd.DataFrame:
    arguments = {
        "real": real, "predicted": [[item] for item in predicted], "protocol": "prediction",
        "out": out, "config": None, "context": None, "future_only": False, "unpaired": False,
        "group_pattern": r"_g(\d+)", "baselines": ["copy-last"], "floor": None, "range": None,
        "autoencoder": None, "examples": 0, "device": "cpu", "self_test": False,
    }  # fmt: skip
    with patch.object(compare, "render", str):  # the page, whose plots take seconds
        compare.run(Namespace(**arguments | changed))
    return pd.read_csv(out / "results.csv")


@pytest.mark.parametrize("kind", EXPORTS)
def test_a_dataset_is_exported_without_loss(kind: str, dataset: Path, tmp_path: Path) -> None:
    folder = ClipFolder(exported(dataset, tmp_path / "out", format=kind, split="train"))
    clips = Clips(dataset, "train")
    assert folder.names == list(clips.table["clip"])
    for i, name in enumerate(folder.names):
        np.testing.assert_array_equal(folder.frames(name), clips.frames(i))


def test_a_row_is_exported_by_trajectory(row: Path, tmp_path: Path) -> None:
    out, predictions = exported(row, tmp_path / "out"), Predictions(row / "index.json")
    for number in range(TRAJECTORIES):
        folder = ClipFolder(out / f"trajectory{number}")
        assert folder.names == predictions.clips
        for i, name in enumerate(folder.names):
            np.testing.assert_array_equal(folder.frames(name), predictions.frames(i)[number])


def test_fewer_clips_are_those_of_the_evaluation(dataset: Path, row: Path, tmp_path: Path) -> None:
    names = ClipFolder(exported(dataset, tmp_path / "out", clips=3)).names
    assert names == Predictions(row / "index.json").clips


def test_own_folders_score_as_exported_ones(dataset: Path, row: Path, tmp_path: Path) -> None:
    """The row beside its own export, as another's method; then both sides from exports."""
    theirs = exported(row, tmp_path / "theirs", format="mp4")
    table = scored(dataset, [str(row), f"theirs={theirs}"], tmp_path / "a", future_only=True)
    mine, other = (table[table["row"] == name].drop(columns="row") for name in ("mine", "theirs"))
    assert len(mine) and mine["clips"].max() == 3
    pd.testing.assert_frame_equal(mine.reset_index(drop=True), other.reset_index(drop=True))
    printed = (tmp_path / "a" / "results.md").read_text()
    assert "squares test split, 3 clips of 5, spread evenly, 4 observed + 6 predicted" in printed
    assert not np.isnan(mine[mine["metric"] == "object_psnr"]["value"]).any()
    real = exported(dataset, tmp_path / "real", clips=3)
    plain = scored(real, [str(row)], tmp_path / "b", context=CONTEXT)
    for metric in ("psnr", "ssim", "crps"):
        pair = (t[(t["row"] == "mine") & (t["metric"] == metric)]["value"] for t in (table, plain))
        np.testing.assert_array_equal(*pair)


def test_other_clips_are_the_floor_and_a_reconstruction_the_ceiling(
    dataset: Path, row: Path, tmp_path: Path
) -> None:
    """Two training clips of three that are told apart; scikit-image scores the reconstruction."""
    torch.manual_seed(0)
    arguments = autoencoder_arguments(structured(Autoencoder, {"kind": "frames", "width": 16}))
    network = make_autoencoder(**arguments).eval()
    folder = tmp_path / "network"
    folder.mkdir()
    save_bundle(folder / "weights.safetensors", folder / "index.json", network,
                {"arguments": arguments})  # fmt: skip
    config = tmp_path / "config.yaml"
    config.write_text("protocols: {all: {scores: both}}")
    table = scored(dataset, [str(row)], tmp_path / "a", autoencoder=folder, protocol="all",
                   config=config)  # fmt: skip
    clips, errors = Clips(dataset, "test"), []
    for i in (0, 2, 4):
        clip = clips.frames(i)
        floats = (
            clip.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)[None] / 127.5
        )
        with torch.no_grad():
            made = network.reconstruct_future(floats - 1, CONTEXT)[0].clamp(-1, 1)
        frames = ((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        errors += [peak_signal_noise_ratio(*pair)
                   for pair in zip(clip[CONTEXT:].numpy(), frames, strict=True)]  # fmt: skip
    named = table.set_index(["row", "metric", "sampling"])
    ceiling = named.loc[("autoencoder.reconstruction", "psnr", "single")]
    assert ceiling["value"] == pytest.approx(np.mean(errors), abs=1e-4)
    assert ceiling["kind"] == "ceiling"
    floor = named.loc[("squares.floor", "motion_frechet", "single")]
    assert floor["clips"] == 2 and "2 clips, the others 3: not at equal N" in floor["note"]
    assert "other real clips in place of predictions" in floor["protocol"]


def test_what_does_not_fit_is_one_line(dataset: Path, row: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    for source, out, message in (
        (dataset, "out", "is not empty; name a new folder"),
        (tmp_path / "squares", "new", "no index.json of a dataset, and no row's folder"),
    ):
        with pytest.raises(UserError, match=message):
            exported(source, tmp_path / out)
    names = exported(dataset, tmp_path / "train", split="train")
    with pytest.raises(UserError, match=r"index\.json: lacks 2 of the 2 clips of .*train"):
        scored(dataset, [str(names)], tmp_path / "scores")


@pytest.mark.parametrize(
    ("name", "path"), [("a/v@000000", "a/v@000000"), ("../../o/v", "_/_/o/v"), ("/etc/x", "etc/x")]
)
def test_names_stay_below_the_folder(name, path):
    assert export.below(name) == Path(path)
