"""Losses of stage one: how well an autoencoder gives frames back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from rsvp.config.schema import Pretrain
from rsvp.models.autoencoders.base import ClipAutoencoder, PlainAutoencoder
from rsvp.models.autoencoders.rsvp import Autoencoder, Context, Decoded
from rsvp.models.autoencoders.rsvp_joint import JointAutoencoder
from rsvp.models.warping import sample

MASK_WEIGHT = 0.02  # what moves is as small as it can be
CONTENT_WEIGHT = 0.25  # motion carries content only where that pays


@dataclass(frozen=True)
class FrameWeights:
    """Weights of the losses of frames that all kinds share; `pretrain` of the config names them."""

    l1: float = 1.0
    l2: float = 2.0


def frame_weights(config: Pretrain) -> FrameWeights:
    """The weights that the config names; fine-tuning has the same ones."""
    return FrameWeights(config.l1, config.l2)


@dataclass
class Reconstruction(ABC):
    """One training step's frames (B, T, 3, H, H) in [-1, 1], and what was made of them."""

    frames: Tensor

    @property
    @abstractmethod
    def predicted(self) -> Tensor:
        """The frames as they were given back."""

    @abstractmethod
    def losses(self, weights: FrameWeights) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the kind's own losses, and its parts by name."""


@dataclass
class PlainReconstruction(Reconstruction):
    """Frames that are compared, and a loss of the latents."""

    given_back: Tensor  # (B, T, 3, H, H)
    regulariser: Tensor

    @property
    def predicted(self) -> Tensor:
        return self.given_back

    def losses(self, weights: FrameWeights) -> tuple[Tensor, dict[str, Tensor]]:
        """L1 and L2 of the frames, and the regulariser's loss."""
        difference = self.given_back - self.frames
        parts = {"l1": difference.abs().mean(), "l2": difference.square().mean()}
        parts["regulariser"] = self.regulariser
        loss = weights.l1 * parts["l1"] + weights.l2 * parts["l2"] + parts["regulariser"]
        return loss, parts


@dataclass
class LayeredReconstruction(Reconstruction):
    """Frames of the scene/object/motion autoencoder, and what they were made from."""

    decoded: Decoded
    context: Context
    motion: Tensor  # (B, T, Cm, h, h)
    future: dict[str, Tensor] = field(default_factory=dict)  # latents (B, C, h, h) of the future

    @property
    def predicted(self) -> Tensor:
        return self.decoded.frames

    def losses(self, weights: FrameWeights) -> tuple[Tensor, dict[str, Tensor]]:
        """Colours: L1 and L2 of the frames; L1 of the layers alone, also at a quarter of the
        resolution, where what moved too far still overlaps; tracks. Plus the sizes of mask and
        latents.
        """
        difference = self.decoded.frames - self.frames
        layers = self.decoded.layers - self.frames
        coarse = F.avg_pool2d(layers.flatten(0, 1), 4)
        parts = {
            "l1": difference.abs().mean(),
            "l2": difference.square().mean(),
            "layers": layers.abs().mean() + coarse.abs().mean(),
            "mask": self.context.mask.mean(),
            # Over all channels, so that a model without content channels has none to pay for.
            "content": self.motion[:, :, 2:].square().sum() / self.motion.numel(),
        }
        for latents in self.future.values():
            parts["content"] = parts["content"] + latents.square().mean()
        parts["tracks"] = track_loss(self)
        loss = weights.l1 * parts["l1"] + weights.l2 * parts["l2"]
        loss = loss + 0.5 * parts["layers"] + 0.3 * parts["tracks"]
        return loss + MASK_WEIGHT * parts["mask"] + CONTENT_WEIGHT * parts["content"], parts


def reconstruct(
    autoencoder: ClipAutoencoder,
    clips: Tensor,
    context_frames: int,
    targets: Tensor,
    random: torch.Generator,
) -> Reconstruction:
    """Encode clips (B, T, 3, H, H) and decode the frames at `targets` (any of the clip's)."""
    if isinstance(autoencoder, PlainAutoencoder):
        shown = autoencoder.train_pass(clips, context_frames, targets, random)
        return PlainReconstruction(clips[:, targets], *shown)
    return reconstruct_layers(autoencoder, clips, context_frames, targets, random)


def reconstruct_layers(
    autoencoder: Autoencoder,
    clips: Tensor,
    context_frames: int,
    targets: Tensor,
    random: torch.Generator,
) -> LayeredReconstruction:
    """`reconstruct`, with all that the frames are made of.

    Motion is decoded with noise of fixed scale, and the size of its content channels is penalised,
    so the noise bounds what they carry. (Displacements have a size of their own: latent cells.)
    """
    context = autoencoder.encode_context(clips[:, :context_frames])
    frames = clips[:, targets]
    motion = autoencoder.encode_motion(frames, context)

    def noisy(latents: Tensor) -> Tensor:
        noise = torch.randn(latents.shape, generator=random).to(latents.device)
        return latents + autoencoder.latent_noise * noise

    shown, seen, future = noisy(motion), context, {}
    if isinstance(autoencoder, JointAutoencoder):
        future = autoencoder.encode_future(clips[:, context_frames:])
        seen = autoencoder.with_future(context, {k: noisy(v) for k, v in future.items()})
    decoded = autoencoder.decode(shown, seen)
    return LayeredReconstruction(frames, decoded, context, motion, future)


def reconstruction_loss(
    result: Reconstruction,
    perceptual: nn.Module | None,
    perceptual_weight: float,
    weights: FrameWeights = FrameWeights(),
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of stage one's losses, LPIPS included, and its parts by name."""
    loss, parts = result.losses(weights)
    if perceptual is not None and perceptual_weight:
        frames, target = (x.flatten(0, 1) for x in (result.predicted, result.frames))
        parts["lpips"] = perceptual(frames, target).mean()
        loss = loss + perceptual_weight * parts["lpips"]
    return loss, parts


def track_loss(result: LayeredReconstruction) -> Tensor:
    """How well displacements lead from what moves in the reference to the same colours.

    Mean absolute difference of colours at both ends, at half the resolution, over the mask. It
    reaches displacements directly, where the image's losses come through splatting.
    """
    count = result.frames.shape[1]
    mask = F.avg_pool2d(result.context.mask.detach(), 2)
    reference = F.avg_pool2d(result.context.reference, 2)
    mask, reference = (repeat(x, "b c h w -> (b t) c h w", t=count) for x in (mask, reference))
    frames = F.avg_pool2d(result.frames.flatten(0, 1), 2)
    found = sample(frames, result.decoded.displacement.flatten(0, 1) / 2.0)
    return (mask * (found - reference).abs()).sum() / (3.0 * mask.sum() + 1.0)
