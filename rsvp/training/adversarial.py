"""Adversarial losses with 2-D and 3-D patch discriminators, and the step of fine-tuning."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from rsvp.config.schema import ObservedFrames
from rsvp.metrics.sliced_wasserstein import sliced_wasserstein
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.discriminators import ClipDiscriminator, ImageDiscriminator
from rsvp.runtime.random import generator
from rsvp.training.augmentation import AdaptiveAugmentation
from rsvp.training.reconstruction import (
    ReconstructionDraw,
    draw_reconstruction,
    reconstruct,
    reconstruction_loss,
)

MOST_WEIGHT = 1e4  # of the adaptive weight: a gradient that vanishes must not make it infinite


class Discriminators(nn.Module):
    """Image and clip discriminator over clips (B, T, 3, H, H) in [-1, 1].

    An augmentation is a part of them, so that its state is part of theirs.
    """

    def __init__(self, width: int, augmentation: AdaptiveAugmentation | None = None) -> None:
        super().__init__()
        self.image, self.clip = ImageDiscriminator(width), ClipDiscriminator(width)
        self.augmentation = augmentation

    def forward(self, clips: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        """Return logits and features of both discriminators."""
        return [self.image(clips.flatten(0, 1)), self.clip(clips.transpose(1, 2))]

    def augment(self, fake: Tensor, real: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Transform clips and their reconstructions alike, where there is an augmentation."""
        if self.augmentation is None:
            return fake, real
        return self.augmentation(fake, real, random)


def draw_consecutive(
    autoencoder: ClipAutoencoder,
    clips: Sequence[int],
    context: ObservedFrames,
    target_frames: int,
    random: torch.Generator,
) -> ReconstructionDraw:
    """Draw consecutive frames of clips of that shape (B, T, 3, H, H), and noise.

    The clips are in the context's order of frames: observed ones that follow the predicted ones
    stand at the front, and are left out.
    """
    starts = clips[1] - context.last - target_frames + 1
    first = context.last + torch.randint(starts, (1,), generator=random)
    targets = first + torch.arange(target_frames)
    return draw_reconstruction(autoencoder, clips, context.first + context.last, targets, random)


def generator_step(
    fabric: Fabric,
    autoencoder: ClipAutoencoder,
    discriminators: Discriminators,
    optimizer: torch.optim.Optimizer,
    clips: Tensor,
    context_frames: int,
    drawn: ReconstructionDraw,
    seed: int,
    step: int,
    *,
    l1: float,
    l2: float,
    lpips: float,
    perceptual: nn.Module | None,
    patches: float,
    adversarial: float,
    adaptive: bool,
    feature_matching: float,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Update an autoencoder once on clips (B, T, 3, H, H): see `draw_consecutive`.

    Weights are those of `docs/training.md`; `patches` is that of the sliced Wasserstein distance.
    Return reconstructed and real frames, as the discriminators are to see them, and the losses.
    """
    discriminators.requires_grad_(False)
    with fabric.autocast():
        result = reconstruct(autoencoder, clips, context_frames, drawn)
        reconstruction, parts = reconstruction_loss(result, l1, l2, lpips, perceptual)
        fake, real = discriminators.augment(
            result.predicted, result.frames, generator(seed, step, "augment")
        )
        fooling, features = generator_loss(discriminators, fake, real)
    shown = {name: parts[name] for name in ("l1", "lpips") if name in parts}
    if patches:
        places = int(torch.randint(2**31, (1,), generator=generator(seed, step, "patches")))
        distance = sliced_wasserstein(result.predicted.float(), result.frames, places).mean()
        reconstruction, shown["patches"] = reconstruction + patches * distance, distance
    weight: Tensor | float = adversarial
    if adaptive:
        shown["adaptive_weight"] = adaptive_weight(reconstruction, fooling, autoencoder.last_layer)
        weight = weight * shown["adaptive_weight"]
    optimizer.zero_grad()
    (reconstruction + weight * fooling + feature_matching * features).backward()
    torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
    optimizer.step()
    discriminators.requires_grad_(True)
    losses = {"reconstruction": reconstruction, "adversarial": fooling, "features": features}
    return fake, real, losses | shown


def discriminator_step(
    fabric: Fabric,
    discriminators: Discriminators,
    optimizer: torch.optim.Optimizer,
    fake: Tensor,
    real: Tensor,
    r1: float = 0.0,
) -> dict[str, Tensor]:
    """Update the discriminators once, and their augmentation; return the losses.

    r1: weight of the gradient penalty in this step.
    """
    with fabric.autocast():
        fakes, reals = discriminator_logits(discriminators, fake, real)
        hinge = hinge_loss(fakes, reals)
    losses = {"discriminator": hinge}
    if r1:
        losses["r1"] = r1 * gradient_penalty(discriminators, real)
    optimizer.zero_grad()
    sum(losses.values(), start=hinge.new_zeros(())).backward()
    optimizer.step()
    if discriminators.augmentation is not None:
        losses |= discriminators.augmentation.adapt(reals)
    return losses


def lazy_r1(step: int, weight: float, every: int) -> float:
    """Return the weight of R1 in a step: `every` steps as many times the weight, else none.

    Lazy regularisation: Karras et al., "StyleGAN2", 2020, section 3.1.
    """
    return 0.0 if step % every else every * weight


def discriminator_logits(
    discriminators: nn.Module, fake: Tensor, real: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return each discriminator's logits of fake, without a gradient to its maker, and of real."""
    fakes, reals = discriminators(fake.detach()), discriminators(real)
    return [logits for logits, _ in fakes], [logits for logits, _ in reals]


def hinge_loss(fakes: list[Tensor], reals: list[Tensor]) -> Tensor:
    """Return the discriminators' hinge loss (Lim and Ye, "Geometric GAN", 2017) from the logits."""
    losses = [
        0.5 * (F.relu(1.0 + f).mean() + F.relu(1.0 - r).mean())
        for f, r in zip(fakes, reals, strict=True)
    ]
    return sum(losses, start=losses[0].new_zeros(())) / len(losses)


def generator_loss(discriminators: nn.Module, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the generator's losses: minus the logits, and the distance of features.

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
    """Return the weight under which both losses pull alike at the decoder's last layer.

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
    """Return half the squared norm of the logits' gradient at real clips (B, T, 3, H, H).

    Mean over the items of a discriminator (frames or clips), then over discriminators.

    R1 (Mescheder et al., "Which training methods for GANs do actually converge?", 2018, equation 9)
    without its weight; a patch discriminator's logits are summed over the patches.
    """
    real = real.detach().float().requires_grad_()
    penalties = []
    for logits, _ in discriminators(real):
        (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        penalties.append(0.5 * gradient.square().sum() / len(logits))
    return torch.stack(penalties).mean()
