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
SSIM_TILE = 54  # windows per side that one product of matrices covers


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
    """
    _check(predicted, real)
    if min(predicted.shape[-3:-1]) < SSIM_KERNEL:
        raise ValueError(f"SSIM needs frames of {SSIM_KERNEL} pixels per side or more")
    windows = [_windows(size, real.device) for size in real.shape[-3:-1]]
    y, centre_y = _centred(real)  # variances and the covariance do not depend on it
    c1, c2 = (y.new_tensor((k * DATA_RANGE) ** 2) for k in (SSIM_K1, SSIM_K2))
    y_squared, mean_y = y.square() + c2, _window_mean(y, windows)
    mean_squared, full_y = mean_y.square(), mean_y + centre_y
    luminance_y = full_y.square() + c1
    values = []
    for part in predicted.reshape(-1, *real.shape):  # one after the other in the processor's cache
        x, centre_x = _centred(part)
        mean_x = _window_mean(x, windows)
        covariance = _window_mean(torch.addcmul(c2, x, y, value=2), windows)
        covariance.addcmul_(mean_x, mean_y, value=-2)  # twice, and c2
        variances = _window_mean(torch.addcmul(y_squared, x, x), windows)
        variances.addcmul_(mean_x, mean_x, value=-1).sub_(mean_squared)  # both, and c2
        full_x = mean_x.add_(centre_x)
        above = torch.addcmul(c1, full_x, full_y, value=2).mul_(covariance)
        below = torch.addcmul(luminance_y, full_x, full_x).mul_(variances)
        values.append(above.div_(below).mean(dim=(-3, -2, -1), dtype=torch.float64))
    return torch.cat(values).reshape(predicted.shape[:-3])


def _centred(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (..., H, W, C) as float64 planes (..., C, H, W) around their means, and these."""
    planes = frames.movedim(-1, -3).contiguous().double()
    means = planes.mean(dim=(-2, -1), keepdim=True)
    return planes.sub_(means), means


def _window_mean(values: Tensor, windows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Gaussian-weighted mean over each whole window of (..., H, W): (..., H - 10, W - 10).

    windows: `_windows` of both sides. Several times as fast as a convolution.
    """
    for side in reversed(windows):  # along the last axis, which is then the other one
        starts = range(0, SSIM_TILE * len(side), SSIM_TILE)
        parts = [values.narrow(-1, start, len(tile)) @ tile
                 for start, tile in zip(starts, side, strict=True)]  # fmt: skip
        values = (torch.cat(parts, dim=-1) if parts[1:] else parts[0]).transpose(-1, -2)
    return values


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
        tiles.append(weights / weights.sum(dim=0))
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
