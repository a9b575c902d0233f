"""Scores of one clip's predictions: every frame metric, per trajectory and future frame."""

from dataclasses import dataclass

import torch

from rsvp.metrics import frame
from rsvp.metrics.perceptual import PerceptualDistance, frames_to_input

MEAN_TRAJECTORY = -1  # stands for the mean over trajectories as one prediction
COLUMNS = (
    "clip",
    "group",
    "trajectory",
    "frame",
    "psnr",
    "ssim",
    "mse",
    "lpips",
    "object_psnr",
)


@dataclass(frozen=True)
class FrameScores:
    """One value per future frame, float64 (F,); NaN where not computed or undefined."""

    psnr: torch.Tensor
    ssim: torch.Tensor
    mse: torch.Tensor
    lpips: torch.Tensor
    object_psnr: torch.Tensor


def score_clip(
    predicted: torch.Tensor,
    real: torch.Tensor,
    mask: torch.Tensor | None,
    perceptual: PerceptualDistance | None,
) -> dict[int, FrameScores]:
    """Scores by trajectory: 0..K-1, and `MEAN_TRAJECTORY`.

    predicted: uint8 (K, F, H, W, 3). real: uint8 (F, H, W, 3). mask: (F, H, W), not 0 inside the
    true objects, or None where it is unknown. The mean over trajectories is rounded to uint8.
    """
    mean = predicted.float().mean(dim=0).round().to(torch.uint8)
    trajectories = dict(enumerate(predicted)) | {MEAN_TRAJECTORY: mean}
    return {
        number: score_frames(frames, real, mask, perceptual)
        for number, frames in trajectories.items()
    }


def score_frames(
    predicted: torch.Tensor,
    real: torch.Tensor,
    mask: torch.Tensor | None,
    perceptual: PerceptualDistance | None,
) -> FrameScores:
    """Scores of one trajectory, uint8 (F, H, W, 3), against the real frames."""
    unknown = torch.full((len(real),), float("nan"), dtype=torch.float64)
    error = frame.mse(predicted, real)
    return FrameScores(
        psnr=frame.psnr_from_mse(error),
        ssim=frame.ssim(predicted, real),
        mse=error,
        lpips=unknown if perceptual is None else lpips(predicted, real, perceptual),
        object_psnr=unknown if mask is None else frame.masked_psnr(predicted, real, mask),
    )


@torch.no_grad()
def lpips(
    predicted: torch.Tensor, real: torch.Tensor, perceptual: PerceptualDistance
) -> torch.Tensor:
    """LPIPS per frame, float64 (F,), of uint8 (F, H, W, 3), on the network's device."""
    device = next(perceptual.parameters()).device
    distances = perceptual(frames_to_input(predicted.to(device)), frames_to_input(real.to(device)))
    return distances.double().cpu()


def rows(clip: str, group: str, scores: dict[int, FrameScores]) -> list[tuple]:
    """Lines of the score table (`COLUMNS`), frames counted from 1."""
    return [
        (clip, group, trajectory, number + 1, *values)
        for trajectory, of in scores.items()
        for number, values in enumerate(
            zip(
                of.psnr.tolist(),
                of.ssim.tolist(),
                of.mse.tolist(),
                of.lpips.tolist(),
                of.object_psnr.tolist(),
                strict=True,
            )
        )
    ]


def protocol(backbone: str | None) -> dict[str, object]:
    """What the frame scores depend on, for the index of an evaluation."""
    return {
        "frames": "future frames only, uint8",
        "psnr": {
            "data_range": frame.DATA_RANGE,
            "cap_db": frame.PSNR_CAP,
            "order": "per frame, then mean over frames, then over clips",
        },
        "ssim": {
            "window": f"Gaussian {frame.SSIM_KERNEL}×{frame.SSIM_KERNEL}, whole windows only",
            "sigma": frame.SSIM_SIGMA,
            "covariance": "population",
            "k1": frame.SSIM_K1,
            "k2": frame.SSIM_K2,
            "data_range": frame.DATA_RANGE,
        },
        "lpips": None if backbone is None else f"v0.1, {backbone}",
        "mean_trajectory": "pixelwise mean over trajectories, rounded to uint8",
    }
