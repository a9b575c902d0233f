"""Frame metrics on uint8 frames, RGB or grey: MSE, PSNR, SSIM, and PSNR inside a mask.

All take uint8 frames, `predicted` (..., H, W, C) and `real` with as many axes or fewer: a truth
that several trajectories share. They return float64 (...), one value per predicted frame. The data
range is 255. Averaging over frames and clips is the caller's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

DATA_RANGE = 255.0
PSNR_CAP = 100.0  # dB, given to identical frames, whose PSNR is infinite
SSIM_KERNEL = 11  # pixels, width of the Gaussian window
SSIM_SIGMA = 1.5  # pixels
SSIM_K1, SSIM_K2 = 0.01, 0.03
SSIM_TILE = 18  # windows per side that one product of matrices covers


def mse(predicted: Tensor, real: Tensor) -> Tensor:
    """Mean squared error over pixels and channels, in squared grey levels (0..65025)."""
    return _squared_error(predicted, real).mean(dim=(-3, -2, -1), dtype=torch.float64)


def psnr(predicted: Tensor, real: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, at most `PSNR_CAP`."""
    return psnr_from_mse(mse(predicted, real))


def psnr_from_mse(error: Tensor) -> Tensor:
    """PSNR in dB, at most `PSNR_CAP`, of a mean squared error in squared grey levels."""
    return (10 * torch.log10(DATA_RANGE**2 / error)).clamp(max=PSNR_CAP)


def motion(frames: Tensor) -> Tensor:
    """Mean absolute difference of each frame to the one before, in grey levels; NaN of the first.

    frames: consecutive, of one clip.
    """
    change = frames.double().diff(dim=0).abs().mean(dim=(1, 2, 3))
    return torch.cat([change.new_full((1,), torch.nan), change])


def masked_psnr(predicted: Tensor, real: Tensor, mask: Tensor) -> Tensor:
    """PSNR in dB over the pixels where `mask`, (N, H, W), is not 0; NaN for an empty mask."""
    inside = (mask != 0).double()
    if inside.shape != real.shape[:-1]:
        raise ValueError(f"mask: shape {tuple(mask.shape)} for frames {tuple(real.shape)}")
    error = _squared_error(predicted, real).mean(dim=-1, dtype=torch.float64) * inside
    return psnr_from_mse(error.sum(dim=(-2, -1)) / inside.sum(dim=(-2, -1)))


def ssim(predicted: Tensor, real: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), mean over channels and over whole windows only.

    Gaussian window 11×11 with sigma 1.5, population covariance, K1 0.01, K2 0.03; windows that
    cross the border are left out, as scikit-image does. Frames need 11 pixels per side or more.
    (torchmetrics 1.9 is 40 times slower, and 1.5e-4 away from scikit-image at 64 pixels.)

    All in float64. With the difference d = x - y and s² for variances, both factors are 1 less a
    share: (1 - mean(d)² / (mean(x)² + mean(y)² + c1)) (1 - s²(d) / (s²(x) + s²(y) + c2)).
    """
    _check(predicted, real)
    if min(predicted.shape[-3:-1]) < SSIM_KERNEL:
        raise ValueError(f"SSIM needs frames of {SSIM_KERNEL} pixels per side or more")
    rows, columns = (_windows(size, real.device) for size in real.shape[-3:-1])
    y, centre_y = _centred(real)  # of the truth, what all predictions share
    c1, c2 = (y.new_tensor((k * DATA_RANGE) ** 2) for k in (SSIM_K1, SSIM_K2))
    y_squared, mean_y = torch.addcmul(c2, y, y), _window_mean(y, rows, columns)
    mean_squared, luminance_y = mean_y.square(), (mean_y + centre_y).square_().add_(c1)
    values = []
    for part in predicted.reshape(-1, *real.shape):  # one after the other in the processor's cache
        x, centre_x = _centred(part)
        difference = x - y
        mean_d = _window_mean(difference, rows, columns)
        variances = _window_mean(x.square_().add_(y_squared), rows, columns)  # of x, y, and c2
        mean_x = mean_y + mean_d
        variances.sub_(mean_squared).addcmul_(mean_x, mean_x, value=-1)
        other = _window_mean(difference.square_(), rows, columns)
        other.addcmul_(mean_d, mean_d, value=-1).div_(variances)
        luminance = torch.addcmul(luminance_y, mean_x.add_(centre_x), mean_x)
        shift = mean_d.add_(centre_x - centre_y).square_().div_(luminance)
        scores = shift.neg_().add_(1).mul_(other.neg_().add_(1))  # h n c w
        values.append(scores.mean(dim=(0, 2, 3), dtype=torch.float64))
    return torch.cat(values).reshape(predicted.shape[:-3])


def _centred(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (..., H, W, C) as planes (H, N, C, W) around their means, and these."""
    planes = frames.flatten(0, -4).permute(1, 0, 3, 2)
    planes = planes.to(torch.float64, memory_format=torch.contiguous_format)
    means = planes.mean(dim=(0, 3), keepdim=True)
    return planes.sub_(means), means


