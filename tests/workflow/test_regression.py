"""A predictor without an autoencoder, as a row of the report."""

import pandas as pd
import pytest
import yaml
from in_process import run_jobs
from tiny import CONFIG

from rsvp.config.load import load
from rsvp.runtime.errors import UserError

OWN = {
    "kind": "simvp",
    "dataset": "tiny",
    "simvp": {"width": 16, "translator_width": 16, "depth": 1},
    "steps": 3,
    "batch_size": 2,
}


def with_simvp(**values):
    """The tiny config with one more row."""
    config = dict(CONFIG)
    config["predictors"] = CONFIG["predictors"] | {"simvp": OWN | values}
    config["report"] = CONFIG["report"] | {"predictors": ["rsvp-m", "simvp"]}
    return config


def test_a_regression_is_a_row_like_the_others(moved, planned, monkeypatch):
    """It trains nothing else, is a point forecast, and has its cost."""
    (moved.folder / "config.yaml").write_text(yaml.safe_dump(with_simvp()))
    assert sorted(map(str, planned(moved))) == [
        "check_memorisation tiny", "evaluate simvp seed 0", "predict_simvp simvp seed 0", "report",
        "train_simvp simvp seed 0",
    ]  # fmt: skip
    run_jobs(moved, monkeypatch)
    assert planned(moved) == {}
    tables = moved.folder / "results/report/tables"
    results = pd.read_parquet(tables / "results.parquet").set_index(["row", "metric", "sampling"])
    values = results["value"]
    assert values["simvp", "psnr", "single"] > 0
    assert values["simvp", "crps", "all"] > 0, "as the absolute error of a point forecast"
    budgets = pd.read_parquet(tables / "budgets.parquet").set_index("row")
    assert budgets.loc["simvp", "stage_one_seconds"] == 0
    assert budgets.loc["simvp", "seconds"] > 0
    config = with_simvp(learning_rate=1e-4)
    (moved.folder / "config.yaml").write_text(yaml.safe_dump(config))
    stale = {str(job).split()[0] for job in planned(moved)}
    assert stale == {"train_simvp", "predict_simvp", "check_memorisation", "evaluate", "report"}


REFUSED = {
    "of another kind": (
        {"sampler": {"steps": 2}},
        r"predictors\.simvp\.sampler: a key of kind diff",
    ),
    "an unknown dataset": ({"dataset": "tinny"}, r"predictors\.simvp\.dataset: 'tinny' is not def"),
    "too wide": ({"simvp": {"width": 17}}, r"predictors\.simvp\.simvp\.width: 17"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    values, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        load(with_simvp(**values))
