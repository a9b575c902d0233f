"""Stage one, part two: adversarial fine-tuning of the autoencoder, which stops by itself.

A perceptual score on the validation split decides: its best (averaged) weights are kept, and the
stage says why it stopped.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.models.bundle import save_bundle
from rsvp.runtime.device import device_name, make_fabric
from rsvp.runtime.files import read_json
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import run_stage, training_parser
from rsvp.training.calibration import TRIAL_STEPS, calibrated_steps
from rsvp.training.cost import autoencoder_flops, per_second
from rsvp.training.early_stopping import DIVERGED, EarlyStopping
from rsvp.training.finetuning import Finetuning
from rsvp.training.run import NotFinite, TrainingRun

logger = logging.getLogger(
    "rsvp.stages.finetune_autoencoder"
)  # by hand: `python -m` runs it as __main__


def main() -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset index.json")
    parser.add_argument(
        "--pretrained", type=Path, required=True, help="index.json of the pretrained autoencoder"
    )
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config = settings.autoencoder.finetune
    fabric = make_fabric(settings.compute, settings.seed)
    clips, held_out = (Clips(arguments.dataset, split) for split in ("train", "validation"))
    pretrained = load_autoencoder(arguments.pretrained)
    trainer = Finetuning(settings, clips, held_out, pretrained, fabric, TRIAL_STEPS)
    key = state_key(arguments.code, settings.handed, arguments.dataset, arguments.pretrained)
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
    stopping = EarlyStopping(config.patience, config.max_psnr_drop)
    stopping.load_state_dict(run.memory.get("stopping", {}))
    ahead = trainer.batches(run.done)
    try:
        for step in run.steps("finetune autoencoder"):
            if step % config.validate_every == 0:
                validate(run, step, trainer, stopping)
                if stopping.stopped:
                    break
            run.log(step, **trainer.step(step, next(ahead)))
    except NotFinite as error:
        logger.warning("%s", error)
        stopping.outcome = DIVERGED
    if stopping.outcome == DIVERGED:
        logger.warning("diverged; went back to the best weights, of step %d", stopping.best_step)
    elif stopping.stopped:
        run.stop()
    if not stopping.stopped:
        validate(run, run.done, trainer, stopping)
    best, outcome = trainer.best, stopping.outcome or "steps"
    run.history.write(arguments.history)
    save_bundle(
        arguments.weights,
        arguments.index,
        best,
        {
            "arguments": read_json(arguments.pretrained)["arguments"],
            "context_frames": clips.context_frames,
            "step": stopping.best_step,
            "steps_run": run.done,
            "stopped_by": outcome,
        }
        | trainer.comparison(),
    )
    return {
        "steps": run.done,
        "stopped_by": outcome,
        "plans": run.memory["plans"],
        "device": device_name(fabric),
        "training_seconds": round(run.history.seconds, 3),
        "parameters": sum(p.numel() for p in best.parameters()),
        "flops_forward": autoencoder_flops(best, clips),
        "samples_per_second": per_second(run.done * config.batch_size, run.history.seconds),
    } | budget


def validate(run: TrainingRun, step: int, trainer: Finetuning, stopping: EarlyStopping) -> None:
    """Measure on the validation split; keep the weights when they are the best so far."""
    scores = trainer.start if step == 0 else trainer.validate()
    score, psnr = float(scores.watched.mean()), float(scores.psnr.mean())
    if stopping.observe(step, score, psnr):
        trainer.keep(scores)
    run.memory["stopping"] = stopping.state_dict()
    name = f"validation_{trainer.watch.name}"
    run.validated(step, score, **{name: score, "validation_psnr": psnr})


if __name__ == "__main__":
    main()
