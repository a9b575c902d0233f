"""Rolling forward, with a block whose rollout is known in closed form."""

import pytest
import torch

from rsvp.models.rolling import blocks_of, roll

BLOCK = 3


def steady(contexts, number, trajectories):
    """The first block gives trajectory k the speed k + 1 per frame; later ones read it off the
    context, so that each must see the frames of its own trajectory."""
    last, count = contexts[:, :, -1:].long(), torch.arange(1, BLOCK + 1).view(-1, 1, 1, 1)
    first = torch.tensor(list(trajectories)).view(1, -1, 1, 1, 1, 1) + 1
    speeds = last - contexts[:, :, -2:-1] if number else first
    return (last + count * speeds).to(torch.uint8)


@pytest.mark.parametrize("observed", [2, 5])
@pytest.mark.parametrize("horizon", [3, 4, 9, 14])
def test_each_trajectory_goes_on_from_its_own_end(observed, horizon):
    """Frame t of trajectory k is last + (k + 1) t, whatever the block that makes it; contexts may
    be longer than a block, and horizons end within one."""
    context = torch.tensor([10, 100], dtype=torch.uint8).view(2, 1, 1, 1, 1)
    context = context.expand(2, observed, 3, 4, 4)
    trajectories = roll(steady, context, 3, horizon)
    times = torch.arange(1, horizon + 1).view(1, 1, -1)
    expected = torch.tensor([10, 100]).view(2, 1, 1) + torch.arange(1, 4).view(1, 3, 1) * times
    assert trajectories.dtype == torch.uint8 and trajectories.shape == (2, 3, horizon, 3, 4, 4)
    assert torch.equal(trajectories[..., 1, 2, 3].long(), expected)


def test_blocks_are_asked_in_order_and_no_more_than_needed():
    asked = []

    def block(contexts, number, trajectories):
        asked.append((number, list(trajectories), contexts.shape[1:3]))
        return contexts[:, :, -1:].expand(-1, len(trajectories), BLOCK, *contexts.shape[3:])

    roll(block, torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8), 2, 7)
    assert asked == [(0, [0, 1], (1, 2)), (1, [0, 1], (2, 2)), (2, [0, 1], (2, 2))]
    assert [blocks_of(horizon, 3) for horizon in (1, 3, 4, 28)] == [1, 1, 2, 10]
