"""The whole pipeline on small videos: what comes out, and that no future leaks."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from in_process import run_jobs
from projects import GUARD_LOG, ROOT, STAGES
from safetensors.torch import load_file
from tiny import CONTEXT, moving_squares, write_lossless

from rsvp.data.clips import Clips
from rsvp.data.pixels import to_float
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.report.page import CURVES
from rsvp.runtime.code import TRAININGS
from rsvp.runtime.files import read_json

PREDICTIONS = "predictions/rsvp-m/seed0/index.json"


def test_report_tables_and_provenance_come_out(finished):
    results = finished.folder / "results"
    table = pd.read_csv(results / "report/tables/results.csv")
    rows = {"rsvp-m", "tiny.copy-last", "rsvp.reconstruction", "tiny.real"}
    assert set(table["row"]) == rows
    assert (results / "report/report.html").stat().st_size > 10_000
    for table in ("results", "horizon", "comparisons", "cost"):
        for suffix in (".csv", ".parquet", ".md", ".tex"):
            assert (results / f"report/tables/{table}{suffix}").stat().st_size > 100
    for stage in ("datasets/tiny", "predictors/rsvp-m/seed0", "evaluation/rsvp-m/seed0", "report"):
        assert (results / stage / "run.json").exists()
        assert (results / stage / "log.txt").exists()
    for stage in ("autoencoders/rsvp/seed0/pretrained", "autoencoders/rsvp/seed0/finetuned",
                  "predictors/rsvp-m/seed0", "predictions/rsvp-m/seed0"):  # fmt: skip
        record = read_json(results / stage / "run.json")
        assert record["flops_forward"] > record["parameters"] > 0, stage
        assert record["samples_per_second"] > 0, stage
    for history in results.rglob("history.csv"):  # the report says what each curve is
        assert set(pd.read_csv(history)) - {"step", "seconds"} <= set(CURVES), history


def test_no_stage_reached_the_network_or_loaded_a_pickle(finished):
    """Not even for the address that the config names: only `make weights` goes there."""
    lines = (finished.folder / GUARD_LOG).read_text(encoding="utf-8").splitlines()
    others = ("generate_videos", "train_simvp", "predict_simvp")
    ran = set(STAGES) - {f"rsvp.stages.{stage}" for stage in others}
    assert {f"watched by -m {stage}" for stage in ran} <= set(lines)
    assert [line for line in lines if not line.startswith("watched by ")] == []
    foreign = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz"}
    results = finished.folder / "results"
    found = [p for p in results.rglob("*") if p.suffix in foreign]
    # Snakemake's dry runs leave an inventory, which it reads with --trust-io-cache only.
    assert all(p.is_relative_to(results / ".snakemake/iocache") for p in found), found
    flags = [ROOT / "Makefile", *ROOT.glob("profiles/*/*"), *ROOT.glob("workflow/*.py")]
    assert not any("trust-io-cache" in path.read_text(encoding="utf-8") for path in flags)


def test_snakemake_packs_its_own_report(finished):
    """With the report's page, tables and plots, each under its category and with its caption."""
    answer = finished.snakemake("--report", "packed.zip")
    assert answer.code == 0, answer.text
    with zipfile.ZipFile(finished.folder / "results/packed.zip") as packed:
        text = packed.read("packed/report.html").decode()
        names = {Path(name).name for name in packed.namelist()}
    for category, files in {
        "Report": ["report.html"],
        "Plots": ["horizon.svg", "learning.svg", "copies.svg"],
        "Tables": ["results.csv", "comparisons.csv", "cost.csv"],
    }.items():
        assert f'"{category}"' in text
        assert names >= set(files), names
    for words in ("learning curves", "Losses and validation scores", "the whole report"):
        assert words in text


ROWS = ["rsvp-m", "rsvp.reconstruction", "tiny.copy-last", "tiny.real"]
RESCORED = [*(f"evaluate {row} seed 0" for row in ROWS), "bundle rsvp-m seed 0", "report"]
REAL, COPIES, SEMANTICS = (
    "real_features tiny",
    "check_memorisation tiny",
    "measure_semantics rsvp seed 0",
)


def test_weights_train_nothing_when_they_come_later(moved, planned):
    """`make weights` after a run: every row is scored again, and nothing else is planned."""
    results = moved.folder / "results"
    index = json.loads((results / "evaluation/rsvp-m/seed0/index.json").read_text())
    assert "make weights" in json.dumps(index["detectors"])
    (moved.folder / "weights").mkdir()
    (moved.folder / "weights/i3d-0123abcd.safetensors").write_bytes(b"not looked into yet")
    assert sorted(map(str, planned(moved))) == sorted([*RESCORED, REAL, COPIES])


