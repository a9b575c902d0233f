"""Caching, predicting and evaluating in shares: the bits of one job, whatever their number."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from rsvp.config.stages import read_settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.predictions import Predictions
from rsvp.runtime.files import INDEX, RECORD, read_json, write_json
from rsvp.stages import cache_latents, evaluate, predict

FILES = {  # of a stage that reads some indexes, below the results folder
    "dataset": "datasets/tiny",
    "autoencoder": "autoencoders/rsvp/seed0/finetuned",
    "denoiser": "predictors/rsvp-m/seed0",
    "predictions": "predictions/rsvp-m/seed0",
    "real": "real_features/tiny",
}
HANDED = {
    cache_latents: "autoencoders/rsvp/seed0/latents",
    predict: "predictions/rsvp-m/seed0",
    evaluate: "evaluation/rsvp-m/seed0",
}


def run(stage, results: Path, folder: Path, share=None, shares=()) -> Path:
    """Run a stage on the inputs of a finished project; returns its index."""
    values = json.loads((results / ".snakemake/rsvp" / f"{HANDED[stage]}.json").read_text())
    del values["job"]
    values |= {"share": share} if share else {}
    index = folder / INDEX
    made = {"index": index, "state": folder / "state", "scores": folder / "scores.parquet",
            "features": folder / "features.safetensors"}  # fmt: skip
    read = {name: results / path / INDEX for name, path in FILES.items()}
    made |= {"predictions": index} if stage is predict else {}
    arguments = Namespace(**read | made, code=None, shares=shares)
    write_json(folder / RECORD, stage.run(arguments, read_settings(values)))
    return index


@pytest.fixture(params=[2, 3], ids="{} shares".format)
def made(request, finished, tmp_path, monkeypatch):
    """Run a stage in one job and in shares; returns both indexes, and the shares' own."""
    monkeypatch.chdir(finished.folder / "results")
    monkeypatch.setattr(cache_latents, "BATCH", 2)
    monkeypatch.setattr(predict, "BATCH", 1)  # there are two test clips
    count = request.param

    def both(stage):
        results, whole = finished.folder / "results", tmp_path / "whole"
        shares = [run(stage, results, whole / "shares" / str(number), (number, count))
                  for number in range(count)]  # fmt: skip
        return run(stage, results, tmp_path / "one"), run(stage, results, whole, None, shares)

    return both


def arrays(index: Path, parts: list[dict]) -> dict[str, np.ndarray]:
    """The items of all parts below each other."""
    files = [load_file(index.parent / part["file"]) for part in parts]
    return {name: np.concatenate([file[name] for file in files]) for name in files[0]}


def test_latents_and_their_statistics(made):
    one, whole = made(cache_latents)
    indexes = [read_json(path) for path in (one, whole)]
    for split in ("train", "validation"):
        entries = [index["splits"][split] for index in indexes]
        assert entries[0]["clips"] == entries[1]["clips"]
        found = [arrays(path, e["parts"]) for path, e in zip((one, whole), entries, strict=True)]
        assert found[0].keys() == found[1].keys()
        assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
        assert all("shares/" in part["file"] for part in entries[1]["parts"])
    assert [index.pop("splits") for index in indexes]
    assert indexes[0] == indexes[1]


def test_predictions(made):
    one, whole = (Predictions(path) for path in made(predict))
    assert len(one) > 1 and one.clips == whole.clips
    for i in range(len(one)):
        assert np.array_equal(one.frames(i), whole.frames(i))
    assert [v["clip"] for v in one.index["videos"]] == [v["clip"] for v in whole.index["videos"]]
    for video in whole.index["videos"]:
        assert (whole.reader.paths[0].parents[2] / video["file"]).is_file()


def test_scores_and_features(made):
    one, whole = made(evaluate)
    tables = [pd.read_parquet(path.with_name("scores.parquet")) for path in (one, whole)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    features = [path.with_name("features.safetensors").read_bytes() for path in (one, whole)]
    assert features[0] == features[1]
    indexes = [read_json(path) for path in (one, whole)]
    for index in indexes:
        del index["files"]
    assert indexes[0] == indexes[1]


def test_latents_of_validation_are_those_that_are_watched_and_test_has_none(
    finished, tmp_path, monkeypatch
):
    monkeypatch.chdir(finished.folder / "results")
    monkeypatch.setattr(cache_latents, "VALIDATION_CLIPS", 2)
    index = read_json(run(cache_latents, finished.folder / "results", tmp_path))
    clips = Clips(finished.folder / "results/datasets/tiny/index.json", "validation")
    places = evaluation_clips(clips, 2)
    assert len(places) == 2 < len(clips)
    assert index["splits"].keys() == {"train", "validation"}
    assert index["splits"]["validation"]["clips"] == clips.table["clip"].iloc[places].tolist()
