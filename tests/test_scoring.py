"""One clip's lines of the score table."""

import numpy as np
import pytest
import torch

from rsvp.data.pixels import to_float
from rsvp.metrics import scoring
from rsvp.metrics.detectors import clip_feature
from rsvp.metrics.ensemble import crps
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.scoring import ENSEMBLE_SCORES, FRAME_SCORES, score_clip


def frames(*shape: int, seed: int = 0, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, size, size, 3), dtype=torch.uint8, generator=generator)


def test_lines_stand_by_trajectory_with_all_together_last() -> None:
    predicted, real = frames(3, 2), frames(2, seed=1)
    scores = score_clip(predicted, real, None, None, sampled=True)
    assert scores["trajectory"].tolist() == [0, 0, 1, 1, 2, 2, -1, -1]
    assert scores["frame"].tolist() == [1, 2] * 4
    alone = score_clip(predicted[1:2], real, None, None, sampled=True)
    np.testing.assert_array_equal(scores["ssim"][2:4], alone["ssim"][:2])
    np.testing.assert_array_equal(scores["crps"][6:], crps(predicted, real))
    assert all(np.isnan(scores[name][:6]).all() for name in ENSEMBLE_SCORES)


@pytest.mark.parametrize("pixels", [1, 5 * 32 * 32, 2**19])
def test_lpips_sees_each_frame_once_and_gives_what_pairs_give(shared, monkeypatch, pixels) -> None:
    """By the network's own forward, trajectory by trajectory, in batches of any size."""
    files = ("alexnet_features_imagenet1k_v1.safetensors", "lpips_lin_v0.1_alex.safetensors")
    network = PerceptualDistance(*(shared / "weights" / name for name in files))
    seen = 0
    embed = network.embed

    def counted(images: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += len(images)
        return embed(images)

    monkeypatch.setattr(network, "embed", counted)
    monkeypatch.setattr(scoring, "LPIPS_PIXELS", pixels)
    predicted, real = frames(3, 2, size=32), frames(2, seed=1, size=32)
    scores = scoring.score_clip(predicted, real, None, network, sampled=True)
    mean = predicted.float().mean(dim=0).round().to(torch.uint8)
    assert seen == 2 * (1 + 3 + 1)

    def by_pairs(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return network(*(to_float(x.permute(0, 3, 1, 2)) for x in (first, second))).numpy()

    expected = np.concatenate([by_pairs(each, real) for each in (*predicted, mean)])
    np.testing.assert_allclose(scores["lpips"], expected, rtol=1e-5)
    between = [by_pairs(predicted[n], predicted[n + 1]) for n in (0, 1)]
    np.testing.assert_allclose(scores["lpips_diversity"][-2:], np.mean(between, axis=0), rtol=1e-5)
    same = scoring.score_clip(real[None], real, None, network, sampled=False)
    assert (same["lpips"] == 0).all()


def test_networks_measure_without_tf32() -> None:
    class Network(torch.nn.Linear):
        """Stands for LPIPS and for a detector, and notes the precision of convolutions."""

        minimum_frames = 1

        def embed(self, frames: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return torch.zeros(len(frames), 1)

        def features(self, clips: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return torch.zeros(len(clips), 2)

    seen: list[bool] = []
    torch.backends.cudnn.allow_tf32 = True
    score_clip(frames(2, 3), frames(3), None, Network(1, 1), sampled=True)
    clip_feature(Network(1, 1), frames(3))
    assert seen == [False] * 2 and torch.backends.cudnn.allow_tf32


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
