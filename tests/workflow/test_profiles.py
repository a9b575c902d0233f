"""The profiles for clusters: every rule that runs a network is in them, within a day's queue."""

import re

import pytest
import yaml
from projects import ROOT, RULES

DAY = 1440  # minutes
PROFILES = {
    name: yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
    for name in ("default", "slurm", "cluster-generic")
}


def on_gpu() -> set[str]:
    """The rules that ask for a GPU."""
    rules = re.split(r"^rule ", RULES, flags=re.MULTILINE)[1:]
    asking = re.compile(r"gpu=PLAN|PLAN\.training_resources")
    return {rule.split(":")[0] for rule in rules if asking.search(rule)}


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_what_runs_a_network_has_its_memory_and_time(name):
    profile = PROFILES[name]
    assert profile["set-resources"].keys() == on_gpu() and len(on_gpu()) == 12
    asked = [profile["default-resources"], *profile["set-resources"].values()]
    for attempt in range(1, profile["retries"] + 2):
        for resources in asked:
            minutes = eval(str(resources["runtime"]), {"attempt": attempt})
            assert 0 < minutes <= DAY
            assert eval(resources["mem_mb"], {"attempt": attempt}) > 0


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_what_one_machine_needs_clusters_need_too(name):
    kept = PROFILES["default"].keys() - {"cores"}
    assert {key: PROFILES[name][key] for key in kept} == {k: PROFILES["default"][k] for k in kept}


def test_memory_and_time_stand_in_profiles_alone():
    assert not re.search("mem|runtime|disk", " ".join(re.findall(r"^    .*=", RULES, re.MULTILINE)))
