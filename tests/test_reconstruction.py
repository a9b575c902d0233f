"""Losses of stage one on results whose losses are known."""

import pytest
import torch

from rsvp.data.micro_batches import cut
from rsvp.models.autoencoders.layer_latents import Layers
from rsvp.models.autoencoders.rsvp import Context, DecodedFrames, RsvpAutoencoder
from rsvp.training.reconstruction import (
    OBJECTS,
    Reconstruction,
    decided_weight,
    draw_reconstruction,
    latent_loss,
    layer_losses,
    reconstruct,
    reconstruction_loss,
    track_loss,
)


def full(value, *shape):
    return torch.full((2, *shape), float(value))


GRAY = full(0, 3, 3, 16, 16)


def layers_of(frames=0.0, layers=0.0, mask=0.0):
    """DecodedFrames gray frames that are off by constants, and their context."""
    decoded = DecodedFrames(
        frames=full(frames, 3, 3, 16, 16),
        scene=GRAY,
        mask=full(0, 3, 1, 16, 16),
        layers=full(layers, 3, 3, 16, 16),
        displacement=full(0, 3, 2, 8, 8),
    )
    nothing = torch.zeros(1)
    return decoded, Context(
        background=nothing, object_image=nothing, mask=full(mask, 1, 16, 16), frames=GRAY,
        scene=nothing, object=nothing, skip=nothing, depth=nothing,
    )  # fmt: skip


def result(frames=0.0, layers=0.0, mask=0.0, motion=0.0):
    """A reconstruction of gray frames that is off by constants."""
    decoded, context = layers_of(frames, layers, mask)
    losses, size = layer_losses(GRAY, decoded, context, full(motion, 3, 4, 2, 2), {})
    losses["tracks"] = losses["tracks"] / (size + 1.0)
    return Reconstruction(GRAY, decoded.frames, losses, [size])


def test_perfect_reconstruction_costs_nothing():
    assert reconstruction_loss(result())[0] == 0.0


def test_parts_in_closed_form():
    # Content is two of four channels, each 2.
    _, parts = reconstruction_loss(result(0.5, -0.25, 0.1, 2.0))
    expected = {"l1": 0.5, "l2": 0.25, "layers": 0.5, "mask": 0.1, "content": 2.0, "tracks": 0.0}
    expected |= {"undecided": 4 * 0.1 * 0.9}
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
    plain, costly = (reconstruction_loss(result(**r)) for r in ({}, change))
    assert costly[1][part] > plain[1][part]
    assert costly[0] > plain[0] + 1e-3


def test_an_undecided_mask_costs_where_that_is_asked_for():
    """4 m (1 - m): 1 at a half, 0 where each pixel is of the object or of the scene."""
    for mask, penalty in ((0.5, 1.0), (0.1, 0.36), (0.0, 0.0), (1.0, 0.0)):
        costs = [reconstruction_loss(result(mask=mask), decided=d)[0].item() for d in (0.0, 0.5)]
        assert costs[1] - costs[0] == pytest.approx(0.5 * penalty, abs=1e-6)


def test_large_errors_count_more_than_their_size():
    small, large = (reconstruction_loss(result(e))[0] for e in (0.25, 0.5))
    assert large > 2.2 * small


def test_perceptual_loss_is_of_all_frames_and_weighted():
    def perceptual(frames, target):
        assert frames.shape == target.shape == (6, 3, 16, 16)
        return (frames - target).abs().mean((1, 2, 3))

    plain = reconstruction_loss(result(0.5), perceptual=perceptual)[0]
    loss, parts = reconstruction_loss(result(0.5), lpips=3.0, perceptual=perceptual)
    assert parts["lpips"].item() == pytest.approx(0.5)
    assert (loss - plain).item() == pytest.approx(1.5)


def plain(error):
    """Random frames reconstructed with a constant error."""
    frames = 2 * torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 1
    return Reconstruction(frames, frames + error, {"regulariser": torch.tensor(0.125)}, [])


@pytest.mark.parametrize("made", [result(0.5), plain(0.5)], ids=["layered", "plain"])
def test_l1_and_l2_are_weighted(made):
    default = reconstruction_loss(made)[0]
    # 3 * 0.5 + 0.25 * 0.25 instead of 0.5 + 2 * 0.25
    other = reconstruction_loss(made, l1=3.0, l2=0.25)[0]
    assert (other - default).item() == pytest.approx(1.5 + 0.0625 - 1.0, rel=1e-5)


