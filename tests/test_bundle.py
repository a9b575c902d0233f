"""Finished networks on disk."""

import os

import pytest
import torch

from rsvp.models.bundle import read_bundle, save_bundle, start_from
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json, sha256_of_file, write_json


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.BatchNorm1d(40))


@pytest.fixture
def index(tmp_path, network):
    path = tmp_path / "bundle/index.json"
    save_bundle(path.with_name("weights.safetensors"), path, network, {"arguments": {"a": 1}})
    return path


def test_round_trip(index, network):
    tensors, facts = read_bundle(index)
    assert tensors.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype
    assert facts["arguments"] == {"a": 1}
    assert facts["parameters"] == 30 * 40 + 40 + 2 * 40
    assert facts["sha256"] == sha256_of_file(index.with_name("weights.safetensors"))
    assert facts == read_json(index)


def test_folder_may_move(index, tmp_path):
    """The index names its weights by their place beside it."""
    moved = index.parent.rename(tmp_path / "elsewhere")
    assert read_bundle(moved / "index.json")[0]


def test_channels_last_weights_are_kept(tmp_path):
    network = torch.nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last)
    index = tmp_path / "index.json"
    save_bundle(tmp_path / "w.safetensors", index, network, {"arguments": {}})
    assert torch.equal(read_bundle(index)[0]["weight"], network.weight)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_weights_are_one_line(index, share):
    weights = index.with_name("weights.safetensors")
    os.truncate(weights, int(share * weights.stat().st_size))
    refused(index, f"{weights}: not readable weights")


def test_missing_weights_are_one_line(index):
    weights = index.with_name("weights.safetensors")
    weights.unlink()
    refused(index, f"{weights}: not readable weights")


def test_missing_index_is_one_line(index):
    index.unlink()
    refused(index, f"{index}: no such file")


def test_broken_index_is_one_line(index):
    os.truncate(index, 20)
    refused(index, f"{index}: not valid JSON")


@pytest.mark.parametrize(
    "facts", [[], {}, {"files": []}, {"weights": "w.safetensors", "sha256": "0"}, {"weights": 1}]
)
def test_index_of_another_stage_is_one_line(index, facts):
    write_json(index, facts)
    refused(index, f"{index}: not the index of a trained network; name a folder such as")
    with pytest.raises(UserError, match="not the index of a trained network"):
        start_from(torch.nn.Linear(2, 2), {}, str(index.parent), "predictors.p.init_from")


def refused(index, text):
    with pytest.raises(UserError) as error:
        read_bundle(index)
    assert text in str(error.value) and "\n" not in str(error.value)


def test_network_starts_from_a_bundle(index, network):
    torch.manual_seed(1)
    other = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.BatchNorm1d(40))
    start_from(other, {"a": 1}, str(index.parent), "predictors.p.init_from")
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"a": 2, "b": 3}, "a 1 instead of 2, b None instead of 3"), ({"a": 1}, "of another kind")],
)
def test_start_that_does_not_fit_is_one_line(index, arguments, words):
    with pytest.raises(UserError, match=words) as error:
        start_from(torch.nn.Linear(2, 2), arguments, str(index.parent), "predictors.p.init_from")
    assert "config: predictors.p.init_from: " in str(error.value)
