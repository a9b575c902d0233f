"""Adversarial losses with 2-D and 3-D patch discriminators."""

import torch.nn.functional as F
from torch import Tensor, nn

from rsvp.models.discriminators import ClipDiscriminator, ImageDiscriminator


class Discriminators(nn.Module):
    """The image and the clip discriminator over clips (B, T, 3, H, H) in [-1, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image, self.clip = ImageDiscriminator(width), ClipDiscriminator(width)

    def forward(self, clips: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        """Logits and features of both discriminators."""
        return [self.image(clips.flatten(0, 1)), self.clip(clips.transpose(1, 2))]


def hinge_loss(discriminators: nn.Module, fake: Tensor, real: Tensor) -> Tensor:
    """What the discriminators minimise (hinge loss: Lim and Ye, "Geometric GAN", 2017)."""
    fakes, reals = discriminators(fake.detach()), discriminators(real)
    losses = [
        0.5 * (F.relu(1.0 + f).mean() + F.relu(1.0 - r).mean())
        for (f, _), (r, _) in zip(fakes, reals, strict=True)
    ]
    return sum(losses, start=losses[0].new_zeros(())) / len(losses)


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
