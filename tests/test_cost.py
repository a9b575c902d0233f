"""Counted operations against counts by hand."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from rsvp.models.autoencoders.rsvp import RsvpAutoencoder
from rsvp.training.cost import autoencoder_flops, forward_flops, per_second


def test_a_multiply_add_counts_as_two():
    matrix = lambda: torch.ones(2, 3) @ torch.ones(3, 4)  # noqa: E731
    assert forward_flops(matrix) == 2 * 2 * 3 * 4
    image, kernel = torch.ones(1, 3, 8, 8), torch.ones(5, 3, 3, 3)
    assert forward_flops(lambda: F.conv2d(image, kernel, padding=1)) == 2 * 5 * 64 * 3 * 9
    tokens = torch.ones(1, 2, 8, 4)
    attention = lambda: F.scaled_dot_product_attention(tokens, tokens, tokens)  # noqa: E731
    assert forward_flops(attention) == 2 * (2 * 2 * 8 * 8 * 4)


def test_a_clip_costs_its_context_and_each_frame_alike():
    autoencoder = RsvpAutoencoder(16, 3, 4, 4)
    shape = {"shape": (32, 32, 3), "context_frames": 2}
    costs = [
        autoencoder_flops(autoencoder, SimpleNamespace(clip_frames=frames, **shape))
        for frames in (4, 6, 8)
    ]
    assert costs[1] - costs[0] == costs[2] - costs[1] > 0


@pytest.mark.parametrize(
    ("samples", "seconds", "rate"), [(100, 8.0, 12.5), (1, 3.0, 0.333), (5, 0.0, None)]
)
def test_rates_have_three_digits(samples, seconds, rate):
    assert per_second(samples, seconds) == rate
