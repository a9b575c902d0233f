"""A batch in parts is the batch: losses and gradients of all three trainings, to rounding."""

import pytest
import torch
from lightning_fabric import Fabric

from rsvp.config.schema import ObservedFrames
from rsvp.data.layout import LatentBatch
from rsvp.data.micro_batches import MicroBatch, cut
from rsvp.data.pixels import to_bytes
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.models.autoencoders.kinds import make_autoencoder
from rsvp.models.denoiser import LatentDenoiser
from rsvp.runtime.random import generator
from rsvp.training.adversarial import (
    Discriminators,
    discriminator_step,
    draw_consecutive,
    generator_step,
)
from rsvp.training.augmentation import AdaptiveAugmentation
from rsvp.training.denoising import diffusion_step, divided, draw_noise
from rsvp.training.ema import WeightAverage
from rsvp.training.processes import Processes
from rsvp.training.reconstruction import clip_parts, draw_reconstruction, reconstruction_step

CLIPS, FRAMES, SIZE = 5, 5, 32
CONTEXT = ObservedFrames(first=2)
LAYERS = {"scene_channels": 2, "object_channels": 2, "motion_channels": 3}
KINDS = {
    "rsvp": {"kind": "rsvp"} | LAYERS,
    "joint": {"kind": "joint"} | LAYERS,
    "kl": {"kind": "triplane", "channels": 2, "regulariser": {"kind": "kl", "kl_weight": 0.1}},
    "vq": {"kind": "frames", "channels": 2, "regulariser":
           {"kind": "vq", "codes": 8, "codes_decay": 0.5, "commitment": 0.5}},
    "tanh": {"kind": "frames", "channels": 2, "regulariser": {"kind": "tanh"}},
}  # fmt: skip


def test_parts_are_as_even_as_can_be_and_in_order():
    for size, count in ((4, 1), (4, 4), (5, 3), (32, 7)):
        parts = cut(size, count)
        sizes = [part.last - part.first for part in parts]
        assert sum(sizes) == size and max(sizes) - min(sizes) <= 1 <= min(sizes)
        rows = torch.cat([part.rows(torch.arange(size)) for part in parts])
        assert rows.tolist() == list(range(size))
        assert sum(part.share for part in parts) == pytest.approx(1.0)
        placed = sum(part.placed(part.rows(torch.arange(size))) for part in parts)
        assert placed.tolist() == rows.tolist()


def fabric():
    return Fabric(accelerator="cpu", devices=1)


def kept(optimizer):
    """An optimiser of the same parameters that changes nothing."""
    return torch.optim.SGD(optimizer, lr=0.0)


def autoencoder(kind):
    torch.manual_seed(0)
    return make_autoencoder(width=16, **KINDS[kind])


def video(parts, cell=4):
    """Bytes of the same clips, in cells of so many equal pixels per side, in parts."""
    random = torch.Generator().manual_seed(3)
    count = SIZE // cell
    small = 2 * torch.rand(CLIPS, FRAMES, 3, count, count, generator=random) - 1
    clips = to_bytes(small.repeat_interleave(cell, -1).repeat_interleave(cell, -2))
    return [part.rows(clips) for part in parts]


def assert_close(found, expected):
    """Compare losses, and vectors by their norms."""
    (losses, *vectors), (others, *expected_vectors) = found, expected
    assert losses.keys() == others.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, others[name], rtol=1e-4, atol=1e-6)
    for vector, other in zip(vectors, expected_vectors, strict=True):
        assert other.norm() > 0 and (vector - other).norm() < 1e-4 * other.norm()


