"""A pretended GPU: tensors of a CUDA device that have shapes and types, and no values."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx.experimental.symbolic_shapes import ShapeEnv


class Mode(FakeTensorMode):
    """The mode, which networks that are copied share."""

    def __init__(self) -> None:
        # Tensors from before are taken for those of their device; masks may select any number.
        super().__init__(allow_non_fake_inputs=True, shape_env=ShapeEnv())

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        if operator is not torch.ops.aten._local_scalar_dense.default:
            return super().__torch_dispatch__(operator, types, arguments, named)
        if isinstance(arguments[0], FakeTensor):
            raise RuntimeError(f"a value of a tensor on {arguments[0].device} is read")
        with unset_fake_temporarily():  # of one from before
            return operator(*arguments)

    def __deepcopy__(self, memo: object) -> "Mode":
        return self


@contextmanager
def fake_cuda() -> Iterator[Mode]:
    """Pretend that there is a GPU.

    An operation on tensors of two devices raises, as on a real one, and so does reading a value,
    for which a real one makes the program wait. Gradients cannot be computed.
    """
    with Mode() as mode:
        yield mode


def on_gpu() -> torch.device:
    """Return a context in which new tensors are on the pretended GPU; networks are made in it."""
    return torch.device("cuda")


def moved(mode: Mode, network: nn.Module) -> nn.Module:
    """Move a network with values, made before, to the pretended GPU."""
    for module in network.modules():
        for own in (module._parameters, module._buffers):
            for name, value in own.items():
                if value is not None:
                    fake = mode.from_tensor(value.detach()).to("cuda")
                    own[name] = nn.Parameter(fake, False) if own is module._parameters else fake
    return network
