"""Test clips as other codes choose them, on imitated lists."""

import itertools
from pathlib import Path

import pytest

from rsvp.config.schema import Dataset, Split
from rsvp.data.choice import MOST, chosen_clips, chosen_videos
from rsvp.data.manifest import cut_clips
from rsvp.data.splits import clip_starts, describe, split_videos

CLIP, FRAMES = 16, 40


@pytest.fixture
def listed(tmp_path: Path):
    """A function that splits so many test videos as `choice`; the list is not in order of names."""

    def make(count: int, choice: str, seed: int = 0):
        names = [f"Class/v_Class_g{n % 7 + 1:02d}_c{(n * 37) % 997:03d}" for n in range(count)]
        (tmp_path / "testlist01.txt").write_text("".join(f"{name}.avi\r\n" for name in names))
        train = [f"Class/v_Class_g{n:02d}_c01" for n in range(20, 24)]
        (tmp_path / "trainlist01.txt").write_text("".join(f"{name}.avi 1\n" for name in train))
        split = Split(kind="official", lists=str(tmp_path), test_clips=choice, seed=seed)
        dataset = Dataset(path="x", split=split, clip_frames=CLIP)
        rows = [{"id": name, "frames": FRAMES, "fps": 25.0} for name in (*sorted(names), *train)]
        return names, dataset, split_videos([describe(row, split) for row in rows], split)

    return make


def test_every_tenth_of_few_videos_leaves_two(listed) -> None:
    for choice in ("mcvd", "far"):
        names, dataset, segments = listed(29 if choice == "mcvd" else 20, choice)
        assert set(chosen_clips(segments, dataset)) == {names[0], names[10]}
    names, dataset, segments = listed(29, "extdm")
    assert set(chosen_clips(segments, dataset)) == set(names)


def test_mcvd_leaves_out_what_is_less_than_ten_and_far_does_not() -> None:
    assert chosen_videos("mcvd", 29) == [0, 10]
    assert chosen_videos("far", 29) == [0, 10, 20]


def test_ucf101_has_369_tenths_of_which_mcvd_spreads_and_far_takes_the_first() -> None:
    tests = 3696  # of split 3, as MCVD's code says
    far, mcvd, extdm = (chosen_videos(name, tests) for name in ("far", "mcvd", "extdm"))
    assert far == [10 * place for place in range(MOST)]
    assert len(set(mcvd)) == MOST and mcvd[0] == 0 and mcvd[-1] == 3680
    assert {place % 10 for place in mcvd} == {0}
    steps = {(after - before) // 10 for before, after in itertools.pairwise(mcvd)}
    assert steps == {1, 2}
    assert len(set(extdm)) == MOST and extdm[-1] == tests - 1


def test_starts(listed) -> None:
    _, dataset, segments = listed(400, "far")
    assert set(chosen_clips(segments, dataset).values()) == {0}
    _, dataset, segments = listed(2000, "mcvd")
    starts = chosen_clips(segments, dataset)
    # FRAMES - CLIP + 1 starts are possible; MCVD never takes the last one.
    assert set(starts.values()) <= set(range(FRAMES - CLIP)) and len(set(starts.values())) > 15
    assert chosen_clips(segments, dataset) == starts
    _, dataset, segments = listed(2000, "mcvd", seed=1)
    assert chosen_clips(segments, dataset) != starts


def test_a_chosen_video_has_one_clip_and_training_is_as_before(listed) -> None:
    names, dataset, segments = listed(20, "far")
    chosen = chosen_clips(segments, dataset)
    kept = [s for s in segments if s.side != "test" or s.video.id in chosen]
    rows = {s.video.id: {"share": 0, "offset": 0} for s in segments}
    clips = cut_clips(kept, rows, dataset, chosen)
    tests = [(clip["video"], clip["start"]) for clip in clips if clip["split"] == "test"]
    assert sorted(tests) == sorted([(names[0], 0), (names[10], 0)])
    others = sum(len(clip_starts(s, dataset)) for s in segments if s.side != "test")
    assert len(clips) - len(tests) == others
