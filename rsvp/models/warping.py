"""Moving pixels: bilinear splatting forward, bilinear sampling backward.

Displacements are (…, 2, H, W) in pixels, x (right) first, then y (down). Positions are computed in
32 bits at least, also within autocast: in bfloat16 those beyond 128 pixels are whole numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return pixel coordinates (2, H, W), x first, in the type and on the device of `like`."""
    y = torch.arange(height, dtype=like.dtype, device=like.device)
    x = torch.arange(width, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))


def precise(x: Tensor) -> Tensor:
    """Return `x` in 32 bits where it has fewer."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def sample(image: Tensor, displacement: Tensor, mode: str = "bilinear") -> Tensor:
    """Read `image` (N, C, H, W) at each pixel plus `displacement` (N, 2, H, W): backward warping.

    The mode is bilinear, or bicubic, which keeps more detail between pixels and may overshoot.
    Outside of the image its border is repeated. A position that is not finite reads NaN.
    """
    image, displacement = precise(image), precise(displacement)
    height, width = image.shape[-2:]
    place = pixel_grid(height, width, displacement) + displacement
    if image.is_cuda and torch.are_deterministic_algorithms_enabled():
        sampled = sample_by_gathering(image, place, mode)
    else:
        # Filled in on the device: a copy from the CPU would wait.
        scale = torch.stack([place.new_full((1, 1), size) for size in (width, height)])
        normalised = (2.0 * place + 1.0) / scale - 1.0
        grid = normalised.permute(0, 2, 3, 1)
        # At positions that are not finite PyTorch's gradient reads outside of the image: a crash.
        finite = grid.nan_to_num(0.0, 0.0, 0.0)
        sampled = F.grid_sample(image, finite, mode, padding_mode="border", align_corners=False)
    return sampled.where(place.isfinite().all(1, keepdim=True), torch.nan)


def sample_by_gathering(image: Tensor, place: Tensor, mode: str = "bilinear") -> Tensor:
    """Read `image` (N, C, H, W) at `place` (N, 2, h, w), as `sample` does, to (N, C, h, w).

    On a GPU no gradient of PyTorch's `grid_sample` repeats bit for bit (see its
    `use_deterministic_algorithms`). The gradient of `gather` does, and is slower.
    """
    height, width = image.shape[-2:]
    corner = place.detach().floor()
    across, along = (place - corner).unbind(1)
    x, y = corner.nan_to_num().long().unbind(1)
    flat = image.flatten(2)
    kernel, taps = KERNELS[mode]
    result = torch.zeros((), dtype=image.dtype, device=image.device)
    for right in taps:
        for down in taps:
            weight = kernel((across - right).abs()) * kernel((along - down).abs())
            index = (y + down).clamp(0, height - 1) * width + (x + right).clamp(0, width - 1)
            read = flat.gather(2, index.flatten(1).unsqueeze(1).expand(-1, flat.shape[1], -1))
            result = result + weight.unsqueeze(1) * read.unflatten(2, index.shape[1:])
    return result


def cubic(distance: Tensor) -> Tensor:
    """Return the weight of a pixel at a distance up to 2 in bicubic sampling (Keys, "Cubic
    convolution interpolation", 1981, equation 4, with PyTorch's a = -0.75)."""
    a, d = -0.75, distance
    near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    far = ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    return torch.where(d <= 1.0, near, far)


KERNELS = {"bilinear": (lambda d: 1.0 - d, (0, 1)), "bicubic": (cubic, (-1, 0, 1, 2))}


def splat(values: Tensor, displacement: Tensor) -> Tensor:
    """Add up `values` (N, C, H, W) where `displacement` (N, 2, H, W) moves them: forward warping.

    Each pixel is shared among its four neighbours by bilinear weights (the summation splatting of
    Niklaus and Liu, "Softmax splatting for video frame interpolation", 2020, equation 2). Pixels
    that leave the image are dropped. A displacement of NaN gives values of NaN.
    """
    values, displacement = precise(values), precise(displacement)
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
            # A displacement of NaN has no position; its weight carries the NaN on.
            index = index.nan_to_num().long()
            index = index.reshape(count, 1, -1).expand(-1, channels, -1)
            share = (weight * inside).reshape(count, 1, -1)
            result = result.scatter_add(2, index, flat * share)
    return result.view_as(values)


def backward_displacement(
    weight: Tensor, displacement: Tensor, scale: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the displacement to each target pixel's source, and the coverage by content.

    `weight` (N, 1, H, W), zero or more, is that of each source pixel, `displacement` (N, 2, H, W)
    its way. The backward displacement (N, 2, sH, sW) and the coverage (N, 1, sH, sW) are enlarged
    `scale` times. Splatting displacements in place of colours leaves no holes where content is
    stretched or turned: a small blur fills them, and colours are sampled once, from the source.
    """
    weight, displacement = precise(weight), precise(displacement)
    moved = splat(torch.cat([weight, -scale * displacement * weight], 1), displacement)
    moved = F.avg_pool2d(moved, 3, 1, 1, count_include_pad=False)
    # Divided by the coverage last, so that a border to nothing is not a displacement halfway there.
    if scale > 1:
        moved = F.interpolate(moved, scale_factor=scale, mode="bilinear")
    coverage = moved[:, :1]
    return moved[:, 1:] / coverage.clamp(min=1e-6), coverage


def compressed(displacement: Tensor, scale: float) -> Tensor:
    """Return `displacement` (N, 2, H, W) with asinh(r / scale) in place of its length r.

    This is linear up to about `scale`, then logarithmic: errors are in proportion to r, and small
    where nothing moves.
    """
    displacement = precise(displacement)
    length = displacement.norm(dim=1, keepdim=True)
    # The limit at 0 is 1 / scale.
    near = length < 1e-4 * scale
    safe = length.masked_fill(near, 1.0)
    return displacement * torch.where(near, 1.0 / scale, torch.asinh(safe / scale) / safe)


def expanded(compressed: Tensor, scale: float) -> Tensor:
    """Invert `compressed`; lengths are cut at 7, which is 548 scales."""
    compressed = precise(compressed)
    length = compressed.norm(dim=1, keepdim=True)
    near = length < 1e-4
    safe = length.masked_fill(near, 1.0)
    return compressed * torch.where(near, scale, scale * torch.sinh(safe.clamp(max=7.0)) / safe)


@torch.no_grad()
def refine(
    displacement: Tensor, image: Tensor, target: Tensor, weight: Tensor, steps: int = 3
) -> Tensor:
    """Bring `displacement` (N, 2, H, W), in pixels, nearer to the place of `image`'s content in
    `target`, without a gradient.

    Both images are (N, C, H, W), and `weight` (N, 1, H, W), zero or more, is that of each pixel.
    Steps of least squares within windows of 5 pixels (Lucas and Kanade, "An iterative image
    registration technique", 1981, section 4) are right to a small part of a pixel where the start
    is right to one or two. A pixel keeps its start where the windows agree no better at the end.
    """

    def around(values: Tensor) -> Tensor:
        return window_mean(values, 5)

    displacement, image, target, weight = map(precise, (displacement, image, target, weight))
    found, start = displacement, around(weight * difference(image, target, displacement))
    for _ in range(steps):
        moved = sample(target, found)
        x, y = gradient(moved)
        error = image - moved
        products = torch.stack([x * x, x * y, y * y, x * error, y * error]).sum(2)  # (5, N, H, W)
        xx, xy, yy, xe, ye = around(weight * products.transpose(0, 1)).split(1, 1)
        # Flat windows stay: the damping is small against any texture's gradient.
        xx, yy = xx + 1e-4, yy + 1e-4
        step = torch.cat([yy * xe - xy * ye, xx * ye - xy * xe], 1) / (xx * yy - xy * xy)
        found = found + step.clamp(-1.0, 1.0)
    better = around(weight * difference(image, target, found)) < start
    return torch.where(better, found, displacement)


def window_mean(values: Tensor, size: int) -> Tensor:
    """Average `size` by `size` pixels (odd) around each pixel of (N, C, H, W).

    At the border, those in the image count. On a CPU products with two band matrices take a tenth
    of the time of pooling; a GPU's products may have fewer digits.
    """
    if values.is_cuda:
        return F.avg_pool2d(values, size, 1, size // 2, count_include_pad=False)

    def band(length: int) -> Tensor:
        place = torch.arange(length, device=values.device)
        near = ((place[:, None] - place).abs() <= size // 2).to(values.dtype)
        return near / near.sum(1, keepdim=True)

    height, width = values.shape[-2:]
    with torch.autocast(values.device.type, enabled=False):
        return band(height) @ (values @ band(width).T)


def binomial(image: Tensor) -> Tensor:
    """Filter (N, C, H, W) by (1, 2, 1) / 4 along both sides; the border is repeated.

    It passes nothing of a pattern that alternates from pixel to pixel, as pixel shuffle leaves.
    """
    return F.avg_pool2d(F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 2, 1), 2, 1)


def difference(image: Tensor, target: Tensor, displacement: Tensor) -> Tensor:
    """Return the squared difference (N, 1, H, W) of `image` and `target` after `displacement`."""
    return (image - sample(target, displacement)).square().sum(1, keepdim=True)


def gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences of (N, C, H, W) along x and y, per pixel."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    x = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    y = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return 0.5 * x, 0.5 * y


def fill(image: Tensor, weight: Tensor) -> Tensor:
    """Fill pixels of low `weight` (N, 1, H, W) in [0, 1] of `image` (N, C, H, W) from around.

    Pull-push over a pyramid of halved resolutions (Gortler et al., "The lumigraph", 1996, section
    3.4.2): a pixel of weight 1 stays, and one of weight 0 takes the weighted mean of the smallest
    neighbourhood with any weight.
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
