"""Splatting, sampling and filling, against what moves of whole pixels must give."""

import pytest
import torch
import torch.nn.functional as F

from rsvp.models.warping import (
    backward_displacement,
    binomial,
    compressed,
    expanded,
    fill,
    pixel_grid,
    refine,
    sample,
    sample_by_gathering,
    splat,
    window_mean,
)


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def constant(x, y, size, count=2):
    """The same displacement for all pixels, (count, 2, size, size)."""
    vector = torch.tensor([x, y], dtype=torch.float64).view(1, 2, 1, 1)
    return vector.repeat(count, 1, size, size)


def shifted(image, x, y):
    """`image` moved by whole pixels, zeros coming in."""
    height, width = image.shape[-2:]
    result = torch.zeros_like(image)
    result[..., max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = image[
        ..., max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)
    ]
    return result


SHIFTS = [(0, 0), (1, 0), (0, 1), (-2, 3), (3, -1), (0, -4), (20, 0)]


@pytest.mark.parametrize(("x", "y"), SHIFTS)
def test_splat_by_whole_pixels_shifts(x, y):
    image = noise(2, 3, 8, 8)
    assert torch.equal(splat(image, constant(x, y, 8)), shifted(image, x, y))


@pytest.mark.parametrize(("x", "y"), SHIFTS[:-1])
def test_sample_by_whole_pixels_rolls(x, y):
    image = noise(2, 3, 16, 16)
    inside = (..., slice(4, -4), slice(4, -4))
    rolled = torch.roll(image, (-y, -x), dims=(-2, -1))
    assert torch.equal(sample(image, constant(x, y, 16))[inside], rolled[inside])


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_deterministic_sampling_is_the_same(mode):
    """Against PyTorch's grid_sample, values and gradients, also far outside of the image."""
    image = noise(2, 3, 8, 6).requires_grad_()
    displacement = (4.0 * noise(2, 2, 8, 6, seed=1)).requires_grad_()
    upstream = noise(2, 3, 8, 6, seed=2)
    expected = sample(image, displacement, mode)
    wanted = torch.autograd.grad(expected, (image, displacement), upstream)
    found = sample_by_gathering(image, pixel_grid(8, 6, displacement) + displacement, mode)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, (image, displacement), upstream), wanted, strict=True
    ):
        torch.testing.assert_close(one, other)


def test_deterministic_sampling_carries_what_is_no_number():
    place = pixel_grid(4, 4, noise(1)).repeat(1, 1, 1, 1)
    place[0, 0, 1, 2] = torch.nan
    missing = sample_by_gathering(noise(1, 3, 4, 4), place).isnan()
    assert missing[0, :, 1, 2].all() and missing.sum() == 3


def test_sample_repeats_the_border():
    image = noise(1, 3, 8, 8)
    found = sample(image, constant(50.0, 0.0, 8, 1))
    torch.testing.assert_close(found, image[..., -1:].expand_as(image))


def test_sample_works_on_sizes_that_are_no_power_of_two():
    image = noise(1, 2, 12, 20)
    displacement = torch.zeros(1, 2, 12, 20, dtype=torch.float64)
    displacement[:, 0] = 3
    torch.testing.assert_close(sample(image, displacement)[..., :17], image[..., 3:])


def test_splat_is_the_adjoint_of_sample():
    """<splat(v), w> = <v, sample(w)>, as long as nothing leaves the image."""
    values, others = noise(2, 3, 9, 9, seed=1), noise(2, 3, 9, 9, seed=2)
    values[..., :2], values[..., -2:], values[..., :2, :], values[..., -2:, :] = 0, 0, 0, 0
    displacement = 1.9 * torch.tanh(noise(2, 2, 9, 9, seed=3))
    forward = (splat(values, displacement) * others).sum()
    backward = (values * sample(others, displacement)).sum()
    torch.testing.assert_close(forward, backward)


def test_splat_keeps_the_mass_that_stays_inside():
    values = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    values[..., 5:11, 5:11] = noise(2, 3, 6, 6)
    displacement = 4.9 * torch.tanh(noise(2, 2, 16, 16, seed=1))
    moved = splat(values, displacement)
    torch.testing.assert_close(moved.sum((2, 3)), values.sum((2, 3)))


def test_splat_shares_a_pixel_by_bilinear_weights():
    values = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    values[0, 0, 1, 1] = 1.0
    moved = splat(values, constant(0.25, 0.5, 4, 1))[0, 0]
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[1:3, 1:3] = torch.tensor([[0.375, 0.125], [0.375, 0.125]])
    torch.testing.assert_close(moved, expected)


def test_what_leaves_the_image_is_dropped_not_wrapped():
    values = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    moved = splat(values, constant(2.5, 0.0, 4, 1))
    torch.testing.assert_close(moved.sum(2)[0, 0], 4 * torch.tensor([0, 0, 0.5, 1.0]).double())


