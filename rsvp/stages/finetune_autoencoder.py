"""Stage one, part two: adversarial fine-tuning of the autoencoder, which stops by itself.

A perceptual score on validation clips decides: its best (averaged) weights are kept, and the stage
says why it stopped. The gain is measured on other validation clips.
"""

import argparse
import copy
import logging
from typing import Any

import torch
from torch import Tensor

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.contexts import contexts_of
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.models.bundle import save_bundle
from rsvp.runtime.files import read_json
from rsvp.runtime.journal import state_key
from rsvp.runtime.main import TRAINING, run_stage, stage_parser
from rsvp.runtime.random import generator
from rsvp.training.adversarial import (
    Discriminators,
    discriminator_step,
    draw_consecutive,
    generator_step,
    lazy_r1,
)
from rsvp.training.augmentation import AdaptiveAugmentation
from rsvp.training.batches import ClipBatches, in_context, read_ahead
from rsvp.training.calibration import planned_steps
from rsvp.training.cost import autoencoder_flops
from rsvp.training.early_stopping import DIVERGED, EarlyStopping
from rsvp.training.ema import WeightAverage
from rsvp.training.processes import launch
from rsvp.training.reconstruction import ClipPart, clip_parts
from rsvp.training.run import NotFinite, TrainingRun, learning_rate, set_learning_rate
from rsvp.training.state import Stateful
from rsvp.training.validation import ReconstructionValidator, load_perceptual, other_clips
from rsvp.training.watching import reconstructions

# By hand: `python -m` runs this as __main__.
logger = logging.getLogger(__name__)


