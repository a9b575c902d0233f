"""LPIPS against the values in shared/reference, from local weights, with the network cut off."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rsvp.data.pixels import to_float
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.runtime.errors import UserError


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach a network fails the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("LPIPS reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def alex(shared: Path) -> PerceptualDistance:
    weights = shared / "weights"
    return PerceptualDistance(
        weights / "alexnet_features_imagenet1k_v1.safetensors",
        weights / "lpips_lin_v0.1_alex.safetensors",
    )


@pytest.fixture
def squeeze(shared: Path) -> PerceptualDistance:
    weights = shared / "weights"
    return PerceptualDistance(
        weights / "squeezenet1_1_features_imagenet1k_v1.safetensors",
        weights / "lpips_lin_v0.1_squeeze.safetensors",
    )


def image(path: Path) -> torch.Tensor:
    return to_float(torch.tensor(np.array(Image.open(path)))[None].permute(0, 3, 1, 2))


def test_alex_known_pairs(shared: Path, alex: PerceptualDistance) -> None:
    folder = shared / "reference" / "lpips"
    reference = image(folder / "ex_ref.png")
    assert alex.backbone == "alex"
    far, near = (alex(image(folder / name), reference) for name in ("ex_p0.png", "ex_p1.png"))
    assert far.item() == pytest.approx(0.721881, abs=1e-4)
    assert near.item() == pytest.approx(0.137566, abs=1e-4)


def test_alex_all_0_against_all_1(alex: PerceptualDistance) -> None:
    black = to_float(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert alex(black, -black).item() == pytest.approx(0.81404, abs=1e-4)


def test_squeeze_known_answer_of_torchmetrics(squeeze: PerceptualDistance) -> None:
    generator = torch.Generator().manual_seed(42)
    first, second = (torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    assert squeeze.backbone == "squeeze"
    assert squeeze(first, second).tolist() == pytest.approx([0.1024, 0.0938], abs=1e-4)


@torch.no_grad()
def test_embeddings_have_the_distance_of_the_package(squeeze: PerceptualDistance) -> None:
    first, second = (torch.rand(2, 3, 64, 80) * 2 - 1 for _ in range(2))
    squared = (squeeze.embed(first) - squeeze.embed(second)).square().sum(dim=1)
    torch.testing.assert_close(squared, squeeze.network(first, second).flatten())


def test_vgg_builds_from_its_keys(tmp_path: Path, shared: Path) -> None:
    channels = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}
    channels |= {12: (256, 256), 14: (256, 256), 17: (256, 512)}
    channels |= {index: (512, 512) for index in (19, 21, 24, 26, 28)}
    values = {}
    for index, (inputs, outputs) in channels.items():
        values[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3) * 0.05
        values[f"features.{index}.bias"] = torch.zeros(outputs)
    save_file(values, tmp_path / "vgg.safetensors")
    heads = shared / "weights" / "lpips_lin_v0.1_vgg.safetensors"
    distance = PerceptualDistance(tmp_path / "vgg.safetensors", heads)
    frames = torch.rand(1, 3, 32, 32) * 2 - 1
    vectors = distance.embed(torch.cat([frames, -frames]))
    torch.testing.assert_close(
        (vectors[0] - vectors[1]).square().sum(), distance(frames, -frames)[0]
    )
    assert distance.backbone == "vgg"
    assert distance(frames, -frames).item() > distance(frames, frames).item() == 0


def test_is_a_training_loss(alex: PerceptualDistance) -> None:
    alex.train()  # a parent module's call must not wake the dropout of the heads
    real = torch.rand(2, 3, 64, 64) * 2 - 1
    predicted = (real + 0.1 * torch.randn_like(real)).requires_grad_()
    loss = alex(predicted, real).mean()
    loss.backward()
    assert loss.item() == alex(predicted, real).mean().item()
    assert predicted.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in alex.parameters())


def test_building_leaves_the_random_state_alone(shared: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    weights = shared / "weights"
    PerceptualDistance(
        weights / "alexnet_features_imagenet1k_v1.safetensors",
        weights / "lpips_lin_v0.1_alex.safetensors",
    )
    assert torch.equal(before, torch.get_rng_state())


def test_bad_weights_give_one_line(tmp_path: Path, shared: Path) -> None:
    missing, broken = tmp_path / "missing.safetensors", tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    other = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, other)
    for path in (missing, broken, other):
        with pytest.raises(UserError, match=r"weights\.lpips_backbone") as caught:
            PerceptualDistance(path, shared / "weights" / "lpips_lin_v0.1_alex.safetensors")
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    weights = shared / "weights"
    with pytest.raises(UserError, match=r"weights\.lpips_linear") as caught:
        PerceptualDistance(
            weights / "alexnet_features_imagenet1k_v1.safetensors",
            weights / "lpips_lin_v0.1_squeeze.safetensors",
        )
    assert "\n" not in str(caught.value)


def test_frames_too_small_are_refused(alex: PerceptualDistance) -> None:
    small = torch.zeros(1, 3, 16, 16)
    with pytest.raises(UserError, match="32 pixels"):
        alex(small, small)
    with pytest.raises(UserError, match="32 pixels"):
        alex.embed(small)
