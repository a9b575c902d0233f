"""Adversarial losses and penalties: closed forms; and that the discriminators learn to tell."""

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from rsvp.data.micro_batches import cut
from rsvp.training.adversarial import (
    MOST_WEIGHT,
    Discriminators,
    adaptive_weight,
    discriminator_step,
    generator_losses,
    gradient_penalties,
    hinge_loss,
    judged,
    lazy_r1,
)
from rsvp.training.augmentation import AdaptiveAugmentation
from rsvp.training.processes import Processes
from rsvp.training.reconstruction import ClipPart


class Constant(nn.Module):
    """Two discriminators whose logits are the clips' mean and twice that."""

    def forward(self, clips):
        mean = clips.mean().reshape(1, 1)
        return [(mean, [clips, 3 * clips]), (2 * mean, [clips])]


def clips(value, requires_grad=False):
    return torch.full((2, 3, 3, 16, 16), float(value), requires_grad=requires_grad)


def hinge(discriminators, fake, real):
    return hinge_loss(discriminators(fake), discriminators(real))


def of_generator(discriminators, fake, real):
    nothing = torch.zeros(())
    return generator_losses(nothing, {}, discriminators(fake), discriminators(real))


def weight_of(reconstruction, adversarial, layer):
    """The adaptive weight of two losses of a whole batch."""
    losses = [{"reconstruction": reconstruction, "adversarial": adversarial}]
    return adaptive_weight(Processes(), cut(1, 1), losses, layer)


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
    loss = hinge(Constant(), clips(fake), clips(real))
    assert loss.item() == pytest.approx(expected)


def test_generator_loss_of_constant_logits():
    losses = of_generator(Constant(), clips(0.5), clips(0.2))
    assert losses["adversarial"].item() == pytest.approx(-(0.5 + 1.0) / 2)
    assert losses["features"].item() == pytest.approx((0.3 + 0.9 + 0.3) / 3, rel=1e-5)


def test_features_of_equal_clips_match():
    discriminators = Discriminators(8)
    video = torch.rand(2, 3, 3, 16, 16) * 2 - 1
    assert of_generator(discriminators.eval(), video, video)["features"] == 0.0
    assert of_generator(discriminators, video, -video)["features"] > 0.0


def test_gradients_reach_only_whom_they_should():
    """The discriminators' loss leaves the generator alone; real frames never get a gradient."""
    fake, real = clips(0.1, requires_grad=True), clips(0.2, requires_grad=True)
    discriminators = Discriminators(8)
    hinge(discriminators, fake.detach(), real).backward()
    assert fake.grad is None
    assert all(p.grad is not None for p in discriminators.parameters())
    real.grad = None
    sum(of_generator(discriminators, fake, real.detach()).values()).backward()
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
        loss = hinge(discriminators, *pair())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert gap() > before + 0.3


def two_losses(scale):
    """Losses whose gradients at the last layer are (3, 4) and `scale` (0, 1), and the layer."""
    layer = nn.Parameter(torch.tensor([0.7, -0.2]))
    return (layer * torch.tensor([3.0, 4.0])).sum(), scale * layer[1], layer


@pytest.mark.parametrize("scale", [0.01, 1.0, -20.0])
def test_adaptive_weight_is_the_ratio_of_gradient_norms(scale):
    weight = weight_of(*two_losses(scale))
    assert weight.item() == pytest.approx(5.0 / abs(scale), rel=1e-3)
    assert not weight.requires_grad


