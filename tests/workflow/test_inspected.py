"""From `rsvp inspect --config` to a report, with no edit of the config in between."""

import argparse
import json

import pandas as pd
import pytest
import yaml

from rsvp.commands.inspect import run
from tests.test_inspect import SETS

BUNDLE = "predictors/rsvp-m/seed0/bundle/config.json"
# Read after the config: budgets of seconds.
SHORT = {
    "autoencoders": {"rsvp": {
        "width": 16, "pretrain": {"steps": 3, "batch_size": 2},
        "finetune": {"steps": 2, "batch_size": 2, "validate_every": 1, "discriminator_width": 8},
    }},
    "predictors": {"rsvp-m": {
        "denoiser": {"width": 32, "depth": 1, "heads": 2}, "sampler": {"steps": 2}, "steps": 3,
        "batch_size": 2,
    }},
    "compute": {"device": "cpu", "threads": 1},
    "evaluation": {"trajectories": 2, "bootstrap": 20, "videos": 1, "max_clips": 4,
                   "baselines": ["copy-last"]},
}  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize("kind", SETS)
def test_inspected_videos_go_to_a_report(project, monkeypatch, kind):
    monkeypatch.chdir(project.folder)
    path = SETS[kind](project.folder).relative_to(project.folder)
    run(argparse.Namespace(path=path, config=project.folder / "mine.yaml", deep=False, sample=32,
                           source=None, camera=None, axes=None))  # fmt: skip
    (project.folder / "short.yaml").write_text(yaml.safe_dump(SHORT))
    answer = project.snakemake("--cores", "2", "--configfile", "mine.yaml", "short.yaml")
    assert answer.code == 0, answer.text
    results = yaml.safe_load((project.folder / "mine.yaml").read_text())["results"]
    table = pd.read_csv(project.folder / results / "report/tables/results.csv")
    assert {"rsvp-m"} <= set(table.loc[table["value"].notna(), "row"])
    bundle = json.loads((project.folder / results / BUNDLE).read_text())
    limits = bundle["frames"].get("range")
    assert (limits == pytest.approx([0, 1], abs=0.2)) if kind == "arrays" else limits is None
