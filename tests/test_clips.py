"""The split stage and the readers behind it, over a frame cache made by hand."""

import argparse
import csv
import itertools
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from here import run_here
from safetensors.numpy import save_file
from stored import write_frames

from rsvp.config.stages import read_settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.timeline import changes, cuts, rhythm
from rsvp.report.records import read_dataset
from rsvp.runtime.errors import UserError
from rsvp.stages import split as split_stage

R = 32


def frame_cache(folder, lengths, shares=2, rejected=()):
    """Shares with videos of the given lengths; pixel values tell the video and the frame.

    Returns {id: frames (T, R, R, 3)}.
    """
    truth = {}
    for share in range(shares):
        place = folder / "frames" / str(share)
        videos, chunks, offset = [], [], 0
        for number, (name, length) in enumerate(lengths.items()):
            if number % shares != share:
                continue
            frames = np.random.default_rng(number).integers(0, 256, (length, R, R, 3), np.uint8)
            truth[name] = frames
            videos.append({"id": name, "class": "", "path": f"{name}.avi", "sha256": name,
                           "frames": length, "fps": 25.0, "regular": True, "repeated": 0,
                           "cuts": 0, "width": 9, "height": 9, "offset": offset})  # fmt: skip
            offset += length
            chunks += np.array_split(frames, max(1, length // 5))
        bad = [{"id": n, "path": f"{n}.avi", "reason": "an empty file"} for n in rejected]
        write_frames(place, chunks, videos=videos, rejected=bad if share == 0 else [])
    return truth


def split(folder, *more, shares=2, **values):
    """Run the stage; returns (exit code, lines on the terminal)."""
    values = {"resolution": R, "path": "x", "decode_jobs": shares, **values}
    (folder / "settings.json").write_text(json.dumps({"name": "d", "dataset": values}))
    flags = ["--settings", folder / "settings.json", "--frames", folder / "frames"]
    flags += ["--index", folder / "index.json", "--log", folder / "log.txt", *more]
    flags += ["--record", folder / "run.json"]
    for name in ("clips", "videos", "rejected"):
        flags += [f"--{name}", folder / f"{name}.csv"]
    code, terminal = run_here(split_stage, *flags)
    return code, terminal.splitlines()


def lengths(count=12, frames=40):
    return {f"NA/v_g{n:02d}_c01": frames + n for n in range(count)}


def test_training_clips_are_there_backwards_too_where_that_is_asked_for(tmp_path):
    """Those of the other sides are not, and no clip is new to the tables on disk."""
    frame_cache(tmp_path, lengths())
    assert split(tmp_path, frame_stride=2)[0] == 0
    plain = {side: Clips(tmp_path / "index.json", side) for side in ("train", "test")}
    assert split(tmp_path, frame_stride=2, backwards=True)[0] == 0
    train, test = (Clips(tmp_path / "index.json", side) for side in ("train", "test"))
    count = len(plain["train"])
    assert len(train) == 2 * count and len(test) == len(plain["test"])
    for i in range(count):
        frames = plain["train"].frames(i)
        assert torch.equal(train.frames(i), frames)
        assert torch.equal(train.frames(count + i), frames.flip(0))
        assert torch.equal(train.frames(count + i, 0, 3), frames.flip(0)[:3])
    assert train.table["clip"].is_unique
    assert evaluation_clips(train, None) == list(range(count)), "those of the floor"
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["clips"]["train"] == count


@pytest.mark.parametrize("options", [{}, {"frame_stride": 2}, {"target_fps": 10.0}])
def test_clips_are_the_frames_that_the_table_names(tmp_path, options):
    truth = frame_cache(tmp_path, lengths())
    assert split(tmp_path, **options) == (0, [])
    stride = {"frame_stride": 2.0, "target_fps": 2.5}.get(next(iter(options), ""), 1.0)
    index = json.loads((tmp_path / "index.json").read_text())
    table = pd.read_csv(tmp_path / "clips.csv", keep_default_na=False)
    assert (table["class"] == "NA").all()
    assert index["frame_rate"] == 25 / stride
    for side in ("train", "validation", "test"):
        clips = Clips(tmp_path / "index.json", side)
        assert len(clips) == index["clips"][side] == (table["split"] == side).sum() > 0
        for i, row in clips.table.iterrows():
            rows = [row["start"] + round(k * stride) for k in range(16)]
            frames = clips.frames(i)
            assert frames.dtype == torch.uint8
            assert np.array_equal(frames.numpy(), truth[row["video"]][rows])
            assert np.array_equal(clips.frames(i, 4, 7).numpy(), truth[row["video"]][rows[4:7]])
            assert row["clip"] == f"{row['video']}@{row['start']:06d}"
    assert not set(Clips(tmp_path / "index.json", "train").table["group"]) & set(
        clips.table["group"]
    )


def one_video(folder, times, frames=None, changes=None, **values):
    """Split a video whose frames came at `times`; return its training clips and its frames."""
    count = len(times)
    if frames is None:
        frames = np.random.default_rng(0).integers(0, 256, (count, R, R, 3), np.uint8)
    fps, regular = rhythm(times, 25.0)
    video = {"id": "v", "class": "", "path": "v.avi", "sha256": "v", "frames": count, "fps": fps,
             "regular": regular, "offset": 0, "picture": "deinterlaced; taken for BT.709",
             "repeated": int((changes == 0).sum()) if changes is not None else 0,
             "cuts": len(cuts(changes)) if changes is not None else 0}  # fmt: skip
    write_frames(folder / "frames/0", [frames], times, changes, videos=[video])
    dataset = {"resolution": R, "path": "x", "decode_jobs": 1, "clip_frames": 6, "clip_stride": 7,
               "context_frames": 2, "split": {"kind": "time", "gap_seconds": 0.5}}  # fmt: skip
    tables = {name: folder / f"{name}.csv" for name in ("clips", "videos", "rejected")}
    arguments = argparse.Namespace(
        frames=folder / "frames", index=folder / "index.json", videos_index=None, **tables
    )
    split_stage.run(arguments, read_settings({"name": "d", "dataset": dataset | values}))
    return Clips(folder / "index.json", "train"), frames


def irregular_times(count=200):
    """Times of a screen recording: frames come when something changes."""
    return np.cumsum(np.random.default_rng(1).uniform(0.01, 0.09, count)) - 0.01


def test_target_rate_of_irregular_video_takes_nearest_frames_in_time(tmp_path):
    times = irregular_times()
    clips, frames = one_video(tmp_path, times, target_fps=10.0)
    assert len(clips) > 10 and clips.index["frame_rate"] == 10
    for i, start in enumerate(clips.table["start"]):
        wanted = times[start] + np.arange(6) / 10
        rows = np.abs(times[:, None] - wanted).argmin(axis=0)
        assert np.array_equal(clips.frames(i), frames[rows])
        assert np.array_equal(clips.frames(i, 2, 4), frames[rows[2:4]])
    longer = Clips(tmp_path / "index.json", "train", horizon=10)
    stop = longer.table["stop"].iloc[0]
    ends = times[longer.table["start"]] + 11 / 10
    assert longer.fitting == [i for i, end in enumerate(ends) if end <= times[stop - 1] + 0.025]


def test_gap_is_of_seconds_where_frames_come_irregularly(tmp_path):
    times = np.concatenate([np.arange(100) / 10, 10 + np.arange(100) / 2])  # ten a second, then two
    one_video(tmp_path, times, split={"kind": "time", "gap_seconds": 6.0})
    table = pd.read_csv(tmp_path / "clips.csv")
    spans = [(times[rows.min()], times[rows.max()]) for _, rows in table.groupby("split")["start"]]
    stops = times[sorted(table["stop"].unique())[:2]]
    starts = sorted(start for start, _ in spans)[1:]
    assert np.allclose(np.subtract(starts, stops), 6.0, atol=0.5)


@pytest.mark.parametrize("rate", [{}, {"frame_stride": 2}, {"target_fps": 12.5}])
def test_repeated_frames_are_left_out_of_clips(tmp_path, rate):
    different = np.random.default_rng(0).integers(0, 256, (100, R, R, 3), np.uint8)
    frames = different.repeat(np.tile([1, 1, 3], 34)[:100], axis=0)
    times, found = np.arange(len(frames)) / 25, changes(frames, None)
    clips, _ = one_video(tmp_path, times, frames, found, skip_repeated=True, **rate)
    step = {"frame_stride": 2}.get(next(iter(rate), ""), 1)
    for i, start in enumerate(clips.table["start"]):
        clip = clips.frames(i).numpy()
        assert all((a != b).any() for a, b in itertools.pairwise(clip))
        if not rate.get("target_fps"):
            first = int((different == frames[start]).all(axis=(1, 2, 3)).argmax())
            assert np.array_equal(clip, different[first : first + 6 * step : step])
    count = int((found == 0).sum())
    said = f"Frames equal to the one before: {count} of {len(frames)}, left out of clips."
    assert said in read_dataset(tmp_path / "index.json")["remarks"]
    plain, _ = one_video(tmp_path, times, frames, found, **rate)
    assert any((a == b).all() for a, b in itertools.pairwise(plain.frames(0).numpy()))


def test_no_clip_spans_a_cut(tmp_path):
    levels = np.repeat([40, 200, 60, 180], [33, 20, 4, 60])
    noise = np.random.default_rng(0).integers(0, 4, (len(levels), R, R, 3))
    frames = (levels[:, None, None, None] + noise).astype(np.uint8)
    times = np.arange(len(frames)) / 25
    found = changes(frames, None)
    options = {"clip_stride": 1, "split": {"kind": "time", "gap_seconds": 0.0}}
    clips, _ = one_video(tmp_path, times, frames, found, cut_shots=True, **options)
    spread = [int(np.ptp(clips.frames(i).numpy())) for i in range(len(clips))]
    assert len(spread) > 20 and max(spread) < 4
    assert read_dataset(tmp_path / "index.json")["remarks"] == [
        "deinterlaced: 1 video.", "taken for BT.709: 1 video.",
        "Cuts from shot to shot: 3; no clip spans one.",
    ]  # fmt: skip
    plain, _ = one_video(tmp_path, times, frames, found, **options)
    assert max(int(np.ptp(plain.frames(i).numpy())) for i in range(len(plain))) > 100


def test_same_files_again(tmp_path):
    frame_cache(tmp_path, lengths())
    names = ("index.json", "clips.csv", "videos.csv", "rejected.csv")
    split(tmp_path)
    first = [(tmp_path / name).read_bytes() for name in names]
    split(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == first


def test_ids_that_csv_must_quote(tmp_path):
    names = ["two\nlines_g{}", 'say "hi", you_g{}', "日本_g{}", "'q_g{}", "cr\rlf_g{}", " sp _g{}"]
    truth = frame_cache(tmp_path, {name.format(n): 20 for n, name in enumerate(names)})
    assert split(tmp_path)[0] == 0
    sides = [Clips(tmp_path / "index.json", side) for side in ("train", "validation", "test")]
    found = {name for clips in sides for name in clips.table["video"]}
    assert found == set(truth)


def test_short_and_rejected_videos_are_listed(tmp_path):
    frame_cache(tmp_path, {**lengths(), "short": 15}, rejected=["broken"])
    code, said = split(tmp_path, max_rejected_fraction=0.2)
    assert code == 0
    assert said == ["rsvp split: rejected short.avi: too short: 15 frames, a clip spans 16"]
    with open(tmp_path / "rejected.csv", newline="") as stream:
        rows = {row["id"]: row["reason"] for row in csv.DictReader(stream)}
    assert rows == {"broken": "an empty file", "short": "too short: 15 frames, a clip spans 16"}
    manifest = pd.read_csv(tmp_path / "videos.csv", keep_default_na=False)
    assert sorted(manifest["id"]) == sorted(lengths())
    assert (manifest["clips"] == manifest["frames"] // 16).all()


def test_too_many_rejected_is_one_line(tmp_path):
    frame_cache(tmp_path, lengths(4), rejected=["b1", "b2"])
    code, said = split(tmp_path)
    assert code == 2
    assert said == [
        "rsvp split: 2 of 6 videos were rejected, more than datasets.d.max_rejected_fraction (0.1)"
        " allows: b1.avi: an empty file; b2.avi: an empty file"
    ]
    assert not (tmp_path / "index.json").exists()


def test_side_without_clips_is_one_line(tmp_path):
    frame_cache(tmp_path, lengths(2))
    code, said = split(tmp_path)
    assert code == 2
    assert len(said) == 1 and "no clips for" in said[0]


def test_one_long_video_in_time(tmp_path):
    frame_cache(tmp_path, {"long": 600}, shares=1)
    assert split(tmp_path, shares=1, split={"kind": "time", "gap_seconds": 1}) == (0, [])
    clips = {s: Clips(tmp_path / "index.json", s).table for s in ("train", "validation", "test")}
    ends = [(t["start"].min(), t["start"].max() + 16) for t in clips.values()]
    assert ends[0][0] == 0
    assert all(after[0] - before[1] >= 25 for before, after in itertools.pairwise(ends))
    assert pd.read_csv(tmp_path / "videos.csv")["split"].tolist() == ["train+validation+test"]


def test_truth_of_a_generated_set(tmp_path):
    names = {
        f"{side}/shapes/{n:05d}": 40 for side in ("train", "validation", "test") for n in (0, 1)
    }
    frame_cache(tmp_path, names)
    folder = tmp_path / "videos"
    folder.mkdir()
    random = np.random.default_rng(0)
    alphas = {n: random.integers(0, 256, (40, 2, R, R), np.uint8) for n in names}
    positions = {n: random.random((40, 2, 3), np.float32) for n in names}
    backgrounds = {n: random.integers(0, 256, (R, R, 3), np.uint8) for n in names}
    truth = {"alpha": alphas, "positions": positions, "background": backgrounds}
    for name in names:
        file = folder / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: values[name] for key, values in truth.items()}, file)
    (folder / "index.json").write_text("{}")
    more = ["--videos-index", folder / "index.json"]
    assert split(tmp_path, *more, source="generated", frame_stride=2, clip_stride=3) == (0, [])
    clips = Clips(tmp_path / "index.json", "test")
    assert set(clips.table["video"]) == {"test/shapes/00000", "test/shapes/00001"}
    assert set(clips.table["class"]) == {"shapes"}
    row = clips.table.iloc[3]
    found = clips.truth(3)
    times = slice(row["start"], row["start"] + 32, 2)
    alpha = alphas[row["video"]][times]
    assert np.array_equal(found["alpha"], alpha)
    assert np.array_equal(found["mask"], alpha.max(1) / 255 >= 0.5)
    assert np.array_equal(found["positions"], positions[row["video"]][times])
    assert np.array_equal(found["background"], backgrounds[row["video"]])


def test_changed_files_are_refused(tmp_path):
    frame_cache(tmp_path, lengths())
    split(tmp_path)
    assert Clips(tmp_path / "index.json", "test").truth(0) is None
    share = tmp_path / "frames" / "0" / "index.json"
    text = share.read_text()
    share.write_text(text + " ")
    clips = Clips(tmp_path / "index.json", "train")
    with pytest.raises(UserError, match="changed after the dataset was split"):
        for i in range(len(clips)):
            clips.frames(i)
    share.write_text(text)
    with open(tmp_path / "clips.csv", "a") as stream:
        stream.write("x\n")
    with pytest.raises(UserError, match=r"clips\.csv: changed"):
        Clips(tmp_path / "index.json", "train")
    with pytest.raises(UserError, match="no such file"):
        Clips(tmp_path / "gone.json", "train")


def test_evaluation_clips_are_spread(tmp_path):
    frame_cache(tmp_path, lengths())
    split(tmp_path, clip_stride=1)
    clips = Clips(tmp_path / "index.json", "test")
    assert evaluation_clips(clips, None) == list(range(len(clips)))
    chosen = evaluation_clips(clips, 5)
    assert len(set(chosen)) == 5
    assert len(set(clips.table["video"].iloc[chosen])) >= 2


@pytest.mark.parametrize("options", [{}, {"frame_stride": 2}, {"target_fps": 12.5}])
def test_longer_clips_end_where_their_videos_do(tmp_path, options):
    """Of the same numbers and names; those that do not fit are left out, in one line."""
    truth = frame_cache(tmp_path, lengths(frames=66))
    assert split(tmp_path, clip_stride=4, **options) == (0, [])
    stride, horizon = 2 if options else 1, 20
    clips = Clips(tmp_path / "index.json", "test", horizon)
    short = Clips(tmp_path / "index.json", "test")
    assert (clips.clip_frames, len(clips)) == (24, len(short))
    chosen, span = evaluation_clips(clips, None), 23 * stride + 1
    ends = clips.table["start"] + span
    assert chosen == [i for i, v in enumerate(clips.table["video"]) if ends[i] <= len(truth[v])]
    assert 0 < len(chosen) < len(clips)
    for i in chosen:
        start = clips.table["start"].iloc[i]
        expected = truth[clips.table["video"].iloc[i]][start : start + span : stride]
        assert np.array_equal(clips.frames(i).numpy(), expected)
        assert torch.equal(clips.frames(i)[:16], short.frames(i))
    assert set(evaluation_clips(clips, 3)) <= set(chosen)
    with pytest.raises(UserError, match=r"evaluation\.horizon: no test clip of d can go on to 99"):
        evaluation_clips(Clips(tmp_path / "index.json", "test", 99), None)


def test_longer_clips_stay_on_their_side_of_a_cut_in_time(tmp_path):
    frame_cache(tmp_path, {"long": 600}, shares=1)
    split(tmp_path, shares=1, split={"kind": "time", "gap_seconds": 1}, clip_stride=1)
    starts = []
    for side in ("train", "validation", "test"):
        clips = Clips(tmp_path / "index.json", side, 40)
        places = clips.table["start"].iloc[evaluation_clips(clips, None)]
        starts.append((places.min(), places.max() + 44))
    plain = [Clips(tmp_path / "index.json", s).table["start"] for s in ("train", "validation")]
    assert [end for _, end in starts[:2]] == [table.max() + 16 for table in plain]
    assert starts[2][1] == 600


def test_splitting_loads_no_torch():
    code = "import sys, rsvp.stages.split; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
