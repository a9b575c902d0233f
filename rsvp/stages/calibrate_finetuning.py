"""Stage one, part two: find how many steps of fine-tuning fit into the config's seconds.

Its validations are part of the time.
"""

import argparse
from pathlib import Path
from typing import Any

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.runtime.device import make_fabric
from rsvp.runtime.files import write_json
from rsvp.runtime.main import calibration_parser, run_stage
from rsvp.training.calibration import TRIAL_STEPS, calibrate
from rsvp.training.finetuning import Finetuning


def main() -> None:
    parser = calibration_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    parser.add_argument(
        "--pretrained", type=Path, required=True, help="index.json of the pretrained autoencoder"
    )
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    fabric = make_fabric(settings.compute, settings.seed)
    clips, held_out = (Clips(arguments.dataset, split) for split in ("train", "validation"))
    pretrained = load_autoencoder(arguments.pretrained)
    trainer = Finetuning(settings, clips, held_out, pretrained, fabric, TRIAL_STEPS)
    found = calibrate(trainer, fabric, settings.autoencoder.finetune.seconds)
    write_json(arguments.calibration, found)
    return {"device": found["device"], "calibration": found}


if __name__ == "__main__":
    main()
