"""A trained predictor: its noise, and what it makes of the context."""

from functools import partial

import pytest
import torch

from rsvp.data.latents import LatentStatistics
from rsvp.data.layout import Layout
from rsvp.diffusion import predictor
from rsvp.diffusion.noise import noise_roots
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.diffusion.packing import Packing
from rsvp.diffusion.predictor import (
    Observed,
    TrainedPredictor,
    draw_futures,
    future_noise,
    predict,
    sampled_together,
    step_noise,
)
from rsvp.diffusion.samplers import Sampling
from rsvp.models.autoencoders.rsvp import RsvpAutoencoder
from rsvp.models.denoiser import LatentDenoiser

SHAPE = (6, 4, 4, 4)
MOTION = Packing({"motion": SHAPE})
LAYOUT = Layout(
    {"scene": "context", "object": "context", "motion": "frames"}, (), {"prefix": {"first": 3}}, 9,
    {"scene": [3, 4, 4], "object": [4, 4, 4], "motion": [4, 4, 4]},
)  # fmt: skip


def test_noise_is_of_seed_clip_and_trajectory_alone():
    noise = future_noise(SHAPE, 0, [3, 8], 4)
    assert noise.shape == (2, 4, 6, 4, 4, 4)
    # Other clips beside it, or fewer trajectories, leave a clip's noise as it was.
    assert torch.equal(future_noise(SHAPE, 0, [8, 5, 3], 2)[2], noise[0, :2])
    assert not torch.equal(future_noise(SHAPE, 1, [3, 8], 4), noise)
    rows = noise.flatten(0, 1).flatten(1)
    correlation = torch.corrcoef(rows) - torch.eye(8)
    assert correlation.abs().max() < 5 / rows.shape[1] ** 0.5


def test_noise_of_a_step_is_of_seed_clip_trajectory_and_step_alone():
    like = torch.zeros(2, 6, 4, 4, 4)
    noise = step_noise(like, 0, [3, 8], 1, 5)
    assert noise.shape == like.shape
    assert torch.equal(step_noise(like[:1], 0, [8], 1, 5)[0], noise[1])
    others = [step_noise(like, 1, [3, 8], 1, 5), step_noise(like, 0, [3, 8], 0, 5)]
    others += [step_noise(like, 0, [3, 8], 1, 4), future_noise(SHAPE, 0, [3, 8], 2)[:, 1]]
    rows = torch.cat([noise, *others]).flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(10)).abs().max() < 5 / rows.shape[1] ** 0.5


class Straight:
    """A denoiser whose flow takes all noise to the last observed motion plus 1, in one step."""

    def __call__(self, noisy, time, observed):
        return {"motion": observed["motion"][:, -1:] + 1.0 - self.noise.pop(0)}

    def __init__(self, noise):
        self.noise = [noise[:, k] for k in range(noise.shape[1])]


@torch.no_grad()
def test_latents_are_normalised_for_the_denoiser_and_restored_for_the_decoder():
    torch.manual_seed(0)
    autoencoder = RsvpAutoencoder(16, 3, 4, 4)
    context = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    statistics = {
        "scene": LatentStatistics([0.5] * 3, [2.0] * 3),
        "object": LatentStatistics([0.1] * 4, [3.0] * 4),
        "motion": LatentStatistics([1.0, 2.0, 3.0, 4.0], [0.5, 1.0, 2.0, 4.0]),
    }
    noise = future_noise(SHAPE, 0, [0, 1], 2)
    sampling = Sampling("euler", 1)
    fresh = partial(step_noise, noise[:, 0], 0, [0, 1])
    denoiser = Straight(noise)
    network = TrainedPredictor(
        autoencoder, denoiser, statistics, LAYOUT, MOTION, OBJECTIVES["flow"], sampling
    )
    trajectories = torch.stack([*predict(network, context[:, None], noise, fresh)], 1)
    assert trajectories.shape == (2, 2, 6, 3, 32, 32)
    seen = autoencoder.encode_context(context)
    last = autoencoder.encode_motion(context, seen)[:, -1:]
    # One more in normalised units is one deviation more in the autoencoder's.
    deviation = torch.tensor(statistics["motion"].deviation).view(4, 1, 1)
    expected = autoencoder.decode((last + deviation).expand(-1, 6, -1, -1, -1), seen).frames
    for k in range(2):
        torch.testing.assert_close(trajectories[:, k], expected, atol=1e-4, rtol=1e-3)


