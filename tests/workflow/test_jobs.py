"""Records of finished stages: other versions."""

from jobs import other_versions

RUNNING = {"python": "3.12.4", "torch": "2.15.0", "numpy": "2.4.6", "snakemake": "9.27.1"}


def record(stage: str, **versions: str) -> dict:
    """A run record with some versions other than those that run."""
    return {"stage": stage, "versions": RUNNING | versions}


def test_same_versions_say_nothing():
    records = {"a": record("decode", python="3.12.9", snakemake="9.1.0"), "b": {"stage": "split"}}
    assert other_versions(records, RUNNING) == []


def test_one_line_for_each_version_that_differs():
    records = {f"predictors/p/seed{seed}": record("train_diffusion", torch="2.14.0")
               for seed in range(5)}  # fmt: skip
    records["datasets/d"] = record("split")
    records["evaluation/p/seed0"] = record("evaluate", torch="2.14.0", python="3.11.9")
    torch, python = other_versions(records, RUNNING)
    assert torch == (
        "6 stages (predictors/p/seed0, predictors/p/seed1, predictors/p/seed2 and 3 more) ran with"
        " torch 2.14.0, now it is 2.15.0; kept"
    )
    assert python.startswith("1 stage (evaluation/p/seed0) ran with python 3.11, now it is 3.12;")
