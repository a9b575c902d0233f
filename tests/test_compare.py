"""Directory against directory: the numbers are those of peers, and misfits are one line."""

import gc
import json
import shutil
import tracemalloc
import warnings
from argparse import Namespace
from base64 import b64decode
from collections import Counter
from contextlib import nullcontext
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
import pandas as pd
import pytest
from here import run_here
from safetensors.numpy import load_file
from skimage.metrics import peak_signal_noise_ratio

from rsvp.commands import compare
from rsvp.data import folders as data_folders
from rsvp.data.sources import Source
from rsvp.data.videos import write_video
from rsvp.runtime.errors import UserError

CLIPS, FRAMES, CONTEXT, SIZE = 12, 16, 4, 32


def moving(number: int) -> np.ndarray:
    """A square that moves over a texture, uint8 (T, H, W, 3)."""
    random = np.random.default_rng(number)
    frames = np.repeat(random.integers(0, 100, (1, SIZE, SIZE, 3), dtype=np.uint8), FRAMES, 0)
    for time, frame in enumerate(frames):
        frame[8:16, time : time + 8] = 200
    return frames


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Real clips in four groups, and predictions of them that are off by up to ten."""
    for side in ("real", "mine"):
        (tmp_path / side).mkdir()
    for number in range(CLIPS):
        name, real = f"v_g{number % 4:02d}_c{number:02d}.npy", moving(number)
        noise = np.random.default_rng(100 + number).integers(-10, 11, real.shape)
        np.save(tmp_path / "real" / name, real)
        np.save(tmp_path / "mine" / name, np.clip(real + noise, 0, 255).astype(np.uint8))
    return tmp_path


def run(folder: Path, protocol: str = "prediction", **changed: object) -> pd.DataFrame:
    """The lines of results.csv. Without examples there is no page, whose plots take seconds."""
    arguments = {
        "real": folder / "real",
        "predicted": [[folder / "mine"]],
        "protocol": protocol,
        "out": folder / "out",
        "config": None,
        "context": CONTEXT,
        "future_only": False,
        "unpaired": False,
        "group_pattern": r"_g(\d+)",
        "baselines": ["copy-last"],
        "floor": None,
        "autoencoder": None,
        "examples": 0,
        "range": None,
        "device": "cpu",
        "self_test": False,
    }
    arguments |= changed
    arguments["predicted"] = [list(map(str, words)) for words in arguments["predicted"]]
    no_page = patch.object(compare, "render", lambda page: page.title)
    with nullcontext() if changed.get("examples") else no_page:
        compare.run(Namespace(**arguments))
    return pd.read_csv(folder / "out" / "results.csv")


def value(table: pd.DataFrame, row: str, metric: str, sampling: str = "single") -> float:
    chosen = (table["row"] == row) & (table["metric"] == metric) & (table["sampling"] == sampling)
    return table[chosen]["value"].item()


def test_scores_are_those_of_scikit_image(folders: Path, capsys) -> None:
    table = run(folders)
    expected = []
    for path in sorted((folders / "real").iterdir()):
        real, mine = np.load(path), np.load(folders / "mine" / path.name)
        expected.append([peak_signal_noise_ratio(real[t], mine[t]) for t in range(CONTEXT, FRAMES)])
    assert value(table, "mine", "psnr") == pytest.approx(np.mean(expected), abs=1e-4)
    assert value(table, "real.copy-last", "psnr") < value(table, "mine", "psnr")
    line = table[(table["row"] == "mine") & (table["metric"] == "psnr")].iloc[0]
    assert (line["clips"], line["groups"], line["protocol"].split(":")[0]) == (12, 4, "prediction")
    assert line["low"] <= line["value"] <= line["high"]
    assert np.isnan(line["seed_numbers"])
    assert "4 groups. " in (folders / "out" / "results.md").read_text()
    horizon = pd.read_csv(folders / "out" / "horizon.csv")
    of_mine = horizon[(horizon["row"] == "mine") & (horizon["metric"] == "psnr")]
    np.testing.assert_allclose(of_mine["value"], np.mean(expected, axis=0), atol=1e-4)
    assert "| mine | predictor | **" in capsys.readouterr().out
    stored = json.loads((folders / "out" / "results.json").read_text())
    assert "100 dB for identical frames" in stored["rows"][0]["protocol"]["psnr"]
    assert {line["row"] for line in stored["results"]} == {"mine", "real.copy-last"}
    assert stored["comparisons"][0]["verdict"] == "better of this training"


def test_predictions_may_lack_the_observed_frames(folders: Path) -> None:
    whole = run(folders)
    for path in (folders / "mine").iterdir():
        np.save(path, np.load(path)[CONTEXT:])
    pd.testing.assert_frame_equal(run(folders, future_only=True), whole)
    with pytest.raises(UserError, match=r"is 12 frames .*, and 16 frames .* are needed") as caught:
        run(folders)
    assert "\n" not in str(caught.value)


def test_observed_frames_are_not_scored_unasked(folders: Path) -> None:
    for path in (folders / "mine").iterdir():
        real = np.load(folders / "real" / path.name)
        np.save(path, np.concatenate([real[:CONTEXT], np.load(path)[CONTEXT:]]))
    with pytest.raises(UserError, match=r"begins with 4 frames of the real 'v_.*: --context 4, or"):
        run(folders, context=None)
    table = run(folders, context=0)
    assert value(table, "mine", "psnr") > value(run(folders), "mine", "psnr")


def test_trajectories_without_an_error_have_no_spread_over_skill(folders: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(folders, predicted=[[f"same={folders / 'real'},{folders / 'real'}"]])
    printed = (folders / "out" / "results.md").read_text()
    assert "Not computed: Spread / skill: the trajectories are the truth, without an" in printed


def test_floats_with_their_range_score_as_their_bytes(folders: Path) -> None:
    whole = run(folders)
    for path in (folders / "mine").iterdir():
        np.save(path, np.load(path) / np.float32(255))
    with pytest.raises(UserError, match=r"holds float32 from 0 to \S+; --range LOW HIGH"):
        run(folders)
    pd.testing.assert_frame_equal(run(folders, range=[0.0, 1.0]), whole)


def test_folders_are_trajectories(folders: Path) -> None:
    shutil.copytree(folders / "mine", folders / "again")
    for path in (folders / "again").iterdir():
        np.save(path, 255 - np.load(path))
    table = run(folders, predicted=[[f"{folders / 'again'},{folders / 'mine'}"]])
    single = value(table, "again", "psnr")
    best = value(table, "again", "psnr", "best")
    assert best == pytest.approx(value(run(folders), "mine", "psnr"))
    assert single < best
    assert not np.isnan(value(table, "again", "crps", "all"))


def test_one_trajectory_is_a_point_forecast(folders: Path, capsys) -> None:
    table = run(folders)
    errors = [
        np.abs(np.load(path).astype(float) - np.load(folders / "mine" / path.name))[CONTEXT:].mean()
        for path in (folders / "real").iterdir()
    ]
    assert value(table, "mine", "crps", "all") == pytest.approx(np.mean(errors))
    printed = capsys.readouterr()
    assert "CRPS: one trajectory is taken as a point forecast" in printed.out
    assert printed.err == "", "progress bars are for terminals"
    top = (folders / "out" / "results.md").read_text().split("Frame by frame")[0]
    assert "PSNR (dB) ↑ | MSE ↓ |" in top
    assert "12 clips, 4 observed" in top and "evenly" not in top
    missing = [line for line in top.splitlines() if line.startswith("- Not computed")]
    assert len(missing) == 1 and missing[0].startswith("- Not computed: LPIPS: ")


def test_a_row_that_stands_alone_is_not_bold(folders: Path) -> None:
    run(folders, baselines=[])
    assert "**" not in (folders / "out" / "results.md").read_text()
    same = [[folders / "mine"], [f"same={folders / 'mine'}"]]
    run(folders, baselines=[], predicted=same)
    assert "**" not in (folders / "out" / "results.md").read_text()
    run(folders, predicted=same)
    lines = (folders / "out" / "results.md").read_text().splitlines()
    first, second = (next(line for line in lines if line.startswith(f"| {name} |"))
                     for name in ("mine", "same"))  # fmt: skip
    assert "| **" in first and first == second.replace("same", "mine"), "equal ones are"


@pytest.mark.parametrize("out", ["mine", "mine/deep", "real", "."])
def test_no_row_is_written_among_the_clips_that_are_scored(folders: Path, out: str) -> None:
    before = sorted(folders.rglob("*"))
    with pytest.raises(UserError, match=r"^--out: .* lies in .*, whose clips are scored$"):
        run(folders, out=folders / out)
    assert sorted(folders.rglob("*")) == before


def test_clips_that_are_left_out_are_said(folders: Path) -> None:
    config = folders / "config.yaml"
    config.write_text(
        "protocols:\n  ten: {scores: frames, clips: 10}\n"
        "  long: {scores: distribution, frames: 20}\n"
    )
    run(folders, "ten", config=config)
    assert "ten: real, 10 clips of 12, spread evenly, 4" in (folders / "out/results.md").read_text()
    run(folders, "long", config=config)
    printed = (folders / "out" / "results.md").read_text()
    assert "\nResults. No row has a number under long.\n" in printed
    assert "takes clips of 20 frames, and these have 16" in printed
    assert "Nothing was scored" not in printed + (folders / "out/comparisons.md").read_text()


def offset(folder: Path, name: str, by: int) -> Path:
    """Predictions that are off by another noise."""
    (folder / name).mkdir(parents=True)
    for path in sorted((folder / "real").iterdir()):
        real, random = np.load(path), np.random.default_rng([by, len(name)])
        noise = random.integers(-by, by + 1, real.shape)
        np.save(folder / name / path.name, np.clip(real + noise, 0, 255).astype(np.uint8))
    return folder / name


def clip_psnr(folder: Path, name: str) -> np.ndarray:
    """The mean over future frames of each clip, by scikit-image."""
    pairs = [(np.load(path), np.load(folder / name / path.name))
             for path in sorted((folder / "real").iterdir())]  # fmt: skip
    return np.array([
        np.mean([peak_signal_noise_ratio(real[t], mine[t]) for t in range(CONTEXT, FRAMES)])
        for real, mine in pairs
    ])  # fmt: skip


def test_methods_are_compared_with_each_other(folders: Path) -> None:
    """Names are given, or whole: dots stay, and links are not followed."""
    offset(folders, "worse/v1.2", 20)
    (folders / "a.link").symlink_to("mine")
    words = [[folders / "a.link"], [folders / "worse" / "v1.2"], [f"same={folders / 'mine'}"]]
    table = run(folders, predicted=words)
    assert set(table["row"]) == {"a.link", "v1.2", "same", "real.copy-last"}
    compared = pd.read_csv(folders / "out" / "comparisons.csv")
    pairs = compared[compared["metric"] == "psnr"].set_index(["predictor", "other"])
    assert len(pairs) == 3 * 3
    line, first = pairs.loc[("a.link", "v1.2")], clip_psnr(folders, "mine")
    difference = first - clip_psnr(folders, "worse/v1.2")
    assert line["value"] == pytest.approx(difference.mean(), abs=1e-4)
    assert line["median"] == pytest.approx(np.median(difference), abs=1e-4)
    assert (line["verdict"], line["clips"]) == ("better of this training", CLIPS)
    assert pairs.loc[("a.link", "same")]["value"] == 0
    printed = (folders / "out" / "results.md").read_text()
    assert printed.startswith("# a.link, v1.2, same\n") and "| v1.2 | predictor |" in printed


def test_names_that_clash_are_refused(folders: Path) -> None:
    offset(folders, "x/mine", 5)
    for words, message in (
        ([[folders / "mine"], [folders / "x" / "mine"]], "two rows are called 'mine'; name them"),
        ([[f"={folders / 'mine'}"]], "its name is no folder's name"),
        ([[f"a/b={folders / 'mine'}"]], "its name is no folder's name"),
    ):
        with pytest.raises(UserError, match=message):
            run(folders, predicted=words)


def test_trajectories_are_sub_folders_or_listed(folders: Path) -> None:
    for number in (0, 1, 2):
        offset(folders, f"k/s{number}", 10 + number)
    parts = [folders / "k" / f"s{number}" for number in range(3)]
    inside = run(folders, predicted=[[f"k={folders / 'k'}"]])
    named = run(folders, predicted=[[f"k={','.join(map(str, parts))}"]])
    plain = run(folders, predicted=[[",".join(map(str, parts))]])
    pd.testing.assert_frame_equal(inside, named)
    plain["row"] = plain["row"].replace("s0", "k")
    pd.testing.assert_frame_equal(inside, plain)
    methods = run(folders, predicted=[parts])  # not trajectories of one
    assert set(methods["row"]) == {"s0", "s1", "s2", "real.copy-last"}
    assert value(inside, "k", "psnr") == pytest.approx(
        np.mean([clip_psnr(folders, f"k/s{number}").mean() for number in range(3)]), abs=1e-4
    )
    next(iter(parts[1].iterdir())).unlink()
    with pytest.raises(UserError, match=r"k/s1: lacks 1 of the 12 clips of .*k/s0"):
        run(folders, predicted=[[folders / "k"]])


def test_a_row_of_fewer_trajectories_says_so(folders: Path) -> None:
    for number in (0, 1, 2):
        offset(folders, f"k/s{number}", 10 + number)
    three, two = (f"{name}=" + ",".join(str(folders / "k" / f"s{i}") for i in range(count))
                  for name, count in (("three", 3), ("k.2", 2)))  # fmt: skip
    table = run(folders, predicted=[[three, two], [folders / "mine"]])
    best = table[(table["metric"] == "psnr") & (table["sampling"] == "best")]
    assert best.set_index("row")["note"].to_dict() == {"three": np.nan, "k.2": "of 2 trajectories"}
    assert (
        "PSNR, SSIM, MSE of k.2: of 2 trajectories." in (folders / "out" / "results.md").read_text()
    )


def test_a_clip_is_decoded_once(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in ("real", "mine"):
        for path in (folders / side).iterdir():
            write_video(path.with_suffix(".mp4"), np.load(path), 8.0, crf=0)
            path.unlink()
    decoded, full = Counter(), data_folders.full_frames

    def counted(source: Source, most: int | None = None) -> np.ndarray:
        decoded[source.path] += 1
        return full(source, most)

    monkeypatch.setattr(data_folders, "full_frames", counted)
    run(folders, "distribution", predicted=[[folders / "mine"], [f"copy={folders / 'real'}"]],
        baselines=["copy-last", "context-mean"])  # fmt: skip
    assert len(decoded) == 2 * CLIPS
    assert {decoded[path] for path in decoded if "/mine/" in path} == {1}
    assert {decoded[path] for path in decoded if "/real/" in path} == {2}  # once as a method's


def most_bytes(folder: Path, clips: int) -> int:
    """The most bytes of Python and NumPy that scoring so many small clips takes at once."""
    random = np.random.default_rng(0)
    for side in ("real", "mine/0", "mine/1"):
        (folder / side).mkdir(parents=True)
        for number in range(clips):
            frames = random.integers(0, 256, (16, 12, 12, 3), np.uint8)
            np.save(folder / side / f"v_g{number % 4}_c{number}.npy", frames)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    run(folder)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most - before


def test_memory_hardly_grows_with_clips(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its most, and what is held once all clips are scored: scores are written meanwhile.

    In a folder of a short name: those of files stay in memory.
    """
    monkeypatch.setattr(compare, "PART_BYTES", 2**15)
    held, finish = [], compare.PartWriter.finish

    def counted(writer: compare.PartWriter) -> object:
        held.append(tracemalloc.get_traced_memory()[0])
        return finish(writer)

    monkeypatch.setattr(compare.PartWriter, "finish", counted)
    most, last = {}, {}
    for clips in (8, 10, 50):  # the first call imports and caches
        held.clear()
        most[clips] = most_bytes(open_folder / str(clips), clips)
        last[clips] = held[0]
    # The scores of a clip have 11 kB, its frames 21 kB. What stays are names and means.
    found = (most[50] - most[10]) / 40
    assert found < 5000, f"{found:.0f} bytes"
    # Measured: 5.6 kB, and 15 kB where all scores are held.
    found = (last[50] - last[10]) / 40
    assert found < 8000, f"{found:.0f} bytes"


