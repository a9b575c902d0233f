"""Each script of benchmarks/ explains itself, and its README names it."""

import importlib
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import oldest, stillness

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


def test_stillness_measures_a_shifted_picture():
    """Half of it moves by three pixels; a field that says so is rough at one edge alone."""
    random = np.random.default_rng(0)
    texture = cv2.GaussianBlur(random.integers(0, 256, (64, 80, 3)).astype(np.uint8), (0, 0), 1.5)
    last, moved = texture[:, 8:72].copy(), texture[:, 8:72].copy()
    moved[32:] = texture[32:, 5:69]
    future = np.stack([last, last, last, moved])
    field = torch.zeros(4, 2, 64, 64)
    field[3, 0, 32:] = 3.0
    mask = torch.zeros(64, 64)
    mask[32:] = 1.0
    found = stillness.measures({"sampled": field}, mask, last, future)
    assert found["sampled, still"] < 0.1 < 2.5 < found["sampled, moving"] < 3.1
    assert found["true, still"] < 0.1 < 2.7 < found["true, moving"] < 3.3
    assert found["mask, still"] < 0.05 < 0.9 < found["mask, moving"]
    assert found["roughness, sampled"] == pytest.approx((3.0**2 / 63 / 4) ** 0.5)
