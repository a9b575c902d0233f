"""Exponential moving average of weights, updated every step."""

import copy

import torch
from torch import Tensor, nn


class WeightAverage(nn.Module):
    """Average of a network's weights; `module` is the network that holds it.

    average = d average + (1 - d) weights, where d = min(decay, (1 + n) / (10 + n)) after n updates:
    early weights are soon forgotten. The first update copies. Buffers are always copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay
        # No buffer: read from a GPU, it would make each step wait.
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights of a network after a step."""
        kept = min(self.decay, (1.0 + self.updates) / (10.0 + self.updates))
        share = 1.0 - kept if self.updates else 1.0
        torch._foreach_lerp_(list(self.module.parameters()), list(network.parameters()), share)
        for mine, own in zip(self.module.buffers(), network.buffers(), strict=True):
            mine.copy_(own)
        self.updates += 1

    def get_extra_state(self) -> Tensor:
        """Return the number of updates, for the state."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        """Continue from `get_extra_state`."""
        self.updates = int(state)
