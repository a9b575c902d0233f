"""Stage one: reconstruction of clips, its losses, and the step of pretraining."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from rsvp.data.micro_batches import MicroBatch
from rsvp.data.pixels import to_float
from rsvp.models.autoencoders.base import ClipAutoencoder, PlainAutoencoder
from rsvp.models.regularisers import Drawn
from rsvp.models.warping import sample
from rsvp.training.processes import Processes, update

if TYPE_CHECKING:  # a kind that is not trained is no part of a training's code
    from lightning_fabric import Fabric

    from rsvp.models.autoencoders.layer_latents import Layers
    from rsvp.models.autoencoders.rsvp import Context, DecodedFrames, RsvpAutoencoder

# Of the losses that only some kinds have.
OWN_WEIGHTS = {
    "regulariser": 1.0,
    "layers": 0.5,
    "tracks": 0.3,
    "latents": 0.5,  # scene and object latents hold their layers by themselves
    "mask": 0.02,  # what moves is as small as it can be
    "content": 0.25,  # motion carries content only where that pays
}
DECIDED_FROM, DECIDED_WHOLE = 0.3, 0.6  # shares of the steps, see `decided_weight`
OBJECTS = 0.3  # weight of object image and mask in the loss of latents, beside the scene


class ReconstructionDraw(NamedTuple):
    """Random draws of a step of stage one."""

    targets: Tensor  # (T,), the frames that are reconstructed
    noise: list[Drawn]  # of latents, in the order of the autoencoder's `draw`

    def to(self, device: torch.device) -> "ReconstructionDraw":
        """Return the same draws on another device."""
        noise = [x.to(device) if isinstance(x, Tensor) else x for x in self.noise]
        return ReconstructionDraw(self.targets.to(device), noise)

    def rows(self, part: MicroBatch) -> "ReconstructionDraw":
        """Return the draws of a part of the batch."""
        noise = [part.rows(x) if isinstance(x, Tensor) else x for x in self.noise]
        return ReconstructionDraw(self.targets, noise)


def draw_reconstruction(
    autoencoder: ClipAutoencoder,
    clips: Sequence[int],
    context_frames: int,
    targets: Tensor,
    random: torch.Generator,
) -> ReconstructionDraw:
    """Draw the noise of a step that reconstructs `targets` (T,) of clips of that shape."""
    noise = autoencoder.draw(clips, context_frames, len(targets), random)
    return ReconstructionDraw(targets, noise)


class ClipPart(NamedTuple):
    """A micro-batch of a step of stage one."""

    part: MicroBatch
    clips: Tensor  # (B, T, C, H, W), uint8
    context_frames: int
    drawn: ReconstructionDraw

    @property
    def share(self) -> float:
        """Share of the batch's clips."""
        return self.part.share

    def to(self, device: torch.device) -> "ClipPart":
        """Return the same on another device."""
        drawn = self.drawn.to(device)
        return self._replace(clips=self.clips.to(device), drawn=drawn)


def clip_parts(
    parts: Sequence[MicroBatch],
    clips: Sequence[Tensor],
    context_frames: int,
    drawn: ReconstructionDraw,
) -> list[ClipPart]:
    """Return these parts of a batch: the clips of each, and its share of what was drawn for all."""
    return [
        ClipPart(part, own, context_frames, drawn.rows(part))
        for part, own in zip(parts, clips, strict=True)
    ]


@dataclass
class Reconstruction:
    """Frames of one training step and their reconstruction."""

    frames: Tensor  # (B, T, C, H, W) in [-1, 1]
    predicted: Tensor  # the same shape
    own_losses: dict[str, Tensor]  # of the kind, by their names in `OWN_WEIGHTS`; undecided
    sums: list[Tensor]  # whose sums over the batch are needed