def test_a_set_against_itself_has_no_distance(folders: Path) -> None:
    table = run(folders, "distribution", predicted=[[folders / "real"]], context=0)
    assert value(table, "real", "motion_frechet") == pytest.approx(0, abs=1e-6)
    missing = table[(table["row"] == "real") & (table["metric"] == "fvd")].iloc[0]
    assert np.isnan(missing["value"]) and "weights.i3d is not set" in missing["note"]
    floor = table[(table["row"] == "real.floor") & (table["metric"] == "motion_frechet")].iloc[0]
    assert (floor["clips"], floor["groups"]) == (6, 2) and floor["value"] > 1e-3
    assert "6 clips, the others 12: not at equal N" in floor["note"]
    assert "one half of the real clips, against the other half, in place" in floor["protocol"]
    halves = load_file(folders / "out" / "real.floor" / "features.safetensors")
    assert not set(halves["groups_predicted"]) & set(halves["groups_real"])
    run(folders, "distribution", group_pattern="(v)")
    assert "No floor: " in (folders / "out" / "results.md").read_text()


def test_other_real_clips_are_the_floor(folders: Path) -> None:
    """Twenty clips against themselves are at 0, others are not, at each number of clips."""
    for side in ("real", "others"):
        (folders / side).mkdir(exist_ok=True)
        for number in range(CLIPS, 20):
            np.save(folders / side / f"v_g{number % 4:02d}_c{number:02d}.npy", moving(number))
    for number in range(CLIPS):
        np.save(folders / "others" / f"w_g{number % 5:02d}_c{number:02d}.npy", moving(50 + number))
    table = run(folders, "distribution", predicted=[[folders / "real"]], floor=folders / "others",
                baselines=[])  # fmt: skip
    assert "not at equal N" not in (folders / "out" / "results.md").read_text()
    line = table[(table["row"] == "real.floor") & (table["metric"] == "motion_frechet")].iloc[0]
    assert (line["kind"], line["clips"]) == ("floor", 20) and line["value"] > 1e-3
    curves = pd.read_csv(folders / "out" / "curves.csv")
    of_floor = curves[(curves["row"] == "real.floor") & (curves["metric"] == "motion_frechet")]
    assert of_floor["clips"].tolist() == [16, 20] and curves["seed_numbers"].isna().all()
    assert of_floor["value"].iloc[-1] == pytest.approx(line["value"])


