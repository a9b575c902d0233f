"""Meaning of an autoencoder's scene, object and motion: against the truth, and by ablation.

Generated videos come with their truth: backgrounds, the outlines of objects and their positions. So
the scene image, the object mask and the displacements are compared with it, and scenes are swapped
between clips: scene of clip A with objects and motion of clip B must decode to B's objects, moving
as they do, over A's background.

Real videos have no such truth. There a latent is replaced, and the loss of the reconstruction tells
what it explained.

An autoencoder of kind joint has scene and object of the future, too (`FUTURE`). They come from the
true future, as motion does; a replaced scene or object is then replaced in both.

Frames are uint8 (T, H, W, 3) here, clips as models see them float (B, T, C, H, W) in [-1, 1]. F
counts the future frames that are scored; a clip or truth cut to them begins with the last context
frame, so it has F + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from rsvp.data.pixels import to_bytes, to_float
from rsvp.metrics import frame
from rsvp.metrics.definitions import lpips
from rsvp.metrics.motion import MINIMUM_FRAMES, motion_features
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.scoring import score_frames
from rsvp.models.autoencoders.rsvp import Context, RsvpAutoencoder
from rsvp.models.autoencoders.rsvp_joint import JointAutoencoder

LATENTS = ("scene", "object", "motion")
FUTURE = ("future_scene", "future_object")  # beside these, of the kind joint
SCORED_FRAMES = 4  # of each clip's future
MASK_THRESHOLD = 0.5  # of the object mask, above which a pixel counts as object
GOALS = {  # of a decomposition
    "scene_psnr": 28.0,  # dB
    "object_iou": 0.6,
    "swap_margin": 0.0,  # dB over every untruthful alternative
    "latent_scene_psnr": 26.0,  # dB, as the next: from latents alone
    "latent_object_psnr": 20.0,
    "latent_swap_right": 0.9,
}
LOSSES = {"psnr": 1, "ssim": 1, "lpips": -1, "motion": -1}  # measure -> sign that makes it a loss
SWAP = ("scene", "other")  # the ablation whose true outcome is known where backgrounds are
ABLATIONS = {  # latent and its replacement -> what is done
    ("scene", "mean"): "the scene latent is the training mean; the frames' own detail stays",
    ("scene", "other"): "scene latent and scene image are another clip's",
    ("object", "mean"): "the object latent is the training mean; the frames' own detail stays",
    ("object", "other"): "object latent, object mask and what they move are another clip's",
    ("motion", "mean"): "the motion latent is the training mean in all cells and frames",
    ("motion", "frozen"): "the motion latent is that of the last observed frame in all frames",
    ("motion", "other"): "the motion latent is that of another clip's future",
}


@dataclass(frozen=True)
class Encoded:
    """Latents of B clips."""

    context: Context  # as the decoder takes it
    still: dict[str, Tensor]  # `FUTURE`, (B, C, h, h) each; empty where there are none
    last: Tensor  # (B, 1, Cm, h, h), motion of the last context frame
    future: Tensor  # (B, F, Cm, h, h), motion of the scored future frames


def measure_clips(
    autoencoder: RsvpAutoencoder,
    frames: Tensor,
    context_frames: int,
    groups: Sequence[str],
    truths: Sequence[dict[str, np.ndarray] | None],
    means: dict[str, Tensor],
    perceptual: PerceptualDistance | None,
) -> list[dict[str, float]]:
    """Measure each of B clips, uint8 (B, T, H, W, 3), by name of the measure.

    Each is mixed with another one of them, of another of the `groups`. truths: of each clip, as
    `data.clips.Clips` gives them. means: the training mean of each latent, (C, 1, 1).
    """
    times = scored_frames(context_frames, frames.shape[1])
    mixed = partners(groups)
    device = means["motion"].device
    own = encode(autoencoder, frames.to(device), context_frames, times)
    decoded = autoencoder.decode(own.future, own.context)
    intact = as_bytes(decoded.frames)
    held = autoencoder.decode_layers(own.context.scene, own.context.object)
    scenes, references = as_bytes(held.background), as_bytes(held.frame)
    if mixed is not None:
        others = own.context.scene[mixed]
        swapped = as_bytes(autoencoder.decode_alone(others, own.context.object, own.future))
    ablated = {
        name: as_bytes(autoencoder.decode(motion, context).frames)
        for name, (context, motion) in ablations(autoencoder, own, mixed, means).items()
    }
    rows = []
    for i, (real, truth) in enumerate(zip(frames[:, times], truths, strict=True)):
        whole = quality(intact[i], real, perceptual)
        row = {f"intact_{name}": value for name, value in whole.items()}
        for name, made in ablated.items():
            lost = quality(made[i], real, perceptual)
            row |= {f"{'_'.join(name)}_{measure}": sign * (whole[measure] - lost[measure])
                    for measure, sign in LOSSES.items()}  # fmt: skip
        if truth is not None:
            scored = [context_frames - 1, *times]
            cut = truth | {name: truth[name][scored] for name in ("mask", "alpha", "positions")}
            scene = as_bytes(own.context.background[i]).numpy()
            mask, moved = own.context.mask[i, 0], decoded.mask[i, :, 0]
            row |= scene_scores(scene, frames[i, :context_frames].numpy(), truth)
            row |= object_scores(mask.cpu().numpy(), moved.cpu().numpy(), cut)
            row |= motion_scores(decoded.displacement[i].cpu().numpy(), cut)
            clip = frames[i, scored].numpy()
            row |= latent_scores(scenes[i].numpy(), references[i].numpy(), clip[0], cut)
            if mixed is not None:
                other = truths[mixed[i]]["background"]
                row |= swap_scores(ablated[SWAP][i].numpy(), clip, cut, other)
                alone = swap_scores(swapped[i].numpy(), clip, cut, other)
                row["latent_swap_right"] = alone["swap_right"]
        rows.append(row)
    return rows


def as_bytes(frames: Tensor) -> Tensor:
    """Decoded frames (…, C, H, W) in [-1, 1] as uint8 (…, H, W, C) in main memory."""
    return to_bytes(frames).movedim(-3, -1).cpu()


def scored_frames(context_frames: int, clip_frames: int) -> list[int]:
    """Numbers of the frames that are scored: `SCORED_FRAMES` of the future, evenly, to the last.

    Frames of one clip resemble each other: more clips tell more than more frames.
    """
    future = clip_frames - context_frames
    count = min(SCORED_FRAMES, future)
    return [context_frames - 1 + future * (number + 1) // count for number in range(count)]


def encode(
    autoencoder: RsvpAutoencoder, frames: Tensor, context_frames: int, scored: Sequence[int]
) -> Encoded:
    """Encode uint8 clips (B, T, H, W, 3); scene and object see the context frames alone."""
    clips = to_float(frames.permute(0, 1, 4, 2, 3))
    context = autoencoder.encode_context(clips[:, :context_frames])
    motion = autoencoder.encode_motion(clips[:, [context_frames - 1, *scored]], context)
    still = {}
    if has_future(autoencoder):
        still = autoencoder.encode_future(clips[:, context_frames:])
        context = autoencoder.with_future(context, still)
    return Encoded(context, still, motion[:, :1], motion[:, 1:])


def has_future(autoencoder: RsvpAutoencoder) -> TypeGuard[JointAutoencoder]:
    """Check whether the autoencoder has scene and object of the future, too."""
    return set(FUTURE) <= set(autoencoder.scopes)


def ablations(
    autoencoder: RsvpAutoencoder, own: Encoded, mixed: list[int] | None, means: dict[str, Tensor]
) -> dict[tuple[str, str], tuple[Context, Tensor]]:
    """Return context and motion to decode of each of `ABLATIONS` that can be made.

    mixed: the number of the clip that each is mixed with; without it, ablations that need one are
    left out. means: the training mean of each latent, (C, 1, 1).
    """
    context, motion = own.context, own.future
    replaced = {
        ("scene", "mean"): (without(autoencoder, own, "scene", means), motion),
        ("object", "mean"): (without(autoencoder, own, "object", means), motion),
        ("motion", "mean"): (context, means["motion"].expand_as(motion)),
        ("motion", "frozen"): (context, own.last.expand_as(motion)),
    }
    if mixed is None:
        return replaced
    other = Context(**{f.name: getattr(context, f.name)[mixed] for f in fields(Context)})
    # The features that the decoder takes directly from the frames go with the objects, since they
    # say in detail how these move.
    return replaced | {
        ("scene", "other"): (with_scene(context, other), motion),
        ("object", "other"): (with_scene(other, context), motion),
        ("motion", "other"): (context, motion[mixed]),
    }


def with_scene(context: Context, other: Context) -> Context:
    """Return a context with scene latent and scene image of another."""
    return replace(context, scene=other.scene, background=other.background)


def without(
    autoencoder: RsvpAutoencoder, own: Encoded, latent: str, means: dict[str, Tensor]
) -> Context:
    """Replace scene or object of the context, and of the future, by the training mean."""
    mean = means[latent].expand_as(getattr(own.context, latent))
    name = {"scene": "scene", "object": "object_"}[latent]
    context = autoencoder.encode_context(own.context.frames, **{name: mean})
    if not has_future(autoencoder):
        return context
    future = f"future_{latent}"
    replaced = {future: means[future].expand_as(own.still[future])}
    return autoencoder.with_future(context, own.still | replaced)


def partners(groups: Sequence[str]) -> list[int] | None:
    """Choose a clip of another group for each clip: half the list further on, or the next after it.

    None where all clips are of one group.
    """
    count = len(groups)
    found = []
    for i, group in enumerate(groups):
        others = ((i + count // 2 + step) % count for step in range(count))
        found.append(next((j for j in others if groups[j] != group), None))
    return None if None in found or not found else found


def scene_scores(
    scene: np.ndarray, context: np.ndarray, truth: dict[str, np.ndarray]
) -> dict[str, float]:
    """PSNR in dB of a scene image (H, W, 3) against the true background.

    "scene_psnr" everywhere; "scene_psnr_seen" where some context frame shows the background and
    "scene_psnr_hidden" where none does (NaN where there is no such pixel); "median_psnr" of the
    median of the context frames (Tc, H, W, 3), which needs no autoencoder, everywhere.
    """
    background = truth["background"]
    covered = truth["alpha"][: len(context)].max(axis=1) > 0
    hidden = covered.all(axis=0)
    median = np.rint(np.median(context, axis=0)).astype(np.uint8)
    return {
        "scene_psnr": clip_psnr(scene[None], background[None]),
        "scene_psnr_seen": clip_psnr(scene[None], background[None], ~hidden[None]),
        "scene_psnr_hidden": clip_psnr(scene[None], background[None], hidden[None]),
        "median_psnr": clip_psnr(median[None], background[None]),
    }


def object_scores(
    mask: np.ndarray, moved: np.ndarray, truth: dict[str, np.ndarray]
) -> dict[str, float]:
    """Intersection over union of object masks, at `MASK_THRESHOLD`, with the true outlines.

    mask: (H, W) in [0, 1], of the last context frame. moved: (F, H, W), as the true motion moved
    it; "object_iou_future" is the mean over future frames that show an object.
    """
    future = len(moved)
    real = truth["mask"] != 0
    values = [iou(a > MASK_THRESHOLD, b) for a, b in zip(moved, real[-future:], strict=True)]
    known = [value for value in values if not np.isnan(value)]
    return {
        "object_iou": iou(mask > MASK_THRESHOLD, real[-future - 1]),
        "object_iou_future": float(np.mean(known)) if known else float("nan"),
    }


def latent_scores(
    scene: np.ndarray, reference: np.ndarray, real: np.ndarray, truth: dict[str, np.ndarray]
) -> dict[str, float]:
    """PSNR in dB of what latents alone hold: the scene (H, W, 3) against the true background, and
    the objects of the last context frame, decoded and `real`, (H, W, 3) each.

    truth["mask"] begins with that frame; NaN where it shows no object.
    """
    return {
        "latent_scene_psnr": clip_psnr(scene[None], truth["background"][None]),
        "latent_object_psnr": clip_psnr(reference[None], real[None], truth["mask"][:1]),
    }


def iou(predicted: np.ndarray, real: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) of bool; NaN where both are empty."""
    union = (predicted | real).sum()
    return float((predicted & real).sum() / union) if union else float("nan")


