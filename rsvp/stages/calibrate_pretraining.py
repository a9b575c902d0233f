"""Stage one: find how many steps of pretraining fit into the seconds that the config gives it."""

import argparse
from pathlib import Path
from typing import Any

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips
from rsvp.runtime.device import make_fabric
from rsvp.runtime.files import write_json
from rsvp.runtime.main import calibration_parser, run_stage
from rsvp.training.calibration import TRIAL_STEPS, calibrate
from rsvp.training.pretraining import Pretraining


def main() -> None:
    parser = calibration_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    fabric = make_fabric(settings.compute, settings.seed)
    clips, held_out = (Clips(arguments.dataset, split) for split in ("train", "validation"))
    trainer = Pretraining(settings, clips, held_out, fabric, TRIAL_STEPS)
    found = calibrate(trainer, fabric, settings.autoencoder.pretrain.seconds)
    write_json(arguments.calibration, found)
    return {"device": found["device"], "calibration": found}


if __name__ == "__main__":
    main()
