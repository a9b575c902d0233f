"""Adversarial losses with 2-D and 3-D patch discriminators, and the step of fine-tuning."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rsvp.config.schema import ObservedFrames
from rsvp.data.micro_batches import MicroBatch
from rsvp.metrics.sliced_wasserstein import sliced_wasserstein
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.discriminators import ClipDiscriminator, ImageDiscriminator
from rsvp.runtime.random import generator
from rsvp.training.augmentation import AdaptiveAugmentation, overfitting
from rsvp.training.processes import Processes
from rsvp.training.reconstruction import (
    ClipPart,
    ReconstructionDraw,
    draw_reconstruction,
    reconstruct_batch,
    reconstruction_loss,
)

if TYPE_CHECKING:  # it takes as long to import as torch
    from lightning_fabric import Fabric

Answer = list[tuple[Tensor, list[Tensor]]]  # logits and features of each discriminator
MOST_WEIGHT = 1e4  # of the adaptive weight: a gradient that vanishes must not make it infinite


class Discriminators(nn.Module):
    """Image and clip discriminator over clips (B, T, C, H, W) in [-1, 1].

    An augmentation is a part of them, so that its state is part of theirs.
    """

    def __init__(
        self, width: int, augmentation: AdaptiveAugmentation | None = None, colours: int = 3
    ) -> None:
        super().__init__()
        self.image, self.clip = (
            ImageDiscriminator(width, colours),
            ClipDiscriminator(width, colours),
        )
        self.augmentation = augmentation

    def forward(self, clips: Tensor) -> Answer:
        """Return logits and features of both discriminators."""
        return [self.image(clips.flatten(0, 1)), self.clip(clips.transpose(1, 2))]

    def augment(
        self, fake: Tensor, real: Tensor, random: torch.Generator, part: MicroBatch
    ) -> tuple[Tensor, Tensor]:
        """Transform clips and their reconstructions alike, where there is an augmentation."""
        if self.augmentation is None:
            return fake, real
        return self.augmentation(fake, real, random, part)


def draw_consecutive(
    autoencoder: ClipAutoencoder,
    clips: Sequence[int],
    context: ObservedFrames,
    target_frames: int,
    random: torch.Generator,
) -> ReconstructionDraw:
    """Draw consecutive frames of clips of that shape (B, T, C, H, W), and noise.

    The clips are in the context's order of frames: observed ones that follow the predicted ones
    stand at the front, and are left out.
    """
    starts = clips[1] - context.last - target_frames + 1
    first = context.last + torch.randint(starts, (1,), generator=random)
    targets = first + torch.arange(target_frames)
    return draw_reconstruction(autoencoder, clips, context.first + context.last, targets, random)


def generator_step(
    fabric: "Fabric",
    processes: Processes,
    autoencoder: ClipAutoencoder,
    discriminators: Discriminators,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[ClipPart],
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
    decided: float = 0.0,
) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
    """Update an autoencoder once on this process's micro-batches, drawn by `draw_consecutive`.

    Weights are those of `docs/training.md`; `patches` is that of the sliced Wasserstein distance.
    Return reconstructed and real frames of each micro-batch, as the discriminators are to see them,
    and the batch's losses.
    """
    discriminators.requires_grad_(False)
    with fabric.autocast():
        results = reconstruct_batch(processes, autoencoder, parts)
        weights = (l1, l2, lpips, perceptual, decided)
        found = [reconstruction_loss(result, *weights) for result in results]
        pairs = [
            discriminators.augment(
                result.predicted, result.frames, generator(seed, step, "augment"), part.part
            )
            for part, result in zip(parts, results, strict=True)
        ]
        fakes, reals = ([pair[side] for pair in pairs] for side in (0, 1))
        answers = zip(
            judged(discriminators, fakes),
            judged(discriminators, [real.detach() for real in reals]),
            strict=True,
        )
        values = [
            generator_losses(*reconstruction, *answer)
            for reconstruction, answer in zip(found, answers, strict=True)
        ]
    if patches:
        places = int(torch.randint(2**31, (1,), generator=generator(seed, step, "patches")))
        for result, value in zip(results, values, strict=True):
            distances = sliced_wasserstein(result.predicted.float(), result.frames, places)
            value["patches"] = distances.mean()
            value["reconstruction"] = value["reconstruction"] + patches * value["patches"]
    weight: Tensor | float = adversarial
    ratio = {}
    if adaptive:
        ratio["adaptive_weight"] = adaptive_weight(processes, parts, values, autoencoder.last_layer)
        weight = weight * ratio["adaptive_weight"]
    losses = [
        value["reconstruction"]
        + weight * value["adversarial"]
        + feature_matching * value["features"]
        for value in values
    ]
    optimizer.zero_grad()
    shown = processes.backward(autoencoder, parts, zip(losses, values, strict=True)) | ratio
    torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
    optimizer.step()
    discriminators.requires_grad_(True)
    return fakes, reals, shown


def discriminator_step(
    fabric: "Fabric",
    processes: Processes,
    discriminators: Discriminators,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[ClipPart],
    fakes: Sequence[Tensor],
    reals: Sequence[Tensor],
    r1: float = 0.0,
) -> dict[str, Tensor]:
    """Update the discriminators once, and their augmentation; return the batch's losses.

    fakes, reals: this process's micro-batches. r1: weight of the gradient penalty in this step.
    """
    with fabric.autocast():
        of_fakes = judged(discriminators, [fake.detach() for fake in fakes])
        of_reals = judged(discriminators, reals)
        values = [
            {"discriminator": hinge_loss(fake, real)}
            for fake, real in zip(of_fakes, of_reals, strict=True)
        ]
    if r1:
        for value, penalty in zip(values, gradient_penalties(discriminators, reals), strict=True):
            value["r1"] = r1 * penalty
    losses = [
        sum(value.values(), start=torch.zeros_like(value["discriminator"])) for value in values
    ]
    if discriminators.augmentation is not None:
        for value, real in zip(values, of_reals, strict=True):
            value["overfit"] = overfitting([logits for logits, _ in real])
    optimizer.zero_grad()
    found = processes.backward(discriminators, parts, zip(losses, values, strict=True))
    optimizer.step()
    if discriminators.augmentation is not None:
        found["augmented"] = discriminators.augmentation.adapt(found["overfit"], parts[0].part.size)
    return found


def lazy_r1(step: int, weight: float, every: int) -> float:
    """Return the weight of R1 in a step: `every` steps as many times the weight, else none.

    Lazy regularisation: Karras et al., "StyleGAN2", 2020, section 3.1.
    """
    return 0.0 if step % every else every * weight


def judged(discriminators: nn.Module, clips: Sequence[Tensor]) -> list[Answer]:
    """Return the discriminators' answers to micro-batches, which see the same weights.

    Spectral norm changes them at each use, so they are computed once for a batch.
    """
    with parametrize.cached():
        return [discriminators(clip) for clip in clips]


def hinge_loss(fakes: Answer, reals: Answer) -> Tensor:
    """Return the discriminators' hinge loss (Lim and Ye, "Geometric GAN", 2017) from the logits."""
    losses = [
        0.5 * (F.relu(1.0 + f).mean() + F.relu(1.0 - r).mean())
        for (f, _), (r, _) in zip(fakes, reals, strict=True)
    ]
    return sum(losses, start=losses[0].new_zeros(())) / len(losses)


