"""The config that flags name, as `rsvp why` reads it, beside Snakemake's own reading."""

import json
from pathlib import Path

import pytest
from session import given_config
from snakemake.cli import parse_config
from snakemake.settings.types import ConfigSettings

from rsvp.runtime.errors import UserError

SETTINGS = (
    "results=2026-05-01", "results=1e3", "results=0x10", "results=1_000", "results=on",
    "results=nan", "results=", "results=a=b", "results='1e3'", "results= 5", "results=True",
    "results={a", "results=a: b: c", "results=---",
    "evaluation={max_clips: null, baselines: [copy-last]}", "evaluation={'split': 'validation'}",
    "report={title: 1.10}", "datasets={shapes: {clip_frames: 12}}", "weights={}", "new_key=false",
)  # fmt: skip


def snakemake_reads(files: list[Path], settings: list[str]) -> dict:
    """The config that snakemake makes of --configfile and --config."""
    return ConfigSettings(config=parse_config(settings), configfiles=files).overwrite_config


def same(one: object, other: object) -> bool:
    """Equal as text: 1 is not 1.0, and nan is nan."""
    return repr(json.loads(json.dumps(one))) == repr(json.loads(json.dumps(other)))


def test_settings_are_those_that_snakemake_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [Path("config.yaml"), Path("more.yaml"), Path("tabs.json")]
    files[0].write_text("results: 2026-05-01x\nevaluation:\ndatasets: {shapes: {fps: 1e3}}\n")
    files[1].write_text("report: {title: on, seeds: [0, 1]}\ndatasets: {shapes: {range: 0.1%}}\n")
    files[2].write_text('{\n\t"compute": {"save_seconds": 1e3}\n}\n')
    names = list(map(str, files))
    for settings in ([], list(SETTINGS), *([setting] for setting in SETTINGS)):
        found = given_config(["--configfile", *names, "--config", *settings], None)
        assert same(found, snakemake_reads(files, settings)), settings
    assert given_config(["--configfiles", *names, "-C", "results=x"], None)["results"] == "x"


@pytest.mark.parametrize("setting", ["results", "=x", "1x=3", "a b=3"])
def test_settings_that_snakemake_refuses_are_one_line(tmp_path, monkeypatch, setting):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("results: x\n")
    with pytest.raises(ValueError, match="Invalid config definition"):
        parse_config([setting])
    with pytest.raises(UserError, match=r"^--config: .*: not KEY=VALUE$"):
        given_config(["--config", setting], None)
