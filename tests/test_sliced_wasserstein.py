"""The sliced Wasserstein distance: what costs, what does not, determinism."""

import pytest
import torch

from rsvp.metrics.sliced_wasserstein import laplacian_pyramid, reflected, sliced_wasserstein


@pytest.fixture
def clips() -> torch.Tensor:
    """Textures with energy at every scale: (3, 6, 3, 64, 64) in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.zeros(18, 3, 64, 64)
    for size in (4, 8, 16, 32, 64):
        noise = torch.rand(18, 3, size, size, generator=generator) - 0.5
        frames += torch.nn.functional.interpolate(noise, (64, 64), mode="bilinear") * 0.8
    return frames.clamp(-1, 1).unflatten(0, (3, 6))


def blurred(clips: torch.Tensor, times: int = 1) -> torch.Tensor:
    frames = clips.flatten(0, 1)
    for _ in range(times):
        padded = torch.nn.functional.pad(frames, (1, 1, 1, 1), mode="replicate")
        frames = torch.nn.functional.avg_pool2d(padded, 3, stride=1)
    return frames.unflatten(0, clips.shape[:2])


def test_equal_clips_have_distance_zero(clips: torch.Tensor) -> None:
    assert sliced_wasserstein(clips, clips).tolist() == [0, 0, 0]


def test_blur_and_lost_contrast_cost_more_than_a_shift(clips: torch.Tensor) -> None:
    shift = sliced_wasserstein(clips.roll(2, dims=4), clips)
    once, thrice = (sliced_wasserstein(blurred(clips, times), clips) for times in (1, 3))
    dimmed = sliced_wasserstein(clips * 0.6, clips)
    assert (shift < once).all() and (once < thrice).all() and (shift < dimmed).all()


def test_one_value_per_clip_whatever_the_batch(clips: torch.Tensor) -> None:
    predicted = blurred(clips)
    together = sliced_wasserstein(predicted, clips)
    alone = [sliced_wasserstein(predicted[i : i + 1], clips[i : i + 1]).item() for i in range(3)]
    assert together.tolist() == pytest.approx(alone, rel=1e-4)


def test_deterministic_given_the_seed(clips: torch.Tensor) -> None:
    torch.manual_seed(1)
    first = sliced_wasserstein(blurred(clips), clips, seed=5)
    torch.manual_seed(2)
    assert torch.equal(first, sliced_wasserstein(blurred(clips), clips, seed=5))
    assert not torch.equal(first, sliced_wasserstein(blurred(clips), clips, seed=6))


def test_pyramid_adds_up(clips: torch.Tensor) -> None:
    levels = laplacian_pyramid(clips[0])
    assert [level.shape[-1] for level in levels] == [64, 32, 16]
    frames = levels[-1]
    for level in levels[-2::-1]:
        frames = level + torch.nn.functional.interpolate(
            frames, size=level.shape[-2:], mode="bilinear"
        )
    torch.testing.assert_close(frames, clips[0])


@pytest.mark.parametrize("size", [(16, 16), (17, 33)])
def test_borders_are_those_of_reflection_padding_bit_for_bit(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    frames, weights = (
        torch.randn(4, 3, *(n + border for n in size), generator=generator) for border in (0, 4)
    )
    found = []
    for pad in (reflected, lambda x, n: torch.nn.functional.pad(x, (n, n, n, n), mode="reflect")):
        image = frames.clone().requires_grad_()
        padded = pad(image, 2)
        padded.backward(weights)
        found.append((padded, image.grad))
    for mine, own in zip(*found, strict=True):
        assert torch.equal(mine, own)


def test_flat_clips_are_finite_and_wrong_shapes_refused(clips: torch.Tensor) -> None:
    flat = torch.zeros_like(clips)
    assert torch.isfinite(sliced_wasserstein(flat, flat)).all()
    with pytest.raises(ValueError, match="clips"):
        sliced_wasserstein(clips[:1], clips)
    with pytest.raises(ValueError, match="16 pixels"):
        sliced_wasserstein(clips[..., :8, :8], clips[..., :8, :8])


def test_following_the_gradient_restores_lost_contrast_wherever_patches_are(
    clips: torch.Tensor,
) -> None:
    """As a loss: a gain and an offset, found on some patches, hold on others."""
    gain, offset = torch.tensor(0.6, requires_grad=True), torch.tensor(0.1, requires_grad=True)
    optimizer = torch.optim.Adam([gain, offset], lr=0.05)
    for step in range(60):
        loss = sliced_wasserstein(gain * clips[:1] + offset, clips[:1], seed=step).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert gain.item() == pytest.approx(1.0, abs=0.05)
    assert offset.item() == pytest.approx(0.0, abs=0.02)
