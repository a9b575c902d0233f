"""Where a training's number of steps comes from."""

from rsvp.runtime.files import write_json
from rsvp.training.budget import planned_steps


def test_steps_are_the_configs_without_a_calibration():
    assert planned_steps(7, None) == (7, {})


def test_steps_are_the_calibrations_where_there_is_one(tmp_path):
    found = {"steps": 90, "seconds": 60.0}
    write_json(tmp_path / "index.json", found)
    assert planned_steps(7, tmp_path / "index.json") == (90, {"calibration": found})
