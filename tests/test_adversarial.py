"""Adversarial losses: closed forms, and that the discriminators learn to tell."""

import pytest
import torch
from torch import nn

from rsvp.training.adversarial import Discriminators, generator_loss, hinge_loss


class Constant(nn.Module):
    """Two discriminators whose logits are the clips' mean and twice that."""

    def forward(self, clips):
        mean = clips.mean().reshape(1, 1)
        return [(mean, [clips, 3 * clips]), (2 * mean, [clips])]


def clips(value, requires_grad=False):
    return torch.full((2, 3, 3, 16, 16), float(value), requires_grad=requires_grad)


@pytest.mark.parametrize(
    ("fake", "real", "expected"),
    [
        # 1/2 [max(0, 1 + f) + max(0, 1 - r)] for logits (f, r) and (2f, 2r), averaged
        (0.0, 0.0, 1.0),
        (-1.0, 1.0, 0.0),
        (-5.0, 5.0, 0.0),
        (1.0, -1.0, (2.0 + 3.0) / 2),
        (0.5, 0.25, 0.5 * (0.5 * (1.5 + 0.75) + 0.5 * (2.0 + 0.5))),
    ],
)
def test_hinge_loss_of_constant_logits(fake, real, expected):
    loss = hinge_loss(Constant(), clips(fake), clips(real))
    assert loss.item() == pytest.approx(expected)


def test_generator_loss_of_constant_logits():
    adversarial, features = generator_loss(Constant(), clips(0.5), clips(0.2))
    assert adversarial.item() == pytest.approx(-(0.5 + 1.0) / 2)
    assert features.item() == pytest.approx((0.3 + 0.9 + 0.3) / 3, rel=1e-5)


def test_features_of_equal_clips_match():
    discriminators = Discriminators(8)
    video = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    assert generator_loss(discriminators.eval(), video, video)[1] == 0.0
    assert generator_loss(discriminators, video, -video)[1] > 0.0


def test_gradients_reach_only_whom_they_should():
    """The discriminators' loss leaves the generator alone; real frames never get a gradient."""
    fake, real = clips(0.1, requires_grad=True), clips(0.2, requires_grad=True)
    discriminators = Discriminators(8)
    hinge_loss(discriminators, fake, real).backward()
    assert fake.grad is None
    assert all(p.grad is not None for p in discriminators.parameters())
    real.grad = None
    sum(generator_loss(discriminators, fake, real)).backward()
    assert fake.grad.abs().sum() > 0 and real.grad is None


@pytest.mark.parametrize("kind", [0, 1], ids=["image", "clip"])
def test_discriminators_learn_to_tell(kind):
    """Smooth clips from the same with a little noise: the gap of the logits opens."""
    torch.manual_seed(0)
    discriminators = Discriminators(8)
    optimizer = torch.optim.Adam(discriminators.parameters(), lr=2e-3, betas=(0.5, 0.98))

    def pair():
        real = torch.nn.functional.interpolate(torch.randn(12, 3, 4, 4), 16, mode="bilinear")
        real = real.view(4, 3, 3, 16, 16)
        return real + 0.5 * torch.randn_like(real), real

    @torch.no_grad()
    def gap():
        torch.manual_seed(1)
        fake, real = pair()
        return (discriminators(real)[kind][0].mean() - discriminators(fake)[kind][0].mean()).item()

    before = gap()
    for _ in range(30):
        loss = hinge_loss(discriminators, *pair())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert gap() > before + 0.3