def test_sets_without_pairs_have_distances_only(folders: Path) -> None:
    for number, path in enumerate(sorted((folders / "mine").iterdir())):
        path.rename(path.with_name(f"sample{number}.npy"))
    table = run(folders, "distribution", unpaired=True)
    assert set(table["row"]) == {"mine", "real.floor"}
    assert value(table, "mine", "motion_frechet") > 0
    with pytest.raises(UserError, match="compares clip with clip"):
        run(folders, "prediction", unpaired=True)


def test_own_protocols_and_detectors_count(folders: Path) -> None:
    """A detector of mean colours, whose Fréchet distance is known: predictions 8 brighter."""
    for path in (folders / "mine").iterdir():
        np.save(path, np.load(folders / "real" / path.name) + np.uint8(8))
    (folders / "colours.py").write_text(
        "class Detector:\n"
        "    minimum_frames = 1\n"
        "    def __init__(self, weights, device): pass\n"
        "    def features(self, frames): return frames.float().mean(dim=(1, 2, 3))\n"
        "    def protocol(self): return {'network': 'mean colour'}\n"
    )
    config = folders / "config.yaml"
    config.write_text(
        f"weights: {{detectors: {{colours: {{program: {folders / 'colours.py'}}}}}}}\n"
        "protocols:\n"
        "  mine: {scores: distribution, clips: 10, frames: 8, detector: colours}\n"
    )
    table = run(folders, "mine", config=config)
    line = table[(table["row"] == "mine") & (table["metric"] == "fvd")].iloc[0]
    assert line["value"] == pytest.approx(3 * 8.0**2, rel=1e-4)
    assert line["clips"] == 10 and "not of I3D" in line["note"]


