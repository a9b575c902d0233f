"""Horizons beyond that of training: the last frames of a block become the next block's context."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# (contexts (B, 1 or K, Tc, C, H, W), number of the block, K trajectories) -> (B, K, F, C, H, W)
BlockPredictor = Callable[[Tensor, int, Sequence[int]], Tensor]


def roll(block: BlockPredictor, context: Tensor, trajectories: int, horizon: int) -> Tensor:
    """Predict trajectories (B, K, horizon, C, H, W) of context frames (B, Tc, C, H, W), all uint8.

    Block 0 makes all K trajectories from the one context. Each further block continues each
    trajectory from the last Tc of its frames, predicted or observed, as they are stored. Surplus
    frames of the last block are dropped.
    """
    predicted = block(context[:, None], 0, range(trajectories))
    observed = context[:, None].expand(-1, trajectories, *context.shape[1:])
    number = 1
    while predicted.shape[2] < horizon:
        seen = torch.cat([observed, predicted], 2)[:, :, -context.shape[1] :]
        predicted = torch.cat([predicted, block(seen, number, range(trajectories))], 2)
        number += 1
    return predicted[:, :, :horizon]


def blocks_of(horizon: int, block_frames: int) -> int:
    """Count the blocks of `block_frames` future frames that a horizon takes."""
    return -(-horizon // block_frames)
