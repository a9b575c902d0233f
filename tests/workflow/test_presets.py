"""Presets of configs/, planned on tiny imitations of what their heads say that they look for."""

import gzip
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from plan import Plan
from projects import ROOT
from session import plan_of

from rsvp.config.load import read_yaml
from rsvp.config.schema import PROTOCOLS
from rsvp.data.splits import SIDES, describe, split_videos
from rsvp.runtime.code import short_digests
from tests.test_formats import bair_record, moving, numbered, write_records

ACTIONS = ("boxing", "walking")


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())


def ucf101(folder: Path) -> None:
    """Two classes of 25 groups; the third split tests groups 15 to 21."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for name in ("Archery", "Surfing"):
        for group in range(1, 26):
            for clip in range(1, 4):
                video = f"{name}/v_{name}_g{group:02d}_c{clip:02d}.avi"
                touch(folder / "UCF-101" / video)
                lists["test" if 15 <= group < 22 else "train"].append(video)
    (folder / "ucfTrainTestlist").mkdir()
    for side, names in lists.items():
        for number in (1, 3):
            text = "\n".join(names) + "\n"
            (folder / "ucfTrainTestlist" / f"{side}list{number:02d}.txt").write_text(text)


def sky(folder: Path) -> None:
    for side, count in (("sky_train", 8), ("sky_test", 2)):
        for number in range(count):
            for part in (1, 2):
                for frame in (9, 10, 11):
                    name = f"{side}/v{number}/v{number}_{part}/v{number}_frames_{frame}.jpg"
                    touch(folder / "sky_timelapse" / name)


def kth(folder: Path) -> None:
    for action in ACTIONS:
        for person in range(1, 26):
            touch(folder / f"kth/{action}/person{person:02d}_{action}_d1_uncomp.avi")


def bair(folder: Path) -> None:
    root = folder / "softmotion30_44k"
    for side, count in (("train", 9), ("test", 2)):
        write_records(root / side / "traj_0_to_9.tfrecords", [bair_record(numbered(2))] * count)


def moving_mnist(folder: Path) -> None:
    (folder / "moving-mnist").mkdir()
    np.save(folder / "moving-mnist/mnist_test_seq.npy", moving(5, 4).swapaxes(0, 1))
    head = bytes([0, 0, 8, 3]) + np.array([1, 28, 28], ">i4").tobytes()
    digits = folder / "moving-mnist/train-images-idx3-ubyte.gz"
    digits.write_bytes(gzip.compress(head + bytes(784)))


PRESETS = {  # by their files: an imitation, and the videos of each side
    "ucf101-64": (ucf101, (90, 18, 4)),  # every tenth of 42 test videos
    "ucf101-256": (ucf101, (90, 18, 42)),
    "skytimelapse-256": (sky, (14, 2, 4)),
    "kth-64": (kth, (28, 4, 18)),
    "kth-64 kth-64-persons20": (kth, (34, 6, 10)),
    "kth-64 kth-64-official": (kth, (16, 16, 18)),
    "bair-64": (bair, (8, 1, 2)),
    "moving-mnist-64": (moving_mnist, (9500, 500, 5)),
}


def planned(folder: Path, files: str) -> Plan:
    """Return the plan of a preset, made where its videos are."""
    paths = [str(ROOT / f"configs/{name}.yaml") for name in files.split()]
    return plan_of(["--configfile", *paths], None)


@pytest.mark.parametrize("files", PRESETS)
def test_presets_are_planned_and_split(tmp_path, monkeypatch, files):
    imitate, expected = PRESETS[files]
    (tmp_path / "videos").mkdir()
    imitate(tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    plan = planned(tmp_path, files)
    jobs = Counter(job.stage for job in plan.state.stale(plan.jobs))
    assert jobs["train_diffusion"] == jobs["predict"] == jobs["bundle"] == 1
    (name,) = plan.datasets
    dataset = plan.config.datasets[name]
    code = short_digests(*plan.job("decode", dataset=name, share="0").roots)
    formats = {path.stem for path in map(Path, code) if path.parent.name == "formats"}
    others = {"table", "zip", "lerobot", "hdf5", "tar", "tfrecord", "moving_mnist"} - formats
    assert formats & {dataset.source, "zip"} and len(others) >= 6
    assert jobs["decode"] == dataset.decode_jobs
    rows = [{"id": source.id, "frames": 99, "fps": 25.0} | source.known
            for share in plan.videos[name] for source in share]  # fmt: skip
    Path(plan.results).mkdir(parents=True)
    monkeypatch.chdir(plan.results)  # where stages run
    segments = split_videos([describe(row, dataset.split) for row in rows], dataset.split)
    sides, groups = Counter(segment.side for segment in segments), defaultdict(set)
    assert tuple(sides[side] for side in SIDES) == expected
    for segment in segments:
        groups[segment.video.group].add(segment.side)
    assert all(len(found) == 1 for found in groups.values())


def test_published_numbers_of_presets_stand_beside_a_row_of_their_protocol(shared):
    """Each stands in the reference, in a row of its method; its protocol is scored, K is said.

    The head of its table says frames, pixels and clips.
    """
    published = (shared / "reference/published.md").read_text(encoding="utf-8")
    checked = Counter()
    for path in (ROOT / "configs").glob("*.yaml"):
        preset, head = read_yaml(path), ""
        for line in path.read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("# |").split("|")]
            if not line.startswith("# | ") or cells[0].startswith("published"):
                head = line if line.startswith("# | ") else head
                continue
            assert re.search(r"published: \d+ -> \d+, \d+ px, .* \| protocol +\| +K ", head)
            assert cells[1] in preset["evaluation"]["protocols"]
            count = PROTOCOLS[cells[1]].trajectories
            assert int(cells[2]) == (count or 1)
            method = cells[0].split(",")[0].split(" (")[0]
            rows = [row for row in published.splitlines() if method in row]
            for number in cells[3:]:
                assert any(number.lstrip("0") in row for row in rows), (path.name, method, number)
                checked[path.stem] += 1
    assert checked == {"bair-64": 4, "moving-mnist-64": 4, "ucf101-64": 4}


def test_the_demo_with_more_clips_trains_what_the_demo_trains():
    """Its second file sets the number of clips and of trajectories, and no more."""
    more = read_yaml(ROOT / "configs/demo-256.yaml")
    assert more == {"evaluation": {"max_clips": 256, "trajectories": 8}}
    demo = read_yaml(ROOT / "config.yaml")
    assert demo["datasets"]["shapes"]["generated"]["test_videos"] == 256
