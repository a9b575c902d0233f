"""Stage two: find how many steps of training fit into the seconds that the config gives it."""

import argparse
from pathlib import Path
from typing import Any

from rsvp.config.stages import Settings
from rsvp.data.latents import Latents
from rsvp.runtime.device import make_fabric
from rsvp.runtime.files import write_json
from rsvp.runtime.main import calibration_parser, run_stage
from rsvp.training.calibration import TRIAL_STEPS, calibrate
from rsvp.training.denoising import Denoising


def main() -> None:
    parser = calibration_parser(__doc__)
    parser.add_argument("--latents", type=Path, required=True, help="index.json of the cache")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    fabric = make_fabric(settings.compute, settings.seed)
    latents, held_out = (Latents(arguments.latents, split) for split in ("train", "validation"))
    trainer = Denoising(settings, latents, held_out, fabric, TRIAL_STEPS)
    found = calibrate(trainer, fabric, settings.predictor.seconds)
    write_json(arguments.calibration, found)
    return {"device": found["device"], "calibration": found}


if __name__ == "__main__":
    main()
