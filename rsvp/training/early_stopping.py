"""Early stopping of adversarial training, and the choice of the weights that are kept.

Its state is saved with the training's. The table of budgets names the reasons to stop
(rsvp/report/costs.py).
"""

from dataclasses import dataclass
from typing import Any

PATIENCE = "patience"
DIVERGED = "diverged"


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
