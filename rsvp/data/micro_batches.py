"""Micro-batches: the parts of a batch that are computed one at a time.

Random numbers are drawn for the whole batch, and each part takes its rows. So what a clip sees does
not depend on which process computes it.
"""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """Rows `first` to `last` - 1 of a batch of `size` clips."""

    first: int
    last: int
    size: int

    @property
    def share(self) -> float:
        """Share of the batch's clips; that of a mean over clips in the batch's."""
        return (self.last - self.first) / self.size

    def rows(self, batch: Tensor) -> Tensor:
        """Return this part of a batch's values (B, …)."""
        return batch[self.first : self.last]

    def placed(self, values: Tensor) -> Tensor:
        """Return values of this part in their places of the batch (B, …), which is 0 elsewhere."""
        whole = values.new_zeros(self.size, *values.shape[1:])
        whole[self.first : self.last] = values
        return whole


def cut(size: int, count: int) -> list[MicroBatch]:
    """Cut a batch of `size` clips into `count` parts that differ by one clip at most."""
    ends = [size * number // count for number in range(count + 1)]
    return [MicroBatch(first, last, size) for first, last in pairwise(ends)]