def motion_scores(displacement: np.ndarray, truth: dict[str, np.ndarray]) -> dict[str, float]:
    """End-point error in pixels (Baker et al. 2011) of displacements of the last context frame.

    displacement: (F, 2, H/2, W/2) in pixels, x first, of the content of each cell of 2×2 pixels.
    Averaged over cells that lie wholly in one object, and over future frames; "motion_error_still"
    is the error of no displacement at all. NaN where no cell lies in an object.
    """
    future = len(displacement)
    labels = object_labels(truth["alpha"][-future - 1])
    real = rigid_displacement(labels, truth["positions"][-future - 1 :])
    rows, columns = (side // 2 for side in labels.shape)
    cells = labels.reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3).reshape(rows, columns, 4)
    inside = (cells[..., 0] > 0) & (cells == cells[..., :1]).all(axis=-1)
    if not inside.any():
        return dict.fromkeys(("motion_error", "motion_error_still"), float("nan"))
    real = real.reshape(future, 2, rows, 2, columns, 2).mean(axis=(3, 5))[:, :, inside]
    error = displacement[:, :, inside] - real
    return {
        "motion_error": float(np.hypot(error[:, 0], error[:, 1]).mean()),
        "motion_error_still": float(np.hypot(real[:, 0], real[:, 1]).mean()),
    }


