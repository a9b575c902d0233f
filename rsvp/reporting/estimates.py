"""A number with its interval and all that it stands on."""

import math
from dataclasses import dataclass

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A number with what it depends on; `value` is NaN where `note` says why there is none."""

    value: float = NAN
    low: float = NAN  # 95 % interval
    high: float = NAN
    clips: int = 0
    groups: int = 0
    seeds: int = 0
    seed_std: float = NAN  # over seeds of the value; NaN for one seed
    note: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval: it takes two groups or more."""
        return not (math.isnan(self.low) or math.isnan(self.high))
