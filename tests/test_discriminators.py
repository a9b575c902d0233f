"""Patch discriminators: shapes, what a logit sees, and bounded weights."""

import pytest
import torch

from rsvp.models.discriminators import ClipDiscriminator, ImageDiscriminator


def image_and_clip():
    torch.manual_seed(0)
    return ImageDiscriminator(8), ClipDiscriminator(8)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_shapes(size):
    image, clip = image_and_clip()
    logits, features = image(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 1, size // 8, size // 8)
    assert [f.shape[1] for f in features] == [8, 16, 32]
    logits, features = clip(torch.randn(2, 3, 5, size, size))
    assert logits.shape == (2, 1, 5, size // 8, size // 8)
    assert all(f.shape[2] == 5 for f in features)


def test_logits_are_of_patches():
    """A change in one corner leaves the logit of the opposite one alone."""
    image, clip = (d.eval() for d in image_and_clip())
    for discriminator, shape in ((image, (1, 3, 96, 96)), (clip, (1, 3, 2, 96, 96))):
        video = torch.randn(shape)
        other = video.clone()
        other[..., :8, :8] += 1.0
        change = (discriminator(other)[0] - discriminator(video)[0]).abs()
        assert change[..., 0, 0].max() > 0
        assert change[..., -1, -1].max() == 0


def test_clip_discriminator_sees_the_order_of_frames():
    _, clip = image_and_clip()
    clip.eval()
    video = torch.randn(1, 3, 5, 32, 32)
    assert (clip(video)[0] - clip(video.flip(2))[0].flip(2)).abs().max() > 1e-3


def test_spectral_norms_are_one_while_weights_grow():
    for discriminator, shape in zip(
        image_and_clip(), ((2, 3, 32, 32), (2, 3, 3, 32, 32)), strict=True
    ):
        for name, parameter in discriminator.named_parameters():
            if name.endswith("original"):
                parameter.data *= 50.0
        for _ in range(20):
            discriminator(torch.randn(shape))
        discriminator.eval()
        for layer in [*discriminator.layers, discriminator.logits]:
            norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
            assert norm.item() == pytest.approx(1.0, abs=0.1)
