"""Scores of one clip's predictions: every frame metric, per trajectory and future frame."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rsvp.data.pixels import to_float
from rsvp.metrics import definitions, ensemble, frame
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.runtime.device import full_precision

LPIPS_PIXELS = 2**19  # of frames that pass the network of LPIPS at once: 128 frames of 64 px
MEAN_TRAJECTORY = -1  # stands for the mean over trajectories as one prediction
FRAME_SCORES = ("psnr", "ssim", "mse", "lpips", "object_psnr")
# Of all trajectories of a clip together; they stand on the lines of MEAN_TRAJECTORY.
ENSEMBLE_SCORES = ("crps", "energy_score", "mean_error", "diversity", "lpips_diversity")
SCORES = FRAME_SCORES + ENSEMBLE_SCORES
MOTION = "truth_motion"  # `frame.motion` of the truth, the same on all lines of a clip's frame
# Of the score table; those of `definitions` are NaN where nobody asked for them.
COLUMNS = ("clip", "group", "trajectory", "frame", *SCORES, *definitions.COLUMNS, MOTION)


def score_clip(
    predicted: Tensor,
    real: Tensor,
    mask: Tensor | None,
    perceptual: PerceptualDistance | None,
    sampled: bool,
    others: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Score a clip: "trajectory", "frame" (from 1) and `SCORES`, (K + 1) F lines of each.

    predicted: uint8 (K, F, H, W, 3). real: uint8 (F, H, W, 3). mask: (F, H, W), not 0 inside the
    true objects, or None where it is unknown. sampled: the predictions are random. others: columns
    of `definitions`, for trajectories 0..K-1 alone. The
    trajectories 0..K-1 come first, then `MEAN_TRAJECTORY`: the mean rounded to uint8. Scores are
    float64, NaN where not computed or undefined.
    """
    count, frames = predicted.shape[:2]
    each = predicted
    if count > 1:
        mean = predicted.float().mean(dim=0).round().to(torch.uint8)
        each = torch.cat([predicted, mean[None]])
    found = score_frames(each, real, mask)
    together = score_ensemble(predicted, real, sampled)
    if perceptual is not None:
        found["lpips"], between = lpips_of_all(each, real, perceptual)
        if count > 1:
            together["lpips_diversity"] = between[: count - 1].mean(dim=0)
    scores = {name: np.full((count + 1, frames), np.nan) for name in COLUMNS[4:-1]}
    for name, values in found.items():
        scores[name][:] = values  # a single trajectory is also the mean
    for number, trajectory in enumerate(predicted):
        for name, values in definitions.score(trajectory, real, perceptual, others).items():
            scores[name][number] = values
    for name, values in together.items():
        scores[name][MEAN_TRAJECTORY] = values
    return {
        "trajectory": np.repeat([*range(count), MEAN_TRAJECTORY], frames),
        "frame": np.tile(np.arange(1, frames + 1), count + 1),
        **{name: values.ravel() for name, values in scores.items()},
    }


def score_frames(predicted: Tensor, real: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Return those of `FRAME_SCORES` (...) that pixels tell of uint8 frames (..., F, H, W, 3).

    real, mask: of F frames, as in `score_clip`.
    """
    error = frame.mse(predicted, real)
    scores = {"psnr": frame.psnr_from_mse(error), "ssim": frame.ssim(predicted, real), "mse": error}
    if mask is not None:
        scores["object_psnr"] = frame.masked_psnr(predicted, real, mask)
    return scores


def score_ensemble(predicted: Tensor, real: Tensor, sampled: bool) -> dict[str, Tensor]:
    """Return those of `ENSEMBLE_SCORES` (F,) that pixels tell of all, uint8 (K, F, H, W, 3).

    One trajectory of several possible ones tells nothing of the others: there are none. A
    deterministic prediction is a point forecast, and has CRPS and energy score.
    """
    scores = {}
    if len(predicted) > 1 or not sampled:
        scores["crps"] = ensemble.crps(predicted, real)
        scores["energy_score"] = ensemble.energy_score(predicted, real)
    if len(predicted) > 1:
        scores["mean_error"] = ensemble.mean_error(predicted, real)
        scores["diversity"] = ensemble.diversity(predicted)
    return scores


@torch.no_grad()
def lpips_of_all(
    predicted: Tensor, real: Tensor, perceptual: PerceptualDistance
) -> tuple[Tensor, Tensor]:
    """LPIPS to the truth (K, F), and between neighbours (K - 1, F), float64, of uint8 frames.

    predicted: (K, F, H, W, 3). real: (F, H, W, 3). Each frame passes the network once, and many at
    a time. Neighbours are K - 1 of the K (K - 1) / 2 pairs: the same expectation.
    """
    device = next(perceptual.parameters()).device
    frames = torch.cat([real[None], predicted]).transpose(0, 1)  # f k+1 h w c
    most = max(1, LPIPS_PIXELS // frames[0, ..., 0].numel())
    distances = []
    with full_precision():
        for part in frames.split(most):
            images = to_float(part.flatten(0, 1).to(device).permute(0, 3, 1, 2))
            vectors = perceptual.embed(images).unflatten(0, part.shape[:2])  # f k+1 d
            # One frame at a time: its vectors stay in the processor's cache.
            distances += [
                torch.cat([squared(own[1:], own[:1]), squared(own[2:], own[1:-1])])
                for own in vectors
            ]
    together = torch.stack(distances, dim=1).double().cpu()
    return together.split([len(predicted), len(predicted) - 1])


def squared(first: Tensor, second: Tensor) -> Tensor:
    """Squared Euclidean distances (N,) of vectors (N, D)."""
    return torch.linalg.vector_norm(first - second, dim=1).square()


def protocol(backbone: str | None) -> dict[str, object]:
    """Return all that the frame scores depend on, for the index of an evaluation."""
    return {
        "frames": "future frames only, uint8",
        "psnr": f"data range {frame.DATA_RANGE:g}, {frame.PSNR_CAP:g} dB for identical frames; per "
        "frame, then mean over frames, then over clips",
        "ssim": f"Gaussian window {frame.SSIM_KERNEL}×{frame.SSIM_KERNEL} of sigma "
        f"{frame.SSIM_SIGMA}, whole windows only, population covariance, K1 {frame.SSIM_K1}, "
        f"K2 {frame.SSIM_K2}, data range {frame.DATA_RANGE:g}",
        "lpips": None if backbone is None else f"v0.1, {backbone}",
        "mean_trajectory": "pixelwise mean over trajectories, rounded to uint8",
        "ensemble": "fair estimators: expectations do not depend on the number of trajectories",
    }