@pytest.mark.parametrize("perceptual", ["sliced_wasserstein", "lpips"])
def test_lpips_trains_only_where_an_autoencoder_asks_for_it(moved, planned, perceptual):
    files = {"lpips_backbone": "backbone.safetensors", "lpips_linear": "linear.safetensors"}
    for file in files.values():
        (moved.folder / file).write_bytes(b"not looked into yet")
    values = {"weights": files, "autoencoders": {"rsvp": {"perceptual": perceptual}}}
    (moved.folder / "change.yaml").write_text(yaml.safe_dump(values))
    stale = planned(moved, "--configfile", "config.yaml", "change.yaml")
    trained = [job for job in stale if job.roots[0] in TRAININGS]
    assert bool(trained) == (perceptual == "lpips")
    rescored = [*RESCORED, SEMANTICS]  # FVD has no part in it
    assert set(rescored) <= set(map(str, stale))
    assert trained or sorted(map(str, stale)) == sorted(rescored)


def test_lpips_is_scored_later_and_trains_nothing(moved, shared, monkeypatch):
    files = {
        "lpips_backbone": str(shared / "weights/alexnet_features_imagenet1k_v1.safetensors"),
        "lpips_linear": str(shared / "weights/lpips_lin_v0.1_alex.safetensors"),
    }
    (moved.folder / "change.yaml").write_text(yaml.safe_dump({"weights": files}))
    results = moved.folder / "results"
    kept = [results / PREDICTIONS, *results.rglob("weights.safetensors")]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in kept}
    log = moved.folder / "lpips.log"
    flags = ["--configfile", "config.yaml", "change.yaml"]
    answer = moved.snakemake("evaluation/rsvp-m/seed0/index.json", *flags, guard_log=log)
    assert answer.code == 0, answer.text
    # The package lpips would download weights, and load its own by torch.load.
    watched = log.read_text(encoding="utf-8").splitlines()
    assert "watched by -m rsvp.stages.evaluate" in watched
    assert [line for line in watched if not line.startswith("watched by ")] == []
    assert answer.jobs == ["Evaluate rsvp-m (seed 0)"]
    assert run_jobs(moved, monkeypatch, *flags) == [
        "Bundle the predictor rsvp-m (seed 0)",
        *(f"Evaluate {row} (seed 0)" for row in ROWS[1:]),
        "Measure the semantics of rsvp (seed 0)",
        "Write the report",
    ]
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in kept}
    table = pd.read_csv(results / "report/tables/results.csv")
    lpips = table[(table["metric"] == "lpips") & (table["sampling"] == "single")]
    values = lpips.set_index("row")["value"]
    assert (values[["rsvp-m", "rsvp.reconstruction", "tiny.copy-last"]] > 0).all()
    assert lpips["protocol"].str.contains("LPIPS: AlexNet").all()
    assert "LPIPS of AlexNet" in (results / "report/tables/results.md").read_text()


def test_predictions_do_not_see_the_future(finished, moved, monkeypatch):
    """Other future frames in the test videos leave all that is made of the context as it was.

    From decoding on, with all trainings.
    """
    clips = pd.read_csv(finished.folder / "results/datasets/tiny/clips.csv")
    videos = clips[clips["split"] == "test"]["video"]
    assert len(videos)
    for number, video in enumerate(videos):
        path = moved.folder / f"videos/{video}.mkv"
        frames = moving_squares(int(video.split("_g")[1][:2]))
        frames[CONTEXT:] = np.random.default_rng(number).integers(0, 256, frames[CONTEXT:].shape)
        write_lossless(path, frames)
    made = run_jobs(moved, monkeypatch, PREDICTIONS)
    assert {"Decode", "Split", "Pretrain", "Fine-tune", "Cache", "Train", "Predict"} <= {
        job.split()[0] for job in made
    }
    before, after = (stored(project.folder / "results") for project in (finished, moved))
    for key in ("observed frames", "scene", "object", "observed motion", "predictions"):
        assert torch.equal(before[key], after[key]), key
    for key in ("future frames", "future motion"):
        changed = (before[key] != after[key]).flatten(1).any(1)
        assert changed.all(), key  # of every clip


def stored(results: Path) -> dict[str, torch.Tensor]:
    """The test clips' frames and predictions as they lie on disk, and the frames' latents."""
    clips = Clips(results / "datasets/tiny/index.json", "test")
    seen = torch.stack([clips.frames(i) for i in range(len(clips))])
    autoencoder = load_autoencoder(results / "autoencoders/rsvp/seed0/finetuned/index.json")
    with torch.no_grad():
        latents, _ = autoencoder.encode_clip(to_float(seen.permute(0, 1, 4, 2, 3)), CONTEXT)
    frames = load_file(results / "predictions/rsvp-m/seed0/frames-00000.safetensors")["frames"]
    return {
        "observed frames": seen[:, :CONTEXT],
        "future frames": seen[:, CONTEXT:],
        "scene": latents["scene"],
        "object": latents["object"],
        "observed motion": latents["motion"][:, :CONTEXT],
        "future motion": latents["motion"][:, CONTEXT:],
        "predictions": frames,
    }