def test_gradients():
    values = noise(1, 2, 4, 4).requires_grad_()
    # Away from whole pixels, where bilinear weights have a kink.
    fraction = 0.2 + 0.6 * torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    whole = torch.randint(-1, 2, (1, 2, 4, 4), generator=torch.Generator().manual_seed(2))
    displacement = (fraction.double() + whole).requires_grad_()
    assert torch.autograd.gradcheck(splat, (values, displacement))
    assert torch.autograd.gradcheck(sample, (values, 0.7 * displacement.detach()))
    weight = torch.rand(1, 1, 4, 4, dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(fill, (values, weight.requires_grad_()))


def test_backward_displacement_of_a_moved_block():
    """Inside of what arrives, the way back is minus the way there; elsewhere nothing covers."""
    weight = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    weight[..., 4:9, 4:9] = 1.0
    back, coverage = backward_displacement(weight, constant(3, 2, 16, 1))
    there = (..., slice(7, 10), slice(8, 11))
    torch.testing.assert_close(coverage[there], torch.ones_like(coverage[there]))
    torch.testing.assert_close(
        back[there], constant(-3, -2, 3, 1), atol=4e-3, rtol=0
    )  # coverage is regularised by 1e-3
    assert coverage[..., :5, :].abs().max() == 0.0


def test_backward_displacement_closes_the_holes_of_stretched_content():
    """At twice the size, plain splatting would leave three of four pixels empty."""
    grid = torch.arange(16.0, dtype=torch.float64) - 8
    displacement = torch.stack(torch.meshgrid(grid, grid, indexing="xy"))[None]
    weight = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    assert (splat(weight, displacement)[..., 1:-1, 1:-1] == 0).double().mean() > 0.5
    back, coverage = backward_displacement(weight, displacement)
    assert coverage[..., 1:-1, 1:-1].min() > 0.1
    torch.testing.assert_close(
        back[..., 2:-2, 2:-2], -0.5 * displacement[..., 2:-2, 2:-2], atol=0.1, rtol=0
    )


def hole(size, first, last):
    """Weight 1 except for a square hole."""
    weight = torch.ones(1, 1, size, size, dtype=torch.float64)
    weight[..., first:last, first:last] = 0.0
    return weight


@pytest.mark.parametrize("size", [7, 16, 24, 64])
def test_fill_closes_a_hole_in_a_constant_exactly(size):
    weight = hole(size, 2, size - 2)
    image = torch.full((1, 3, size, size), 0.3, dtype=torch.float64)
    filled = fill(torch.where(weight > 0, image, 77.0), weight)
    torch.testing.assert_close(filled, image, atol=1e-12, rtol=0)


def test_fill_leaves_what_is_there():
    image, weight = noise(2, 3, 32, 32), hole(32, 5, 20)
    filled = fill(image, weight.expand(2, -1, -1, -1))
    kept = weight.expand_as(image) == 1
    assert torch.equal(filled[kept], image[kept])
    assert not torch.equal(filled, image)


def test_fill_continues_a_ramp_nearly():
    ramp = torch.linspace(-1, 1, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    weight = hole(64, 24, 36)
    filled = fill(ramp * weight, weight)
    step = 2 / 63  # per pixel; the hole is 12 wide
    assert (filled - ramp).abs().max() < 4 * step
    assert (filled - ramp).abs().mean() < 0.1 * step


def test_fill_of_nothing_is_finite():
    filled = fill(noise(1, 3, 16, 16), torch.zeros(1, 1, 16, 16, dtype=torch.float64))
    assert torch.equal(filled, torch.zeros_like(filled))


@pytest.mark.parametrize("warp", [sample, splat])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_places_that_are_no_numbers_do_not_crash(warp, value):
    """Training notices by its loss what diverged; it should live to say so."""
    displacement = torch.full((1, 2, 8, 8), value, requires_grad=True)
    image = torch.ones(1, 3, 8, 8, requires_grad=True)
    warped = warp(image, displacement)
    warped.sum().backward()
    assert value == 1e30 or warped.isnan().any()


def waves(x, y):
    """A smooth texture at any place, (1, 3, H, W)."""
    return torch.stack(
        [(0.5 * x + 0.3 * y).sin(), (0.4 * y - 0.2 * x).cos(), (0.3 * x + 0.6 * y).sin()]
    )[None]


@pytest.mark.parametrize("moved", [(0.3, -0.4), (1.2, 0.7), (-2.0, 1.5)])
def test_refining_finds_a_small_part_of_a_pixel(moved):
    y, x = pixel_grid(32, 32, torch.zeros(1)).flip(0) + 0.5
    image, target = waves(x, y), waves(x - moved[0], y - moved[1])
    start = torch.zeros(1, 2, 32, 32)
    found = refine(start, image, target, torch.ones(1, 1, 32, 32))
    error = found - torch.tensor(moved).view(1, 2, 1, 1)
    assert error[..., 6:-6, 6:-6].abs().max() < 0.06


def test_refining_counts_what_has_weight_alone():
    """A thing that moves over a ground that stays is followed if the ground does not count."""
    y, x = pixel_grid(32, 32, torch.zeros(1)).flip(0) + 0.5
    inside = ((x - 16).abs() < 6) & ((y - 16).abs() < 6)
    there = ((x - 17).abs() < 6) & ((y - 16).abs() < 6)
    ground = waves(y, 2.0 * x)
    image = torch.where(inside, waves(x, y), ground)
    target = torch.where(there, waves(x - 1.0, y), ground)
    start = torch.zeros(1, 2, 32, 32)
    weight = inside.float()[None, None]
    error = refine(start, image, target, weight)[0, :, inside] - torch.tensor([[1.0], [0.0]])
    assert error.abs().mean() < 0.1
    assert torch.equal(refine(start, image, target, torch.zeros_like(weight)), start)


def test_refining_keeps_the_start_where_it_finds_nothing_better():
    y, x = pixel_grid(32, 32, torch.zeros(1)).flip(0) + 0.5
    image = waves(x, y)
    start = torch.zeros(1, 2, 32, 32)
    assert torch.equal(refine(start, image, image, torch.ones(1, 1, 32, 32)), start)
    flat = torch.ones_like(image)
    assert torch.equal(refine(start, flat, -flat, torch.ones(1, 1, 32, 32)), start)


@pytest.mark.parametrize("size", [3, 5])
def test_window_means_are_those_of_pooling(size):
    values = noise(2, 3, 12, 17)
    expected = F.avg_pool2d(values, size, 1, size // 2, count_include_pad=False)
    torch.testing.assert_close(window_mean(values, size), expected)
    exact = window_mean(values.float(), size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(window_mean(values.float(), size), exact)


def test_bicubic_sampling_keeps_more_detail():
    """Half a pixel off, against the texture itself there."""
    y, x = pixel_grid(32, 32, torch.zeros(1)).flip(0) + 0.5
    fine = lambda x, y: (1.6 * x + 1.1 * y).sin()[None, None]  # noqa: E731
    offset = torch.full((1, 2, 32, 32), 0.5)
    errors = [
        (sample(fine(x, y), offset, mode) - fine(x + 0.5, y + 0.5))[..., 3:-3, 3:-3].abs().mean()
        for mode in ("bilinear", "bicubic")
    ]
    assert errors[1] < 0.7 * errors[0]


def test_compressing_is_undone_and_keeps_directions():
    displacement = 10.0 ** noise(1, 1, 16, 16).clamp(-3, 1) * F.normalize(
        noise(1, 2, 16, 16, seed=1)
    )
    small = compressed(displacement, 0.125)
    torch.testing.assert_close(expanded(small, 0.125), displacement)
    torch.testing.assert_close(F.normalize(small), F.normalize(displacement))
    length = displacement.norm(dim=1)
    torch.testing.assert_close(small.norm(dim=1), torch.asinh(length / 0.125))


def test_compressing_nothing_is_smooth():
    displacement = torch.zeros(1, 2, 2, 2, requires_grad=True)
    small = compressed(displacement, 0.125)
    assert torch.equal(small, torch.zeros_like(small))
    (expanded(small, 0.125).sum() + small.sum()).backward()
    torch.testing.assert_close(displacement.grad, torch.full((1, 2, 2, 2), 1.0 + 8.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_moves_things_to_the_same_places(dtype):
    """Beyond 128 pixels bfloat16 has whole numbers alone; what it holds is taken exactly."""
    random = torch.Generator().manual_seed(0)
    image = torch.rand(1, 2, 8, 256, generator=random).to(dtype)
    displacement = (2.0 * torch.rand(1, 2, 8, 256, generator=random) - 1.0).to(dtype)
    for warp in (sample, splat):
        expected = warp(image.float(), displacement.float())
        assert torch.equal(warp(image, displacement), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(warp(image, displacement), expected)
    weight = image[:, :1]
    for found, expected in zip(
        backward_displacement(weight, displacement),
        backward_displacement(weight.float(), displacement.float()),
        strict=True,
    ):
        assert torch.equal(found, expected)


def test_binomial_is_the_filter_of_its_name_and_stops_what_alternates():
    image = noise(2, 3, 8, 10)
    kernel = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    expected = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    torch.testing.assert_close(binomial(image), expected)
    board = (-1.0) ** torch.arange(8).view(1, 1, 1, 8).expand(1, 1, 8, 8).double()
    for pattern in (board, board.mT, board * board.mT):
        assert binomial(pattern)[..., 1:-1, 1:-1].abs().max() < 1e-12
