"""The predict stage: its noise, and what it makes of the context."""

import torch

from rsvp.config import Sampler
from rsvp.data.latents import LatentStatistics
from rsvp.models.autoencoder import Autoencoder
from rsvp.predict import future_noise, predict

FACTS = {"future_frames": 6, "arguments": {"motion_channels": 4}}


def test_noise_is_of_seed_clip_and_trajectory_alone():
    noise = future_noise(FACTS, 0, [3, 8], 4, 32)
    assert noise.shape == (2, 4, 6, 4, 4, 4)
    # Other clips beside it, or fewer trajectories, leave a clip's noise as it was.
    assert torch.equal(future_noise(FACTS, 0, [8, 5, 3], 2, 32)[2], noise[0, :2])
    assert not torch.equal(future_noise(FACTS, 1, [3, 8], 4, 32), noise)
    rows = noise.flatten(0, 1).flatten(1)
    correlation = torch.corrcoef(rows) - torch.eye(8)
    assert correlation.abs().max() < 5 / rows.shape[1] ** 0.5


class Straight:
    """A denoiser whose flow takes all noise to the last observed motion plus 1, in one step."""

    def __call__(self, noisy, time, observed):
        return observed.motion[:, -1:] + 1.0 - self.noise.pop(0)

    def __init__(self, noise):
        self.noise = [noise[:, k] for k in range(noise.shape[1])]


@torch.no_grad()
def test_latents_are_normalised_for_the_denoiser_and_restored_for_the_decoder():
    torch.manual_seed(0)
    autoencoder = Autoencoder(16, 3, 4, 4)
    context = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    statistics = {
        "scene": LatentStatistics([0.5] * 3, [2.0] * 3),
        "object": LatentStatistics([0.1] * 4, [3.0] * 4),
        "motion": LatentStatistics([1.0, 2.0, 3.0, 4.0], [0.5, 1.0, 2.0, 4.0]),
    }
    noise = future_noise(FACTS, 0, [0, 1], 2, 32)
    sampler = Sampler(name="euler", steps=1)
    futures = predict(autoencoder, Straight(noise), statistics, context, noise, sampler)
    assert futures.shape == (2, 2, 6, 3, 32, 32)
    seen = autoencoder.encode_context(context)
    last = autoencoder.encode_motion(context, seen)[:, -1:]
    # One more in normalised units is one deviation more in the autoencoder's.
    deviation = torch.tensor(statistics["motion"].deviation).view(4, 1, 1)
    expected = autoencoder.decode((last + deviation).expand(-1, 6, -1, -1, -1), seen).frames
    for k in range(2):
        torch.testing.assert_close(futures[:, k], expected, atol=1e-4, rtol=1e-3)
