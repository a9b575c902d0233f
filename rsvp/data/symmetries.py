"""The eight symmetries of the square, of clips and of their latents.

A symmetry's number is the sum of its parts: 1 mirrors left and right, then 2 up and down, then 4
exchanges rows and columns. 0 is the identity.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from rsvp.config.schema import Augment

LEFT_RIGHT, UP_DOWN, TRANSPOSE = 1, 2, 4
PARTS = {
    "none": (),
    "horizontal": (LEFT_RIGHT,),
    "all": (LEFT_RIGHT, UP_DOWN, TRANSPOSE),
}


def turned(clip: Tensor, symmetry: int, augment: Augment) -> Tensor:
    """Return a clip (…, H, W), square, under one of the eight symmetries.

    `horizontal` only mirrors left and right; `none` leaves the clip.
    """
    for part in PARTS[augment]:
        if symmetry & part:
            clip = moved(clip, part)
    return clip


def turned_latents(
    latents: Mapping[str, Tensor],
    symmetries: Tensor,
    augment: Augment,
    displacements: Collection[str],
) -> dict[str, Tensor]:
    """Return latents (B, …, C, h, w) by name, not normalised, each clip's under its symmetry (B,).

    The first two channels of `displacements` are vectors, x (right) first, and turn with the
    places. Where one of the grids is not square (a plane over time), none is transposed.
    """
    result = dict(latents)
    square = all(value.shape[-1] == value.shape[-2] for value in latents.values())
    for part in PARTS[augment]:
        if part == TRANSPOSE and not square:
            continue
        chosen = symmetries & part > 0
        for name, value in result.items():
            turn = moved(value, part)
            if name in displacements:
                x, y, others = turn.tensor_split([1, 2], -3)
                x, y = {LEFT_RIGHT: (-x, y), UP_DOWN: (x, -y), TRANSPOSE: (y, x)}[part]
                turn = torch.cat([x, y, others], -3)
            result[name] = torch.where(chosen.view(-1, *[1] * (value.dim() - 1)), turn, value)
    return result


def moved(image: Tensor, part: int) -> Tensor:
    """Return `image` (…, H, W) under one part of a symmetry."""
    if part == TRANSPOSE:
        return image.transpose(-1, -2)
    return image.flip(-1 if part == LEFT_RIGHT else -2)
