"""What is linear of the future, in closed form."""

import numpy as np
import pytest
import torch

from rsvp.data.layout import Parts
from rsvp.models.denoiser import LatentDenoiser
from rsvp.models.linear_guess import RIDGES, LinearGuess

INPUTS, FRAMES, OUTPUTS = 5, 3, 4


def samples(count=200, seed=0):
    """What is seen, values that are linear in it but for noise, and which of them count."""
    random = np.random.default_rng(seed)
    seen = random.normal(size=(count, INPUTS))
    weight = random.normal(size=(FRAMES, INPUTS, OUTPUTS))
    values = np.einsum("ni,tio->nto", seen, weight) + 0.3 * random.normal(
        size=(count, FRAMES, OUTPUTS)
    )
    counts = random.random((count, FRAMES)) < 0.7
    return seen, values + np.arange(FRAMES)[:, None], counts


def batches(seen, values, counts):
    parts = (np.array_split(part, 3) for part in (seen, values, counts))
    return [tuple(map(torch.as_tensor, batch)) for batch in zip(*parts, strict=True)]


def fitted(seen, values, counts):
    """Judged by the same samples, so that the smallest ridge is taken."""
    guess, known = LinearGuess(INPUTS, FRAMES, OUTPUTS), batches(seen, values, counts)
    guess.fit(known, known)
    return guess


def test_is_ridge_regression_by_frame():
    """NumPy's least squares of the same samples, with a row for each value that is held small."""
    seen, values, counts = samples()
    guess, left = fitted(seen, values, counts), []
    for frame in range(FRAMES):
        own = counts[:, frame]
        small = np.sqrt(RIDGES[0] * own.sum()) * np.eye(INPUTS)
        known = np.block([[seen[own], np.ones((own.sum(), 1))], [small, np.zeros((INPUTS, 1))]])
        wanted = np.concatenate([values[own, frame], np.zeros((INPUTS, OUTPUTS))])
        solved = np.linalg.lstsq(known, wanted, rcond=None)[0]
        np.testing.assert_allclose(guess.weight[frame], solved[:-1], atol=1e-5)
        np.testing.assert_allclose(guess.bias[frame], solved[-1], atol=1e-5)
        left.append(seen[own] @ solved[:-1] + solved[-1] - values[own, frame])
    rms = np.sqrt(np.mean(np.concatenate(left) ** 2))
    assert guess.scale.item() == pytest.approx(rms, rel=1e-4)


def test_validation_chooses_how_far_the_past_is_trusted():
    """Where it says nothing of the future of other videos, little but the mean is guessed."""
    seen, values, counts = samples()
    unlike = np.random.default_rng(1).permutation(values)
    sizes = []
    for held_out in (values, unlike):
        guess = LinearGuess(INPUTS, FRAMES, OUTPUTS)
        guess.fit(batches(seen, values, counts), batches(seen, held_out, counts))
        sizes.append(guess.weight.norm())
        torch.testing.assert_close(guess.bias.mean(1), torch.arange(3.0), atol=0.5, rtol=0)
    assert sizes[1] < 0.1 * sizes[0]


def test_what_does_not_count_says_nothing():
    seen, values, counts = samples()
    other = np.where(counts[..., None], values, 100.0)
    first, second = fitted(seen, values, counts), fitted(seen, other, counts)
    for name, value in first.named_buffers():
        torch.testing.assert_close(second.get_buffer(name), value)


def test_a_frame_that_never_counts_is_guessed_as_zero():
    seen, values, counts = samples()
    counts[:, 1] = False
    guess = fitted(seen, values, counts)
    answer = guess(torch.as_tensor(seen))
    assert not answer[:, 1].any() and answer[:, 0].any() and answer.isfinite().all()


def denoiser(observed, targets):
    torch.manual_seed(0)
    return LatentDenoiser(observed, targets, 16, 1, 2, 2, 2)


def latents(shapes, count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return {k: torch.randn(count, *shape, generator=random) for k, shape in shapes.items()}


def fit(network, parts):
    network.fit_guesses(lambda: [parts], lambda: [parts])


OBSERVED = {"scene": [1, 3, 4, 4], "motion": [2, 2, 4, 4], "plane": [2, 2, 1, 4]}
TARGETS = {"motion": [3, 2, 4, 4], "next": [3, 1, 1, 4]}


def test_a_future_that_is_linear_in_the_past_leaves_nothing():
    network = denoiser(OBSERVED, TARGETS)
    observed = latents(OBSERVED, 400)
    last = observed["motion"][:, -1:]
    targets = {
        "motion": torch.cat([last, 2.0 * last, 3.0 * last - observed["scene"][:, :, :2]], 1),
        "next": observed["plane"][:, :1, :1].expand(-1, 3, -1, -1, -1),
    }
    before = network.residual(targets, observed)
    assert all(torch.equal(before[name], targets[name]) for name in targets)  # until fitted
    fit(network, Parts(observed, targets, None))
    for name, guessed in network.guess(observed, targets).items():
        assert (guessed - targets[name]).square().mean() < 1e-3 * targets[name].square().mean()
    residual = network.residual(targets, observed)
    for name, value in network.restored(residual, observed).items():
        torch.testing.assert_close(value, targets[name], atol=1e-5, rtol=1e-5)


def test_what_is_left_has_size_1_whatever_is_wanted():
    network, observed = denoiser(OBSERVED, TARGETS), latents(OBSERVED, 50)
    targets = latents(TARGETS, 50, seed=1)
    wanted = {name: torch.rand(50, *[3, 1, 1, 1]) < 0.5 for name in targets}
    wanted = {name: w.expand_as(targets[name]) for name, w in wanted.items()}
    unwanted = {name: torch.where(w, targets[name], 7.0) for name, w in wanted.items()}
    fit(network, Parts(observed, unwanted, wanted))
    for name, value in network.residual(targets, observed).items():
        assert value[wanted[name]].square().mean() == pytest.approx(1.0, abs=0.02)


def test_places_are_guessed_alike():
    network, observed = denoiser(OBSERVED, TARGETS), latents(OBSERVED, 60)
    fit(network, Parts(observed, latents(TARGETS, 60, seed=1), None))
    moved = {name: value.roll(2, -1) for name, value in observed.items()}
    like = latents(TARGETS, 60)
    guessed, expected = network.guess(moved, like), network.guess(observed, like)
    for name, value in expected.items():
        torch.testing.assert_close(guessed[name], value.roll(2, -1))
