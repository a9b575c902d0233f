"""What is said of finished stages before a plan, and what Snakemake then does about them."""

import json
import re
import tomllib

import finished
import pytest
from projects import ROOT

from rsvp.runtime.record import minor

RUNNING = {"python": "3.12.4", "torch": "2.15.0", "numpy": "2.4.6", "snakemake": "9.27.1"}


def record(stage: str, **versions: str) -> dict:
    """A run record with some versions other than those that run."""
    return {"stage": stage, "versions": RUNNING | versions}


def test_same_versions_say_nothing():
    records = {"a": record("decode", python="3.12.9", snakemake="9.1.0"), "b": {"stage": "split"}}
    assert finished.other_versions(records, RUNNING) == []


def test_one_line_for_each_version_that_differs():
    records = {f"predictors/p/seed{seed}": record("train_diffusion", torch="2.14.0")
               for seed in range(5)}  # fmt: skip
    records["datasets/d"] = record("split")
    records["evaluation/p/seed0"] = record("evaluate", torch="2.14.0", python="3.11.9")
    torch, python = finished.other_versions(records, RUNNING)
    assert torch == (
        "6 stages (predictors/p/seed0, predictors/p/seed1, predictors/p/seed2 and 3 more) ran with"
        " torch 2.14.0, now it is 2.15.0; kept"
    )
    assert python.startswith("1 stage (evaluation/p/seed0) ran with python 3.11, now it is 3.12;")


def test_missing_and_broken_records_are_passed_over(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text('{"stage": ')
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/run.json").write_text(json.dumps(record("split")))
    records = finished.read_records(str(tmp_path), ["missing", "broken", "whole"])
    assert list(records) == ["whole"]


@pytest.mark.parametrize("package", ["snakemake", "torch", "torchvision"])
def test_oldest_version_that_may_be_installed_is_one_that_was_run(package):
    """Parts of Snakemake that this module imports are not in its first 9.x."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (oldest,) = re.findall(rf"^{package}>=([\d.]+)", "\n".join(project["dependencies"]), re.M)
    constraints = (ROOT / "envs/constraints.txt").read_text()
    (ran,) = re.findall(rf"^{package}==([\d.]+)$", constraints, re.M)
    assert minor(oldest) == minor(ran)


def test_no_results_no_words(tmp_path, capsys):
    finished.speak_of_finished(str(tmp_path / "results"), ["datasets/d"])
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "results").exists()
