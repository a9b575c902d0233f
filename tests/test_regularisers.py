"""Bounds of latents: closed forms, and what a step may depend on."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from rsvp.data.micro_batches import cut
from rsvp.models.regularisers import make_regulariser

CHANNELS = 3
KINDS = {
    "tanh": {},
    "kl": {"kl_weight": 0.5},
    "vq": {"codes": 5, "codes_decay": 0.5, "commitment": 0.25},
    "fsq": {"levels": [3, 4, 5]},
}


def regulariser(kind):
    torch.manual_seed(0)
    return make_regulariser(kind, CHANNELS, **KINDS[kind])


def output(kind, seed=0, scale=1.0):
    """Return values as an encoder's: (B, T, C, h, w)."""
    channels = regulariser(kind).outputs_per_channel * CHANNELS
    return scale * torch.randn(2, 4, channels, 3, 2, generator=generator(seed))


def train_pass(own, x, seed):
    """A training step's pass, with what is drawn by a seed."""
    drawn = own.draw(own.encode(x).shape, generator(seed))
    shown, loss, lesson = own.train_pass(x, drawn, cut(len(x), 1)[0])
    if lesson is not None:
        own.learn(lesson, drawn)
    return shown, loss


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_have_their_channels_and_a_step_is_of_its_seed_alone(kind):
    x, results = output(kind), []
    for noise, other in ((1, 7), (1, 8), (2, 7)):
        own = regulariser(kind).train()
        torch.manual_seed(other)
        shown, loss = train_pass(own, x, noise)
        assert own.encode(x).shape == shown.shape == (2, 4, CHANNELS, 3, 2)
        results.append((shown, loss, own.state_dict()))
    first, again, third = results
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert all(torch.equal(value, again[2][key]) for key, value in first[2].items())
    noisy = kind in ("tanh", "kl")
    assert torch.equal(first[0], third[0]) is not noisy


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_encoder(kind):
    x = output(kind).requires_grad_()
    shown, loss = train_pass(regulariser(kind).train(), x, 0)
    (shown.sum() + loss).backward()
    assert x.grad.isfinite().all() and (x.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_decoding_in_training_changes_nothing(kind):
    own = regulariser(kind).train()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    first = own.decode(own.encode(output(kind)))
    assert torch.equal(first, own.decode(own.encode(output(kind))))
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())


def test_tanh_bounds_latents_and_adds_the_noise_that_it_says():
    own, x = regulariser("tanh"), output("tanh", scale=9.0)
    latents = own.encode(x)
    assert latents.abs().max() <= 1.0
    many = torch.stack([train_pass(own, x, i)[0] - latents for i in range(200)])
    assert many.std().item() == pytest.approx(own.latent_noise, rel=0.05)


def test_kl_is_that_of_pytorch_and_samples_have_the_posterior_s_moments():
    own, x = regulariser("kl"), output("kl")
    mean, deviation = x[:, :, :CHANNELS], (0.5 * x[:, :, CHANNELS:]).exp()
    divergence = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(train_pass(own, x, 0)[1], 0.5 * divergence)
    assert torch.equal(own.encode(x), mean)
    many = torch.stack([train_pass(own, x, i)[0] for i in range(500)])
    torch.testing.assert_close((many.mean(0) - mean) / deviation, 0 * mean, atol=0.2, rtol=0)
    assert (many.std(0) / deviation).mean().item() == pytest.approx(1.0, rel=0.02)


def test_kl_knows_the_noise_that_its_decoder_looks_through():
    """The posteriors' on average; it follows them in fine-tuning, too, in evaluation mode."""
    own, x = regulariser("kl").train(), output("kl", scale=0.1)
    x[:, :, CHANNELS:] -= 3.0
    for _ in range(400):
        train_pass(own, x, 0)
    variance = x[:, :, CHANNELS:].exp().mean().item()
    assert own.latent_noise == pytest.approx(variance**0.5, rel=0.02)
    for _ in range(400):
        train_pass(own.eval(), 0.0 * x, 0)
    assert own.latent_noise == pytest.approx(1.0, rel=0.02)


@torch.no_grad()
def test_fsq_has_as_many_values_per_channel_as_levels():
    own, x = regulariser("fsq").eval(), output("fsq", scale=5.0)
    shown = own.decode(own.encode(x))
    assert own.encode(100.0 * x).abs().max() <= 1.0  # bounded, however far an encoder goes
    for channel, levels in enumerate(KINDS["fsq"]["levels"]):
        values = shown[:, :, channel].unique()
        assert len(values) == levels
        steps = values.diff()
        torch.testing.assert_close(steps, steps[:1].expand_as(steps))
    assert torch.equal(train_pass(own, x, 0)[0], shown)


@torch.no_grad()
def test_vq_shows_the_nearest_code():
    own, x = regulariser("vq").eval(), output("vq")
    codes = own.codebook.codebook
    flat = x.movedim(2, -1).reshape(-1, CHANNELS)
    nearest = codes[torch.cdist(flat, codes).argmin(1)]
    torch.testing.assert_close(own.decode(x).movedim(2, -1).reshape(-1, CHANNELS), nearest)
    shown, loss = train_pass(own, x, 0)
    torch.testing.assert_close(shown, own.decode(x))
    torch.testing.assert_close(loss, 0.25 * (shown - x).square().mean())


@torch.no_grad()
def test_vq_s_codes_go_where_latents_are():
    own = regulariser("vq").train()
    centres = torch.tensor([[3.0, 0.0, 0.0], [0.0, -4.0, 0.0], [1.0, 1.0, 5.0]])
    for step in range(30):
        places = centres[torch.randint(3, (2 * 4 * 6,), generator=generator(step))]
        x = places.view(2, 4, 3, 2, CHANNELS).movedim(-1, 2)
        _, loss = train_pass(own, x, step)
    assert loss < 1e-3
    torch.testing.assert_close(own.decode(x), x, atol=0.05, rtol=0)
