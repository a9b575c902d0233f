"""Stage one: train an autoencoder, of any kind, to give videos back."""

import argparse
from pathlib import Path
from typing import Any

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips
from rsvp.models.bundle import save_bundle
from rsvp.runtime.device import device_name, make_fabric
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, training_parser
from rsvp.training.calibration import TRIAL_STEPS, calibrated_steps
from rsvp.training.cost import autoencoder_flops, per_second
from rsvp.training.pretraining import Pretraining
from rsvp.training.run import TrainingRun


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config = settings.autoencoder.pretrain
    fabric = make_fabric(settings.compute, settings.seed)
    clips, held_out = (Clips(arguments.dataset, split) for split in ("train", "validation"))
    trainer = Pretraining(settings, clips, held_out, fabric, TRIAL_STEPS)
    key = state_key(arguments.code, settings.handed, arguments.dataset)
    steps, budget = config.steps, {}
    if config.seconds is not None:
        ahead = trainer.batches(0)
        budget["calibration"] = calibrated_steps(
            config.seconds,
            arguments.state,
            key,
            trainer.parts,
            lambda step: trainer.step(step, next(ahead)),
            trainer.validate,
            trainer.validate_every,
            fabric.device,
        )
        steps = budget["calibration"]["steps"]
    trainer.total = steps
    run = TrainingRun(arguments.state, key, steps, trainer.parts)
    ahead = trainer.batches(run.done)
    for step in run.steps("pretrain autoencoder"):
        run.log(step, **trainer.step(step, next(ahead)))
    autoencoder, validation = trainer.kept, trainer.validate()
    run.history.write(arguments.history)
    save_bundle(
        arguments.weights,
        arguments.index,
        autoencoder,
        {
            "arguments": trainer.arguments,
            "step": run.done,
            "validation": validation,
            "context_frames": clips.context_frames,
        },
    )
    return {
        "steps": run.done,
        "plans": run.memory["plans"],
        "device": device_name(fabric),
        "training_seconds": round(run.history.seconds, 3),
        "parameters": sum(p.numel() for p in autoencoder.parameters()),
        "flops_forward": autoencoder_flops(autoencoder, clips),
        "samples_per_second": per_second(run.done * config.batch_size, run.history.seconds),
    } | budget


if __name__ == "__main__":
    main()
