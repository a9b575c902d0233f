"""A weight-free statistic of motion: frame differences at several scales, compared by distribution.

Each clip becomes 32 numbers, eight at each of four scales; two sets of clips are compared by the
Fréchet distance of Gaussians with *diagonal* covariance, in units of the real clips' standard
deviations. Diagonal, because about 50 clips cannot tell 32×32 covariances (528 free numbers) and
the full distance would then be mostly bias; its bias is about 3 D / (2 n) per side, 1 at 50 clips.
It cannot see a change of correlations alone.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rsvp.metrics.distribution import diagonal_frechet_distance
from rsvp.runtime.errors import UserError

SCALES = (1, 2, 4, 8)  # frames are averaged over blocks of this many pixels per side
PER_SCALE = 8
DIMENSIONS = len(SCALES) * PER_SCALE
MINIMUM_FRAMES = 4
_FLOOR = 0.05  # grey levels: differences below it count as none, so that logarithms stay finite


def motion_features(frames: Tensor) -> Tensor:
    """Features (32,), float64, of one clip: uint8 (T, H, W, C), T at least 4, H and W at least 8.

    With x_t the luma at a scale and d_t = x_{t+1} - x_t, in grey levels, per scale:
    log mean |d|; log rms d; log mean |d_{t+1} - d_t| (jerk); log mean |x_{t+2} - x_t|; the
    correlation of d_t with d_{t+1} (near -½ for shuffled frames); the deviation over time of
    log mean |d_t|; and the mean of d·∂x/∂column and d·∂x/∂row over |∂x|² (least-squares velocity
    to the left and up, pixels of that scale per frame).
    """
    if frames.shape[0] < MINIMUM_FRAMES:
        raise UserError(
            f"the motion statistic needs {MINIMUM_FRAMES} frames or more, not {frames.shape[0]}: "
            "raise clip_frames or lower context_frames"
        )
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    luma = frames.double() @ weights if frames.shape[-1] == 3 else frames[..., 0].double()
    luma = luma[:, None]
    return torch.cat([_scale_features(functional.avg_pool2d(luma, scale)) for scale in SCALES])


def motion_distance(predicted: np.ndarray, real: np.ndarray) -> float:
    """Diagonal Fréchet distance of features (N, 32) in the real clips' standard deviations."""
    return diagonal_frechet_distance(*standardised(predicted, real))


def standardised(predicted: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of features in the real clips' standard deviations, float64."""
    real = np.asarray(real, dtype=np.float64)
    scale = np.maximum(real.std(axis=0), 1e-3)
    return predicted / scale, real / scale


def protocol() -> dict[str, object]:
    """Return all that the statistic depends on, for the index of an evaluation."""
    return {
        "features": f"{DIMENSIONS} frame-difference statistics of luma at scales {list(SCALES)}",
        "distance": "Fréchet, diagonal covariance, in the real clips' standard deviations",
    }


def _scale_features(luma: Tensor) -> Tensor:
    """The eight features (8,) of luma (T, 1, H, W) at its own scale."""
    luma = luma[:, 0]
    step = luma.diff(dim=0)
    activity = step.abs().mean(dim=(1, 2))
    earlier, later = step[:-1], step[1:]
    energy = step.square().mean()
    correlation = (earlier * later).mean() / (energy + _FLOOR**2)
    return torch.stack(
        [
            _log(activity.mean()),
            _log(energy.sqrt()),
            _log((later - earlier).abs().mean()),
            _log((luma[2:] - luma[:-2]).abs().mean()),
            correlation,
            _log(activity).std(),
            *_velocity(luma, step),
        ]
    )


def _velocity(luma: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares velocity along columns and rows from the brightness constancy equation."""
    middle = (luma[1:] + luma[:-1]) / 2
    velocities = []
    for axis in (2, 1):
        size = middle.shape[axis]
        if size < 3:
            velocities.append(torch.zeros((), dtype=luma.dtype))
            continue
        gradient = (middle.narrow(axis, 2, size - 2) - middle.narrow(axis, 0, size - 2)) / 2
        inner = step.narrow(axis, 1, size - 2)
        velocities.append((inner * gradient).mean() / (gradient.square().mean() + 1.0))
    return velocities[0], velocities[1]


def _log(value: Tensor) -> Tensor:
    return torch.log(value + _FLOOR)
