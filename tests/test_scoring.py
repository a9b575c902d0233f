"""One clip's lines of the score table."""

import numpy as np
import torch

from rsvp.metrics.detectors import clip_feature
from rsvp.metrics.ensemble import crps
from rsvp.metrics.scoring import ENSEMBLE_SCORES, FRAME_SCORES, score_clip


def frames(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, 16, 16, 3), dtype=torch.uint8, generator=generator)


def test_lines_stand_by_trajectory_with_all_together_last() -> None:
    predicted, real = frames(3, 2), frames(2, seed=1)
    scores = score_clip(predicted, real, None, None, sampled=True)
    assert scores["trajectory"].tolist() == [0, 0, 1, 1, 2, 2, -1, -1]
    assert scores["frame"].tolist() == [1, 2] * 4
    alone = score_clip(predicted[1:2], real, None, None, sampled=True)
    np.testing.assert_array_equal(scores["ssim"][2:4], alone["ssim"][:2])
    np.testing.assert_array_equal(scores["crps"][6:], crps(predicted, real))
    assert all(np.isnan(scores[name][:6]).all() for name in ENSEMBLE_SCORES)


def test_networks_measure_without_tf32() -> None:
    class Network(torch.nn.Linear):
        """Stands for LPIPS and for a detector, and notes the precision of convolutions."""

        minimum_frames = 1

        def forward(self, predicted: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return torch.zeros(len(real))

        def features(self, clips: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return torch.zeros(len(clips), 2)

    seen: list[bool] = []
    torch.backends.cudnn.allow_tf32 = True
    score_clip(frames(2, 3), frames(3), None, Network(1, 1), sampled=True)
    clip_feature(Network(1, 1), frames(3))
    assert seen == [False] * 5 and torch.backends.cudnn.allow_tf32


def test_the_mean_of_one_future_is_that_future() -> None:
    scores = score_clip(frames(1, 2), frames(2, seed=1), torch.ones(2, 16, 16), None, sampled=True)
    for name in FRAME_SCORES:
        np.testing.assert_array_equal(scores[name][:2], scores[name][2:])


def test_one_sample_of_many_says_nothing_about_the_others() -> None:
    predicted, real = frames(1, 2), frames(2, seed=1)
    sampled = score_clip(predicted, real, None, None, sampled=True)
    assert all(np.isnan(sampled[name]).all() for name in ENSEMBLE_SCORES)
    certain = score_clip(predicted, real, None, None, sampled=False)
    error = (predicted[0].double() - real.double()).abs().mean(dim=(1, 2, 3))
    np.testing.assert_allclose(certain["crps"][2:], error)
    assert np.isnan(certain["diversity"]).all()
