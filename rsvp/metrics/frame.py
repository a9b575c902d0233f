"""Frame metrics on uint8 frames, RGB or grey: MSE, PSNR, SSIM, and PSNR inside a mask.

All take `predicted` and `real` as uint8 (N, H, W, C) and return float64 (N,), one value per frame.
The data range is 255. Averaging over frames and clips is the caller's.
"""

import torch
from torch import Tensor
from torch.nn import functional

DATA_RANGE = 255.0
PSNR_CAP = 100.0  # dB, given to identical frames, whose PSNR is infinite
SSIM_KERNEL = 11  # pixels, width of the Gaussian window
SSIM_SIGMA = 1.5  # pixels
SSIM_K1, SSIM_K2 = 0.01, 0.03


def mse(predicted: Tensor, real: Tensor) -> Tensor:
    """Mean squared error over pixels and channels, in squared grey levels (0..65025)."""
    return _squared_error(predicted, real).mean(dim=(1, 2, 3))


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
    _check(predicted, real)
    if inside.shape != predicted.shape[:3]:
        raise ValueError(f"mask: shape {tuple(mask.shape)} for frames {tuple(predicted.shape)}")
    error = (_squared_error(predicted, real).mean(dim=3) * inside).sum(dim=(1, 2))
    return psnr_from_mse(error / inside.sum(dim=(1, 2)))


def ssim(predicted: Tensor, real: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), mean over channels and over whole windows only.

    Gaussian window 11×11 with sigma 1.5, population covariance, K1 0.01, K2 0.03; windows that
    cross the border are left out, as scikit-image does. Frames need 11 pixels per side or more.
    (torchmetrics 1.9 is 40 times slower, and 1.5e-4 away from scikit-image at 64 pixels.)
    """
    _check(predicted, real)
    if min(predicted.shape[1:3]) < SSIM_KERNEL:
        raise ValueError(f"SSIM needs frames of {SSIM_KERNEL} pixels per side or more")
    x, y = (frames.permute(0, 3, 1, 2).double() for frames in (predicted, real))
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variance_x = _window_mean(x * x) - mean_x**2
    variance_y = _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    c1, c2 = (SSIM_K1 * DATA_RANGE) ** 2, (SSIM_K2 * DATA_RANGE) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _window_mean(values: Tensor) -> Tensor:
    """Gaussian-weighted mean over each whole window of (N, C, H, W): (N, C, H - 10, W - 10)."""
    offset = torch.arange(SSIM_KERNEL, dtype=values.dtype, device=values.device) - SSIM_KERNEL // 2
    window = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)
    window = (window / window.sum()).reshape(1, 1, -1, 1)
    planes = values.flatten(0, 1)[:, None]
    means = functional.conv2d(functional.conv2d(planes, window), window.transpose(2, 3))
    return means.unflatten(0, values.shape[:2])[:, :, 0]


def _squared_error(predicted: Tensor, real: Tensor) -> Tensor:
    """Squared difference per value, float64 (N, H, W, C)."""
    _check(predicted, real)
    return (predicted.double() - real.double()).square()


def _check(predicted: Tensor, real: Tensor) -> None:
    if predicted.shape != real.shape or predicted.dim() != 4 or predicted.shape[3] not in (1, 3):
        raise ValueError(
            f"frames: two (N, H, W, 3 or 1) of one shape are needed, not {tuple(predicted.shape)} "
            f"and {tuple(real.shape)}"
        )
    if predicted.dtype != torch.uint8 or real.dtype != torch.uint8:
        raise ValueError(f"frames: uint8 is needed, not {predicted.dtype} and {real.dtype}")
