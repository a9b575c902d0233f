"""Animations of validation clips in TensorBoard while networks train."""

import io
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from squares import make_dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_predictor_bundle import SIDE, write_predictor

from rsvp import Predictor
from rsvp.config.schema import Guidance
from rsvp.data.clips import Clips
from rsvp.diffusion.samplers import sampling_of
from rsvp.runtime.journal import WATCH
from rsvp.training.history import LOOKS, History
from rsvp.training.watching import SAMPLER, SAMPLES, continuations, reconstructions

CONTEXT, FUTURE = 3, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The index of a dataset, and a predictor on it."""
    folder = tmp_path_factory.mktemp("made")
    index = make_dataset(folder / "squares", ["train", "validation", "validation"], CONTEXT, FUTURE,
                         SIDE)  # fmt: skip
    folder = write_predictor(folder / "predictor")
    return index, folder, Predictor.from_pretrained(folder)


def panel(animation, row, column):
    """A panel of an animation, without the gaps between panels."""
    return animation[:, row * (SIDE + 2) :, column * (SIDE + 2) :][:, :SIDE, :SIDE]


def test_each_row_is_the_truth_beside_the_reconstruction(made):
    index, _, predictor = made
    clips, autoencoder = Clips(index, "validation"), predictor.network.autoencoder.train()
    animation = reconstructions(clips, autoencoder)()
    assert autoencoder.training
    autoencoder.eval()
    for row in range(2):
        clip = clips.frames(row).numpy()
        assert np.array_equal(panel(animation, row, 0), clip)
        expected = predictor.decode(predictor.encode(clip), clip).astype(int)
        assert np.array_equal(panel(animation, row, 1)[:CONTEXT], clip[:CONTEXT])
        assert np.abs(panel(animation, row, 1)[CONTEXT:] - expected).max() <= 1


def test_each_row_is_the_truth_beside_samples_and_training_draws_what_it_drew(made):
    index, folder, predictor = made
    network = predictor.network
    draw = continuations(
        [index, folder / "autoencoder/config.json"], network.denoiser, network.layout,
        {"motion": list(network.packing.shape)}, network.statistics, network.objective, {}
    )  # fmt: skip
    before = torch.get_rng_state()
    animation = draw()
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(draw(), animation)
    clips = Clips(index, "validation")
    seen = np.stack([clips.frames(row).numpy() for row in range(2)])
    same = replace(network, sampling=sampling_of(SAMPLER, Guidance()))
    expected = Predictor(same, predictor.dataset, predictor.device)
    expected = expected.predict(seen[:, :CONTEXT], trajectories=SAMPLES).astype(int)
    for row in range(2):
        assert np.array_equal(panel(animation, row, 0), seen[row])
        for k in range(SAMPLES):
            difference = panel(animation, row, 1 + k)[CONTEXT:] - expected[row, k]
            assert np.abs(difference).max() <= 1


def test_nothing_is_drawn_where_it_is_off(made, monkeypatch):
    monkeypatch.setenv(WATCH, "0")
    index, _, predictor = made
    assert reconstructions(Clips(index, "validation"), predictor.network.autoencoder) is None
    assert continuations((), None, None, {}, {}, None, {}) is None


def test_tensorboard_plays_five_animations_and_their_seconds_are_not_of_the_training(
    tmp_path, monkeypatch
):
    frames = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.full((6, 8, 12, 3), 40, "u1")
    now = iter(range(0, 1000, 7))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    history = History(tmp_path / "board")
    for step in range(1, 26):
        history.watch(step, 25, lambda: frames)
    monkeypatch.undo()
    assert history.watching == 7.0 * LOOKS == history.started
    history.write(tmp_path / "history.csv")
    events = EventAccumulator(str(tmp_path / "board"), size_guidance={"images": 0}).Reload()
    images = events.Images("validation clips")
    assert len(images) == LOOKS and images[-1].step == 25
    with Image.open(io.BytesIO(images[0].encoded_image_string)) as shown:
        played = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(shown)]
    assert np.array_equal(np.stack(played), frames)
