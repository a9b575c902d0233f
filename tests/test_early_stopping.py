"""The stop of fine-tuning, and the weights that it keeps."""

import json
import math

import pytest
import torch

from rsvp.training.early_stopping import BestWeights, EarlyStopping


def watch(*scores, psnr=30.0, patience=2):
    """A stopping that saw `scores` at steps 0, 10, …; also the steps that it called the best."""
    stopping = EarlyStopping(patience=patience, max_psnr_drop=0.5)
    best = []
    for number, score in enumerate(scores):
        if stopping.stopped:
            break
        score, value = score if isinstance(score, tuple) else (score, psnr)
        if stopping.observe(10 * number, score, value):
            best.append(10 * number)
    return stopping, best


def test_start_counts_as_best():
    stopping, best = watch(1.0)
    assert best == [0] and not stopping.stopped
    assert (stopping.best_step, stopping.best_score) == (0, 1.0)


def test_keeps_the_lowest_score():
    stopping, best = watch(1.0, 0.8, 0.9, 0.7, patience=3)
    assert best == [0, 10, 30]
    assert (stopping.best_step, stopping.best_score, stopping.stopped) == (30, 0.7, False)


def test_equal_score_is_no_improvement():
    assert watch(1.0, 1.0)[1] == [0]


def test_stops_after_patience_without_a_new_best():
    stopping, best = watch(1.0, 0.8, 0.9, 0.85)
    assert stopping.outcome == "patience" and best == [0, 10]
    assert stopping.best_step == 10


def test_a_new_best_renews_patience():
    stopping, best = watch(1.0, 1.1, 0.9, 1.0, 0.8, 0.9)
    assert not stopping.stopped and best == [0, 20, 40]


def test_better_score_at_too_low_psnr_is_not_kept():
    stopping, best = watch((1.0, 30.0), (0.5, 29.4), (0.8, 29.5))
    assert best == [0, 20]
    assert stopping.best_score == 0.8
    assert watch((1.0, 30.0), (0.5, 29.4), (0.4, 29.0))[0].outcome == "patience"


@pytest.mark.parametrize("score", [2.0, 50.0, math.inf, math.nan])
def test_divergence_stops_at_once_and_keeps_the_best(score):
    stopping, best = watch(1.0, 0.7, score, patience=10)
    assert stopping.outcome == "diverged"
    assert best == [0, 10] and stopping.best_step == 10


def test_psnr_that_is_no_number_is_not_kept():
    assert watch((1.0, 30.0), (0.5, math.nan))[1] == [0]


def test_a_start_that_is_no_number_stops():
    stopping, best = watch(math.nan, 0.5)
    assert stopping.outcome == "diverged" and best == [0]


def test_goes_on_from_its_state():
    scores = [1.0, 0.9, 1.1, 0.8, 0.85, 0.9]
    for cut in range(len(scores)):
        first, _ = watch(*scores[:cut])
        second = EarlyStopping(patience=2, max_psnr_drop=0.5)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for number, score in enumerate(scores[cut:], start=cut):
            second.observe(10 * number, score, 30.0)
        assert second == watch(*scores)[0]
    assert second.outcome == "patience" and second.best_step == 30


def best_of(*losses, patience=None):
    """Weights that are the number of the validation, as training moves them on."""
    network = torch.nn.Linear(1, 1)
    best = BestWeights(network, patience)
    for number, loss in enumerate(losses, start=1):
        torch.nn.init.constant_(network.weight, number)
        best.observe(100 * number, loss)
        if best.stopped:
            break
    return best, best.network.weight.item(), number


@pytest.mark.parametrize(
    ("losses", "patience", "kept", "end"),
    [
        ((3.0, 2.0, 1.0), None, 3, 3),
        ((3.0, 1.0, 2.0, 1.5, 1.2), None, 2, 5),
        ((3.0, 1.0, 2.0, 1.5, 0.5), 2, 2, 4),
        ((3.0, 1.0, 2.0, 0.9, 2.0, 2.0, 0.1), 2, 4, 6),
        ((1.0, 1.0), 1, 2, 2),  # of equal losses the last counts
        ((2.0, 1.0, 1.009, 1.011), None, 3, 4),  # and so does one that is about equal
        ((1.0, 1.02, 1.03), 1, 1, 2),
    ],
)
def test_the_weights_of_the_lowest_loss_are_kept(losses, patience, kept, end):
    best, weight, number = best_of(*losses, patience=patience)
    assert (weight, number) == (kept, end)
    for early, stopped_by in ((True, "patience"), (False, "steps")):
        assert best.record(early) == {"kept_step": 100 * kept, "stopped_by": stopped_by}
    assert json.loads(json.dumps(best.noted)) == best.noted