def misfits(folder: Path) -> dict[str, tuple[dict, str]]:
    """Folders that are refused, and the words."""
    small, fewer, short = folder / "small", folder / "fewer", folder / "short"
    tiny = folder / "tiny"
    for side in (small, fewer, short, tiny):
        shutil.copytree(folder / "mine", side)
    for path in tiny.iterdir():
        np.save(path, np.load(path)[:, :10])
    for path in small.iterdir():
        np.save(path, np.load(path)[:, :16])
    next(iter(sorted(fewer.iterdir()))).unlink()
    np.save(short / "v_g03_c11.npy", moving(11)[:9])
    return {
        "size": ({"predicted": [[small]]}, "16 frames of 32×16 pixels, and 16 frames of 32×32"),
        "tiny": (
            {"real": tiny, "predicted": [[tiny]]},
            "tiny: clips of 16 frames of 32×10 pixels; 11 pixels per side or more are needed",
        ),
        "name": (
            {"predicted": [[fewer]]},
            "lacks 1 of the 12 clips of .*, the first is 'v_g00_c00'",
        ),
        "length": ({"predicted": [[short]]}, "v_g03_c11 is 9 frames .* all clips have one size"),
        "count": (
            {"predicted": [[fewer]], "unpaired": True, "protocol": "distribution"},
            "12 clips, and 11 are needed: .*fewer has as many",
        ),
        "too few": ({"protocol": "fvd256_16f"}, "12 clips, and 256 are needed: the protocol"),
        "protocol": ({"protocol": "fvd"}, "--protocol: no 'fvd'; allowed: prediction, "),
        "pattern": ({"group_pattern": "_g"}, "--group-pattern: '_g': no pattern with a group"),
        "brackets": ({"group_pattern": "_g("}, "--group-pattern: '_g\\(': no pattern with"),
        "context": ({"context": 16}, "--context: 16 is not possible; allowed: 0 to 15"),
        "folder": ({"predicted": [[folder / "none"]]}, "no such folder"),
        "floor": ({"floor": folder / "real"}, "--floor: the protocol prediction compares clip"),
        "no context": ({"autoencoder": folder, "context": 0}, "--autoencoder: it takes paired"),
        "no autoencoder": ({"autoencoder": folder}, "index.json"),
        "output": ({"out": folder / "mine" / "out"}, "--out: .* whose clips are scored"),
        "config": ({"config": folder / "none.yaml"}, "No such file"),
    }


