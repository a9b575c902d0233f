"""Sides of videos, and cuts of clips: against plain statements about the result."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from rsvp.config.schema import Dataset, Split
from rsvp.data import splits
from rsvp.data.splits import SIDES, Segment, Video
from rsvp.runtime.errors import UserError


def videos_of(classes=3, groups=10, clips=2, frames=100):
    """UCF-like videos: class × group × clip."""
    rows = [
        {"id": f"C{c}/v_C{c}_g{g:02d}_c{n:02d}", "frames": frames, "fps": 25.0}
        for c in range(classes) for g in range(1, groups + 1) for n in range(1, clips + 1)
    ]  # fmt: skip
    return rows


def divide(rows, **options):
    """{side: {video id}} and the segments."""
    split = Split(**options)
    segments = splits.split_videos([splits.describe(row, split) for row in rows], split)
    sides = defaultdict(set)
    for segment in segments:
        sides[segment.side].add(segment.video.id)
    return sides, segments


def group_sides(segments):
    sides = defaultdict(set)
    for segment in segments:
        sides[segment.video.group].add(segment.side)
    return sides


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("classes", "groups"), [(1, 3), (1, 20), (3, 10), (30, 3), (40, 1), (5, 2)]
)
def test_groups_stay_whole_and_every_side_has_some(classes, groups, seed):
    rows = videos_of(classes, groups)
    sides, segments = divide(rows, seed=seed)
    assert sum(len(ids) for ids in sides.values()) == len(rows)
    assert all(len(names) == 1 for names in group_sides(segments).values())
    assert set(sides) == set(SIDES)
    if groups >= 3:
        for class_number in range(classes):
            assert any(name.startswith(f"C{class_number}/") for name in sides["test"])


def test_group_fractions_within_each_class():
    sides, _ = divide(videos_of(4, 20), test_fraction=0.2, validation_fraction=0.25)
    for number in range(4):
        share = [sum(n.startswith(f"C{number}/") for n in sides[side]) // 2 for side in SIDES]
        assert share == [12, 4, 4]


def test_groups_depend_on_seed_and_not_on_order():
    rows = videos_of()
    first, _ = divide(rows, seed=1)
    assert divide(rows[::-1], seed=1)[0] == first
    assert divide(rows, seed=2)[0] != first


def test_one_more_group_moves_few_others():
    before, _ = divide(videos_of(1, 40))
    after, _ = divide(videos_of(1, 41))
    moved = [name for side in SIDES for name in before[side] if name not in after[side]]
    assert len(moved) <= 2 * 2  # two clips in each group, one group per border


def test_group_is_within_its_class_and_without_pattern_the_video():
    split = Split()
    rows = [{"id": name, "frames": 1, "fps": 1.0} for name in ("A/v_g01_c1", "B/v_g01_c1", "x")]
    found = [splits.describe(row, split) for row in rows]
    assert [video.group for video in found] == ["A/01", "B/01", "x"]
    assert [video.class_name for video in found] == ["A", "B", ""]


def test_group_that_the_pattern_leaves_out_is_the_video():
    split = Split(group_pattern=r"_g(\d+)|^single")
    found = [
        splits.describe({"id": f"A/{name}", "frames": 1, "fps": 1.0}, split).group
        for name in ("v_g01", "single1", "single2")
    ]
    assert found == ["01", "A/single1", "A/single2"]


@pytest.mark.parametrize("seed", range(3))
def test_persons_of_kth_are_on_one_side_each(seed, caplog):
    """As the published split has them: a person is in all six classes."""
    actions = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")
    rows = [
        {"id": f"{action}/person{person:02d}_{action}_d{n}_uncomp", "frames": 99, "fps": 25.0}
        for action in actions for person in range(1, 26) for n in range(1, 5)
        if action != "boxing" or person % 2  # not all of them in each class
    ]  # fmt: skip
    _, segments = divide(rows, group_pattern=r"person(\d+)", seed=seed)
    sides = defaultdict(set)
    for segment in segments:
        sides[segment.video.id.partition("person")[2][:2]].add(segment.side)
    assert len(sides) == 25 and all(len(names) == 1 for names in sides.values())
    count = Counter(side for (side,) in sides.values())
    assert (count["test"], count["validation"]) == (5, 3)
    assert divide(rows[::-1], group_pattern=r"person(\d+)", seed=seed)[0] == divide(
        rows, group_pattern=r"person(\d+)", seed=seed)[0]  # fmt: skip


def test_groups_that_the_config_names():
    """KTH's own subdivision (its 00sequences.txt): 8 persons, 8 and 9."""
    test = ["22", "02", "03", "05", "06", "07", "08", "09", "10"]
    validation = ["19", "20", "21", "23", "24", "25", "01", "04"]
    rows = [{"id": f"boxing/person{n:02d}_boxing_d1", "frames": 9, "fps": 25.0}
            for n in range(1, 26)]  # fmt: skip
    named = {"group_pattern": r"person(\d+)", "test_groups": test}
    sides, _ = divide(rows, **named, validation_groups=validation)
    persons = {side: sorted(name[13:15] for name in ids) for side, ids in sides.items()}
    assert persons["test"] == sorted(test) and persons["validation"] == sorted(validation)
    assert persons["train"] == [str(n) for n in range(11, 19)]
    sides, _ = divide(rows, **named)
    assert len(sides["test"]) == 9 and 0 < len(sides["validation"]) < 5
    with pytest.raises(UserError, match=r"split.validation_groups: no video of 99; the groups are"):
        divide(rows, **named, validation_groups=["99"])