def test_tracks_that_follow_what_moves_cost_nothing():
    """A masked block that went 4 pixels right and 2 down, and the way that is said of it."""
    random = torch.Generator().manual_seed(0)
    reference = torch.rand(1, 3, 32, 32, generator=random)
    frames = torch.roll(reference, (2, 4), dims=(-2, -1))[:, None]
    decoded, context = layers_of()
    context.frames, context.mask = reference[:, None], torch.zeros(1, 1, 32, 32)
    context.mask[..., 8:24, 8:24] = 1.0
    right = torch.tensor([4.0, 2.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 16, 16)
    decoded.frames = decoded.layers = frames

    def cost():
        difference, size = track_loss(frames, decoded, context)
        return (difference / (size + 1.0)).item()

    costs, losses = [], []
    for share in (1.0, 0.5, 0.0, -1.0):
        decoded.displacement = share * right
        costs.append(cost())
        own, _ = layer_losses(frames, decoded, context, torch.zeros(1, 1, 4, 2, 2), {})
        own["tracks"] = torch.tensor(costs[-1])
        losses.append(reconstruction_loss(Reconstruction(frames, frames, own, []))[0].item())
    assert costs[0] == pytest.approx(0.0, abs=1e-5)
    assert min(costs[1:]) > 0.05
    assert min(losses[1:]) > losses[0] + 1e-3
    # What is outside of the mask may go anywhere.
    decoded.displacement = right.clone()
    decoded.displacement[..., :2, :] = 7.0
    assert cost() == pytest.approx(0.0, abs=1e-5)


def test_tracks_cost_as_much_in_grey_as_in_equal_colours():
    decoded, context = layers_of(mask=1.0)
    grey = torch.rand(2, 3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    sums = []
    for frames in (grey, grey.expand(-1, -1, 3, -1, -1)):
        context.frames = frames.flip(1)
        sums.append(track_loss(frames, decoded, context))
    costs = [float(difference / size) for difference, size in sums]
    assert costs[0] == pytest.approx(costs[1], rel=1e-5) and costs[0] > 0.01


def test_reconstructs_the_named_frames_with_noise_of_the_step():
    torch.manual_seed(0)
    autoencoder = RsvpAutoencoder(16, 2, 2, 3).requires_grad_(False)
    clips = torch.rand(1, 6, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1

    def run(seed, targets=(4, 1)):
        random = torch.Generator().manual_seed(seed)
        drawn = draw_reconstruction(autoencoder, clips.shape, 2, torch.tensor(targets), random)
        return reconstruct(autoencoder, clips, 2, drawn, cut(1, 1)[0])

    first = run(0)
    assert torch.equal(first.frames, clips[:, [4, 1]])
    assert torch.equal(first.predicted, run(0).predicted)
    assert not torch.equal(first.predicted, run(1).predicted)
    for name in ("content", "mask"):  # of latents, before the noise
        assert torch.equal(first.own_losses[name], run(1).own_losses[name])


def test_what_latents_hold_is_compared_with_the_layers_which_do_not_follow():
    own = [full(0, 3, 16, 16), full(0, 3, 16, 16), full(0.25, 1, 16, 16)]
    shown = [x.clone().requires_grad_() for x in own]
    context = Context(*shown, GRAY, *4 * [torch.zeros(1)])
    assert latent_loss(Layers(*own), context) == 0
    off = [x + y for x, y in zip(own, (0.5, 0.2, 0.1), strict=True)]
    for x in off:
        x.requires_grad_()
    loss = latent_loss(Layers(*off), context)
    # Object and mask count in relation to the mask's mean, 0.25 and 0.02.
    assert loss.item() == pytest.approx(0.5 + OBJECTS * (0.2 + 0.1) / 0.27, rel=1e-5)
    loss.backward()
    assert all(x.grad is None for x in shown) and all((x.grad > 0).all() for x in off)


def test_a_mask_is_asked_to_decide_once_it_has_found_what_moves():
    weights = [decided_weight(0.03, step, 100) for step in range(100)]
    assert not any(weights[:31]) and weights[45] == pytest.approx(0.015)
    assert weights[60:] == [0.03] * 40 and weights == sorted(weights)
