"""Keys and journals of what a killed stage goes on from."""

import os
import subprocess
import sys

import pytest

from rsvp.runtime.code import ROOT
from rsvp.runtime.journal import StateKey, state_key

KEY = StateKey("code", "work")


def trained(**values):
    """The settings of `train_diffusion` as the workflow hands them on."""
    predictor = {"autoencoder": "a", "learning_rate": 0.1, "steps": 5, "seconds": 60.0}
    return {"name": "p", "seed": 0, "predictor": predictor | values, "compute": {"threads": 1}}


def key(values, *inputs, code="a"):
    return state_key(code, values, *inputs)


def test_state_key_is_of_code_settings_and_inputs_but_not_of_steps(tmp_path):
    file = tmp_path / "index.json"
    file.write_text("1")
    start = key(trained(), file)
    assert key(trained(steps=99, seconds=1.0), file) == start
    assert key(trained(learning_rate=0.5), file) != start
    assert key(trained(sampler={"steps": 2}), file) != key(trained(sampler={"steps": 3}), file)
    assert key(trained() | {"seed": 1}, file) != start
    assert key(trained(), file, code="b") != start
    file.write_text("2")
    assert key(trained(), file) != start


@pytest.mark.parametrize("part", ["pretrain", "finetune"])
def test_state_key_of_an_autoencoder_is_not_of_its_steps(part):
    def of(**values):
        values = {"width": 8, part: {"learning_rate": 0.1, "steps": 5} | values}
        return state_key("a", {"autoencoder": values})

    assert of(steps=9) == of()
    assert of(learning_rate=0.2) != of()


def test_files_that_settings_name_count_by_content(tmp_path):
    program = tmp_path / "detector.py"
    program.write_text("1")
    values = {"weights": {"detectors": {"mine": {"program": str(program)}}}}
    start = state_key("a", values)
    program.write_text("2")
    assert state_key("a", values) != start


def test_bars_are_drawn_as_often_as_the_environment_says():
    """The workflow sets it, for terminals and log files; tqdm takes an argument before it."""
    shown = "from rsvp.runtime.parts import batches; print(batches(0, 3, 1, 'test').mininterval)"
    environment = os.environ | {"TQDM_MININTERVAL": "10"}
    command = [sys.executable, "-c", shown]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == "10.0\n", done.stderr
    sources = [path for path in (ROOT / "rsvp").rglob("*.py") if "mininterval" in path.read_text()]
    assert sources == []