def test_every_tenth_test_video_of_the_list(tmp_path):
    """MCVD takes videos 0, 10, … of 3696, 369 of them (datasets/ucf101.py)."""
    listed = [f"C/v_C_g{n // 10:03d}_c{n:04d}" for n in range(3696)]
    (tmp_path / "testlist03.txt").write_text("".join(f"{name}.avi\n" for name in listed))
    train = [f"T/v_T_g{n:02d}_c1" for n in range(4)]
    (tmp_path / "trainlist03.txt").write_text("".join(f"{name}.avi 1\n" for name in train))
    rows = [{"id": name, "frames": 9, "fps": 25.0} for name in (*listed, *train)]
    sides, _ = divide(rows, kind="official", lists=str(tmp_path), number=3, every=10)
    assert sides["test"] == set(listed[:3690:10]) and len(sides["test"]) == 369


def test_sides_and_groups_that_a_source_names():
    """A first folder as SkyTimelapse has, a column; a pattern that is in the name goes first."""
    about = {"frames": 9, "fps": 25.0}
    rows = [
        {"id": "sky_train/a/a_1", "group": "sky_train/a"} | about,
        {"id": "sky_train/b/b_1", "group": "sky_train/b"} | about,
        {"id": "sky_test/c/c_1"} | about,
        {"id": "x", "side": "VAL"} | about,
        {"id": "y", "side": "holdout"} | about,
        {"id": "v_g07_c1", "side": "train", "group": "other"} | about,
    ]
    sides, segments = divide(rows, kind="folders")
    assert sides["test"] == {"sky_test/c/c_1"} and sides["validation"] == {"x"}
    assert len(sides["train"]) == 3
    groups = {s.video.id: s.video.group for s in segments}
    assert groups["sky_train/a/a_1"] == "sky_train/a" and groups["v_g07_c1"] == "07"


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_on_one_side(seed, caplog):
    """Chains too: a file of g01 lies in g02, another of g02 in another class."""
    rows = videos_of(2, 10)
    content = {row["id"]: row["id"] for row in rows}
    content["C0/v_C0_g02_c01"] = content["C0/v_C0_g09_c01"]
    content["C0/v_C0_g09_c02"] = content["C1/v_C1_g03_c01"]
    split = Split(seed=seed)
    caplog.set_level("INFO")
    videos = splits.join_copies([splits.describe(row, split) for row in rows], content)
    where = {s.video.id: s.side for s in splits.split_videos(videos, split)}
    chain = ("C0/v_C0_g02", "C0/v_C0_g09", "C1/v_C1_g03")
    assert len({side for name, side in where.items() if name.startswith(chain)}) == 1
    assert len({video.group for video in videos}) == 18 and set(where.values()) == set(SIDES)
    assert "2 videos are copies of others" in caplog.text


