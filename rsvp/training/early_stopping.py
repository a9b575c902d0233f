"""Early stopping of trainings, and the choice of the weights that are kept.

Its state is saved with the training's. The table of budgets names the reasons to stop
(rsvp/report/costs.py).
"""

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

PATIENCE = "patience"
DIVERGED = "diverged"
TOLERANCE = 0.01  # of the lowest validation loss, in the choice of the weights that are kept


@dataclass
class EarlyStopping:
    """Keeps the best of a watched score (lower is better) among weights of acceptable PSNR.

    Stops after `patience` validations without a new best. Diverged means that the score is worse
    than the start by `divergence` times, or not a number: training stops at once. What is kept is
    the best so far, which may be the start.
    """

    patience: int
    max_psnr_drop: float  # dB below the start
    divergence: float = 2.0
    start_score: float | None = None
    start_psnr: float = 0.0
    best_score: float = float("inf")
    best_step: int = 0
    waited: int = 0
    outcome: str = ""  # or PATIENCE, DIVERGED

    def observe(self, step: int, score: float, psnr: float) -> bool:
        """Note a validation; return whether these weights are the best so far."""
        if self.start_score is None:
            self.start_score, self.start_psnr, self.best_score = score, psnr, score
            self.best_step = step
            return True
        if not score < self.divergence * self.start_score:
            self.outcome = DIVERGED
            return False
        if score < self.best_score and psnr >= self.start_psnr - self.max_psnr_drop:
            self.best_score, self.best_step, self.waited = score, step, 0
            return True
        self.waited += 1
        if self.waited >= self.patience:
            self.outcome = PATIENCE
        return False

    @property
    def stopped(self) -> bool:
        """Check whether training is over."""
        return bool(self.outcome)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes, as JSON values."""
        names = ("start_score", "start_psnr", "best_score", "best_step", "waited", "outcome")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        for name, value in state.items():
            setattr(self, name, value)


class BestWeights:
    """The last weights of a network whose validation loss is about the lowest.

    About is `TOLERANCE` above it: a loss that has stopped falling wavers, and later weights, of a
    lower learning rate, give the better samples. `network` holds them, and is saved with the
    training; so is `noted`. After `patience` validations without such a loss training is to stop;
    None: it makes all its steps.
    """

    def __init__(self, watched: nn.Module, patience: int | None) -> None:
        self.watched, self.network = watched, copy.deepcopy(watched)
        self.patience = patience
        self.noted: dict[str, Any] = {"step": 0, "lowest": None, "waited": 0}

    def observe(self, step: int, loss: float) -> None:
        """Note a validation, and keep the weights if its loss is about the lowest."""
        before = self.noted["lowest"]
        lowest = loss if before is None else min(loss, before)
        if loss <= (1.0 + TOLERANCE) * lowest:
            self.noted = {"step": step, "lowest": lowest, "waited": 0}
            self.network.load_state_dict(self.watched.state_dict())
        else:
            self.noted = self.noted | {"waited": self.noted["waited"] + 1}

    def record(self, early: bool) -> dict[str, Any]:
        """Return the entries of a run record. early: training ended before its last step."""
        stopped_by = PATIENCE if early else "steps"
        return {"kept_step": self.noted["step"], "stopped_by": stopped_by}

    @property
    def stopped(self) -> bool:
        """Check whether training is over."""
        return self.patience is not None and self.noted["waited"] >= self.patience
