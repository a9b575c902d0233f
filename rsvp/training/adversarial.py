"""Adversarial losses with 2-D and 3-D patch discriminators, and what keeps the two in check."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from rsvp.config.schema import DiscriminatorAugment, Finetune, Regularisation
from rsvp.models.discriminators import ClipDiscriminator, ImageDiscriminator
from rsvp.training.augmentation import AdaptiveAugmentation

MOST_WEIGHT = 1e4  # of the adaptive weight: a gradient that vanishes must not make it infinite


class Penalty(nn.Module, ABC):
    """A regularisation of the discriminators; its buffers belong to the training state."""

    @abstractmethod
    def forward(
        self,
        step: int,
        discriminators: nn.Module,
        real: Tensor,
        fakes: list[Tensor],
        reals: list[Tensor],
    ) -> dict[str, Tensor]:
        """What to add to the discriminators' loss in this step, by name; nothing in some.

        `real` are the real clips (B, T, 3, H, H) that gave the logits `reals`; see `judge`.
        """


class R1(Penalty):
    """The squared gradient at real clips, every `every` steps with as many times the weight (lazy
    regularisation: Karras et al., "StyleGAN2", 2020, section 3.1)."""

    def __init__(self, weight: float, every: int) -> None:
        super().__init__()
        self.weight, self.every = weight, every

    def forward(
        self,
        step: int,
        discriminators: nn.Module,
        real: Tensor,
        fakes: list[Tensor],
        reals: list[Tensor],
    ) -> dict[str, Tensor]:
        if step % self.every:
            return {}
        return {"r1": self.every * self.weight * gradient_penalty(discriminators, real)}


class Discriminators(nn.Module):
    """The image and the clip discriminator over clips (B, T, 3, H, H) in [-1, 1].

    A penalty and an augmentation are parts of it, so that their state is part of its own.
    """

    def __init__(
        self,
        width: int,
        penalty: Penalty | None = None,
        augmentation: AdaptiveAugmentation | None = None,
    ) -> None:
        super().__init__()
        self.image, self.clip = ImageDiscriminator(width), ClipDiscriminator(width)
        self.penalty, self.augmentation = penalty, augmentation

    def forward(self, clips: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        """Logits and features of both discriminators."""
        return [self.image(clips.flatten(0, 1)), self.clip(clips.transpose(1, 2))]

    def augmented(
        self, fake: Tensor, real: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What the discriminators are shown: a clip and its reconstruction, transformed alike."""
        if self.augmentation is None:
            return fake, real
        return self.augmentation(fake, real, random)

    def penalties(
        self, step: int, real: Tensor, fakes: list[Tensor], reals: list[Tensor]
    ) -> dict[str, Tensor]:
        """What to add to the hinge loss, by name."""
        return {} if self.penalty is None else self.penalty(step, self, real, fakes, reals)

    def adapt(self, reals: list[Tensor]) -> dict[str, Tensor]:
        """Adapt the augmentation to the logits of real clips; returns what the history shows."""
        return {} if self.augmentation is None else self.augmentation.adapt(reals)


def make_discriminators(config: Finetune) -> Discriminators:
    """Fresh discriminators with the penalty and the augmentation that the config names."""
    penalty: Penalty | None = None
    if config.regularisation is Regularisation.r1:
        penalty = R1(config.r1_weight, config.r1_every)
    augmentation = None
    if config.augment is DiscriminatorAugment.ada:
        augmentation = AdaptiveAugmentation(config.ada_target, config.ada_clips)
    return Discriminators(config.discriminator_width, penalty, augmentation)


def judge(
    discriminators: nn.Module, fake: Tensor, real: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Each discriminator's logits of fake, without a gradient to who made it, and of real."""
    fakes, reals = discriminators(fake.detach()), discriminators(real)
    return [logits for logits, _ in fakes], [logits for logits, _ in reals]


def hinge_loss(fakes: list[Tensor], reals: list[Tensor]) -> Tensor:
    """What the discriminators minimise (hinge loss: Lim and Ye, "Geometric GAN", 2017), from the
    logits that `judge` gives."""
    losses = [
        0.5 * (F.relu(1.0 + f).mean() + F.relu(1.0 - r).mean())
        for f, r in zip(fakes, reals, strict=True)
    ]
    return sum(losses, start=losses[0].new_zeros(())) / len(losses)


def discriminator_step(
    fabric: Fabric,
    step: int,
    discriminators: Discriminators,
    optimizer: torch.optim.Optimizer,
    fake: Tensor,
    real: Tensor,
) -> dict[str, Tensor]:
    """One update of the discriminators, and of their augmentation; returns their losses."""
    with fabric.autocast():
        fakes, reals = judge(discriminators, fake, real)
        hinge = hinge_loss(fakes, reals)
    penalties = discriminators.penalties(step, real, fakes, reals)
    optimizer.zero_grad()
    sum(penalties.values(), start=hinge).backward()
    optimizer.step()
    return {"discriminator": hinge, **penalties, **discriminators.adapt(reals)}


def generator_loss(discriminators: nn.Module, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """What the generator minimises: minus the logits, and the distance of features.

    Feature matching (Salimans et al., "Improved techniques for training GANs", 2016, section 3.1):
    mean absolute difference of the discriminators' features of fake and of real.
    """
    fakes, reals = discriminators(fake), discriminators(real.detach())
    adversarial = sum(-logits.mean() for logits, _ in fakes) / len(fakes)
    distances = [
        (f - r.detach()).abs().mean()
        for (_, fs), (_, rs) in zip(fakes, reals, strict=True)
        for f, r in zip(fs, rs, strict=True)
    ]
    return adversarial, sum(distances, start=distances[0].new_zeros(())) / len(distances)


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """The weight under which both losses pull alike at the decoder's last layer.

    Ratio of the norms of their gradients (Esser et al., "Taming transformers for high-resolution
    image synthesis", 2021, equation 7), from 0 to `MOST_WEIGHT`; without a gradient of its own. The
    losses keep their graphs.
    """
    norms = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + 1e-6)).clamp(max=MOST_WEIGHT).detach()


def gradient_penalty(discriminators: nn.Module, real: Tensor) -> Tensor:
    """Half the squared norm of the logits' gradient at real clips (B, T, 3, H, H), mean over what
    a discriminator sees at once (frames or clips), then over discriminators.

    R1 (Mescheder et al., "Which training methods for GANs do actually converge?", 2018, equation 9)
    without its weight; a patch discriminator's logits are summed over the patches.
    """
    real = real.detach().float().requires_grad_()
    penalties = []
    for logits, _ in discriminators(real):
        (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        penalties.append(0.5 * gradient.square().sum() / len(logits))
    return torch.stack(penalties).mean()
