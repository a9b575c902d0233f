"""Frame metrics against scikit-image and closed forms."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from rsvp.metrics import frame


def scikit_ssim(predicted: np.ndarray, real: np.ndarray) -> float:
    return structural_similarity(
        predicted,
        real,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2,
    )


def assert_agrees(predicted: np.ndarray, real: np.ndarray) -> None:
    ours = frame.ssim(torch.tensor(predicted), torch.tensor(real)).numpy()
    theirs = [scikit_ssim(*pair) for pair in zip(predicted, real, strict=True)]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    ours = frame.psnr(torch.tensor(predicted), torch.tensor(real)).numpy()
    theirs = [
        peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(predicted, real, strict=True)
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("size", [(64, 64), (11, 11), (40, 57)])
def test_random_frames_agree_with_scikit_image(size: tuple[int, int]) -> None:
    random = np.random.RandomState(0)
    real = random.randint(0, 256, (3, *size, 3)).astype(np.uint8)
    predicted = np.clip(real + random.randint(-30, 30, real.shape), 0, 255).astype(np.uint8)
    assert_agrees(predicted, real)


def test_real_frames_agree_with_scikit_image(shared) -> None:
    import av

    path = sorted((shared / "data" / "ucf101-mini").rglob("*.avi"))[0]
    with av.open(str(path)) as container:
        decoded = container.decode(video=0)
        frames = np.stack([next(decoded).to_ndarray(format="rgb24") for _ in range(4)])
    assert_agrees(frames[:3], frames[1:])


@pytest.mark.parametrize("size", [(28, 40), (64, 64), (70, 141)])  # tiles of windows, and parts
@pytest.mark.parametrize(("bright", "dark", "noise"), [(240, 10, 3), (255, 0, 9), (255, 128, 1)])
def test_ssim_is_near_to_double_precision_where_it_is_hardest(
    size: tuple[int, int], bright: int, dark: int, noise: int
) -> None:
    """Almost flat bright frames, with an edge: variances are small differences of large numbers."""
    random = np.random.RandomState(0)
    real = np.full((2, *size, 3), bright, np.uint8)
    real[:, :, size[1] // 2 :] = dark
    offset = random.randint(1 - noise, noise, real.shape)
    predicted = (real.astype(int) + offset).clip(0, 255).astype(np.uint8)
    ours = frame.ssim(torch.tensor(predicted), torch.tensor(real)).numpy()
    theirs = [scikit_ssim(*(x.astype(np.float64) for x in pair))
              for pair in zip(predicted, real, strict=True)]  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_trajectories_share_a_truth() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(0, 256, (3, 2, 20, 24, 3), dtype=torch.uint8, generator=generator)
    real, mask = predicted[0].flip(0), torch.ones(2, 20, 24)
    for score in (frame.mse, frame.psnr, frame.ssim, lambda p, r: frame.masked_psnr(p, r, mask)):
        each = torch.stack([score(trajectory, real) for trajectory in predicted])
        assert torch.equal(score(predicted, real), each)


def test_known_answers_black_against_white() -> None:
    black = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    white = torch.full_like(black, 255)
    assert frame.ssim(white, black).item() == pytest.approx(9.999e-05, rel=1e-4)
    assert frame.psnr(white, black).item() == 0
    assert frame.mse(white, black).item() == 255**2


def test_identical_frames_get_the_cap() -> None:
    frames = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    assert frame.psnr(frames, frames).tolist() == [100.0, 100.0]
    assert frame.ssim(frames, frames).tolist() == pytest.approx([1.0, 1.0])


def test_masked_psnr_sees_the_mask_only() -> None:
    real = torch.zeros(3, 16, 16, 3, dtype=torch.uint8)
    predicted = real.clone()
    predicted[:, :8] = 51  # a fifth of the range: 20 log10(5) dB
    predicted[:, 8:] = 200
    mask = torch.zeros(3, 16, 16, dtype=torch.uint8)
    mask[0, :8], mask[1, 8:] = 1, 1
    inside = frame.masked_psnr(predicted, real, mask)
    assert inside[0].item() == pytest.approx(20 * np.log10(5))
    assert inside[1].item() == pytest.approx(20 * np.log10(255 / 200))
    assert torch.isnan(inside[2])


def test_wrong_types_and_shapes_are_refused() -> None:
    frames = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="uint8"):
        frame.psnr(frames.float(), frames)
    with pytest.raises(ValueError, match="one shape"):
        frame.psnr(frames[:, :8], frames)
    with pytest.raises(ValueError, match="11 pixels"):
        frame.ssim(frames[:, :8], frames[:, :8])
