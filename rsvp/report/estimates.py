"""A number with its interval and all that it stands on."""

import math
from dataclasses import dataclass, replace

NAN = float("nan")
ONE_GROUP = "one group: no interval can be given"
NO_SPREAD = "the same value in all groups: no interval can be given"


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
        """True where there is a value."""
        return not math.isnan(self.value)

    def within(self, possible: tuple[float, float]) -> "Estimate":
        """The same with its interval cut to the values that are possible."""
        low, high = (min(max(end, possible[0]), possible[1]) for end in (self.low, self.high))
        return replace(self, low=low, high=high) if self.has_interval else self

    @property
    def has_interval(self) -> bool:
        """True where there is an interval: it takes two groups or more that differ."""
        return not (math.isnan(self.low) or math.isnan(self.high))
