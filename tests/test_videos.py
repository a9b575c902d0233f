"""The small videos decode elsewhere to what was written, and show what they say."""

import av
import numpy as np
import pytest

from rsvp.data.videos import (
    BAR,
    FUTURE_COLOUR,
    GAP,
    OBSERVED_COLOUR,
    panels_side_by_side,
    side_by_side,
    upscale,
    write_video,
)


def flat(frames: int, grey: int) -> np.ndarray:
    return np.full((frames, 8, 10, 3), grey, np.uint8)


def test_written_video_is_h264_yuv420p_with_the_frames(tmp_path):
    ramp = np.stack([np.full((17, 31, 3), 12 * i + 20, np.uint8) for i in range(16)])
    write_video(tmp_path / "ramp.mp4", ramp, fps=8)
    with av.open(str(tmp_path / "ramp.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (32, 18, 8)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 16
    for seen, written in zip(frames, ramp, strict=True):
        assert abs(float(seen.mean()) - float(written.mean())) < 3
    content = (tmp_path / "ramp.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "browsers start before the end"
    assert [path.name for path in tmp_path.iterdir()] == ["ramp.mp4"]


def test_side_by_side_holds_the_last_observed_frame_and_plays_the_rest():
    video = side_by_side(flat(2, 10), flat(3, 20), flat(3, 30))[:, ::3, ::3]  # upscaled by 3
    assert video.shape == (5, 8 + GAP + BAR, 3 * 10 + 2 * GAP, 3)
    panels = [video[:, 0, column, 0].tolist() for column in (0, 10 + GAP, 2 * (10 + GAP))]
    assert panels == [[10] * 5, [10, 10, 20, 20, 20], [10, 10, 30, 30, 30]]


def test_the_bar_changes_colour_when_the_future_begins():
    video = side_by_side(flat(2, 10), flat(2, 20), flat(2, 30))
    bar = video[:, -1]
    assert not (bar[1] == FUTURE_COLOUR).all(-1).any()
    assert (bar[2] == FUTURE_COLOUR).all(-1).any()
    assert (bar[3, 0] == OBSERVED_COLOUR).all() and (bar[3, -1] == FUTURE_COLOUR).all()


@pytest.mark.parametrize(("side", "expected"), [(32, 3), (64, 3), (96, 2), (256, 1)])
def test_large_panels_are_upscaled_less(side, expected):
    frames = np.zeros((1, side, side, 3), np.uint8)
    assert panels_side_by_side(frames, [frames]).shape[1:3] == (
        expected * (side + GAP + BAR),
        expected * side,
    )


def test_the_same_frames_give_the_same_file(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (1, 17, 49, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    frames = np.concatenate([np.roll(coarse, 3 * shift, axis=2) for shift in range(16)])
    for number in range(8):
        write_video(tmp_path / str(number), upscale(frames, 3), fps=8)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
