"""Stage two: train the denoiser that continues latents, from the latent cache alone."""

import argparse
from pathlib import Path
from typing import Any

from rsvp.config.stages import Settings
from rsvp.data.latents import Latents
from rsvp.models.bundle import save_bundle
from rsvp.runtime.device import device_name, make_fabric
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, training_parser
from rsvp.training.calibration import TRIAL_STEPS, calibrated_steps
from rsvp.training.cost import forward_flops, per_second
from rsvp.training.denoising import VALIDATE_EVERY, Denoising
from rsvp.training.run import TrainingRun


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--latents", type=Path, required=True, help="index.json of the cache")
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config = settings.predictor
    fabric = make_fabric(settings.compute, settings.seed)
    latents = Latents(arguments.latents, "train")
    held_out = Latents(arguments.latents, "validation")
    trainer = Denoising(settings, latents, held_out, fabric, TRIAL_STEPS)
    key = state_key(arguments.code, settings.handed, arguments.latents)
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
    for step in run.steps("train diffusion"):
        run.log(step, **trainer.step(step, next(ahead)))
        if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == steps:
            value = trainer.validate()
            run.validated(step + 1, value, validation_loss=value)
    run.history.write(arguments.history)
    facts = {"arguments": trainer.arguments, "step": run.done}
    facts |= {"context_frames": latents.context_frames}
    facts |= {"future_frames": latents.metadata["clip_frames"] - latents.context_frames}
    facts |= {"statistics": latents.metadata["statistics"], "objective": config.objective.name}
    facts |= {"layout": trainer.layout.metadata}
    save_bundle(arguments.weights, arguments.index, trainer.average.module, facts)
    one = trainer.drawn.parts([0], [0])
    return {
        "steps": run.done,
        "plans": run.memory["plans"],
        "device": device_name(fabric),
        "training_seconds": round(run.history.seconds, 3),
        "parameters": sum(p.numel() for p in trainer.denoiser.parameters()),
        "flops_forward": forward_flops(lambda: trainer.averaged_loss(one, "cost")),
        "samples_per_second": per_second(run.done * config.batch_size, run.history.seconds),
    } | budget


if __name__ == "__main__":
    main()
