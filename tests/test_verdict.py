"""The verdict on a predictor, on cases that are made for each cause."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_results import FUTURE, make_results

from rsvp.config.schema import PROTOCOLS
from rsvp.report.records import StageHistory, read_histories
from rsvp.report.rows import read_rows
from rsvp.report.scores import frame_scores
from rsvp.report.tables import by_context
from rsvp.report.verdict import BETTER, CANNOT, NOT_YET, UNKNOWN, fall, verdict

RECORDS = [
    {"stage": stage, "settings": {"name": "rsvp-m", "predictor": own}}
    for stage, own in (("predict", {}), ("train_diffusion", {"autoencoder": "rsvp"}))
]
STEPS = np.arange(100, 2001, 100)


def history(losses):
    table = pd.DataFrame({"step": STEPS, "seconds": STEPS, "validation_loss": losses})
    return StageHistory("predictor rsvp-m", 0, table)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"), clips=16, groups=8)


def changed(run, change):
    """The run with another score table."""
    table = pd.read_parquet(run.folder / "scores.parquet")
    change(table)
    return replace(run, scores=frame_scores(table))


@pytest.fixture
def judged(made, tmp_path):
    """Judge invented results, whose scores may be changed before: {row: function of its table}."""

    def judge(histories, **changes):
        paths = list(made.glob("evaluation/*/seed0/index.json"))
        rows = read_rows(paths, ["rsvp-m"])
        for place, row in enumerate(rows):
            change = changes.get(row.name.replace(".", "_").replace("-", "_"))
            if change and row.runs[0].scores:
                rows[place] = replace(row, runs=tuple(changed(run, change) for run in row.runs))
        (tables,) = by_context(rows, {"prediction": PROTOCOLS["prediction"]}, 200, "")
        return verdict(tables, histories, RECORDS)

    return judge


def with_crps(value, noise=0.1):
    """Make the CRPS of a row `value` plus a little noise; `value` may depend on the frame."""

    def change(scores):
        values = value(scores["frame"]) if callable(value) else value
        scores["crps"] = values + noise * np.random.default_rng(0).standard_normal(len(scores))

    return change


BASELINES = ("copy_last", "context_median", "context_mean", "blurred_copy_last",
             "linear_extrapolation", "flow_extrapolation")  # fmt: skip
ALL_AT_10 = {f"fake_{name}": with_crps(10.0) for name in BASELINES}
FLAT = history(1.0 + 0.01 * np.random.default_rng(0).standard_normal(len(STEPS)))


def test_a_predictor_that_beats_every_baseline(judged):
    found = judged([FLAT], **ALL_AT_10, rsvp_m=with_crps(8.0))
    assert found.word == BETTER and not found.causes
    amount = float(re.search(r"is ([\d.]+) grey levels below", found.text)[1])
    assert amount == pytest.approx(2.0, abs=0.1)


def test_one_baseline_that_is_as_good_is_enough(judged):
    same = ALL_AT_10 | {"fake_flow_extrapolation": with_crps(8.0, noise=1.0)}
    found = judged([FLAT], **same, rsvp_m=with_crps(8.0, noise=1.0))
    assert found.word in (NOT_YET, CANNOT)
    assert "no difference found between the CRPS of rsvp-m and flow-extrapolation" in found.text


def test_a_loss_that_still_falls(judged):
    falling = history(np.exp(-STEPS / 5000.0))
    found = judged([falling], **ALL_AT_10, rsvp_m=with_crps(12.0))
    assert found.word == NOT_YET and re.search(r"is 2\.0\d grey levels above", found.text)
    assert "still fell by 18.1%" in found.causes[0] and "predictors.rsvp-m.steps" in found.causes[0]
    flat = judged([FLAT], **ALL_AT_10, rsvp_m=with_crps(12.0))
    assert not any("still fell" in cause for cause in flat.causes)


def test_training_and_validation_that_part(judged):
    losses = 1.0 + np.abs(STEPS - 800) / 4000.0
    found = judged([history(losses)], **ALL_AT_10, rsvp_m=with_crps(12.0))
    (cause,) = [cause for cause in found.causes if "by heart" in cause]
    assert "lowest at step 800 of 2000" in cause and "rose by 28.8% after it" in cause
    assert "augment_latents" in cause and "training_stride" in cause
    better = judged([history(losses)], **ALL_AT_10, rsvp_m=with_crps(8.0))
    assert better.word == BETTER and better.causes == (cause,)


def test_an_autoencoder_that_shows_less_than_a_baseline(judged):
    def worse(scores):
        scores["psnr"] -= 15.0

    found = judged([FLAT], **ALL_AT_10, rsvp_m=with_crps(12.0), rsvp_reconstruction=worse)
    assert found.word == CANNOT
    assert judged([FLAT], **ALL_AT_10, rsvp_m=with_crps(12.0)).word == NOT_YET
    (cause,) = [cause for cause in found.causes if "reconstruction of the true frames" in cause]
    assert "autoencoders.rsvp.pretrain.steps" in cause
    found = judged([FLAT], **ALL_AT_10, rsvp_m=with_crps(12.0))
    assert not any("reconstruction of the true frames" in cause for cause in found.causes)


def test_clips_that_repeat_frames(judged):
    def repeat(scores):
        clips = sorted(scores["clip"].unique())[:4]
        scores.loc[scores["clip"].isin(clips) & (scores["frame"] == 1), "psnr"] = 60.0

    copying = {"fake_copy_last": lambda scores: (with_crps(10.0)(scores), repeat(scores))}
    found = judged([FLAT], **ALL_AT_10 | copying, rsvp_m=with_crps(12.0))
    (cause,) = [cause for cause in found.causes if "repeats" in cause]
    assert cause.startswith("in 25% of the test clips") and "datasets.fake.target_fps" in cause


def test_motion_that_is_foretold_for_some_frames(judged):
    early = with_crps(lambda frame: np.where(frame <= 5, 8.0, 12.0))
    found = judged([FLAT], **ALL_AT_10, rsvp_m=early)
    said = f"only up to frame 5 of {FUTURE}: motion is foretold no further"
    assert any(said in cause for cause in found.causes)
    never = judged([FLAT], **ALL_AT_10, rsvp_m=with_crps(12.0))
    assert any("in no future frame: motion is not foretold" in cause for cause in never.causes)


def test_without_intervals_nothing_is_said(tmp_path):
    results = make_results(tmp_path, clips=4, groups=1)
    rows = read_rows(results.glob("evaluation/*/seed0/index.json"), ["rsvp-m"])
    (tables,) = by_context(rows, {"prediction": PROTOCOLS["prediction"]}, 50, "")
    histories = read_histories(results.glob("predictors/*/seed0/history.csv"))
    found = verdict(tables, histories, RECORDS)
    assert found.word == UNKNOWN and "score more clips" in found.text


def test_fall_is_that_of_an_exponential_and_its_interval_covers():
    exact = fall(STEPS.astype(float), np.exp(-STEPS / 2000.0))
    assert exact.value == pytest.approx(1 - np.exp(-0.5)) and exact.low == pytest.approx(exact.high)
    random, covered = np.random.default_rng(0), 0
    for _ in range(400):
        noisy = np.exp(-STEPS / 8000.0 + 0.05 * random.standard_normal(len(STEPS)))
        found = fall(STEPS.astype(float), noisy)
        covered += found.low <= 1 - np.exp(-0.125) <= found.high
    assert 0.92 <= covered / 400 <= 0.98
