"""Observed frames of anybody's video, and the words on videos that have none."""

import argparse
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image
from tiny import write_lossless

from rsvp.commands.predict import check_out, run
from rsvp.config.schema import Dataset, ObservedFrames
from rsvp.data.fitting import FrameShape
from rsvp.data.images import write_image
from rsvp.data.observed import Window, in_own_size, observed, observed_ends
from rsvp.data.sources import Source, named_sources, sources_at
from rsvp.data.timeline import Timeline
from rsvp.diffusion.bundle import Predictor
from rsvp.runtime.errors import UserError
from tests.test_decoding import ffmpeg

SIDE = 32


def numbered(path: Path, count: int, rate: int = 10, repeat: int = 1) -> Source:
    """A lossless video whose n-th frame is grey, 4 n, and comes so often."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(rate))
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "bgr0"
        for n in np.repeat(range(count), repeat):
            frame = np.full((SIDE, SIDE, 3), 4 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return Source(path.stem, str(path))


def places(frames: np.ndarray) -> list[int]:
    """Return the numbers of these frames of a numbered video."""
    assert frames.shape[1:] == (SIDE, SIDE, 3)
    return [round(float(frame.mean()) / 4) for frame in frames]


@pytest.mark.parametrize(
    ("cut", "at", "expected", "rate"),
    [
        ({}, None, [27, 28, 29], 10.0),
        ({}, 1.2, [9, 10, 11], 10.0),
        ({}, 3.0, [27, 28, 29], 10.0),
        ({"frame_stride": 4}, None, [21, 25, 29], 2.5),
        ({"frame_stride": 4}, 2.0, [11, 15, 19], 2.5),
        ({"target_fps": 5.0}, None, [25, 27, 29], 5.0),
    ],
)
def test_observed_frames_end_where_the_future_begins(tmp_path, cut, at, expected, rate):
    source = numbered(tmp_path / "a.mkv", 30)
    seen = observed(source, Dataset(resolution=SIDE, **cut), 3, at)
    assert (places(seen.frames), seen.rate, seen.numbers) == (expected, rate, expected)


def test_times_count_where_frames_come_irregularly(tmp_path):
    """Ten frames a second, then two: seconds and places say different things."""
    source = numbered(tmp_path / "plain.mkv", 40)
    slowed = tmp_path / "slowed.mkv"
    ffmpeg("-i", source.path, "-c", "copy", "-bsf:v",
           "setts=ts='if(lt(N,20),N*100,2000+(N-20)*500)'", slowed)  # fmt: skip
    source = Source("slowed", str(slowed))
    for dataset, at, expected in (
        (Dataset(resolution=SIDE), 4.1, [21, 22, 23]),  # the future begins with frame 24, at 4.0
        (Dataset(resolution=SIDE, target_fps=2.0), 4.1, [15, 20, 21, 22, 23][-3:]),
        (Dataset(resolution=SIDE, target_fps=2.0), 2.4, [10, 15, 20]),
        (Dataset(resolution=SIDE, target_fps=2.0), None, [37, 38, 39]),
    ):
        seen = observed(source, dataset, 3, at)
        assert places(seen.frames) == seen.numbers == expected
        assert seen.rate == pytest.approx(dataset.target_fps or 39 / 11.5)
    ends = observed_ends(source, Dataset(resolution=SIDE, target_fps=2.0), 3, 2)
    assert places(ends.frames) == ends.numbers == [0, 5, 10, 38, 39]
    with pytest.raises(UserError, match=r"--at: 13.0: .*slowed.mkv has 11.79 seconds"):
        observed(source, Dataset(resolution=SIDE), 3, 13.0)


@pytest.mark.parametrize("rate", [None, 12.5, 25.0, 5.0])
def test_what_is_observed_is_as_far_apart_as_in_training(tmp_path, rate):
    """Films at a higher rate hold each frame twice."""
    source = numbered(tmp_path / "a.mkv", 30, rate=50, repeat=2)
    dataset = Dataset(resolution=SIDE, target_fps=rate, skip_repeated=True)
    trained = observed_ends(source, dataset, 4, 0)  # by the function that cuts clips
    seen = observed(source, dataset, 4, None)
    assert np.diff(seen.numbers).tolist() == np.diff(trained.numbers)[::-1].tolist()
    assert places(seen.frames)[-1] == 29
    earlier = observed(source, dataset, 4, 1.0)  # the 50th frame
    assert places(earlier.frames) == [place - 5 for place in places(seen.frames)]


@pytest.mark.parametrize("rate", [None, 4.0, 10.0])
def test_window_keeps_all_that_a_clip_of_frames_with_still_moments_needs(rate):
    random = np.random.default_rng(0)
    for count in (2, 5, 9):
        values = np.repeat(np.arange(60), random.choice([1, 1, 2, 3, 40], 60))
        times = np.arange(len(values)) / 20
        window = Window(count, Dataset(target_fps=rate, skip_repeated=True), None)
        window.append(values[:, None], times)
        kept = window.timeline(window.before_future(0.05))
        timeline = Timeline(times, np.diff(values, prepend=-1).astype(np.float32))
        clip = timeline.clip(count, 1, rate, True, to_end=True)
        rows = kept.clip(count, 1, rate, True, to_end=True)
        assert [window.kept[row][1] for row in rows] == clip.tolist()
        assert len(clip) == count and window.repeated


def test_still_moments_count_as_time(tmp_path):
    """A second of one picture at the end of a video is a second of it."""
    source = numbered(tmp_path / "a.mkv", 6, repeat=10)
    dataset = Dataset(resolution=SIDE, skip_repeated=True)
    for at, expected in ((5.6, [3, 4, 5]), (4.95, [2, 3, 4])):
        assert places(observed(source, dataset, 3, at).frames) == expected
    with pytest.raises(UserError, match=r"--at: 6.2: .*a.mkv has 6.00 seconds"):
        observed(source, dataset, 3, 6.2)


@pytest.mark.parametrize(
    ("count", "at", "said"),
    [
        (2, None, "a.mkv: 2 frames to observe; 3 are needed"),
        (30, 0.2, "a.mkv: 2 frames to observe; 3 are needed"),
        (30, 3.1, "--at: 3.1: .*a.mkv has 3.00 seconds"),
    ],
)
def test_videos_without_enough_frames_are_refused(tmp_path, count, at, said):
    source = numbered(tmp_path / "a.mkv", count)
    with pytest.raises(UserError, match=said):
        observed(source, Dataset(resolution=SIDE), 3, at)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"a\.mp4: cannot be opened as a video"):
        observed(Source("a", str(tmp_path / "a.mp4")), Dataset(resolution=SIDE), 3, None)
    with pytest.raises(UserError, match=r"b\.mp4: no such file"):
        observed(Source("b", str(tmp_path / "b.mp4")), Dataset(resolution=SIDE), 3, None)


def test_frames_in_their_own_size_are_those_of_the_video(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (9, 36, 52, 3), np.uint8)
    write_lossless(tmp_path / "a.mkv", frames)
    for place, frame in enumerate(frames):
        write_image(tmp_path / f"images/{place}.png", frame)
    for path in (tmp_path / "a.mkv", tmp_path / "images"):
        (source,) = sources_at(path)
        assert np.array_equal(in_own_size(source, [2, 5, 8]), frames[[2, 5, 8]])
    (tmp_path / "a.mkv").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"a\.mkv: cannot be opened"):
        in_own_size(Source("a", str(tmp_path / "a.mkv")), [2])


def test_a_video_slower_than_the_predictor_is_refused(tmp_path):
    source = numbered(tmp_path / "a.mkv", 30)
    slow = Dataset(resolution=SIDE, target_fps=25.0)
    for read in (
        lambda: observed(source, slow, 3, None),
        lambda: observed_ends(source, slow, 2, 1),
    ):
        with pytest.raises(UserError, match="10 frames per second; the predictor observes 25"):
            read()


def test_pictures_beside_videos_make_no_folder_of_frames(tmp_path):
    numbered(tmp_path / "a.mkv", 3)
    (tmp_path / "cover.jpg").touch()
    assert list(named_sources([tmp_path])) == ["a"]


def test_no_output_takes_the_place_of_a_file_or_stands_among_older_ones(tmp_path):
    sources = {"a": numbered(tmp_path / "a.mkv", 3), "b": numbered(tmp_path / "b.mp4.mkv", 3)}
    check_out(tmp_path, sources, ["mp4", "npy"], "model")
    (tmp_path / "b.mp4").touch()  # of another program, say
    for names in (["a", "b"], ["b"]):
        with pytest.raises(UserError, match=r"b\.mp4 is there already"):
            check_out(tmp_path, {name: sources[name] for name in names}, ["npy", "mp4"], "model")
    # Neither is written there.
    check_out(tmp_path, sources, ["gif", "npy"], "model")
    check_out(tmp_path, sources, ["mp4"], "original")
    with pytest.raises(UserError, match=r"generated\.gif is there already"):
        (tmp_path / "generated.gif").symlink_to("nowhere")
        check_out(tmp_path, {"generated": None}, ["gif"], "original")
    (tmp_path / "out/trajectory0").mkdir(parents=True)
    for kind in ("npy", "mp4"):
        with pytest.raises(UserError, match="trajectory0 is there already"):
            check_out(tmp_path / "out", sources, [kind], "original")


class Grey(SimpleNamespace):
    """A predictor of grey frames of 77."""

    context, context_frames = ObservedFrames(first=2), 2
    shape = FrameShape(SIDE, SIDE, 1)
    pasted = Predictor.pasted

    def observe(self, source, at):
        return observed(source, Dataset(resolution=SIDE, channels="gray"), 2, at)

    def predict(self, frames, trajectories, future_frames, **_):
        assert frames.shape == (2, SIDE, SIDE, 1)
        return np.full((trajectories, future_frames, SIDE, SIDE, 1), 77, np.uint8)


def test_grey_predictions_in_the_size_of_the_video(tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "from_pretrained", lambda *_, **__: Grey())
    frames = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE + 16, 3), np.uint8)
    write_lossless(tmp_path / "a.mkv", frames)
    arguments = argparse.Namespace(
        videos=[tmp_path / "a.mkv"], out=tmp_path / "out", predictor="grey", seed=0, at=None,
        trajectories=1, frames=4, device="cpu", format=["npy", "frames", "webp", "mp4"],
        size="original",
    )  # fmt: skip
    run(arguments)
    seen = frames[1:] @ np.array([0.299, 0.587, 0.114])  # the luma of BT.601
    made = np.load(tmp_path / "out/trajectory0/a.npy")
    assert made.shape == (4, SIDE, SIDE + 16, 1) and (made[:, :, 8:-8] == 77).all()
    for outside in (np.s_[:, :8], np.s_[:, -8:]):
        assert np.abs(made[..., 0][:, *outside] - seen[-1][outside]).max() < 0.51
    with Image.open(tmp_path / "out/trajectory0/a.webp") as shown:
        first = np.asarray(shown.convert("RGB"))[:SIDE].astype(float)  # above the bar
    assert np.abs(first - seen[0][..., None]).max() < 0.51
    with pytest.raises(UserError, match="trajectory0 is there already"):
        run(arguments)
    arguments.size, arguments.format = "model", ["mp4"]
    arguments.out = tmp_path / "other"
    run(arguments)
    with pytest.raises(UserError, match=r"other/a\.mp4 is there already; name another folder"):
        run(arguments)


@pytest.mark.parametrize("sizes", [[7, 7, 7], [1] * 20, [40]])
def test_window_keeps_few_frames_of_any_pieces(sizes):
    window, buffer, count = Window(3, Dataset(), 2.0), np.empty((40, 1), int), 0
    for size in sizes:
        places = np.arange(count, count + size)
        buffer[:size, 0] = places  # memory is used again, as in decoding
        window.append(buffer[:size], places / 10)
        count += size
    seen = window.before_future(0.1)
    assert [(int(frame[0]), n) for frame, n in window.kept][:seen][-3:] == [
        (17, 17), (18, 18), (19, 19),
    ]  # fmt: skip
    assert len(window.kept) <= 6


def test_videos_are_named_by_file_folder_or_place_below_a_folder(tmp_path):
    numbered(tmp_path / "a.mkv", 3)
    for folder in ("mine/walk", "frames"):
        (tmp_path / folder).mkdir(parents=True)
    numbered(tmp_path / "mine/walk/b.mkv", 3)
    for n in range(3):
        (tmp_path / f"frames/{n}.png").touch()
    paths = [tmp_path / name for name in ("a.mkv", "mine", "frames")]
    sources = named_sources(paths)
    assert list(sources) == ["a", "walk/b", "frames"]
    assert len(sources["frames"].files) == 3
    with pytest.raises(UserError, match="two videos have the id 'a'"):
        named_sources([tmp_path / "a.mkv", tmp_path / "a.mkv"])


@pytest.mark.parametrize(
    ("cut", "expected", "rate"), [({}, [0, 1, 29], 10.0), ({"frame_stride": 3}, [0, 3, 27], 10 / 3)]
)
def test_both_ends_of_a_video_are_observed(tmp_path, cut, expected, rate):
    source = numbered(tmp_path / "a.mkv", 30)
    seen = observed_ends(source, Dataset(resolution=SIDE, **cut), 2, 1)
    assert (places(seen.frames), seen.rate, seen.numbers) == (expected, rate, expected)
    with pytest.raises(UserError, match=r"a\.mkv: 10 frames to observe; 11 are needed"):
        observed_ends(source, Dataset(resolution=SIDE, frame_stride=3), 6, 5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"at": -1.0}, "--at: -1.0; allowed: seconds from the video's start"),
        ({"at": float("nan")}, "--at: nan; allowed"),
        ({"trajectories": 0}, "--trajectories: 0; allowed: 1 or more"),
        ({"frames": -3}, "--frames: -3; allowed: 1 or more"),
        ({}, r"bundle: no predictor's folder, it lacks config\.json; name a `bundle`"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(tmp_path, given, said):
    (tmp_path / "bundle").mkdir()
    arguments = argparse.Namespace(
        videos=[tmp_path / "a.mkv"], out=tmp_path / "out", predictor=tmp_path / "bundle", seed=0,
        trajectories=4, frames=None, at=None, device="cpu", format=["mp4"], size="model",
    )  # fmt: skip
    vars(arguments).update(given)
    with pytest.raises(UserError, match=said):
        run(arguments)
    assert not arguments.out.exists()
