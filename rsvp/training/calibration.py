"""Steps of a budget in seconds: found once, by timing steps of the training that follows.

The loop itself knows steps alone, so that it can be resumed exactly. The number of steps is kept in
the training's state folder.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rsvp.runtime.device import device_name
from rsvp.runtime.files import read_json, sha256_of_json, write_json
from rsvp.runtime.journal import StateKey
from rsvp.runtime.progress import Bar
from rsvp.training.batches import read_ahead
from rsvp.training.processes import Processes
from rsvp.training.state import Stateful, load_part, save_part

if TYPE_CHECKING:  # it takes as long to import as torch
    from lightning_fabric import Fabric

WARM_UP = 3  # steps that are not timed: networks are compiled, memory is allocated
LEAST, MOST = 5, 40  # steps that are timed
ENOUGH_SECONDS = 30.0  # no further step is timed after these
VALIDATIONS = 2
MOST_STEPS = 10**9
TRIAL_STEPS = WARM_UP + MOST
Batch = TypeVar("Batch")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Seconds that parts of a training take."""

    step: float  # the median of the timed steps, with the wait for their data
    fast: float  # the 10 % quantile of the timed steps
    slow: float  # the 90 % quantile
    validation: float  # the shorter of two: the first one warms up, and noise only adds
    timed_steps: int
    start: float = 0.0  # by which the first steps are slower: networks are compiled in them
    cpu_step: float = 0.0  # processor seconds of all threads, the mean of the timed steps
    cpu_validation: float = 0.0  # the mean of both


def time_training(
    step: Callable[[int], object],
    validate: Callable[[], object],
    device: torch.device,
    processes: Processes,
) -> Timing:
    """Make some steps and validations, and return the seconds that they take.

    step: gets the step's number, from 0 to `TRIAL_STEPS` - 1 at most, and waits for its data. The
    first process says when there are enough.
    """
    seconds: list[float] = []

    def enough() -> bool:
        timed = seconds[WARM_UP:]
        return len(timed) >= LEAST and sum(timed) > ENOUGH_SECONDS

    numbers = range(TRIAL_STEPS)
    clocks = []  # of the processor
    for number in Bar(numbers, desc="calibrate", unit="step", disable=processes.rank > 0):
        clocks.append(time.process_time())
        seconds.append(seconds_of(partial(step, number), device))
        if processes.decide(enough):
            break
    timed = seconds[WARM_UP:]
    clocks.append(time.process_time())
    fast, median, slow = (float(value) for value in np.quantile(timed, (0.1, 0.5, 0.9)))
    validation = min(seconds_of(validate, device) for _ in range(VALIDATIONS))
    start = max(0.0, sum(seconds[:WARM_UP]) - WARM_UP * median)
    cpu_step = (clocks[-1] - clocks[WARM_UP]) / len(timed)
    cpu_validation = (time.process_time() - clocks[-1]) / VALIDATIONS
    return Timing(median, fast, slow, validation, len(timed), start, cpu_step, cpu_validation)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `work` takes until the device has finished it."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def steps_within(seconds: float, timing: Timing, validate_every: int | None) -> int:
    """Return the steps that fit into `seconds`, at least one.

    The start, one validation, and one more each `validate_every` steps, are part of the time.
    """
    share = timing.validation / validate_every if validate_every else 0.0
    fitting = (seconds - timing.start - timing.validation) / (timing.step + share)
    return int(min(max(1.0, fitting), MOST_STEPS))


@contextmanager
def put_back(stateful: Mapping[str, Stateful], device: torch.device) -> Iterator[None]:
    """Restore weights, optimisers, averages and the global random state at the end."""
    tensors: dict[str, Tensor] = {}
    layouts = {name: save_part(item, name, tensors) for name, item in stateful.items()}
    tensors = {name: value.detach().clone().cpu() for name, value in tensors.items()}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    for name, item in stateful.items():
        load_part(item, name, tensors, layouts[name])


def planned_steps(
    steps: int,
    seconds: float | None,
    folder: Path,
    key: StateKey,
    stateful: Mapping[str, Stateful],
    update: Callable[[int, float, Batch], object],
    batch: Callable[[int], Batch],
    validate: Callable[[], object],
    validate_every: int | None,
    fabric: "Fabric",
    processes: Processes,
) -> tuple[int, dict[str, Any]]:
    """Return the steps of a training, and the entry of a calibration for its run record.

    `steps` count unless there is a budget in `seconds`. The first run of a key then times `update`
    (step, learning rate, data) with the data of `batch` (step), and `validate`, and keeps the
    result in `folder`; later runs read it. `stateful` is left as it was. validate_every: None for
    one validation at the end.
    """
    if seconds is None:
        return steps, {}
    path = folder / f"calibration-{sha256_of_json([asdict(key), seconds])[:12]}.json"
    if not processes.decide(path.exists):
        ahead = read_ahead(batch, 0, TRIAL_STEPS, fabric.device)
        with put_back(stateful, fabric.device):
            timing = time_training(
                lambda step: update(step, 0.0, next(ahead)),
                lambda: processes.decide(validate),
                fabric.device,
                processes,
            )

        def keep() -> None:
            steps = steps_within(seconds, timing, validate_every)
            tell(seconds, steps, timing)
            found = {"seconds": seconds, "steps": steps, "device": device_name(fabric)}
            write_json(path, found | {"timing": asdict(timing)})

        processes.decide(keep)
    found = processes.decide(lambda: read_json(path))
    return found["steps"], {"calibration": found}


def tell(seconds: float, steps: int, timing: Timing) -> None:
    """Print how many steps fit into `seconds`, and the spread of the timed ones."""
    logger.warning(
        "a step takes %.3g s (%.3g to %.3g s: 10 %% and 90 %% quantiles of %d), a validation"
        " %.3g s, the start %.3g s: %d steps in %g s",
        timing.step, timing.fast, timing.slow, timing.timed_steps, timing.validation,
        timing.start, steps, seconds,
    )  # fmt: skip
    if seconds < (least := timing.start + timing.step + timing.validation):
        logger.warning(
            "%g seconds are less than one step and a validation take (%.3g s)", seconds, least
        )