def _window_mean(values: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    """Gaussian-weighted mean over each whole window of (H, N, C, W): (H - 10, N, C, W - 10).

    rows, columns: `_windows` of H and W. Products of matrices that read and write in place, several
    times as fast as a convolution.
    """
    height, *planes, width = values.shape
    count = width - SSIM_KERNEL + 1
    along = values.new_empty(values.numel() // width, count)
    for start, tile in zip(range(0, count, SSIM_TILE), columns, strict=True):
        part = values.view(-1, width)[:, start : start + len(tile)]
        torch.mm(part, tile, out=along[:, start : start + tile.shape[1]])
    along = along.view(height, -1)
    means = along.new_empty(height - SSIM_KERNEL + 1, along.shape[1])
    for start, tile in zip(range(0, len(means), SSIM_TILE), rows, strict=True):
        part = along[start : start + len(tile)]
        torch.mm(tile.T, part, out=means[start : start + tile.shape[1]])
    return means.view(-1, *planes, count)


def _windows(size: int, device: torch.device) -> list[Tensor]:
    """Gaussian windows side by side over so many pixels, in tiles (count + 10, count).

    A product of matrices is the mean over each window of a tile.
    """
    tiles = []
    for start in range(0, size - SSIM_KERNEL + 1, SSIM_TILE):
        count = min(SSIM_TILE, size - SSIM_KERNEL + 1 - start)
        places = torch.arange(count + SSIM_KERNEL - 1, device=device)
        offset = places[:, None] - places[:count] - SSIM_KERNEL // 2
        weights = torch.exp(-0.5 * (offset.double() / SSIM_SIGMA) ** 2)
        weights = weights * (offset.abs() <= SSIM_KERNEL // 2)
        tiles.append((weights / weights.sum(dim=0)).to(torch.float64))
    return tiles


def _squared_error(predicted: Tensor, real: Tensor) -> Tensor:
    """Squared difference per value, exact in float32 (..., H, W, C)."""
    _check(predicted, real)
    return (predicted.short() - real.short()).float().square_()


def _check(predicted: Tensor, real: Tensor) -> None:
    if predicted.dim() < 4 or predicted.shape[-1] not in (1, 3) or not _shared(predicted, real):
        raise ValueError(
            f"frames: two (N, H, W, 3 or 1) of one shape are needed, not {tuple(predicted.shape)} "
            f"and {tuple(real.shape)}"
        )
    if predicted.dtype != torch.uint8 or real.dtype != torch.uint8:
        raise ValueError(f"frames: uint8 is needed, not {predicted.dtype} and {real.dtype}")


def _shared(predicted: Tensor, real: Tensor) -> bool:
    """True where `real` is the truth of all of `predicted`, or of each part of it."""
    return real.dim() >= 4 and predicted.shape[max(0, predicted.dim() - real.dim()) :] == real.shape
