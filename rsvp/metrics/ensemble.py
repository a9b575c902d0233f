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
    _check(predicted, real)
    count, grey = len(predicted), predicted.short()
    error = _total_difference(grey, real.short()) / count
    if count > 1:
        # Pairs that are one apart, two apart, …
        pairs = (_total_difference(grey[n:], grey[:-n]) for n in range(1, count))
        error = error - sum(pairs) / (count * (count - 1))
    return error


def energy_score(predicted: Tensor, real: Tensor) -> Tensor:
    """Energy score of whole frames, the CRPS of vectors: it sees how pixels depend on each other.

    mean_k |x_k - y| - mean_{j<k} |x_j - x_k| / 2 with |.| the root mean square over a frame's
    values (Gneiting & Raftery 2007, equation 22; fair as in `crps`). Point forecast: its error.
    """
    _check(predicted, real)
    count, values = len(predicted), torch.cat([predicted, real[None]]).flatten(2).double()
    values = values.transpose(0, 1)  # f k+1 p
    products = values @ values.transpose(1, 2)  # of whole numbers, so exact
    squares = products.diagonal(dim1=1, dim2=2)
    between = squares[:, :, None] + squares[:, None] - 2 * products
    distances = (between / values.shape[2]).sqrt()  # f k+1 k+1
    score = distances[:, :count, count].mean(dim=1)
    if count > 1:
        pairs = distances[:, :count, :count].sum(dim=(1, 2))
        score = score - pairs / (2 * count * (count - 1))
    return score


def mean_error(predicted: Tensor, real: Tensor) -> Tensor:
    """Mean squared error of the mean over trajectories, not rounded: squared grey levels."""
    _check(predicted, real)
    mean = predicted.sum(dim=0, dtype=torch.int32).double() / len(predicted)
    return (mean - real).square().mean(dim=(1, 2, 3))


def diversity(predicted: Tensor) -> Tensor:
    """Root mean square difference of two trajectories, mean over pairs.

    It is √2 times the spread: the mean over pairs of (x_j - x_k)² is twice the unbiased variance.
    """
    count, values = len(predicted), predicted.short()
    # Sums of whole numbers are exact, so a variance as their difference is, too.
    squares = values.float().square_().sum(dim=0).double()
    variance = (squares - values.sum(dim=0).double().square_() / count) / (count - 1)
    return (2 * variance.mean(dim=(1, 2, 3))).sqrt()


def _total_difference(first: Tensor, second: Tensor) -> Tensor:
    """Sum over trajectories of the mean absolute difference per frame, float64 (F,)."""
    # A line of pixels is summed in float32: whole numbers below 2^24.
    lines = (first - second).abs_().float().sum(dim=(3, 4)).double()
    return lines.sum(dim=(0, 2)) / first[0, 0].numel()


def _check(predicted: Tensor, real: Tensor) -> None:
    if predicted.dim() != 5 or predicted.shape[1:] != real.shape:
        raise ValueError(
            f"trajectories: {tuple(predicted.shape)} for a clip of {tuple(real.shape)}"
        )
