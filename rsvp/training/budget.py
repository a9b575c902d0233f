"""How many steps a training stage makes: the config's, or those that a calibration found."""

from pathlib import Path
from typing import Any

from rsvp.runtime.files import read_json


def planned_steps(steps: int, calibration: Path | None) -> tuple[int, dict[str, Any]]:
    """The steps of a training, and what its run record says of a budget in seconds.

    `steps`: the config's. `calibration`: the index of a calibration, which counts in their place.
    """
    if calibration is None:
        return steps, {}
    found = read_json(calibration)
    return found["steps"], {"calibration": found}