class Recorder:
    """A denoiser of noise 0 that keeps what it was shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, noisy, time, observed):
        self.seen.append(observed)
        return {name: torch.zeros_like(value) for name, value in noisy.items()}


@torch.no_grad()
def test_guidance_shows_zeros_in_place_of_the_context():
    torch.manual_seed(0)
    statistics = {
        kind: LatentStatistics([0.5] * n, [2.0] * n)
        for kind, n in {"scene": 3, "object": 4, "motion": 4}.items()
    }
    context, noise = torch.rand(1, 3, 3, 32, 32), future_noise(SHAPE, 0, [0], 1)
    denoiser = Recorder()
    objective, sampling = OBJECTIVES["v"], Sampling("ddim", 2, eta=1.0, guidance=2.0)
    asked = []

    def fresh(trajectory, step):
        asked.append((trajectory, step))
        return torch.zeros_like(noise[:, 0])

    autoencoder = RsvpAutoencoder(16, 3, 4, 4)
    network = TrainedPredictor(
        autoencoder, denoiser, statistics, LAYOUT, MOTION, objective, sampling
    )
    list(predict(network, context[:, None], noise, fresh))
    assert len(denoiser.seen) == sampling.network_evaluations(objective) == 4
    empty = [all(not part.any() for part in seen.values()) for seen in denoiser.seen]
    assert empty == [False, True, False, True]
    assert asked == [(0, 0)]  # the last step, to data, adds no noise


@torch.no_grad()
def test_sampling_begins_with_noise_that_is_correlated_as_in_training():
    rising = torch.arange(1.0, 7.0).view(1, 6, 1, 1, 1).expand(2, *SHAPE)
    roots = noise_roots({"motion": rising + 0.01 * torch.randn(2, *SHAPE)})
    noise, sampling = future_noise(SHAPE, 0, [0, 1], 2), Sampling("euler", 3)
    network = TrainedPredictor(
        RsvpAutoencoder(16, 3, 4, 4), Recorder(), {}, LAYOUT, MOTION, OBJECTIVES["flow"], sampling,
        roots=roots,
    )  # fmt: skip
    seen = [Observed({}, None, None)] * 2
    drawn = draw_futures(network, seen, noise, [0, 1], lambda trajectory, step: noise[:, 0])
    for k in range(2):  # no velocity moves it
        assert torch.equal(drawn[k], MOTION.coloured(noise[:, k], roots))
        steps = drawn[k].mean((2, 3, 4))
        torch.testing.assert_close(steps / steps[:, -1:], rising.mean((2, 3, 4)) / 6.0,
                                   atol=0.2, rtol=0)  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES)
@torch.no_grad()
def test_a_clip_is_predicted_alike_alone_and_beside_others(objective, monkeypatch):
    """With each objective, fresh noise and guidance included."""
    torch.manual_seed(0)
    shapes = {"scene": [1, 3, 4, 4], "object": [1, 4, 4, 4], "motion": [3, 4, 4, 4]}
    statistics = {k: LatentStatistics([0.1] * s[1], [0.5] * s[1]) for k, s in shapes.items()}
    targets = {"motion": list(SHAPE)}
    denoiser = LatentDenoiser(shapes, targets, 32, 1, heads=2, patch=2, frames_per_token=6)
    for parameter in denoiser.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    autoencoder = RsvpAutoencoder(16, 3, 4, 4).eval()
    context = torch.rand(3, 3, 3, 32, 32) * 2 - 1
    sampling = Sampling("ddim", 3, eta=0.7, guidance=1.5, guidance_high=0.9)

    def trajectories(places, clips):
        noise = future_noise(SHAPE, 0, clips, 2)
        fresh = partial(step_noise, noise[:, 0], 0, clips)
        network = TrainedPredictor(
            autoencoder, denoiser, statistics, LAYOUT, MOTION, OBJECTIVES[objective], sampling
        )
        return torch.stack([*predict(network, context[places][:, None], noise, fresh)], 1)

    together, alone = trajectories([0, 1, 2], [4, 7, 9]), trajectories([1], [7])
    assert together.isfinite().all()
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)
    # A GPU samples several trajectories at once.
    calls, shared = evaluations(denoiser, trajectories), sampled_together
    monkeypatch.setattr(predictor, "sampled_together", lambda clips, device: 2)
    assert evaluations(denoiser, trajectories) == calls / 2
    torch.testing.assert_close(trajectories([0, 1, 2], [4, 7, 9]), together, atol=1e-4, rtol=1e-4)
    assert shared(8, torch.device("cpu")) == shared(100, torch.device("cuda")) == 1
    assert shared(8, torch.device("cuda")) == 8


def evaluations(denoiser, trajectories):
    """Count the calls of a denoiser for two trajectories of two clips."""
    asked = []
    hook = denoiser.register_forward_hook(lambda *_: asked.append(1))
    trajectories([0, 1], [4, 7])
    hook.remove()
    return len(asked)
