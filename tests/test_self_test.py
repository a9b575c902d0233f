"""The self-test's known answers are those of peers, and what is broken fails it."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional

from rsvp.commands import compare
from rsvp.metrics import i3d, self_test
from rsvp.runtime.errors import UserError

CLIP, OTHER = self_test.pictures().numpy(), self_test.pictures(1).numpy()


def run(config: Path | None = None) -> None:
    compare.run(Namespace(self_test=True, config=config, device="cpu"))


@pytest.fixture
def few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the slow networks of seeded weights."""
    monkeypatch.setattr(self_test, "seeded_checks", lambda _: iter(()))


def test_an_installation_holds(capsys) -> None:
    run()
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("holds ") for line in lines) == len(lines) - 2 == 10
    assert lines[-1].startswith("left out  I3D, real weights: weights.i3d is not set")


def test_a_wrong_number_fails(few_checks, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "KNOWN_SSIM", self_test.KNOWN_SSIM + 2e-4)
    with pytest.raises(UserError, match="--self-test: 1 of 8 fail: SSIM of two clips"):
        run()
    assert "FAILS     SSIM of two clips: 0.614925; expected: 0.615125" in capsys.readouterr().out


def test_real_weights_have_the_published_distance(
    few_checks, capsys, shared: Path, tmp_path: Path
) -> None:
    folder, config = shared / "weights", tmp_path / "config.yaml"
    config.write_text(
        f"weights: {{lpips_backbone: {folder}/alexnet_features_imagenet1k_v1.safetensors, "
        f"lpips_linear: {folder}/lpips_lin_v0.1_alex.safetensors}}"
    )
    run(config)
    assert "holds     LPIPS, real weights (alex), black against white" in capsys.readouterr().out


def test_pictures_score_as_by_scikit_image() -> None:
    pairs = list(zip(CLIP, OTHER, strict=True))
    psnr = np.mean([peak_signal_noise_ratio(a, b) for a, b in pairs])
    ssim = np.mean([
        structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5,
                              use_sample_covariance=False)
        for a, b in pairs
    ])  # fmt: skip
    assert (psnr, ssim) == pytest.approx((self_test.KNOWN_PSNR, self_test.KNOWN_SSIM), abs=1e-5)


def test_logits_are_those_of_the_official_graph(shared: Path) -> None:
    official = np.load(shared / "reference/hubgraph_randweights_logits.npz")["T10_seed3"]
    np.testing.assert_allclose(self_test.KNOWN_LOGITS, official[0, :5], atol=1e-5)


def test_features_are_those_of_frames_that_are_resized_first() -> None:
    """Resized by OpenCV, whose centres are half pixels, too, and given as floats."""
    cv2 = pytest.importorskip("cv2")
    frames = np.stack([cv2.resize(f.astype(np.float32), (224, 224)) for f in CLIP]) / 127.5 - 1
    with torch.no_grad():
        network = i3d.I3D(self_test.seeded_variables())
        logits = network(torch.from_numpy(frames).permute(3, 0, 1, 2)[None])
    np.testing.assert_allclose(logits[0, :5], self_test.KNOWN_FEATURES, atol=1e-3)


def test_seeded_distance_is_that_of_the_definition() -> None:
    """LPIPS by its equation (Zhang et al. 2018, 1), on AlexNet written out."""
    features, heads = self_test.seeded_perceptual()
    steps = {"0": (4, 2), "3": (1, 2), "6": (1, 1), "8": (1, 1), "10": (1, 1)}
    mean, deviation = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    sides = []
    for clip in (CLIP, OTHER):
        x = (torch.from_numpy(clip / np.float32(127.5) - 1) - mean) / deviation
        x, layers = x.permute(0, 3, 1, 2).float(), []
        for layer, (stride, padding) in steps.items():
            x = functional.max_pool2d(x, 3, 2) if layer in ("3", "6") else x
            weight, bias = (
                torch.from_numpy(features[f"features.{layer}.{n}"]) for n in ("weight", "bias")
            )
            x = functional.conv2d(x, weight, bias, stride, padding).relu()
            layers.append(x / x.norm(dim=1, keepdim=True))
        sides.append(layers)
    distance = sum(
        ((first - second).square() * torch.from_numpy(head)).sum(dim=1).mean(dim=(1, 2))
        for first, second, head in zip(*sides, heads.values(), strict=True)
    )
    assert distance.mean().item() == pytest.approx(self_test.KNOWN_LPIPS, abs=2e-5)