def reconstruct_batch(
    processes: Processes, autoencoder: ClipAutoencoder, parts: Sequence[ClipPart]
) -> list[Reconstruction]:
    """Reconstruct this process's micro-batches as parts of one batch."""
    results = [
        reconstruct(autoencoder, to_float(p.clips), p.context_frames, p.drawn, p.part)
        for p in parts
    ]
    totals = processes.totals([result.sums for result in results])
    if isinstance(autoencoder, PlainAutoencoder):
        for total, drawn in zip(totals, parts[0].drawn.noise, strict=False):
            autoencoder.regulariser.learn(total, drawn)
    else:
        for part, result in zip(parts, results, strict=True):
            loss = result.own_losses["tracks"] / (totals[0] + 1.0)
            result.own_losses["tracks"] = loss / part.share  # by which each part's loss counts
    return results


def reconstruct(
    autoencoder: ClipAutoencoder,
    clips: Tensor,
    context_frames: int,
    drawn: ReconstructionDraw,
    part: MicroBatch,
) -> Reconstruction:
    """Encode clips (B, T, C, H, W) and decode the targets that were drawn (any of their frames).

    The loss of tracks is left to be divided.
    """
    if isinstance(autoencoder, PlainAutoencoder):
        predicted, loss, sums = autoencoder.train_pass(clips, context_frames, *drawn, part)
        return Reconstruction(clips[:, drawn.targets], predicted, {"regulariser": loss}, sums)
    return reconstruct_layers(autoencoder, clips, context_frames, drawn)


def reconstruct_layers(
    autoencoder: "RsvpAutoencoder",
    clips: Tensor,
    context_frames: int,
    drawn: ReconstructionDraw,
) -> Reconstruction:
    """Reconstruct by scene, object and motion.

    Motion is decoded with noise of fixed scale, and the size of its content channels is penalised,
    so the noise bounds what they carry. (Displacements have a size of their own: latent cells.)
    """
    context = autoencoder.encode_context(clips[:, :context_frames])
    frames, noise = clips[:, drawn.targets], iter(drawn.noise)
    motion = autoencoder.encode_motion(frames, context)

    def noisy(latents: Tensor) -> Tensor:
        return latents + autoencoder.latent_noise * next(noise)

    shown, seen, future = noisy(motion), context, {}
    if hasattr(autoencoder, "encode_future"):  # scene and object of the future
        future = autoencoder.encode_future(clips[:, context_frames:])
        seen = autoencoder.with_future(context, {k: noisy(v) for k, v in future.items()})
    decoded = autoencoder.decode(shown, seen)
    losses, size = layer_losses(frames, decoded, context, motion, future)
    own = autoencoder.decode_layers(context.scene, context.object)
    losses["latents"] = latent_loss(own, context)
    return Reconstruction(frames, decoded.frames, losses, [size])


