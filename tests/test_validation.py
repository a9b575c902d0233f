"""Validation of autoencoders: scores per clip, their comparison, and the clips that are left."""

import pytest
import torch

from rsvp.data.clips import Clips
from rsvp.training.validation import ReconstructionValidator, other_clips
from tests import squares

CPU = torch.device("cpu")


class Shifted:
    """An autoencoder whose reconstructed future is off by a constant; it notes its precision."""

    def __init__(self, error):
        self.error, self.seen = error, set()

    def reconstruct_future(self, clips, context_frames):
        future = clips[:, context_frames:]
        self.seen.add((torch.is_grad_enabled(), torch.backends.cudnn.allow_tf32))
        return future * (1.0 - self.error)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("d")
    return Clips(
        squares.make_dataset(folder, ["train"] + ["validation"] * 5, 2, 3, 16), "validation"
    )


def test_scores_are_per_clip_in_32_bit(clips):
    validator = ReconstructionValidator(clips, [0, 2, 3], None, CPU)
    close, far = Shifted(0.1), Shifted(0.5)
    good, bad = validator.measure(close), validator.measure(far)
    assert good.watched.shape == good.psnr.shape == (3,)
    assert (good.watched < bad.watched).all() and (good.psnr > bad.psnr).all()
    assert close.seen == {(False, False)}
    summary = validator.summary(good)
    assert summary["watched"] == "sliced_wasserstein" and summary["clips"] == 3
    assert summary["psnr"] == pytest.approx(float(good.psnr.mean()))


def test_a_gain_is_how_far_the_score_fell(clips):
    validator = ReconstructionValidator(clips, range(5), None, CPU)
    found = validator.compare(Shifted(0.5), Shifted(0.1))
    scores = [validator.measure(Shifted(error)) for error in (0.5, 0.1)]
    fell = float((scores[0].watched - scores[1].watched).mean())
    assert found["improvement"]["mean"] == pytest.approx(fell, rel=1e-5) and fell > 0
    assert 0 < found["improvement"]["low"] <= found["improvement"]["high"]
    assert found["psnr_cost"] < 0


def test_without_clips_there_is_no_gain(clips):
    validator = ReconstructionValidator(clips, [], None, CPU)
    found = validator.compare(Shifted(0.5), Shifted(0.1))
    assert found == {"improvement": None, "psnr_cost": None}


def test_other_clips_are_all_that_are_not_watched_or_spread_over_them():
    assert other_clips(6, [1, 4]) == [0, 2, 3, 5]
    assert other_clips(3, [0, 1, 2]) == []
    some = other_clips(100, list(range(0, 100, 2)), most=5)
    assert len(some) == 5 and all(clip % 2 for clip in some) and some[-1] - some[0] > 60
