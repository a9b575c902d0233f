"""Arrays of 16 bits or floats as bytes, and what that costs. Loads without torch."""

from dataclasses import dataclass

import numpy as np

from rsvp.data.sources import Rejected

LEVELS = 255  # steps between black and white
TAILS = (0.1, 99.9)  # the percentiles that are black and white, where nobody says otherwise


@dataclass
class Quantiser:
    """Maps values to bytes: `low` and less to 0, `high` and more to 255; counts what that costs."""

    low: float
    high: float
    values: int = 0  # that were mapped
    clipped: int = 0  # of them, below `low` or above `high`
    squared_error: float = 0.0  # of all values, in their unit, clipped ones too

    @property
    def clipped_share(self) -> float:
        """Share of the values that were clipped; 0 without values."""
        return self.clipped / self.values if self.values else 0.0

    @property
    def error(self) -> float:
        """Root mean square difference of the values from their bytes, in the values' unit."""
        return (self.squared_error / self.values) ** 0.5 if self.values else 0.0

    def cost(self) -> dict[str, float]:
        """Return the share that was clipped and the error, as columns of videos.csv."""
        return {"clipped": self.clipped_share, "error": self.error}

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return an array of numbers as uint8; Rejected where some are not finite."""
        values = values.astype(np.float64)
        if missing := int(values.size - np.isfinite(values).sum()):
            raise Rejected(f"{missing} of {values.size} values are not finite")
        step = (self.high - self.low) / LEVELS
        made = np.rint((values.clip(self.low, self.high) - self.low) / step).astype(np.uint8)
        self.values += values.size
        self.clipped += int(((values < self.low) | (values > self.high)).sum())
        self.squared_error += float(np.square(self.low + step * made - values).sum())
        return made


def range_between(
    values: np.ndarray, percentiles: tuple[float, float] = TAILS
) -> tuple[float, float]:
    """Return two percentiles of finite values; Rejected where nothing lies between them."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise Rejected("no value is finite")
    low, high = np.percentile(finite, percentiles)
    if not low < high:
        raise Rejected(
            "the percentiles {:g} and {:g} of its values".format(*percentiles)
            + f" are both {low:g}: nothing lies between black and white"
        )
    return float(low), float(high)
