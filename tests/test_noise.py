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


def test_values_that_a_context_does_not_predict_are_no_part_of_the_moments():
    """Half of the clips lack the first frame, half the last one; zeros stand there."""
    random = torch.Generator().manual_seed(0)
    mixing = moving_average(5, 0.9)
    latents = torch.randn((20000, *SHAPE), generator=random)
    latents = (latents.movedim(1, -1) @ mixing.T).movedim(-1, 1)
    wanted = torch.ones(latents.shape, dtype=torch.bool)
    wanted[::2, 0], wanted[1::2, -1] = False, False
    roots = noise_roots({"motion": latents * wanted}, {"motion": wanted})
    (root, *_) = roots["motion"]
    expected = mixing @ mixing.T / (mixing @ mixing.T).diagonal().mean()
    found = root @ root.T
    # Frames 0 and 4 are never predicted together: their correlation says nothing.
    found[0, -1], found[-1, 0] = 0.0, 0.0
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
    whole = noise_roots({"motion": latents})["motion"]
    every = noise_roots({"motion": latents}, {"motion": torch.ones_like(wanted)})["motion"]
    for one, other in zip(whole, every, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_latents_that_are_nothing_have_white_noise():
    roots = noise_roots({"motion": torch.zeros(4, *SHAPE)})
    white = torch.randn(4, *SHAPE)
    assert torch.equal(coloured({"motion": white}, roots)["motion"], white)
