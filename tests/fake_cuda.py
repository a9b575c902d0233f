"""A pretended GPU: tensors of a CUDA device that have shapes and types, and no values."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._subclasses import FakeTensorMode


class Mode(FakeTensorMode):
    """The mode, which networks that are copied share."""

    def __deepcopy__(self, memo: object) -> "Mode":
        return self


@contextmanager
def fake_cuda() -> Iterator[Mode]:
    """Make all new tensors on a pretended GPU.

    An operation on tensors of two devices raises, and so does reading a value. Tensors from before
    cannot be used.
    """
    with Mode() as mode, torch.device("cuda"):
        yield mode
