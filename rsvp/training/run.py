"""Steps of a training stage: resumed, shown, saved on time and on signals, checked for NaN."""

import logging
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rsvp.runtime.device import device_name
from rsvp.runtime.errors import UserError
from rsvp.runtime.journal import StateKey, save_seconds
from rsvp.runtime.lock import end_without_starter, starter_ended
from rsvp.runtime.progress import Bar
from rsvp.runtime.record import save_usage
from rsvp.training.cost import per_second
from rsvp.training.history import History
from rsvp.training.processes import Processes
from rsvp.training.state import StateFolder, Stateful, load_part, save_part

if TYPE_CHECKING:  # not all trainings have it, and what they lack is no part of their code
    from lightning_fabric import Fabric

    from rsvp.training.early_stopping import BestWeights

LOG_EVERY = 10  # steps
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
logger = logging.getLogger(__name__)


class NotFinite(UserError):
    """A loss or a weight is not a number. The states on disk are from before."""


class TrainingRun:
    """Counts steps, and saves the state of `stateful`.

    Use: `for step in run.steps(name): …; run.log(step, loss=loss)`. Steps count from 0; what one
    does must depend on `stateful` and on (seed, step) alone, so that a run that was killed and
    started again ends where one that was not would have. `memory` is JSON that belongs to the
    state. Of several processes the first one alone reads and writes, and decides when to end.
    """

    def __init__(
        self,
        folder: Path,
        key: StateKey,
        steps: int,
        stateful: Mapping[str, Stateful],
        processes: Processes | None = None,
    ) -> None:
        self.total, self.stateful = steps, stateful
        self.processes = processes or Processes()
        self.states = StateFolder(folder, key)
        self.memory: dict[str, Any] = {}
        self.done, rows, seconds = 0, [], 0.0
        if (loaded := self.processes.decide(lambda: self.states.load(steps))) is not None:
            tensors, values = loaded
            self.done, self.memory = values["step"], values["memory"]
            rows, seconds = values["history"], values["seconds"]
            for name, item in stateful.items():
                load_part(item, name, tensors, values["layouts"].get(name))
            logger.info("continuing after %d of %d steps", self.done, steps)
        self.resumed_at = self.done
        self.memory["plans"] = plans(self.memory.get("plans", []), self.done, steps)
        board = None if self.processes.rank else folder / "tensorboard"
        self.history = History(board, rows, seconds)
        self.saved_at = time.monotonic()
        self.stop_signal: int | None = None

    def steps(self, name: str) -> Iterator[int]:
        """Yield the steps still to do; save in between, at signals that ask for an end, and at the
        end.

        A second Ctrl-C ends at once.
        """
        progress = Bar(
            initial=self.done, total=self.total, desc=name, unit="step",
            disable=self.processes.rank > 0,
        )  # fmt: skip
        with progress, self.signals():
            while self.done < self.total and not self.memory.get("stopped"):
                yield self.done
                self.done += 1
                progress.update()
                self.processes.decide(self.after_step)
            if self.done > self.resumed_at:
                self.processes.decide(self.save)

    def after_step(self) -> None:
        """Save where it is time, and end this process where it is asked to."""
        if self.stop_signal is not None:
            self.save()
            name = signal.Signals(self.stop_signal).name
            logger.warning("asked to end (%s): saved after %d steps", name, self.done)
            raise SystemExit(128 + self.stop_signal)
        if starter_ended() or time.monotonic() - self.saved_at > save_seconds():
            self.save()
            end_without_starter()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Note signals that ask for an end: the running step is finished and saved first."""
        before = {number: signal.signal(number, self.on_signal) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note the signal."""
        if number == signal.SIGINT == self.stop_signal:
            raise KeyboardInterrupt
        self.stop_signal = number

    def log(self, step: int, **losses: Tensor | float) -> None:
        """Put losses into the history, every `LOG_EVERY` steps.

        NotFinite when one is not a number: the states on disk are from before, and stay.
        """
        if step % LOG_EVERY and step + 1 < self.total:
            return
        values = {name: float(torch.as_tensor(value).detach()) for name, value in losses.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise NotFinite(
                    f"{name} is {value} at step {step}, maybe since up to {LOG_EVERY - 1} steps"
                    f" before, which were not looked at; {self.kept()}; lower the learning rate"
                )
        self.history.add(step + 1, **{name: round(value, 6) for name, value in values.items()})

    def validated(self, step: int, loss: float, best: "BestWeights") -> None:
        """Note a validation loss after `step` steps, the best weights, and whether to stop here."""
        self.history.add(step, validation_loss=loss)
        best.observe(step, loss)
        self.memory["best"] = best.noted
        if best.stopped:
            logger.info("no validation loss as low since step %d: stopped", best.noted["step"])
            self.memory["stopped"] = True

    def stop(self) -> None:
        """End here, now and when the run is started again; the caller leaves the loop."""
        self.memory["stopped"] = True
        self.processes.decide(self.save)

    def save(self) -> None:
        """Write the state after the steps done so far.

        NotFinite when it holds a number that is not finite, which losses tell only later.
        """
        tensors: dict[str, Tensor] = {}
        layouts = {name: save_part(item, name, tensors) for name, item in self.stateful.items()}
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise NotFinite(
                    f"{name} is not finite after {self.done} steps; {self.kept()}; lower the"
                    " learning rate"
                )
        values = {
            "step": self.done,
            "seconds": self.history.seconds,
            "history": self.history.rows,
            "memory": self.memory,
            "layouts": layouts,
        }
        self.states.save(self.done, tensors, values)
        save_usage(self.states.folder)
        self.saved_at = time.monotonic()

    def kept(self) -> str:
        """Return a phrase on the newest state on disk, which holds finite numbers only."""
        if not (files := self.states.files()):
            return "no state was saved yet"
        step = int(files[-1].stem.removeprefix("state-"))
        return f"the state after {step} steps is kept in {self.states.folder}"

    def record(self, batch_size: int, fabric: "Fabric", network: nn.Module) -> dict[str, Any]:
        """Return the entries of a run record, which are of all runs of this training together."""
        seconds = self.history.seconds
        return {
            "device": device_name(fabric),
            "parameters": sum(p.numel() for p in network.parameters()),
            "steps": self.done,
            "training_processes": self.processes.count,
            "plans": self.memory["plans"],
            "training_seconds": round(seconds, 3),
            "samples_per_second": per_second(self.done * batch_size, seconds),
        }


def plans(before: list[list[int]], done: int, steps: int) -> list[list[int]]:
    """Return [step, steps planned from it on], one for each change of plan.

    More than one: the learning rate followed another schedule at first.
    """
    kept = [plan for plan in before if plan[0] < done or plan == [0, steps]]
    return kept if kept and kept[-1][1] == steps else [*kept, [done, steps]]


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then a half cosine down to a fiftieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = value
