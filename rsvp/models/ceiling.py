"""The ceiling of an autoencoder's predictors: the true future, encoded and decoded."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from rsvp.data.pixels import to_bytes, to_float
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.rolling import roll


def reconstruct_rolling(
    autoencoder: ClipAutoencoder, clips: Tensor, context_frames: int, block_frames: int
) -> Tensor:
    """Reconstruct the future (B, F, H, W, C) of clips (B, T, H, W, C), all uint8.

    Beyond `block_frames`, those of training, it rolls forward as predictors do: each block encodes
    the true frames, and looks at the last frames that the block before made.
    """
    horizon = clips.shape[1] - context_frames
    context, future = clips.permute(0, 1, 4, 2, 3).split([context_frames, horizon], 1)
    block = partial(reconstruct_block, autoencoder, future, block_frames)
    return roll(block, context, 1, horizon)[:, 0].permute(0, 1, 3, 4, 2)


def reconstruct_block(
    autoencoder: ClipAutoencoder,
    future: Tensor,
    block_frames: int,
    context: Tensor,
    number: int,
    trajectories: Sequence[int],
) -> Tensor:
    """Reconstruct one block of the true future (B, F, C, H, W) from contexts (B, 1, Tc, C, H, W).

    Returns (B, 1, …); all uint8. The last block ends where the future does.
    """
    true = future[:, number * block_frames :][:, :block_frames]
    # With the colours last in memory, as clips are read: other layouts round otherwise.
    parts = [part.movedim(2, -1) for part in (context[:, 0], true)]
    clip = to_float(torch.cat(parts, 1).movedim(-1, 2))
    return to_bytes(autoencoder.reconstruct_future(clip, context.shape[2]))[:, None]