def test_groups_that_the_config_names_are_found_where_their_videos_have_copies():
    rows = videos_of(1, 6)
    content = {row["id"]: row["id"] for row in rows}
    content["C0/v_C0_g01_c01"] = content["C0/v_C0_g06_c01"]

    def sides(**named) -> dict[str, str]:
        split = Split(group_pattern=r"g(\d+)_", **named)
        videos = splits.join_copies([splits.describe(row, split) for row in rows], content)
        return {s.video.own_group: s.side for s in splits.split_videos(videos, split)}

    both = sides(test_groups=["06", "01"], validation_groups=["02"])
    assert both == {"01": "test", "02": "validation", "06": "test"} | dict.fromkeys(
        ("03", "04", "05"), "train")  # fmt: skip
    alone = sides(validation_groups=["06"])  # the others are divided by hash
    assert alone["01"] == alone["06"] == "validation" and "test" in alone.values()
    said = (
        r"split.test_groups: C0/v_C0_g01_c01 \({}\) and C0/v_C0_g06_c01 \({}\) are equal; name the"
        " groups 01 and 06 on one side, or remove one of the videos"
    )
    for named, first, second in (
        ({"test_groups": ["06"]}, "train", "test"),
        ({"test_groups": ["01"]}, "test", "train"),
        ({"test_groups": ["01"], "validation_groups": ["06"]}, "test", "validation"),
    ):
        with pytest.raises(UserError, match=said.format(first, second)):
            sides(**named)


def test_classes_that_are_one_group_each_are_told(caplog):
    rows = [{"id": f"{action}/{n}", "group": action, "frames": 9, "fps": 25.0}
            for action in ("run", "walk", "jump") for n in range(4)]  # fmt: skip
    divide(rows)
    assert "each class is one group, jump say" in caplog.text
    caplog.clear()
    divide([row | {"group": f"{row['id'][:-1]}{int(row['id'][-1]) // 2}"} for row in rows])
    divide([row for row in rows if row["id"].endswith("/0")])
    assert not caplog.text


def test_videos_without_copies_keep_their_groups(caplog):
    rows = videos_of()
    caplog.set_level("INFO")
    videos = [splits.describe(row, Split()) for row in rows]
    assert splits.join_copies(videos, {row["id"]: row["id"] for row in rows}) == videos
    assert not caplog.text


def write_lists(folder, train, test, number=1):
    folder.mkdir(exist_ok=True)
    for side, names in (("train", train), ("test", test)):
        label = " 1" if side == "train" else ""
        text = "".join(f"{name}{label}\r\n" for name in names)
        (folder / f"{side}list{number:02d}.txt").write_bytes(text.encode())
    return str(folder)


def test_official_lists(tmp_path, caplog):
    rows = videos_of(2, 12)
    listed = [f"{row['id']}.avi" for row in rows]
    test = [name for name in listed if "_g01" in name or "_g02" in name]
    train = [name for name in listed if name not in test and "_g12" not in name]
    lists = write_lists(tmp_path, [*train, "C9/v_gone_g01_c01.avi"], test, number=2)
    sides, segments = divide(rows, kind="official", lists=lists, number=2)
    assert {f"{name}.avi" for name in sides["test"]} == set(test)
    assert {f"{n}.avi" for n in sides["train"] | sides["validation"]} == set(train)
    assert all(len(names) == 1 for names in group_sides(segments).values())
    assert {name[:2] for name in sides["validation"]} == {"C0", "C1"}
    assert "4 of 48 videos belong to no side" in caplog.text


