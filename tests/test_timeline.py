"""Times of frames and changes between them: against brute force, PyAV and joined films."""

import av
import numpy as np
import pytest
from PIL import Image

from rsvp.data.decoding import Decoding
from rsvp.data.fitting import FrameShape
from rsvp.data.sources import Source, list_sources
from rsvp.data.timeline import changes, cuts, nearest, rhythm
from tests.test_decoding import ffmpeg, picture

SHAPE = FrameShape(32, 32, resize="area")


def test_nearest_time_is_found_and_of_two_the_earlier():
    times = np.sort(np.random.default_rng(0).uniform(0, 10, 50))
    wanted = np.random.default_rng(1).uniform(-1, 11, 200)
    expected = np.abs(times[:, None] - wanted).argmin(axis=0)
    assert np.array_equal(nearest(times, wanted), expected)
    assert nearest(np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.5])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("times", "announced", "expected"),
    [
        (np.arange(5000) * 1001 / 30000, 30000 / 1001, (30000 / 1001, True)),
        (np.round(np.arange(5000) * 1001 / 30000, 3), 30000 / 1001, (30000 / 1001, True)),
        (np.arange(5000) / 29.97, 30.0, (29.97, True)),  # a header that is nearly right
        (np.arange(60) / 30, 1000.0, (30.0, True)),  # a browser's
        (np.array([0, 0.1, 0.2, 0.9]), 10.0, (10 / 3, False)),
        (np.zeros(1), 25.0, (25.0, True)),
        (np.zeros(3), 25.0, (25.0, True)),
        (np.zeros(0), 25.0, (25.0, True)),
    ],
)
def test_rate_is_the_announced_one_where_frames_keep_to_it(times, announced, expected):
    fps, regular = rhythm(times, announced)
    assert (pytest.approx(fps), regular) == expected


def odd_times(name, folder):
    """A file whose times are no plain series."""
    path = folder / name
    if name == "held.gif":
        images = [Image.new("RGB", (40, 40), (20 * n, 0, 0)) for n in range(11)]
        images[0].save(path, save_all=True, append_images=images[1:],
                       duration=[100] * 10 + [60_000])  # fmt: skip
        return path
    plain = picture(folder / "plain.mkv", "-c:v", "libx264", "-bf", "2", rate=25, seconds=2)
    if name == "interlaced.mp4":
        ffmpeg("-i", plain, "-c:v", "libx264", "-flags", "+ilme+ildct", path)
    elif name == "cut.mp4":
        ffmpeg("-i", plain, "-c", "copy", folder / "whole.mp4")
        ffmpeg("-ss", "0.72", "-i", folder / "whole.mp4", "-c", "copy", path)
    else:
        shifted = {"late.ts": "TS+8000000", "slow.mkv": "TS*4", "varying.mkv": "TS+N*N"}
        ffmpeg("-i", plain, "-c", "copy", "-bsf:v", f"setts=ts={shifted[name]}", path)
    return path


def stored_times(path):
    """Times of a video as the decode stage stores them, and what decoding says of it."""
    found = []
    with Decoding(Source("v", str(path)), SHAPE, 25.0) as decoding:
        decoded = decoding.read(lambda _, times: found.append(times))
    return np.concatenate(found), decoded


@pytest.mark.parametrize(
    "name",
    ["held.gif", "interlaced.mp4", "cut.mp4", "late.ts", "slow.mkv", "varying.mkv"],
)
def test_times_are_those_that_another_decoder_finds(tmp_path, name):
    path = odd_times(name, tmp_path)
    found, decoded = stored_times(path)
    with av.open(str(path)) as container:
        expected = np.array([float(frame.time) for frame in container.decode(video=0)])
    assert np.allclose(found, expected - expected[0], atol=1e-9)
    assert len(found) == decoded.frames and decoded.regular == (name != "varying.mkv")


def test_frames_before_the_first_time_of_an_avi_are_a_frame_apart(tmp_path):
    path = picture(tmp_path / "a.avi", "-c:v", "mpeg4", "-bf", "2", rate=25, seconds=1)
    found, decoded = stored_times(path)
    assert (decoded.fps, decoded.regular) == (25.0, True)
    assert np.allclose(found, np.arange(25) / 25)


def test_streams_that_were_joined_go_on_in_time(tmp_path):
    """Times that begin anew are no times of this video."""
    part = picture(tmp_path / "a.ts", "-c:v", "mpeg2video", rate=10, seconds=1)
    (tmp_path / "joined.ts").write_bytes(part.read_bytes() * 2)
    found, decoded = stored_times(tmp_path / "joined.ts")
    assert decoded.frames == 20 and (np.diff(found) > 0).all()
    assert found[-1] == pytest.approx(1.9, abs=0.11)


def test_images_come_at_the_rate_of_the_dataset(tmp_path):
    for n in range(5):
        Image.new("RGB", (40, 40), (40 * n, 0, 0)).save(tmp_path / f"{n}.png")
    files = tuple(str(tmp_path / f"{n}.png") for n in range(5))
    found = []
    with Decoding(Source("v", str(tmp_path), files), SHAPE, 4.0) as decoding:
        assert decoding.read(lambda _, times: found.extend(times)).fps == 4.0
    assert np.allclose(found, np.arange(5) / 4)


def test_changes_are_mean_differences_also_over_chunks():
    frames = np.random.default_rng(0).integers(0, 256, (9, 6, 5, 3), np.uint8)
    frames[4] = frames[3]
    found = np.concatenate([changes(frames[:4], None), changes(frames[4:], frames[3])])
    expected = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
    assert np.allclose(found[1:], expected) and found[0] == 255 and found[4] == 0


def test_no_cut_without_a_spike():
    assert cuts(np.array([255.0, 20, 22, 19, 21, 20, 23], np.float32)).tolist() == []
    assert cuts(np.array([255.0], np.float32)).tolist() == []
    spike = np.array([255.0, 2, 2, 40, 2, 2, 1], np.float32)
    assert cuts(spike).tolist() == [3]


def test_cuts_between_real_clips_are_found(shared):
    """Nine pieces of six clips, joined: eight cuts, and none within."""
    pieces = []
    for source in list_sources(shared / "data/ucf101-mini", "videos")[::12]:
        chunks = []
        with Decoding(source, FrameShape(64, 64, resize="area"), 25.0) as decoding:
            decoding.read(lambda frames, _: chunks.append(frames.copy()))  # noqa: B023
        pieces.append(np.concatenate(chunks)[:30])
    film = np.concatenate([*pieces, *[piece[7:20] for piece in pieces[:3]]])
    ends = np.cumsum([*map(len, pieces), 13, 13])
    assert cuts(changes(film, None)).tolist() == ends.tolist()