def main() -> None:
    run_stage(stage_parser(__doc__, "dataset", "pretrained", *TRAINING), run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    config, frame_losses = settings.autoencoder.finetune, settings.autoencoder.pretrain
    seed = settings.seed
    fabric, processes = launch(settings.compute, seed)
    clips, held_out = (Clips(arguments.dataset, split) for split in ("train", "validation"))
    contexts = contexts_of(clips.context_frames, settings.contexts)
    parts = processes.own(config.batch_size)
    batches = ClipBatches(clips, seed, parts, clips.augment, "finetune")

    # Both sides and their optimisers: low momentum, as adversarial training wants. Not fused, for
    # the reason that pretraining's is not.
    autoencoder = load_autoencoder(arguments.pretrained).to(fabric.device).requires_grad_(True)
    augmentation = None
    if config.augment == "ada":
        augmentation = AdaptiveAugmentation(config.ada_target, config.ada_clips)
    discriminators = Discriminators(config.discriminator_width, augmentation, clips.channels)
    discriminators = discriminators.to(fabric.device)
    optimizer = torch.optim.Adam(autoencoder.parameters(), betas=(0.5, 0.98))
    discriminator_optimizer = torch.optim.Adam(
        discriminators.parameters(), lr=config.discriminator_learning_rate, betas=(0.5, 0.98)
    )
    # The average is watched; `best` holds the weights that are kept.
    average = WeightAverage(autoencoder, config.ema_decay)
    best = copy.deepcopy(autoencoder)
    stateful: dict[str, Stateful] = {
        "autoencoder": autoencoder,
        "average": average,
        "best": best,
        "discriminators": discriminators,
        "optimizer": optimizer,
        "discriminator_optimizer": discriminator_optimizer,
    }
    lpips = settings.weights.lpips_backbone, settings.weights.lpips_linear
    perceptual = load_perceptual(*lpips, fabric.device)
    watched = evaluation_clips(held_out, config.validation_clips)
    validator = ReconstructionValidator(held_out, watched, perceptual, fabric.device)
    r1_weight = config.r1_weight if config.regularisation == "r1" else 0.0

    def batch(step: int) -> list[ClipPart]:
        """Draw clips, their observed frames, and noise on the CPU, ahead of a GPU."""
        frames, context = in_context(batches[step], contexts, seed, step, "finetune")
        random = generator(seed, step, "finetune")
        shape = (config.batch_size, *frames[0].shape[1:])
        drawn = draw_consecutive(autoencoder, shape, context, config.target_frames, random)
        observed = context.first + context.last
        return [part.to(fabric.device) for part in clip_parts(parts, frames, observed, drawn)]

    def update(step: int, rate: float, made: list[ClipPart]) -> dict[str, Tensor]:
        set_learning_rate(optimizer, rate)
        fakes, reals, losses = generator_step(
            fabric, processes, autoencoder, discriminators, optimizer, made, seed, step,
            l1=frame_losses.l1, l2=frame_losses.l2, decided=frame_losses.decided,
            lpips=config.lpips, perceptual=perceptual, patches=config.sliced_wasserstein,
            adversarial=config.adversarial, adaptive=config.adaptive_weight,
            feature_matching=config.feature_matching,
        )  # fmt: skip
        r1 = lazy_r1(step, r1_weight, config.r1_every)
        losses |= discriminator_step(
            fabric, processes, discriminators, discriminator_optimizer, made, fakes, reals, r1
        )
        average.update(autoencoder)
        return losses

    # The budget, and the state of an earlier run.
    key = state_key(arguments.code, settings.handed, arguments.dataset, arguments.pretrained)
    steps, calibration = planned_steps(
        config.steps, config.seconds, arguments.state, key, stateful, update, batch,
        lambda: validator.measure(average.module), config.validate_every, fabric, processes,
    )  # fmt: skip
    run = TrainingRun(arguments.state, key, steps, stateful, processes)
    shown = reconstructions(held_out, average.module)
    stopping = EarlyStopping(config.patience, config.max_psnr_drop)
    stopping.load_state_dict(run.memory.get("stopping", {}))

    def validate(step: int) -> None:
        """Validate the averaged weights, and keep them when they are the best so far."""
        summary = processes.decide(lambda: validator.summary(validator.measure(average.module)))
        if stopping.observe(step, summary["score"], summary["psnr"]):
            best.load_state_dict(average.module.state_dict())
            run.memory["validation"] = summary
            run.memory.setdefault("before", summary)
        run.memory["stopping"] = stopping.state_dict()
        found = {f"validation_{validator.watched}": summary["score"]}
        run.history.add(step, **found, validation_psnr=summary["psnr"])

    # The loop; the first validation is of the pretrained weights.
    ahead = read_ahead(batch, run.done, steps, fabric.device)
    try:
        for step in run.steps("finetune autoencoder"):
            if step % config.validate_every == 0:
                validate(step)
                if stopping.stopped:
                    run.stop()
                    break
            rate = learning_rate(step, steps, config.learning_rate, config.warmup_steps)
            run.log(step, **update(step, rate, next(ahead)))
            run.history.watch(step + 1, steps, shown)
    except NotFinite as error:
        logger.warning("%s", error)
        stopping.outcome = DIVERGED

    # The end: the best weights, and their gain on clips that did not choose them.
    if stopping.outcome == DIVERGED:
        logger.warning("diverged; went back to the best weights, of step %d", stopping.best_step)
    elif not stopping.stopped:
        validate(run.done)
    if processes.rank:
        return {}  # what is left is for the first process
    others = other_clips(len(held_out), watched)
    if not others:
        logger.warning("all %d validation clips choose the weights: no gain measured", len(watched))
    compared = ReconstructionValidator(held_out, others, perceptual, fabric.device)
    pretrained = load_autoencoder(arguments.pretrained).to(fabric.device)
    # The last validation comes after all steps, and stops nothing any more.
    outcome = stopping.outcome if run.done < steps else "steps"
    run.history.write(arguments.history)
    metadata = {
        "arguments": read_json(arguments.pretrained)["arguments"],
        "context_frames": clips.context_frames,
        "step": stopping.best_step,
        "steps_run": run.done,
        "stopped_by": outcome,
        "before": run.memory["before"],
        "validation": run.memory["validation"],
        **compared.compare(pretrained, best),
    }
    save_bundle(arguments.weights, arguments.index, best, metadata)
    return {
        "stopped_by": outcome,
        "flops_forward": autoencoder_flops(best, clips),
        **run.record(config.batch_size, fabric, best),
        **calibration,
    }


if __name__ == "__main__":
    main()
