"""Noise that is correlated as latents are."""

import pytest
import torch

from rsvp.diffusion.noise import coloured, noise_roots
from rsvp.diffusion.packing import Packing

SHAPE = (5, 2, 3, 4)  # T, C, h, w


def moving_average(size: int, share: float) -> torch.Tensor:
    """A mixing matrix (size, size) of neighbours along an axis."""
    return torch.eye(size) + share * torch.diag(torch.ones(size - 1), -1)


def test_noise_has_the_moments_of_latents_that_are_mixed_along_each_axis():
    random = torch.Generator().manual_seed(0)
    mixing = {1: moving_average(5, 0.9), 3: moving_average(3, 0.5), 4: moving_average(4, -0.6)}
    latents = torch.randn((20000, *SHAPE), generator=random)
    for axis, matrix in mixing.items():
        latents = (latents.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    moments = {axis: matrix @ matrix.T for axis, matrix in mixing.items()}
    roots = noise_roots({"motion": latents[:4000]})
    white = torch.randn((20000, *SHAPE), generator=random)
    made = Packing({"motion": SHAPE}).coloured(white, roots)
    assert made.square().mean() == pytest.approx(1.0, abs=0.02)
    for axis, expected in moments.items():
        lines = made.movedim(axis, 0).flatten(1)
        found = lines @ lines.T / lines.shape[1]
        torch.testing.assert_close(found, expected / expected.diagonal().mean(), atol=0.03, rtol=0)
    channels = made.movedim(2, 0).flatten(1)
    assert torch.corrcoef(channels)[0, 1].abs() < 0.01


def test_each_latent_has_its_own_correlations_and_one_without_stays_white():
    random = torch.Generator().manual_seed(0)
    still = torch.randn((500, 1, *SHAPE[1:]), generator=random).expand(-1, *SHAPE)
    packing = Packing({"motion": SHAPE, "other": (2, 3)})
    white = torch.randn((500, sum(packing.sizes)), generator=random)
    made = packing.unpack(packing.coloured(white, noise_roots({"motion": still})))
    frames = made["motion"].transpose(0, 1).flatten(1)
    assert torch.corrcoef(frames).min() > 0.99
    assert torch.equal(made["other"], packing.unpack(white)["other"])
    assert torch.equal(coloured({"motion": white}, {})["motion"], white)