def gradient(module):
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def pretrained(kind, count):
    """Losses, gradients and buffers of a step of pretraining in `count` parts."""
    made, parts = autoencoder(kind).train(), cut(CLIPS, count)
    shape = (CLIPS, FRAMES, 3, SIZE, SIZE)
    drawn = draw_reconstruction(made, shape, 2, torch.tensor([4, 0, 2]), generator(0, 0, "x"))
    losses = reconstruction_step(
        fabric(), Processes(count), made, kept(made.parameters()),
        clip_parts(parts, video(parts), 2, drawn), l1=1.0, l2=2.0, lpips=0.0, perceptual=None,
    )  # fmt: skip
    buffers = [b.flatten().float() for b in made.buffers() if b.numel() and b.dtype != torch.bool]
    return losses, gradient(made), *([torch.cat(buffers)] if buffers else [])


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_pretraining(kind, count):
    assert_close(pretrained(kind, count), pretrained(kind, 1))


def finetuned(kind, count):
    """Losses of both sides, their gradients, and the buffers of the discriminators."""
    made, parts = autoencoder(kind).eval(), cut(CLIPS, count)
    augmentation = AdaptiveAugmentation(0.01, 8)
    augmentation.p.fill_(0.6)
    torch.manual_seed(1)
    discriminators = Discriminators(8, augmentation)
    random, shape = generator(0, 0, "x"), (CLIPS, FRAMES, 3, SIZE, SIZE)
    drawn = draw_consecutive(made, shape, CONTEXT, 2, random)
    # Rounding would sort equal patches, and so move the gradients of their distance.
    clips, processes = video(parts, cell=1), Processes(count)
    own = clip_parts(parts, clips, 2, drawn)
    fakes, reals, losses = generator_step(
        fabric(), processes, made, discriminators, kept(made.parameters()), own, 0, 1, l1=1.0,
        l2=2.0, lpips=0.0, perceptual=None, patches=1.0, adversarial=0.8, adaptive=True,
        feature_matching=1.0,
    )  # fmt: skip
    losses |= discriminator_step(
        fabric(), processes, discriminators, kept(discriminators.parameters()), own, fakes, reals,
        r1=2.0,
    )  # fmt: skip
    buffers = torch.cat([buffer.flatten() for buffer in discriminators.buffers()])
    return losses, gradient(made), gradient(discriminators), buffers


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("kind", ["joint", "kl"])
def test_finetuning(kind, count):
    found = finetuned(kind, count)
    assert {"adaptive_weight", "patches", "r1", "overfit", "augmented"} <= found[0].keys()
    assert_close(found, finetuned(kind, 1))


def diffused(masked, count):
    """The loss and gradients of a step of the denoiser's training."""
    torch.manual_seed(0)
    random = generator(0, 0, "x")
    shape = {"motion": [4, 2, 4, 4], "future": [1, 3, 4, 4]}
    denoiser = LatentDenoiser(shape, shape, width=32, depth=1, heads=2, patch=2, frames_per_token=2)
    for parameter in denoiser.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=random)
    latents = [
        {name: torch.randn(CLIPS, *s, generator=random) for name, s in shape.items()}
        for _ in range(2)
    ]
    wanted = None
    if masked:  # of each clip another number of values
        wanted = {name: torch.ones(CLIPS, *s, dtype=torch.bool) for name, s in shape.items()}
        for clip in range(CLIPS):
            wanted["motion"][clip, : clip % 4] = False
    batch, flow = LatentBatch(*latents, wanted), OBJECTIVES["flow"]
    drawn = draw_noise(batch, flow, random, uniform=False, mean=0.0, deviation=1.0)
    drawn = drawn._replace(dropped=torch.arange(CLIPS) % 2 == 0)
    losses = diffusion_step(
        fabric(), Processes(count), denoiser, WeightAverage(denoiser, 0.9),
        kept(denoiser.parameters()), divided(batch, drawn, cut(CLIPS, count)), flow,
    )  # fmt: skip
    return losses, gradient(denoiser)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_diffusion(masked, count):
    assert_close(diffused(masked, count), diffused(masked, 1))


def test_one_part_is_the_batch():
    (whole,) = cut(7, 1)
    assert whole == MicroBatch(0, 7, 7) and whole.share == 1.0
