"""Each script of benchmarks/ explains itself, and its README names it."""

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks import oldest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_the_script(script, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.{script}")
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert module.__doc__.split("\n")[0].split(":")[0] in shown


def test_readme_names_each_script():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = {name for name in SCRIPTS if f"| `{name}.py` |" in text}
    assert named == set(SCRIPTS)


def test_oldest_versions_are_those_of_the_bounds():
    bounds = oldest.lower_bounds(["a>=1.2,<3", "b-c>=0.5"])
    assert bounds == {"a": "1.2", "b-c": "0.5"}


@pytest.mark.soak
def test_the_oldest_versions_that_may_be_installed_pass():
    """Downloads 3 GB."""
    oldest.main([])
