"""Rolling forward, with a block whose rollout is known in closed form."""

import pytest
import torch

from rsvp.models.rolling import blocks_of, roll

BLOCK = 3


def steady(context, number, trajectories):
    """The first block gives trajectory k the speed k + 1 per frame; later ones read it off the
    context, so that each must see the frames of its own trajectory."""
    last, count = context[:, -1:].long(), torch.arange(1, BLOCK + 1).view(1, -1, 1, 1, 1)
    speeds = [last - context[:, -2:-1] if number else k + 1 for k in trajectories]
    return torch.stack([last + count * speed for speed in speeds], 1).to(torch.uint8)


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

    def block(context, number, trajectories):
        asked.append((number, list(trajectories), context.shape[1]))
        return context[:, -1:, None].expand(-1, len(trajectories), BLOCK, *context.shape[2:])

    roll(block, torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8), 2, 7)
    assert asked == [(0, [0, 1], 2), (1, [0], 2), (1, [1], 2), (2, [0], 2), (2, [1], 2)]
    assert [blocks_of(horizon, 3) for horizon in (1, 3, 4, 28)] == [1, 1, 2, 10]