def layer_losses(
    frames: Tensor,
    decoded: "DecodedFrames",
    context: "Context",
    motion: Tensor,
    future: dict[str, Tensor],
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the losses of scene, object and motion beside those of the frames.

    L1 of the layers without the residual, also at a quarter of the resolution, where what moved too
    far still overlaps; tracks; the size of the mask, and how far it is from 0 and 1; the sizes of
    latents: motion (B, T, Cm, h, h), and those of the future (B, C, h, w) by name. Tracks are left
    to be divided by the batch's sum of what is also returned: see `track_loss`.
    """
    layers = decoded.layers - frames
    coarse = F.avg_pool2d(layers.flatten(0, 1), 4)
    # Over all channels, so that a model without content channels has none to pay for.
    content = motion[:, :, 2:].square().sum() / motion.numel()
    for latents in future.values():
        content = content + latents.square().mean()
    tracks, size = track_loss(frames, decoded, context)
    losses = {
        "layers": layers.abs().mean() + coarse.abs().mean(),
        "tracks": tracks,
        "mask": context.mask.mean(),
        "undecided": (4.0 * context.mask * (1.0 - context.mask)).mean(),
        "content": content,
    }
    return losses, size


def latent_loss(own: "Layers", context: "Context") -> Tensor:
    """Return how far the layers of latents alone are from those that the frames gave.

    L1 of the scene image, and of the object image and its mask in relation to the mask's size. No
    gradient reaches the layers of the frames.
    """
    scene = (own.background - context.background.detach()).abs().mean()
    mask = context.mask.detach()
    size = mask.mean((1, 2, 3), keepdim=True) + 0.02  # small objects count as much as large ones
    image = (own.object_image - context.object_image.detach()).abs().mean(1, keepdim=True)
    return scene + OBJECTS * ((image + (own.mask - mask).abs()) / size).mean()


def track_loss(
    frames: Tensor, decoded: "DecodedFrames", context: "Context"
) -> tuple[Tensor, Tensor]:
    """Return the difference of colours at both ends of displacements, and the mask's colour values.

    Both are sums; the loss is a ratio of their sums over the batch. Displacements begin in the mask
    of the reference; half the resolution counts. The loss reaches displacements directly, where the
    image's losses come through splatting.
    """
    count = frames.shape[1]
    mask = F.avg_pool2d(context.mask.detach(), 2)
    reference = F.avg_pool2d(context.reference, 2)
    mask, reference = (repeat(x, "b c h w -> (b t) c h w", t=count) for x in (mask, reference))
    small = F.avg_pool2d(frames.flatten(0, 1), 2)
    found = sample(small, decoded.displacement.flatten(0, 1) / 2.0)
    return (mask * (found - reference).abs()).sum(), reference.shape[1] * mask.sum()


def reconstruction_loss(
    result: Reconstruction,
    l1: float = 1.0,
    l2: float = 2.0,
    lpips: float = 0.0,
    perceptual: nn.Module | None = None,
    decided: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of stage one's losses, LPIPS by `perceptual` included, and each.

    decided: the weight of the loss of an undecided mask.
    """
    difference = result.predicted - result.frames
    losses = {"l1": difference.abs().mean(), "l2": difference.square().mean()}
    loss = l1 * losses["l1"] + l2 * losses["l2"]
    weights = OWN_WEIGHTS | {"undecided": decided}
    for name, value in result.own_losses.items():
        loss = loss + weights[name] * value
    losses |= result.own_losses
    if perceptual is not None and lpips:
        predicted, frames = (x.flatten(0, 1) for x in (result.predicted, result.frames))
        losses["lpips"] = perceptual(predicted, frames).mean()
        loss = loss + lpips * losses["lpips"]
    return loss, losses


def decided_weight(weight: float, step: int, steps: int) -> float:
    """Return the weight of an undecided mask in a step of pretraining.

    It rises from 0 to all of `weight` between `DECIDED_FROM` and `DECIDED_WHOLE` of the training. A
    mask that has to decide before displacements are right decides for nothing, everywhere, and
    nothing moves in it any more.
    """
    risen = (step / steps - DECIDED_FROM) / (DECIDED_WHOLE - DECIDED_FROM)
    return weight * min(1.0, max(0.0, risen))


def reconstruction_step(
    fabric: "Fabric",
    processes: Processes,
    autoencoder: ClipAutoencoder,
    optimizer: torch.optim.Optimizer,
    parts: Sequence[ClipPart],
    *,
    l1: float,
    l2: float,
    lpips: float,
    perceptual: nn.Module | None,
    decided: float = 0.0,
) -> dict[str, Tensor]:
    """Update an autoencoder once on this process's micro-batches; return the batch's losses."""
    with fabric.autocast():
        results = reconstruct_batch(processes, autoencoder, parts)
        weights = (l1, l2, lpips, perceptual, decided)
        found = [reconstruction_loss(result, *weights) for result in results]
    shown = [(loss, {"loss": loss, **losses}) for loss, losses in found]
    return update(fabric, processes, autoencoder, optimizer, parts, shown)
