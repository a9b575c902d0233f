"""The I3D port against logits of the official TensorFlow graph, and the proof of its weights."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rsvp.metrics import i3d
from rsvp.metrics.distribution import frechet_distance
from rsvp.metrics.self_test import seeded_variables
from rsvp.runtime.errors import UserError


@pytest.fixture(scope="module")
def variables() -> dict[str, np.ndarray]:
    return seeded_variables()


@pytest.fixture(scope="module")
def network(variables: dict[str, np.ndarray]) -> i3d.I3D:
    return i3d.I3D(variables)


def clips_of(case: str) -> np.ndarray:
    """Inputs (n, T, 224, 224, 3) of the known answers."""
    if case.startswith("const"):
        return np.full((1, 15, 224, 224, 3), -1 if "_m1_" in case else 1, dtype=np.float32)
    seed, shape = {
        "T16_seed1": (1, (2, 16)),
        "T15_seed2": (2, (1, 15)),
        "T10_seed3": (3, (1, 10)),
    }[case]
    return np.random.RandomState(seed).uniform(-1, 1, (*shape, 224, 224, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "case", ["T10_seed3", "T15_seed2", "T16_seed1", "const_m1_T15", "const_p1_T15"]
)
def test_logits_of_the_official_graph(shared: Path, network: i3d.I3D, case: str) -> None:
    expected = np.load(shared / "reference" / "hubgraph_randweights_logits.npz")[case]
    with torch.no_grad():
        logits = network(torch.from_numpy(clips_of(case)).permute(0, 4, 1, 2, 3)).numpy()
    assert np.linalg.norm(logits - expected) / np.linalg.norm(expected) < 1e-5


@pytest.fixture(scope="module")
def pretrained() -> i3d.I3D:
    """The network of the FVD literature, from the file that RSVP_I3D names; else skips."""
    if not os.environ.get("RSVP_I3D"):
        pytest.skip("no pretrained I3D (RSVP_I3D names its file, docs/weights.md)")
    path = Path(os.environ["RSVP_I3D"])
    variables = i3d.load_variables(path)
    i3d.check_manifest(variables, path)
    return i3d.I3D(variables)


def test_published_distance_of_black_from_white(pretrained: i3d.I3D) -> None:
    """google-research's example: 16 videos of 0, 16 of 255, 15 frames, 64×64: "around 131"."""
    black, white = (
        pretrained.features(torch.full((1, 15, 64, 64, 3), grey, dtype=torch.uint8))
        for grey in (0, 255)
    )
    # Equal clips have equal features: one of each says all.
    distance = frechet_distance(np.repeat(black, 16, axis=0), np.repeat(white, 16, axis=0))
    assert distance == pytest.approx(131, rel=0.03)


@pytest.mark.soak
def test_published_distance_of_noise_from_noise(pretrained: i3d.I3D) -> None:
    """fvd-comparison, both of whose networks agree to 1e-6; values in [0, 1] go in unscaled."""
    sides = []
    for seed in (1, 2):
        random = np.random.RandomState(seed)  # clip by clip: the same numbers as all at once
        clips = (random.rand(1, 16, 224, 224, 3).astype(np.float32) for _ in range(128))
        with torch.no_grad():
            found = [pretrained(torch.from_numpy(clip).permute(0, 4, 1, 2, 3)) for clip in clips]
        sides.append(torch.cat(found).numpy())
    assert frechet_distance(*sides) == pytest.approx(10.138085, rel=1e-3)


def test_features_scale_and_resize_uint8_clips(network: i3d.I3D) -> None:
    frames = torch.randint(0, 256, (1, 9, 8, 8, 3), dtype=torch.uint8)
    scaled = frames[0].permute(0, 3, 1, 2).float() / 255 * 2 - 1
    resized = torch.nn.functional.interpolate(scaled, (224, 224), mode="bilinear")
    with torch.no_grad():
        expected = network(resized.permute(1, 0, 2, 3)[None])
    torch.testing.assert_close(network.features(frames), expected, rtol=1e-4, atol=1e-4)


def test_clips_under_nine_frames_are_refused(network: i3d.I3D) -> None:
    with pytest.raises(UserError, match="8 frames; it needs 9"):
        network.features(torch.zeros(1, 8, 64, 64, 3, dtype=torch.uint8))


def test_checksums_of_rfc_3720() -> None:
    """Its appendix B.4: 32 bytes of zeros, of ones, and rising."""
    known = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    for content, expected in known.items():
        assert i3d.checksum(np.frombuffer(content, np.float32)) == expected


def test_manifest_is_that_of_the_reference(shared: Path) -> None:
    ours = Path(i3d.__file__).with_name("i3d_manifest.json").read_text()
    reference = (shared / "reference" / "i3d_kinetics400_rgb_manifest.json").read_text()
    assert json.loads(ours) == json.loads(reference)


def test_manifest_checksums_agree_with_their_masked_form() -> None:
    for tensor in i3d.manifest().values():
        plain = tensor["crc32c"]
        masked = (((plain >> 15) | (plain << 17)) + 0xA282EAD8) & 0xFFFFFFFF
        assert masked == tensor["crc32c_masked"]


def test_check_manifest_tells_networks_apart(
    variables: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Path("weights.safetensors")
    with pytest.raises(UserError, match="230 of 230 tensors are missing or differ"):
        i3d.check_manifest(variables, origin)
    # A manifest of these very values accepts them, and refuses them with one bit changed.
    own = {
        name: tensor | {"crc32c": i3d.checksum(variables[name])}
        for name, tensor in i3d.manifest().items()
    }
    monkeypatch.setattr(i3d, "manifest", lambda: own)
    i3d.check_manifest(variables, origin)
    name = "RGB/inception_i3d/Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/beta"
    changed = variables[name].copy()
    changed.view(np.uint32)[..., 7] ^= 1
    lacking = {key: value for key, value in variables.items() if key != name}
    for wrong in (
        lacking,
        variables | {name: changed},
        variables | {name: variables[name].ravel()},
        variables | {name: variables[name].astype(np.float64)},
    ):
        with pytest.raises(UserError, match=rf"1 of 230 tensors .*, the first is {name}"):
            i3d.check_manifest(wrong, origin)


def test_bad_files_give_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"x" * 100)
    for path in (broken, tmp_path / "missing.safetensors"):
        with pytest.raises(UserError, match=r"weights\.i3d") as caught:
            i3d.load_variables(path)
        assert "\n" not in str(caught.value)