def test_what_does_not_fit_is_one_line(folders: Path) -> None:
    for changed, message in misfits(folders).values():
        with pytest.raises(UserError, match=message) as caught:
            run(folders, **changed)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"weights\.i3d: no file"):
        (folders / "c.yaml").write_text("weights: {i3d: nowhere.safetensors}")
        run(folders, config=folders / "c.yaml")


class Page(HTMLParser):
    """The videos of a page, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.videos, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag == "video":
            self.videos.append(dict(attributes))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_plays_clips_of_each_method(folders: Path) -> None:
    """The report's, without what is known of the pipeline's rows alone."""
    for number in (0, 1):
        offset(folders, f"k/s{number}", 10 + number)
    words = [[folders / "mine"], [f"two={folders / 'k'}"]]
    table, page = run(folders, predicted=words, examples=3), Page(folders / "out" / "report.html")
    assert len(page.videos) == 2 * 3
    labels = [video["aria-label"].split("Panels: ")[1] for video in page.videos]
    assert labels[0].split(", ")[:4] == ["observed", "truth", "copy-last", "sample"]
    assert "sample 1, sample 2" in labels[-1]
    with av.open(BytesIO(b64decode(page.videos[0]["src"].partition(",")[2]))) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    best = clip_psnr(folders, "mine").argmax()
    assert f"best example, v_g{best % 4:02d}_c{best:02d}" in page.videos[0]["aria-label"]
    assert f"{value(table, 'mine', 'psnr'):.2f}" in page.text
    for word in ("None", "whole", "config", "trained", "Scene", "seed 0", "ceiling is"):
        assert word not in page.text.partition("How to read this")[0], word
    assert "first seed" not in page.text
    run(folders, "distribution", unpaired=True, examples=3)
    assert not Page(folders / "out" / "report.html").videos


def test_the_command_exits_with_one_line(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    flags = ["--real", "real", "--predicted", "none", "--protocol", "prediction", "--out", "out"]
    code, terminal = run_here(compare, *flags)
    assert code == 2
    assert terminal.splitlines() == [
        "rsvp compare: none: no such folder, and no npy or safetensors file"
    ]
