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

    All in float64, in which the rounding of squares is 1e-12 of the constants. Three means
    over windows are taken of a prediction: of x, x² + y² and 2xy, the latter with the constants.
    """
    _check(predicted, real)
    if min(predicted.shape[-3:-1]) < SSIM_KERNEL:
        raise ValueError(f"SSIM needs frames of {SSIM_KERNEL} pixels per side or more")
    rows, columns = (_windows(size, real.device) for size in real.shape[-3:-1])
    y = _planes(real).double()  # h w p; of the truth, what all predictions share
    c1, c2 = (y.new_tensor((k * DATA_RANGE) ** 2) for k in (SSIM_K1, SSIM_K2))
    twice_y, y_squared = 2 * y, torch.addcmul(c1 + c2, y, y)
    mean_y = _window_mean(y, rows, columns)
    twice_mean, mean_squared = 2 * mean_y, torch.addcmul(c1, mean_y, mean_y)
    maps = y.new_empty(*y.shape[:2], 3, y.shape[2])
    values = []
    for part in predicted.reshape(-1, *real.shape):
        x = maps[:, :, 0].copy_(_planes(part))
        torch.addcmul(y_squared, x, x, out=maps[:, :, 1])
        torch.addcmul(c1 + c2, x, twice_y, out=maps[:, :, 2])
        mean_x, squares, products = _window_mean(maps, rows, columns).unbind(2)
        like = torch.addcmul(c1, mean_x, twice_mean)  # 2 mean(x) mean(y) + c1
        like.mul_(products.sub_(like))  # times 2 covariance + c2
        most = torch.addcmul(mean_squared, mean_x, mean_x)  # mean(x)² + mean(y)² + c1
        most.mul_(squares.sub_(most))  # times both variances + c2
        values.append(like.div_(most).mean(dim=(0, 1)).view(-1, real.shape[-1]).mean(dim=1))
    return torch.cat(values).reshape(predicted.shape[:-3])


def _planes(frames: Tensor) -> Tensor:
    """Frames (..., H, W, C) side by side, (H, W, P): P frames and channels."""
    return frames.flatten(0, -4).permute(1, 2, 0, 3).flatten(2).contiguous()


def _window_mean(values: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    """Gaussian-weighted mean over each whole window of (H, W, ...): (H - 10, W - 10, ...).

    rows, columns: `_windows` of H and W. Products of matrices, to the right of which many values
    lie side by side: so they are several times as fast as a convolution.
    """
    height, width, *planes = values.shape
    down = values.new_empty(height - SSIM_KERNEL + 1, values[0].numel())
    for start, tile in zip(range(0, len(down), SSIM_TILE), rows, strict=True):
        part = values.view(height, -1)[start : start + tile.shape[1]]
        torch.mm(tile, part, out=down[start : start + len(tile)])
    down = down.view(len(down), width, -1)
    means = down.new_empty(len(down), width - SSIM_KERNEL + 1, down.shape[2])
    for start, tile in zip(range(0, means.shape[1], SSIM_TILE), columns, strict=True):
        part = down[:, start : start + tile.shape[1]]
        each = tile.expand(len(down), -1, -1)
        torch.bmm(each, part, out=means[:, start : start + len(tile)])
    return means.view(*means.shape[:2], *planes)


def _windows(size: int, device: torch.device) -> list[Tensor]:
    """Gaussian windows below each other over so many pixels, in tiles (count, count + 10).

    A product of matrices is the mean over each window of a tile.
    """
    tiles = []
    for start in range(0, size - SSIM_KERNEL + 1, SSIM_TILE):
        count = min(SSIM_TILE, size - SSIM_KERNEL + 1 - start)
        places = torch.arange(count + SSIM_KERNEL - 1, device=device)
        offset = places[:, None] - places[:count] - SSIM_KERNEL // 2
        weights = torch.exp(-0.5 * (offset.double() / SSIM_SIGMA) ** 2)
        weights = weights * (offset.abs() <= SSIM_KERNEL // 2)
        tiles.append((weights / weights.sum(dim=0)).T.contiguous())
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