def object_labels(alpha: np.ndarray) -> np.ndarray:
    """Number of each pixel's topmost object, from 1, of alpha (N, H, W); 0 where there is none."""
    labels = np.zeros(alpha.shape[1:], np.int64)
    for number, covered in enumerate(alpha >= 128, start=1):
        labels[covered] = number
    return labels


def rigid_displacement(labels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Displacement of each pixel with its object, (F, 2, H, W) in pixels, x first; 0 outside.

    labels: (H, W), from 1, at the first of the F + 1 times. positions: (F + 1, N, 3), x, y and
    angle of the N objects, each of which moves and turns as a whole.
    """
    y, x = np.nonzero(labels)
    own = positions[:, labels[y, x] - 1].astype(np.float64)  # (F + 1, pixels, 3)
    offset_x, offset_y = x + 0.5 - own[0, :, 0], y + 0.5 - own[0, :, 1]
    turned = own[1:, :, 2] - own[0, :, 2]
    cos, sin = np.cos(turned), np.sin(turned)
    displacement = np.zeros((len(positions) - 1, 2, *labels.shape))
    displacement[:, 0, y, x] = own[1:, :, 0] + cos * offset_x - sin * offset_y - (x + 0.5)
    displacement[:, 1, y, x] = own[1:, :, 1] + sin * offset_x + cos * offset_y - (y + 0.5)
    return displacement


def composite(
    frames: np.ndarray, truth: dict[str, np.ndarray], background: np.ndarray
) -> np.ndarray:
    """The future frames (F, H, W, 3) with their objects, over another background (H, W, 3)."""
    alpha = truth["alpha"][-len(frames) :] / 255.0
    shows = (1.0 - alpha).prod(axis=1)[..., None]  # of the background, between the objects
    change = background.astype(np.float64) - truth["background"]
    return np.rint(np.clip(frames + shows * change, 0, 255)).astype(np.uint8)


def swap_scores(
    decoded: np.ndarray, clip: np.ndarray, truth: dict[str, np.ndarray], background: np.ndarray
) -> dict[str, float]:
    """Check that scene A with objects and motion of B decodes to B's objects over A's background.

    decoded: (F, H, W, 3). clip and truth: of B, F + 1 frames. background: A's, (H, W, 3).
    "swap_psnr" is against the expected frames, and "swap_object_psnr" inside B's objects. The
    margins, in dB, are over the best of the untruthful alternatives: the objects left out, or
    standing still, or B's own frames, where nothing was swapped. "swap_right" is 1 where the
    decoded frames are nearer to the expected ones than to any of these, else 0.
    """
    future = len(decoded)
    mask = truth["mask"][-future:]
    expected = composite(clip[-future:], truth, background)
    last = {**truth, "alpha": truth["alpha"][-future - 1 : -future]}
    still = composite(clip[-future - 1 : -future], last, background)
    empty = background[None]
    alternatives = {"left out": empty, "still": still, "not swapped": clip[-future:]}
    total = {name: clip_psnr(decoded, other) for name, other in alternatives.items()}
    # Inside the objects B's own frames are the expected ones.
    inside = [clip_psnr(decoded, other, mask) for other in (empty, still)]
    right, right_inside = clip_psnr(decoded, expected), clip_psnr(decoded, expected, mask)
    return {
        "swap_psnr": right,
        "swap_object_psnr": right_inside,
        "swap_margin": right - max(total.values()),
        "swap_object_margin": right_inside - max(inside),
        "swap_right": float(right > max(total.values())),
    }


def clip_psnr(clip: np.ndarray, real: np.ndarray, mask: np.ndarray | None = None) -> float:
    """PSNR in dB per frame, then the mean over frames of which the mask (T, H, W) has a pixel.

    clip: uint8 (T, H, W, 3); real: as many frames, or one for all of them.
    """
    a, b = (torch.from_numpy(np.ascontiguousarray(x)) for x in np.broadcast_arrays(clip, real))
    if mask is None:
        return float(frame.psnr(a, b).mean())
    return float(frame.masked_psnr(a, b, torch.from_numpy(mask)).nanmean())


def quality(clip: Tensor, real: Tensor, perceptual: PerceptualDistance | None) -> dict[str, float]:
    """Score future frames against the real ones, both uint8 (F, H, W, 3).

    PSNR, SSIM, LPIPS (NaN without its network), and "motion": the root mean square difference of
    the 32 motion statistics (`rsvp.metrics.motion`), most of which are logarithms; NaN where the
    future is too short for them.
    """
    scores = score_frames(clip, real, None)
    if perceptual is not None:
        scores["lpips"] = lpips(clip, real, perceptual)
    if len(real) >= MINIMUM_FRAMES:
        difference = motion_features(clip) - motion_features(real)
        scores["motion"] = difference.square().mean().sqrt()
    return {name: float(scores[name].mean()) if name in scores else np.nan for name in LOSSES}
