"""Groups of clips that resemble each other: how many of them a number stands on."""

import numpy as np


def effective_number(sizes: np.ndarray) -> float:
    """The number of groups of one size whose mean is as uncertain in its variance.

    (Σ n²)² / Σ n⁴: groups of other sizes count for less (Satterthwaite 1946).
    """
    sizes = np.asarray(sizes, float)  # the fourth power of a large whole number has no room
    return float(np.square(sizes).sum() ** 2 / np.power(sizes, 4.0).sum())
