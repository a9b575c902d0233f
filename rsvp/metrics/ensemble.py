"""Scores of several trajectories of one clip as a distribution.

All take `predicted`, uint8 (K, F, H, W, 3): K trajectories, and `real`, uint8 (F, H, W, 3), and
return float64 (F,), one value per future frame, in grey levels (of 255). The estimators are the
fair ones (Ferro 2014): their expectation does not depend on K, so rows with other K compare.
"""

import torch
from torch import Tensor


def crps(predicted: Tensor, real: Tensor) -> Tensor:
    """Continuous ranked probability score per value, mean over pixels and channels; 0 is best.

    mean_k |x_k - y| - mean_{j<k} |x_j - x_k| / 2 (Gneiting & Raftery 2007, equation 21; the pairs
    counted as in Ferro 2014, so that it is unbiased). One trajectory is taken for a point forecast,
    whose CRPS is its absolute error; of a sampled prediction that would not be fair.
    """
    trajectories, truth = _doubles(predicted, real)
    error = (trajectories - truth).abs().mean(dim=0)
    count = len(trajectories)
    if count > 1:
        # The sum over pairs of |x_j - x_k| in one sort: sorted value i is added i times, and
        # subtracted K - 1 - i times.
        weights = 2 * torch.arange(count, dtype=torch.float64, device=trajectories.device) - (
            count - 1
        )
        pairs = torch.tensordot(weights, trajectories.sort(dim=0).values, dims=1)
        error = error - pairs / (count * (count - 1))
    return error.mean(dim=(1, 2, 3))


def energy_score(predicted: Tensor, real: Tensor) -> Tensor:
    """Energy score of whole frames, the CRPS of vectors: it sees how pixels depend on each other.

    mean_k |x_k - y| - mean_{j<k} |x_j - x_k| / 2 with |.| the root mean square over a frame's
    values (Gneiting & Raftery 2007, equation 22; fair as in `crps`). Point forecast: its error.
    """
    trajectories, truth = _doubles(predicted, real)
    values, truth = trajectories.flatten(2).transpose(0, 1), truth.flatten(1)[:, None]  # (F, K, P)
    root = values.shape[2] ** 0.5
    score = torch.cdist(values, truth)[..., 0].mean(dim=1)
    count = values.shape[1]
    if count > 1:
        score = score - torch.cdist(values, values).sum(dim=(1, 2)) / (2 * count * (count - 1))
    return score / root


def mean_error(predicted: Tensor, real: Tensor) -> Tensor:
    """Mean squared error of the mean over trajectories, not rounded: squared grey levels."""
    trajectories, truth = _doubles(predicted, real)
    return (trajectories.mean(dim=0) - truth).square().mean(dim=(1, 2, 3))


def diversity(predicted: Tensor) -> Tensor:
    """Root mean square difference of two trajectories, mean over pairs.

    It is √2 times the spread: the mean over pairs of (x_j - x_k)² is twice the unbiased variance.
    """
    return (2 * predicted.double().var(dim=0).mean(dim=(1, 2, 3))).sqrt()


def _doubles(predicted: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    if predicted.dim() != 5 or predicted.shape[1:] != real.shape:
        raise ValueError(
            f"trajectories: {tuple(predicted.shape)} for a clip of {tuple(real.shape)}"
        )
    return predicted.double(), real.double()
