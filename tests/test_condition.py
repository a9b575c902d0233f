"""The null condition."""

import torch

from rsvp.diffusion.condition import drop_condition, null_condition


def test_dropped_samples_see_zeros_and_the_others_all():
    seen = {"still": torch.rand(3, 2) + 1.0, "moving": torch.rand(3, 4, 5) + 1.0}
    found = drop_condition(seen, torch.tensor([False, True, False]))
    for name, value in found.items():
        assert torch.equal(value[1], torch.zeros_like(value[1]))
        assert torch.equal(value[::2], seen[name][::2])
    assert (seen["still"] > 0).all()  # the batch itself is left


def test_null_condition_is_zero_everywhere():
    null = null_condition({"still": torch.ones(3, 2), "moving": torch.ones(3, 4, 5)})
    assert torch.equal(null["still"], torch.zeros(3, 2))
    assert torch.equal(null["moving"], torch.zeros(3, 4, 5))
