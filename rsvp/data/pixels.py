"""Frames as bytes on disk and as floats in networks."""

import torch
from torch import Tensor


def to_float(frames: Tensor) -> Tensor:
    """Return uint8 colours as float in [-1, 1]."""
    return frames.float() / 127.5 - 1.0


def to_bytes(frames: Tensor) -> Tensor:
    """Float colours in [-1, 1] (clipped) as uint8."""
    return ((frames.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
