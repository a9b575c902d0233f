"""The examples of a model card: true and predicted frames beside each other, of any context."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from stored import ANY

from rsvp.data.contexts import Task
from rsvp.data.predictions import STEM, RowWriter
from rsvp.report import card
from rsvp.runtime.files import write_json
from rsvp.runtime.parts import PartWriter

CONTEXT, FRAMES, SIDE = 4, 16, 8


class FakeClips:
    """Clips whose frame n is grey, 10 n; they end where the dataset's or the horizon's do."""

    split, context_frames, resolution, shape = "test", CONTEXT, SIDE, (SIDE, SIDE, 3)

    def __init__(self, index, split, horizon=None):
        self.index = {"dataset": "d"}
        self.clip_frames = CONTEXT + horizon if horizon else FRAMES
        self.table = pd.DataFrame({"clip": [f"v@{n:06d}" for n in range(5)]})

    def frames(self, i):
        grey = 10 * torch.arange(self.clip_frames, dtype=torch.uint8)
        return grey.view(-1, 1, 1, 1).expand(-1, SIDE, SIDE, 3).clone()


@pytest.mark.parametrize(
    ("observed", "predicted"),
    [
        (range(4), range(4, 16)),
        (range(4), range(4, 24)),  # a longer horizon
        ([15, 0, 1], range(2, 15)),  # between given frames
        ([], range(16)),
    ],
)
def test_examples_show_the_predicted_frames_in_their_places(
    tmp_path, monkeypatch, observed, predicted
):
    monkeypatch.setattr(card, "Clips", FakeClips)
    write_json(tmp_path / "dataset.json", {"context_frames": CONTEXT})
    task = Task(list(observed), list(predicted))
    frames = max(task.observed + task.predicted) + 1
    clips = FakeClips(None, "test", frames - CONTEXT)
    files = PartWriter(tmp_path, tmp_path / "state", ANY, STEM)
    writer = RowWriter(tmp_path / "index.json", files, clips, "r", "predictor", 0, 1, task=task)
    for number in range(5):
        writer.add(number, torch.full((1, len(predicted), SIDE, SIDE, 3), 255, dtype=torch.uint8))
    writer.finish()
    path = tmp_path / "examples.webp"
    card.write_examples(path, tmp_path / "dataset.json", tmp_path / "index.json")
    with Image.open(path) as image:
        assert image.n_frames == frames
        for place in range(frames):
            image.seek(place)
            drawn = np.asarray(image.convert("RGB"))
            expected = 255 if place in task.predicted else 10 * place
            assert (drawn[0, 0] == 10 * place).all() and (drawn[0, -1] == expected).all()
