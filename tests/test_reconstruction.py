"""Losses of stage one on results whose losses are known."""

import pytest
import torch

from rsvp.models.autoencoders.rsvp import Autoencoder, Context, Decoded
from rsvp.training.reconstruction import (
    FrameWeights,
    LayeredReconstruction,
    PlainReconstruction,
    reconstruct,
    reconstruction_loss,
    track_loss,
)


def result(frames=0.0, layers=0.0, mask=0.0, motion=0.0):
    """A reconstruction of gray frames that is off by constants."""

    def full(value, *shape):
        return torch.full((2, *shape), float(value))

    gray, nothing = full(0, 3, 3, 16, 16), torch.zeros(1)
    decoded = Decoded(
        frames=full(frames, 3, 3, 16, 16),
        scene=gray,
        mask=full(0, 3, 1, 16, 16),
        layers=full(layers, 3, 3, 16, 16),
        displacement=full(0, 3, 2, 8, 8),
    )
    context = Context(gray, *5 * [nothing], full(mask, 1, 16, 16), nothing)
    return LayeredReconstruction(gray, decoded, context, full(motion, 3, 4, 2, 2))


def test_perfect_reconstruction_costs_nothing():
    assert reconstruction_loss(result(), None, 1.0)[0] == 0.0


def test_parts_in_closed_form():
    # Content is two of four channels, each 2.
    _, parts = reconstruction_loss(result(0.5, -0.25, 0.1, 2.0), None, 1.0)
    expected = {"l1": 0.5, "l2": 0.25, "layers": 0.5, "mask": 0.1, "content": 2.0, "tracks": 0.0}
    assert {name: value.item() for name, value in parts.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("l1", {"frames": 0.5}),
        ("layers", {"layers": 0.5}),
        ("mask", {"mask": 0.5}),
        ("content", {"motion": 3.0}),
    ],
)
def test_every_part_counts(part, change):
    plain, costly = (reconstruction_loss(result(**r), None, 0.0) for r in ({}, change))
    assert costly[1][part] > plain[1][part]
    assert costly[0] > plain[0] + 1e-3


def test_large_errors_count_more_than_their_size():
    small, large = (reconstruction_loss(result(e), None, 0.0)[0] for e in (0.25, 0.5))
    assert large > 2.2 * small


def test_perceptual_loss_is_of_all_frames_and_weighted():
    def perceptual(frames, target):
        assert frames.shape == target.shape == (6, 3, 16, 16)
        return (frames - target).abs().mean((1, 2, 3))

    plain = reconstruction_loss(result(0.5), perceptual, 0.0)[0]
    loss, parts = reconstruction_loss(result(0.5), perceptual, 3.0)
    assert parts["lpips"].item() == pytest.approx(0.5)
    assert (loss - plain).item() == pytest.approx(1.5)


def plain(error):
    """Random frames reconstructed with a constant error."""
    frames = 2 * torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 1
    return PlainReconstruction(frames, frames + error, torch.tensor(0.125))


@pytest.mark.parametrize("made", [result(0.5), plain(0.5)], ids=["layered", "plain"])
def test_l1_and_l2_are_weighted(made):
    default = reconstruction_loss(made, None, 0.0)[0]
    # 3 * 0.5 + 0.25 * 0.25 instead of 0.5 + 2 * 0.25
    other = reconstruction_loss(made, None, 0.0, FrameWeights(l1=3.0, l2=0.25))[0]
    assert (other - default).item() == pytest.approx(1.5 + 0.0625 - 1.0, rel=1e-5)


def test_tracks_that_follow_what_moves_cost_nothing():
    """A masked block that went 4 pixels right and 2 down, and the way that is said of it."""
    random = torch.Generator().manual_seed(0)
    reference = torch.rand(1, 3, 32, 32, generator=random)
    frames = torch.roll(reference, (2, 4), dims=(-2, -1))[:, None]
    given = result()
    given.frames, given.context.frames = frames, reference[:, None]
    given.context.mask = torch.zeros(1, 1, 32, 32)
    given.context.mask[..., 8:24, 8:24] = 1.0
    right = torch.tensor([4.0, 2.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 16, 16)
    given.decoded.frames = given.decoded.layers = frames
    costs, losses = [], []
    for share in (1.0, 0.5, 0.0, -1.0):
        given.decoded.displacement = share * right
        costs.append(track_loss(given).item())
        losses.append(reconstruction_loss(given, None, 0.0)[0].item())
    assert costs[0] == pytest.approx(0.0, abs=1e-5)
    assert min(costs[1:]) > 0.05
    assert min(losses[1:]) > losses[0] + 1e-3
    # What is outside of the mask may go anywhere.
    given.decoded.displacement = right.clone()
    given.decoded.displacement[..., :2, :] = 7.0
    assert track_loss(given).item() == pytest.approx(0.0, abs=1e-5)


def test_reconstructs_the_named_frames_with_noise_of_the_step():
    torch.manual_seed(0)
    autoencoder = Autoencoder(16, 2, 2, 3).requires_grad_(False)
    clips = torch.rand(1, 6, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1

    def run(seed, targets=(4, 1)):
        random = torch.Generator().manual_seed(seed)
        return reconstruct(autoencoder, clips, 2, torch.tensor(targets), random)

    first = run(0)
    assert torch.equal(first.frames, clips[:, [4, 1]])
    assert torch.equal(first.decoded.frames, run(0).decoded.frames)
    assert not torch.equal(first.decoded.frames, run(1).decoded.frames)
    assert torch.equal(first.motion, run(1).motion)
    assert torch.equal(first.context.frames, clips[:, :2])
