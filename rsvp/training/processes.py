"""Several processes as one: each computes some of a step's micro-batches.

Sums over micro-batches are taken in the order of these, whichever process computed which. So 1, 2
and 4 processes give the same bits. Nothing is wrapped: gradients and losses are summed here.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Protocol

import torch
from torch import Tensor, nn

from rsvp.data.micro_batches import MicroBatch, cut


class Part(Protocol):
    """A micro-batch."""

    @property
    def share(self) -> float:
        """Share of a mean over the micro-batch in that of the batch."""


class Processes:
    """The processes of one training, of which this is number `rank` of `count`."""

    def __init__(self, micro_batches: int = 1) -> None:
        self.rank, self.count, self.micro_batches = 0, 1, micro_batches

    def own(self, batch_size: int) -> list[MicroBatch]:
        """Return the micro-batches of a batch that this process computes."""
        return cut(batch_size, self.micro_batches)

    def totals(self, own: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Return the sums over all micro-batches of tensors, of which each has some.

        own: those of this process's micro-batches.
        """
        return [in_order(values) for values in zip(*own, strict=True)]

    def backward(
        self,
        module: nn.Module,
        parts: Sequence[Part],
        losses: Sequence[Tensor],
        shown: Sequence[Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Add the gradient of a batch's loss to the module's; return the batch's values of `shown`.

        losses, shown: of this process's micro-batches, as means over what counts in each.
        """
        for part, loss in zip(parts, losses, strict=True):
            # Micro-batches may share a part of their graphs: weights that were computed once.
            (part.share * loss).backward(retain_graph=loss is not losses[-1])
        rows = [
            [part.share * value.detach().float() for value in values.values()]
            for part, values in zip(parts, shown, strict=True)
        ]
        return dict(zip(shown[0], self.totals(rows), strict=True))


def in_order(values: Iterable[Tensor]) -> Tensor:
    """Add tensors in their order."""
    return reduce(torch.add, values)