def test_official_names_without_case_and_below_other_folders(tmp_path):
    name = "HandstandPushups/v_HandStandPushups_g0{}_c01"
    lists = write_lists(
        tmp_path, [name.format(n) + ".avi" for n in (2, 3, 4)], [name.format(1) + ".avi"]
    )
    rows = [
        {"id": f"UCF-101/HandstandPushups/v_HandstandPushups_g0{n}_c01", "frames": 9, "fps": 25.0}
        for n in (1, 2, 3, 4)
    ]
    sides, _ = divide(rows, kind="official", lists=lists)
    assert [len(sides[side]) for side in SIDES] == [2, 1, 1]


def test_official_lists_with_backslashes(tmp_path):
    lists = write_lists(tmp_path, ["C\\v_g2.avi", "C\\v_g3.avi"], ["C/v_g1.avi"])
    rows = [{"id": f"C/v_g{n}", "frames": 9, "fps": 25.0} for n in (1, 2, 3)]
    sides, _ = divide(rows, kind="official", lists=lists)
    assert sides["test"] == {"C/v_g1"} and len(sides["train"] | sides["validation"]) == 2


def test_bad_lists_are_one_line(tmp_path):
    rows = videos_of(1, 3, 1)
    one = [f"{rows[0]['id']}.avi"]
    cases = [
        (str(tmp_path / "gone"), "trainlist01.txt: No such file"),
        (write_lists(tmp_path / "both", one, one), "in the train and the test list"),
        (write_lists(tmp_path / "none", [], one), "trainlist01.txt: names no video"),
        (write_lists(tmp_path / "other", ["X/y.avi"], ["X/z.avi"]), "none of the 3 videos"),
    ]
    for lists, words in cases:
        with pytest.raises(UserError, match=words) as caught:
            divide(rows, kind="official", lists=lists)
        assert "\n" not in str(caught.value)


def test_real_lists_and_clips(shared):
    """Under UCF's split 1, groups 1 to 7 are the test side."""
    clips = sorted((shared / "data" / "ucf101-mini").glob("*/*.avi"))
    rows = [{"id": f"{p.parent.name}/{p.stem}", "frames": 100, "fps": 25.0} for p in clips]
    lists = str(shared / "data" / "ucfTrainTestlist")
    sides, segments = divide(rows, kind="official", lists=lists)
    assert sum(len(ids) for ids in sides.values()) == 67
    for side in SIDES:
        numbers = {int(name.split("_g")[1][:2]) for name in sides[side]}
        assert numbers and all((number <= 7) == (side == "test") for number in numbers)
    assert all(len(names) == 1 for names in group_sides(segments).values())


def test_folders():
    names = ["train/a/x", "train/a/y", "Val/b/z", "test/c", "other/d"]
    rows = [{"id": name, "frames": 9, "fps": 25.0} for name in names]
    sides, segments = divide(rows, kind="folders")
    assert sides == {"train": {"train/a/x", "train/a/y"}, "validation": {"Val/b/z"},
                     "test": {"test/c"}}  # fmt: skip
    classes = {segment.video.id: segment.video.class_name for segment in segments}
    assert classes == {"train/a/x": "a", "train/a/y": "a", "Val/b/z": "b", "test/c": ""}


def test_folders_without_validation_take_training_groups(caplog):
    rows = [{**row, "id": f"{'test' if '_g01' in row['id'] else 'train'}/{row['id']}"}
            for row in videos_of()]  # fmt: skip
    sides, segments = divide(rows, kind="folders")
    assert len(sides["validation"]) == 3 * 2
    assert all(name.startswith("train/") for name in sides["validation"])
    assert all(len(names) == 1 for names in group_sides(segments).values())
    assert "on two sides" not in caplog.text


