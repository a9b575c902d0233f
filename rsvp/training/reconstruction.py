"""Losses of stage one: how well an autoencoder gives frames back."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from rsvp.models.autoencoder import Autoencoder, Context, Decoded
from rsvp.models.warping import sample

LATENT_NOISE = 0.1  # added to motion in training, so that small errors of the predictor stay small
MASK_WEIGHT = 0.02  # what moves is as small as it can be
CONTENT_WEIGHT = 1e-2  # motion carries content only where that pays


@dataclass
class Reconstruction:
    """One training step's frames, all (B, T, 3, H, H) in [-1, 1], and what they were made from."""

    frames: Tensor
    decoded: Decoded
    context: Context
    motion: Tensor  # (B, T, Cm, h, h)


def reconstruct(
    autoencoder: Autoencoder,
    clips: Tensor,
    context_frames: int,
    targets: Tensor,
    random: torch.Generator,
) -> Reconstruction:
    """Encode clips (B, T, 3, H, H) and decode the frames at `targets` (any of the clip's).

    Motion is decoded with noise of fixed scale, and the size of its content channels is penalised,
    so the noise bounds what they carry. (Displacements have a size of their own: latent cells.)
    """
    context = autoencoder.encode_context(clips[:, :context_frames])
    frames = clips[:, targets]
    motion = autoencoder.encode_motion(frames, context)
    noise = torch.randn(motion.shape, generator=random).to(motion.device)
    decoded = autoencoder.decode(motion + LATENT_NOISE * noise, context)
    return Reconstruction(frames, decoded, context, motion)


def reconstruction_loss(
    result: Reconstruction, perceptual: nn.Module | None, perceptual_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of stage one's losses, and its parts by name.

    Colours: L1 and L2 of the frames; L1 of the layers alone, also at a quarter of the resolution,
    where what moved too far still overlaps; tracks. Plus the sizes of mask and latents, and LPIPS.
    """
    difference = result.decoded.frames - result.frames
    layers = result.decoded.layers - result.frames
    coarse = F.avg_pool2d(layers.flatten(0, 1), 4)
    parts = {
        "l1": difference.abs().mean(),
        "l2": difference.square().mean(),
        "layers": layers.abs().mean() + coarse.abs().mean(),
        "mask": result.context.mask.mean(),
        # Over all channels, so that a model without content channels has none to pay for.
        "content": result.motion[:, :, 2:].square().sum() / result.motion.numel(),
    }
    parts["tracks"] = track_loss(result)
    loss = parts["l1"] + 2.0 * parts["l2"] + 0.5 * parts["layers"] + 0.3 * parts["tracks"]
    loss = loss + MASK_WEIGHT * parts["mask"] + CONTENT_WEIGHT * parts["content"]
    if perceptual is not None and perceptual_weight:
        frames, target = (x.flatten(0, 1) for x in (result.decoded.frames, result.frames))
        parts["lpips"] = perceptual(frames, target).mean()
        loss = loss + perceptual_weight * parts["lpips"]
    return loss, parts


def track_loss(result: Reconstruction) -> Tensor:
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
