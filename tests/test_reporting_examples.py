"""Clips and stills of examples: where each picture lies, and what errors look like."""

import base64
import io

import av
import cv2
import numpy as np
import pytest

from rsvp.report.examples import COLUMNS, clip_panels, error_frames, playing_clip, shrunk, stills

R, CONTEXT, FUTURE = 32, 2, 6
RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)


def still(colour: tuple[int, int, int], frames: int = CONTEXT + FUTURE) -> np.ndarray:
    return np.broadcast_to(np.uint8(colour), (frames, R, R, 3)).copy()


def decode(uri: str) -> np.ndarray:
    """The frames of a clip's data URI."""
    content = base64.b64decode(uri.removeprefix("data:video/mp4;base64,"))
    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_each_panel_plays_below_its_label():
    made = playing_clip({"a": still(RED), "b": still(GREEN), "c": still(BLUE)}, 2, columns=2)
    frames = decode(made.uri)
    assert frames.shape == (CONTEXT + FUTURE, made.height, made.width, 3)
    for (text, left, top, width, height), colour in zip(
        made.labels, (RED, GREEN, BLUE), strict=True
    ):
        x = round((left + width / 2) / 100 * made.width)
        y = round((top + height) / 100 * made.height)  # the picture begins where its label ends
        middle = frames[:, y + made.width // 4, x]
        assert np.abs(middle.astype(int) - colour).max() < 12, text
        label = frames[:, round(top / 100 * made.height) + 4, x]
        assert label.max() < 70, "the label's place is dark"


def test_the_bar_turns_when_the_future_begins():
    frames = decode(playing_clip({"a": still(RED)}, CONTEXT).uri)
    bar = frames[:, -3]
    orange = (bar[..., 0] > 180) & (bar[..., 2] < 90)
    assert not orange[CONTEXT - 1].any() and orange[CONTEXT].any()
    assert np.all(np.diff(orange.sum(axis=1)[CONTEXT:]) > 0)


def test_error_is_grey_doubled_and_zero_where_equal():
    truth = still((100, 100, 100))
    predicted = truth.copy()
    predicted[3, 5, 7] = (130, 100, 70)
    error = error_frames(predicted, truth)
    assert error[3, 5, 7].tolist() == [40, 40, 40]
    error[3, 5, 7] = 0
    assert not error.any()


@pytest.mark.parametrize(("count", "others", "panes"), [(1, 0, 4), (1, 1, 5), (4, 1, 8)])
def test_panels_hold_what_was_observed_the_samples_and_other_rows(count, others, panes):
    truth = np.random.default_rng(0).integers(0, 256, (CONTEXT + FUTURE, R, R, 3), np.uint8)
    samples = [np.concatenate([truth[:CONTEXT], still(RED, FUTURE)]) for _ in range(count)]
    beside = {"copy-last": samples[0]} if others else {}
    panels = clip_panels(truth, samples, beside, CONTEXT)
    labels = list(panels)
    places = [label[1:3] for label in playing_clip(panels, CONTEXT).labels]
    assert len(labels) == panes and len(set(places)) == panes
    assert len({top for _, top in places}) == -(-panes // COLUMNS)
    assert labels[:2] == ["observed", "truth"] and ("copy-last" in labels) == bool(others)
    observed = panels["observed"]
    assert (observed[CONTEXT:] == truth[CONTEXT - 1]).all(), "nothing of the future is shown"


@pytest.mark.parametrize("channels", [1, 3])
def test_large_frames_are_shrunk_to_means(channels):
    small = np.random.default_rng(0).integers(0, 256, (2, 135, 256, channels), np.uint8)
    large = small.repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(shrunk(large), small)
    assert shrunk(small) is small


def test_the_stills_end_with_the_last_frame():
    frames = np.stack([still((20 * t, 20 * t, 20 * t), 1)[0] for t in range(CONTEXT + FUTURE)])
    uri, shown = stills([frames, frames], CONTEXT)
    assert shown[-1] == FUTURE and len(shown) <= 6
    content = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[:2] == (2 * R, (1 + len(shown)) * R)
    values = picture[R // 2, R // 2 :: R].mean(-1)
    expected = [20 * (CONTEXT - 1), *(20 * (CONTEXT + frame - 1) for frame in shown)]
    assert np.abs(values - expected).max() < 6