def test_folders_that_tear_a_group_are_told(caplog):
    names = ["train/A/v_g01_c1", "train/A/v_g02_c1", "val/A/v_g03_c1", "test/A/v_g01_c2"]
    divide([{"id": n, "frames": 9, "fps": 25.0} for n in names], kind="folders")
    assert "1 groups are on two sides of the split, the first is A/01" in caplog.text


def test_folders_need_folders():
    with pytest.raises(UserError, match="train, val or test"):
        divide(videos_of(), kind="folders")


def test_time_leaves_a_gap():
    rows = [{"id": "long", "frames": 1000, "fps": 25.0}]
    _, segments = divide(rows, kind="time", gap_seconds=2, test_fraction=0.2,
                         validation_fraction=0.25)  # fmt: skip
    found = [(segment.side, segment.start, segment.stop) for segment in segments]
    assert found == [("train", 0, 540), ("validation", 590, 770), ("test", 820, 1000)]


def test_time_with_a_video_shorter_than_the_gaps():
    _, segments = divide([{"id": "a", "frames": 60, "fps": 25.0}], kind="time")
    assert all(splits.clip_starts(segment, Dataset()) == [] for segment in segments)


def segment(frames, fps=25.0, start=0):
    return Segment(Video("v", "", "v", start + frames, fps), "train", start, start + frames)


def test_training_clips_may_have_a_stride_of_their_own():
    """All of them are taken; other sides keep theirs, and their number."""
    dataset = Dataset(clip_stride=16, max_clips_per_video=1, training_stride=8)
    train = segment(48)
    assert splits.clip_starts(train, dataset) == [0, 8, 16, 24, 32]
    for side in ("validation", "test"):
        assert splits.clip_starts(replace(train, side=side), dataset) == [16]


def test_clip_starts():
    assert splits.clip_starts(segment(15), Dataset()) == []
    assert splits.clip_starts(segment(16), Dataset()) == [0]
    assert splits.clip_starts(segment(48), Dataset()) == [0, 16, 32]
    assert splits.clip_starts(segment(48, start=5), Dataset()) == [5, 21, 37]
    assert splits.clip_starts(segment(33), Dataset(clip_stride=4)) == [0, 4, 8, 12, 16]
    assert splits.clip_starts(segment(31), Dataset(frame_stride=2)) == [0]
    assert splits.clip_starts(segment(30), Dataset(frame_stride=2)) == []
    assert splits.clip_starts(segment(160), Dataset(max_clips_per_video=3)) == [16, 80, 128]
    assert splits.clip_starts(segment(160), Dataset(max_clips_per_video=1)) == [80]


@pytest.mark.parametrize("fps", [25.0, 29.97, 30.0, 24.0])
@pytest.mark.parametrize("target", [5.0, 12.5, 24.0, 25.0])
def test_target_rate_takes_the_nearest_stored_frame(fps, target):
    rows = splits.clip_rows(16, splits.frame_stride(Dataset(target_fps=target), fps))
    error = rows / fps - np.arange(16) / target
    assert np.abs(error).max() <= 0.5 / fps + 1e-9


def test_videos_without_a_clip_say_why():
    video = segment(15).video
    assert splits.why_no_clip(video, Dataset()) == "too short: 15 frames, a clip spans 16"
    assert splits.why_no_clip(segment(16).video, Dataset()) is None
    assert "repeats frames" in splits.why_no_clip(segment(99, fps=10).video, Dataset(target_fps=25))


@pytest.mark.parametrize(
    ("count", "most"), [(10, 3), (10, 10), (10, 11), (1, 1), (7, 5), (9, None)]
)
def test_spread_is_even(count, most):
    chosen = splits.spread(count, most)
    assert len(chosen) == len(set(chosen)) == min(count, most or count)
    assert chosen == sorted(chosen) and chosen[0] >= 0 and chosen[-1] < count
    if len(chosen) > 1:
        assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1


def test_sides_without_clips_are_refused():
    _, segments = divide(videos_of())
    with pytest.raises(UserError, match="no clips for validation and test"):
        splits.check_sides({"train": 3}, segments, Split())
