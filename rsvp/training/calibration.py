"""A budget in seconds becomes steps: once, by timing the training that is to come.

Training itself knows steps alone, so that it can be resumed exactly.
"""

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from rsvp.runtime.device import device_name

WARM_UP = 3  # steps that are not timed: memory is allocated, kernels are chosen
LEAST, MOST = 5, 40  # steps that are timed
ENOUGH_SECONDS = 30.0  # no further step is timed after these
VALIDATIONS = 2
MOST_STEPS = 10**9
TRIAL_STEPS = WARM_UP + MOST  # that a trainer is built for
logger = logging.getLogger(__name__)


class Trainer(Protocol):
    """A training stage: what one step does, and how often the validation split is looked at."""

    @property
    def validate_every(self) -> int | None: ...

    def batches(self, first: int) -> Iterator[Any]: ...

    def step(self, step: int, batch: Any) -> dict[str, Tensor]: ...

    def validate(self) -> object: ...


@dataclass(frozen=True)
class Timing:
    """What a training takes, in seconds."""

    step: float  # the median of the timed steps, with the wait for their data
    validation: float  # the shorter of two: the first one warms up, and noise only adds
    timed_steps: int


def time_training(trainer: Trainer, finish: Callable[[], None]) -> Timing:
    """Make some steps, which train nothing that is kept, and validate; returns what each took.

    `finish` waits for the device.
    """
    ahead, seconds = trainer.batches(0), []
    for step in tqdm(range(TRIAL_STEPS), desc="calibrate", unit="step"):
        started = time.perf_counter()
        trainer.step(step, next(ahead))
        finish()
        seconds.append(time.perf_counter() - started)
        timed = seconds[WARM_UP:]
        if len(timed) >= LEAST and sum(timed) > ENOUGH_SECONDS:
            break
    validations = []
    for _ in range(VALIDATIONS):
        started = time.perf_counter()
        trainer.validate()
        finish()
        validations.append(time.perf_counter() - started)
    return Timing(statistics.median(timed), min(validations), len(timed))


def steps_within(seconds: float, timing: Timing, validate_every: int | None) -> int:
    """The steps that fit into `seconds`, at least one.

    One validation, and one more each `validate_every` steps, are part of the time.
    """
    share = timing.validation / validate_every if validate_every else 0.0
    fitting = (seconds - timing.validation) / (timing.step + share)
    return int(min(max(1.0, fitting), MOST_STEPS))


def calibrate(trainer: Trainer, fabric: Fabric, seconds: float) -> dict[str, Any]:
    """How many steps of a trainer, built for `TRIAL_STEPS`, fit into `seconds`; and why."""

    def finish() -> None:
        if fabric.device.type == "cuda":
            torch.cuda.synchronize(fabric.device)

    timing = time_training(trainer, finish)
    steps = steps_within(seconds, timing, trainer.validate_every)
    if seconds < timing.step + timing.validation:
        logger.warning(
            "%g seconds are less than one step and a validation take (%.3g s)",
            seconds,
            timing.step + timing.validation,
        )
    return {
        "seconds": seconds,
        "steps": steps,
        "seconds_per_step": float(f"{timing.step:.4g}"),
        "seconds_per_validation": float(f"{timing.validation:.4g}"),
        "validate_every": trainer.validate_every,
        "timed_steps": timing.timed_steps,
        "device": device_name(fabric),
        "threads": torch.get_num_threads(),
    }
