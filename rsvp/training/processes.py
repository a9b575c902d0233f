"""Several processes as one: each computes some of a step's micro-batches.

Sums over micro-batches are taken in the order of these, whichever process computed which. So 1, 2
and 4 processes give the same bits. Nothing is wrapped: gradients and losses are summed here, and
clipping, optimiser and averages then run alike in all processes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from rsvp.config.schema import Compute
from rsvp.data.micro_batches import MicroBatch, cut
from rsvp.runtime.device import make_fabric
from rsvp.runtime.errors import UserError
from rsvp.runtime.followers import PROCESSES, process_count

if TYPE_CHECKING:  # it takes as long to import as torch
    from lightning_fabric import Fabric

CPU = torch.device("cpu")
Decision = TypeVar("Decision")
Result = tuple[Tensor, Mapping[str, Tensor]]  # a micro-batch's loss, and values to show


class Part(Protocol):
    """A micro-batch."""

    @property
    def share(self) -> float:
        """Share of a mean over the micro-batch in that of the batch."""


class Processes:
    """The processes of one training, of which this is number `rank` of `count`."""

    def __init__(self, micro_batches: int = 1, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count
        ends = [micro_batches * number // count for number in range(count + 1)]
        self.shares = [last - first for first, last in pairwise(ends)]  # micro-batches of each
        self.first, self.last = ends[rank : rank + 2]
        self.micro_batches = micro_batches

    def own(self, batch_size: int) -> list[MicroBatch]:
        """Return the micro-batches of a batch that this process computes."""
        return cut(batch_size, self.micro_batches)[self.first : self.last]

    def decide(self, work: Callable[[], Decision]) -> Decision:
        """Return what `work` returns in the first process, in all of them.

        Where it ends the first process, the others end as well.
        """
        if self.count == 1:
            return work()
        answer: list[tuple[Decision] | None] = [None]
        if self.rank == 0:
            try:
                answer = [(work(),)]
            finally:
                distributed.broadcast_object_list(answer, device=CPU)
        else:
            distributed.broadcast_object_list(answer, device=CPU)
            if answer[0] is None:
                raise SystemExit(0)
        return answer[0][0]

    def totals(self, own: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Return the sums over all micro-batches of tensors, of which each has some.

        own: those of this process's micro-batches.
        """
        if self.count == 1 or not own[0]:
            return [in_order(values) for values in zip(*own, strict=True)]
        rows = torch.stack([torch.cat([x.flatten().float() for x in row]) for row in own])
        sizes = [value.numel() for value in own[0]]
        # In the memory format of the parts, on which the bits of a norm depend.
        return [
            torch.empty_like(value, dtype=total.dtype).copy_(total.view(value.shape))
            for total, value in zip(self.total(rows).split(sizes), own[0], strict=True)
        ]

    def total(self, rows: Tensor) -> Tensor:
        """Return the sum (n,) of the rows (micro-batches, n) of all processes.

        Each process gets some columns of all rows, and adds them; then all get all sums.
        """
        length = rows.shape[1]
        width = -(-length // self.count)
        padded = F.pad(rows, (0, self.count * width - length))
        sent = padded.unflatten(1, (self.count, width)).transpose(0, 1).flatten(0, 1)
        received = rows.new_empty(self.micro_batches, width)
        distributed.all_to_all_single(
            received, sent.contiguous(), self.shares, [len(rows)] * self.count
        )
        sums = rows.new_empty(self.count * width)
        distributed.all_gather_into_tensor(sums, in_order(received.unbind()))
        return sums[:length]

    def backward(
        self,
        module: nn.Module,
        parts: Sequence[Part],
        results: Iterable[Result],
    ) -> dict[str, Tensor]:
        """Put the gradient of a batch's loss into the module; return the batch's shown values.

        results: of this process's micro-batches, as means over what counts in each. An iterator may
        compute each when its turn comes, which needs the memory of one.
        """
        rows: list[list[Tensor]] = []
        for part, (loss, values) in zip(parts, results, strict=True):
            # Micro-batches may share a part of their graphs: weights that were computed once.
            (part.share * loss).backward(retain_graph=len(rows) + 1 < len(parts))
            names = list(values)
            rows.append([part.share * value.detach().float() for value in values.values()])
            del loss, values  # and what they were computed from
            if self.count > 1:
                with_gradient = [p for p in module.parameters() if p.grad is not None]
                rows[-1] += [parameter.grad for parameter in with_gradient]
                module.zero_grad()
        totals = self.totals(rows)
        if self.count > 1:
            for parameter, gradient in zip(with_gradient, totals[len(names) :], strict=True):
                parameter.grad = gradient
        return dict(zip(names, totals, strict=False))


def update(
    fabric: "Fabric",
    processes: Processes,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[Part],
    results: Iterable[Result],
) -> dict[str, Tensor]:
    """Make one optimiser step, gradients clipped to a norm of 1; see `Processes.backward`."""
    optimizer.zero_grad()
    found = processes.backward(module, parts, results)
    fabric.clip_gradients(module, optimizer, max_norm=1.0, error_if_nonfinite=False)
    optimizer.step()
    return found


def launch(compute: Compute, seed: int) -> "tuple[Fabric, Processes]":
    """Start the processes of a training; return Fabric and the processes, in each of them."""
    count, micro_batches = process_count(), compute.micro_batches or 1
    if not 1 <= count <= micro_batches:
        raise UserError(
            f"{count} processes ({PROCESSES}) cannot share {micro_batches} micro-batches; set"
            " compute.micro_batches to as many or more, which trains anew"
        )
    fabric = make_fabric(compute, seed, count)
    return fabric, Processes(micro_batches, fabric.global_rank, count)


def in_order(values: Iterable[Tensor]) -> Tensor:
    """Add tensors in their order."""
    return reduce(torch.add, values)
