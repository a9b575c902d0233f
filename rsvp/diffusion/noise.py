"""Noise that is correlated as latents are.

White noise is nothing like the path of a thing, which is smooth in time and alike in neighbouring
cells. What a small denoiser leaves of it in a sample makes shapes shake and bend. Noise of the
latents' own second moments leaves likely motion instead. (Compare Lee et al., "PriorGrad", 2022,
section 3; Ge et al., "Preserve your own correlation", 2023, section 4.)
"""

from collections.abc import Mapping

import torch
from torch import Tensor

AXES = (1, 3, 4)  # of latents (B, T, C, h, w): time, rows and columns; channels stay independent
DAMPING = 1e-3  # share of white noise, so that a direction without any variance has a root

Roots = Mapping[str, list[Tensor]]  # by latent, for each of `AXES`


def noise_roots(latents: Mapping[str, Tensor], wanted: Mapping[str, Tensor] | None = None) -> Roots:
    """Return the roots of the second moments of latents (B, T, C, h, w), by name.

    Each is the Cholesky factor (n, n) of the moments along one axis, as if moments were a product
    over axes. The mean square of coloured noise is 1, that of normalised latents. wanted: bool of
    the latents' shapes, the values that a clip has; None is all.
    """
    return {
        name: [root_along(value.double(), axis, wanted and wanted[name].double()) for axis in AXES]
        for name, value in latents.items()
    }


def root_along(latents: Tensor, axis: int, wanted: Tensor | None = None) -> Tensor:
    """Return the Cholesky factor of the second moments along an axis; their mean is 1.

    A moment is a mean over the pairs of values that `wanted` (as `latents`; 1 or 0) has both of.
    """
    lines = latents.movedim(axis, 0).flatten(1)  # n values
    moments = lines @ lines.T
    identity = torch.eye(len(moments), dtype=moments.dtype)
    if wanted is not None:
        there = wanted.movedim(axis, 0).flatten(1)
        moments = moments / (there @ there.T).clamp(min=1.0)
        # Means over different pairs need not be the moments of anything: the nearest that are.
        values, vectors = torch.linalg.eigh(moments)
        moments = (vectors * values.clamp(min=0.0)) @ vectors.T
    if not moments.any():  # latents that are 0 in all clips
        return identity.float()
    moments = moments / moments.diagonal().mean()
    damped = moments + DAMPING * identity
    return torch.linalg.cholesky(damped / (1.0 + DAMPING)).float()


def coloured(noise: Mapping[str, Tensor], roots: Roots) -> dict[str, Tensor]:
    """Return white noise (…, T, C, h, w) by name with the correlations that roots stand for.

    In 32 bits also where networks run in bfloat16, as in training.
    """
    result = {}
    for name, value in noise.items():
        for axis, root in zip(AXES, roots.get(name, ()), strict=False):
            along = axis - 5  # from the end, since any number of axes comes first
            with torch.autocast(value.device.type, enabled=False):
                value = (value.movedim(along, -1) @ root.to(value).T).movedim(-1, along)
        result[name] = value
    return result