def generator_losses(
    reconstruction: Tensor, parts: dict[str, Tensor], fakes: Answer, reals: Answer
) -> dict[str, Tensor]:
    """Return the generator's losses by name, with those of its parts that are shown.

    Adversarial: minus the logits. Feature matching (Salimans et al., "Improved techniques for
    training GANs", 2016, section 3.1): mean absolute difference of the discriminators' features of
    fake and of real.
    """
    adversarial = sum(-logits.mean() for logits, _ in fakes) / len(fakes)
    distances = [
        (f - r.detach()).abs().mean()
        for (_, fs), (_, rs) in zip(fakes, reals, strict=True)
        for f, r in zip(fs, rs, strict=True)
    ]
    features = sum(distances, start=distances[0].new_zeros(())) / len(distances)
    losses = {"reconstruction": reconstruction, "adversarial": adversarial, "features": features}
    return losses | {name: parts[name] for name in ("l1", "lpips") if name in parts}


def adaptive_weight(
    processes: Processes,
    parts: Sequence[ClipPart],
    losses: Sequence[dict[str, Tensor]],
    last_layer: Tensor,
) -> Tensor:
    """Return the weight under which both losses pull alike at the decoder's last layer.

    Ratio of the norms of the batch's gradients (Esser et al., "Taming transformers for
    high-resolution image synthesis", 2021, equation 7), from 0 to `MOST_WEIGHT`; without a gradient
    of its own. The losses, of this process's micro-batches, keep their graphs.
    """
    gradients = [
        [
            torch.autograd.grad(part.share * value[name], last_layer, retain_graph=True)[0]
            for name in ("reconstruction", "adversarial")
        ]
        for part, value in zip(parts, losses, strict=True)
    ]
    norms = [gradient.norm() for gradient in processes.totals(gradients)]
    return (norms[0] / (norms[1] + 1e-6)).clamp(max=MOST_WEIGHT).detach()


def gradient_penalties(discriminators: nn.Module, reals: Sequence[Tensor]) -> list[Tensor]:
    """Return half the squared norm of the logits' gradient at real clips (B, T, C, H, W).

    One for each micro-batch: mean over the items of a discriminator (frames or clips), then over
    discriminators.

    R1 (Mescheder et al., "Which training methods for GANs do actually converge?", 2018, equation 9)
    without its weight; a patch discriminator's logits are summed over the patches.
    """
    reals = [real.detach().float().requires_grad_() for real in reals]
    penalties = []
    for real, answer in zip(reals, judged(discriminators, reals), strict=True):
        own = []
        for logits, _ in answer:
            (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
            own.append(0.5 * gradient.square().sum() / len(logits))
        penalties.append(torch.stack(own).mean())
    return penalties