def test_adaptive_weight_makes_both_losses_pull_alike():
    """At the last layer of a network, whatever the losses' sizes; the graphs are kept."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    found = network(torch.randn(5, 4))
    losses = [100.0 * found.abs().mean(), -0.1 * found.mean()]
    last = network[-1].weight
    weight = weight_of(*losses, last)
    norms = [torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in losses]
    assert (weight * norms[1]).item() == pytest.approx(norms[0].item(), rel=0.05)
    (losses[0] + weight * losses[1]).backward()
    assert network[0].weight.grad.isfinite().all()


def test_adaptive_weight_is_finite_where_a_gradient_is_zero():
    reconstruction, adversarial, layer = two_losses(0.0)
    assert weight_of(reconstruction, adversarial, layer) == MOST_WEIGHT
    assert weight_of(adversarial, reconstruction, layer) == 0.0
    assert weight_of(adversarial, adversarial, layer) == 0.0


class Linear(nn.Module):
    """Discriminators of frames, w x summed over two patches, and of clips, x^2 / 2."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, clips):
        images = clips.flatten(0, 1)
        weighed = self.w * images
        patches = torch.stack([weighed[..., :2].sum((1, 2, 3)), weighed[..., 2:].sum((1, 2, 3))], 1)
        return [(patches, []), (0.5 * clips.square().sum((1, 2, 3, 4))[:, None], [])]


def test_r1_in_closed_form():
    """The gradient of w x is w, that of x^2 / 2 is x."""
    discriminators = Linear()
    real = torch.randn(2, 5, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    (penalty,) = gradient_penalties(discriminators, [real])
    of_frames = 0.5 * discriminators.w.square().sum()
    of_clips = 0.5 * real.square().sum((1, 2, 3, 4)).mean()
    torch.testing.assert_close(penalty, (of_frames + of_clips) / 2)
    # Half of |w|^2 / 2 has the gradient w / 2.
    penalty.backward()
    torch.testing.assert_close(discriminators.w.grad, discriminators.w.detach() / 2)
    assert not real.requires_grad


def test_r1_is_lazy_with_the_same_weight_on_average():
    weights = [lazy_r1(step, 0.5, 4) for step in range(8)]
    assert weights == [2.0, 0.0, 0.0, 0.0] * 2


@pytest.mark.parametrize("r1", [0.0, 2.0])
def test_r1_is_part_of_a_step_where_it_has_a_weight(r1):
    """Beside the hinge loss, whose gradient is taken out."""
    discriminators, real = Linear(), torch.ones(1, 2, 3, 4, 4)
    before = discriminators.w.detach().clone()
    fabric = Fabric(accelerator="cpu", devices=1)
    hinge(discriminators, real, real).backward()
    discriminators.augmentation, of_hinge = None, discriminators.w.grad.clone()
    optimizer = torch.optim.SGD(discriminators.parameters(), lr=1.0)
    part = ClipPart(cut(1, 1)[0], None, 0, None)
    losses = discriminator_step(
        fabric, Processes(), discriminators, optimizer, [part], [real], [real], r1
    )
    assert ("r1" in losses) == bool(r1)
    torch.testing.assert_close(discriminators.w + of_hinge, before - r1 * before / 2)


def test_r1_bounds_the_gradient_of_discriminators():
    """Trained on the penalty alone, patch discriminators become flat at real clips."""
    torch.manual_seed(0)
    discriminators, real = Discriminators(8), torch.rand(2, 3, 3, 16, 16)
    optimizer = torch.optim.Adam(discriminators.parameters(), lr=1e-2)
    before = gradient_penalties(discriminators, [real])[0].item()
    for _ in range(20):
        optimizer.zero_grad()
        gradient_penalties(discriminators, [real])[0].backward()
        optimizer.step()
    assert gradient_penalties(discriminators, [real])[0].item() < 0.5 * before


def test_spectral_norm_takes_a_step_for_a_batch_however_it_is_cut():
    torch.manual_seed(0)
    whole, cut = Discriminators(8), Discriminators(8)
    cut.load_state_dict(whole.state_dict())
    video = torch.rand(4, 3, 3, 16, 16)
    with torch.no_grad():
        ((frames, clip),) = judged(whole, [video])
        parts = judged(cut, video.split(1))
    for answer, place in ((frames, 0), (clip, 1)):
        torch.testing.assert_close(torch.cat([part[place][0] for part in parts]), answer[0])
    for (name, value), other in zip(
        whole.state_dict().items(), cut.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


def test_an_augmentation_is_part_of_the_state():
    augmented = Discriminators(8, AdaptiveAugmentation(0.6, 100))
    assert augmented.state_dict().keys() - Discriminators(8).state_dict().keys() == {
        "augmentation.p"
    }
