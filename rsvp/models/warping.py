"""Moving pixels: bilinear splatting forward, bilinear sampling backward.

Displacements are (…, 2, H, W) in pixels, x (right) first, then y (down).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Pixel coordinates (2, H, W), x first, of the type and device of `like`."""
    y = torch.arange(height, dtype=like.dtype, device=like.device)
    x = torch.arange(width, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))


def sample(image: Tensor, displacement: Tensor) -> Tensor:
    """`image` (N, C, H, W) read at each pixel plus `displacement` (N, 2, H, W): backward warping.

    Bilinear; outside of the image its border is repeated.
    """
    height, width = image.shape[-2:]
    place = pixel_grid(height, width, displacement) + displacement
    if image.is_cuda and torch.are_deterministic_algorithms_enabled():
        sampled = sample_by_gathering(image, place)
    else:
        scale = torch.tensor([width, height], dtype=place.dtype, device=place.device)
        normalised = (2.0 * place + 1.0) / scale.view(2, 1, 1) - 1.0
        grid = normalised.permute(0, 2, 3, 1)
        # PyTorch's gradient reads outside of the image at places that are no numbers, and crashes.
        somewhere = grid.nan_to_num(0.0, 0.0, 0.0)
        sampled = F.grid_sample(image, somewhere, padding_mode="border", align_corners=False)
    return sampled.where(place.isfinite().all(1, keepdim=True), torch.nan)


def sample_by_gathering(image: Tensor, place: Tensor) -> Tensor:
    """`image` (N, C, H, W) read at `place` (N, 2, h, w), as `sample` reads it: (N, C, h, w).

    PyTorch has no gradient of `grid_sample` that repeats bit for bit on a GPU (see its
    `use_deterministic_algorithms`); that of `gather` does, and is slower.
    """
    height, width = image.shape[-2:]
    most = torch.tensor([width - 1, height - 1], dtype=place.dtype, device=place.device)
    place = torch.minimum(place.clamp(min=0.0), most.view(2, 1, 1))
    corner = place.detach().floor()
    fraction = place - corner
    x, y = corner.nan_to_num().long().unbind(1)
    flat = image.flatten(2)
    result = torch.zeros((), dtype=image.dtype, device=image.device)
    for right in (0, 1):
        for down in (0, 1):
            weight = (fraction[:, 0] if right else 1.0 - fraction[:, 0]) * (
                fraction[:, 1] if down else 1.0 - fraction[:, 1]
            )
            index = (y + down).clamp(max=height - 1) * width + (x + right).clamp(max=width - 1)
            read = flat.gather(2, index.flatten(1).unsqueeze(1).expand(-1, flat.shape[1], -1))
            result = result + weight.unsqueeze(1) * read.unflatten(2, index.shape[1:])
    return result


def splat(values: Tensor, displacement: Tensor) -> Tensor:
    """`values` (N, C, H, W) added up where `displacement` (N, 2, H, W) moves them: forward warping.

    Each pixel is shared among its four neighbours by bilinear weights (the summation splatting of
    Niklaus and Liu, "Softmax splatting for video frame interpolation", 2020, equation 2); what
    leaves the image is dropped. A displacement that is no number gives values that are none.
    """
    count, channels, height, width = values.shape
    place = pixel_grid(height, width, displacement) + displacement
    corner = place.detach().floor()
    fraction = place - corner
    flat = values.reshape(count, channels, -1)
    result = torch.zeros_like(flat)
    for right in (0, 1):
        for down in (0, 1):
            weight = (fraction[:, 0] if right else 1.0 - fraction[:, 0]) * (
                fraction[:, 1] if down else 1.0 - fraction[:, 1]
            )
            x, y = corner[:, 0] + right, corner[:, 1] + down
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
            # A displacement that is no number has no place, but its weight carries it on.
            index = index.nan_to_num().long()
            index = index.reshape(count, 1, -1).expand(-1, channels, -1)
            share = (weight * inside).reshape(count, 1, -1)
            result = result.scatter_add(2, index, flat * share)
    return result.view_as(values)


def backward_displacement(weight: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """Where the content of each target pixel came from, and how much content there is.

    `weight` (N, 1, H, W), zero or more, says how much each source pixel counts, `displacement`
    (N, 2, H, W) where it goes. Returns the backward displacement (N, 2, H, W) and the coverage
    (N, 1, H, W). Splatting displacements instead of colours leaves no holes where content is
    stretched or turned: the small blur fills them, and colours are sampled once, from the source.
    """
    moved = splat(torch.cat([weight, -displacement * weight], 1), displacement)
    moved = F.avg_pool2d(moved, 3, 1, 1, count_include_pad=False)
    coverage = moved[:, :1]
    return moved[:, 1:] / (coverage + 1e-3), coverage


def fill(image: Tensor, weight: Tensor) -> Tensor:
    """`image` (N, C, H, W) with pixels of low `weight` (N, 1, H, W) in [0, 1] filled from around.

    Pull-push over a pyramid of halved resolutions (Gortler et al., "The lumigraph", 1996, section
    3.4.2): a pixel of weight 1 stays, one of weight 0 takes the weighted mean of the smallest
    neighbourhood that holds anything.
    """
    height, width = image.shape[-2:]
    if height % 2 or width % 2:
        mean = (image * weight).mean((2, 3), keepdim=True)
        mean = mean / weight.mean((2, 3), keepdim=True).clamp(min=1e-4)
        return weight * image + (1.0 - weight) * mean
    share = F.avg_pool2d(weight, 2)
    coarse = F.avg_pool2d(image * weight, 2) / share.clamp(min=1e-4)
    around = fill(coarse, (2.0 * share).clamp(max=1.0))
    around = F.interpolate(around, scale_factor=2, mode="bilinear")
    return weight * image + (1.0 - weight) * around
