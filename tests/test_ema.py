"""The moving average of weights, against a computation by hand."""

import pytest
import torch

from rsvp.training.ema import WeightAverage
from tests.fake_cuda import fake_cuda, on_gpu


def averaged(decay, values):
    """The average after each of `values` was the weight once."""
    network = torch.nn.Linear(1, 1, bias=False).double()
    average = WeightAverage(network, decay)
    found = []
    for value in values:
        network.weight.data.fill_(value)
        average.update(network)
        found.append(average.module.weight.item())
    return found


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.995])
def test_against_a_computation_by_hand(decay):
    values = torch.randn(40, generator=torch.Generator().manual_seed(0)).tolist()
    expected = [values[0]]
    for n, value in enumerate(values[1:], start=1):
        d = min(decay, (1 + n) / (10 + n))
        expected.append(d * expected[-1] + (1 - d) * value)
    assert averaged(decay, values) == pytest.approx(expected, rel=1e-6)


def test_ramp_ends_at_the_decay():
    """Long after, one step of weight 1 counts as much as decay says."""
    assert averaged(0.9, [0.0] * 500 + [1.0])[-1] == pytest.approx(0.1, rel=1e-5)


def test_weights_are_not_touched():
    network = torch.nn.Linear(3, 3)
    kept = network.weight.clone()
    average = WeightAverage(network, 0.9)
    for _ in range(3):
        average.update(network)
    assert torch.equal(network.weight, kept)
    torch.testing.assert_close(average.module.weight, kept)


def test_an_update_reads_nothing_from_a_gpu():
    """Reading a value of a pretended GPU raises; of a real one it makes the step wait."""
    with fake_cuda(), on_gpu():
        network = torch.nn.BatchNorm1d(3)
        average = WeightAverage(network, 0.9)
        for _ in range(3):
            average.update(network)
    assert average.module.weight.device.type == "cuda"


def test_the_number_of_updates_is_part_of_the_state():
    network = torch.nn.Linear(2, 2)
    whole, first = WeightAverage(network, 0.9), WeightAverage(network, 0.9)
    for _ in range(3):
        network.weight.data += 1.0
        whole.update(network)
        first.update(network)
    second = WeightAverage(network, 0.9)
    second.load_state_dict(first.state_dict())
    network.weight.data += 1.0
    whole.update(network)
    second.update(network)
    assert torch.equal(second.module.weight, whole.module.weight)
