"""The report's numbers against numbers computed by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from rsvp.errors import UserError
from rsvp.files import read_json, write_json
from rsvp.reporting.measures import FVD, LPIPS, MOTION, MSE, OBJECT_PSNR, PSNR
from rsvp.reporting.rows import Row, read_rows
from rsvp.reporting.tables import (
    Tables,
    comparisons_table,
    horizon_table,
    make_tables,
    results_markdown,
    results_table,
)

RESAMPLES = 500


def evaluation(
    folder: Path, row: str, kind: str, psnr: dict[tuple[str, str, int], list[float]],
    seed: int = 0, dataset: str = "d", **columns: float,
) -> Path:  # fmt: skip
    """An evaluation whose PSNR is given by (clip, group, trajectory) and frame."""
    home = folder / "evaluation" / row / f"seed{seed}"
    home.mkdir(parents=True)
    lines = [
        {"clip": clip, "group": group, "trajectory": trajectory, "frame": frame, "psnr": value,
         "ssim": value / 100, "mse": 100 - value, "lpips": np.nan, "object_psnr": value - 1}
        | columns
        for (clip, group, trajectory), values in psnr.items()
        for frame, value in enumerate(values, start=1)
    ]  # fmt: skip
    pd.DataFrame(lines).to_parquet(home / "scores.parquet")
    trajectories = 1 + max(trajectory for _, _, trajectory in psnr)
    write_json(home / "index.json", {
        "row": row, "kind": kind, "seed": seed, "dataset": dataset, "paired": True,
        "trajectories": trajectories, "clips": 2, "groups": 2, "context_frames": 4,
        "future_frames": 2, "resolution": 64, "protocol": {"name": "prediction"},
        "lpips": {"computed": False, "reason": "weights.lpips_backbone is not set"},
        "detector": {"computed": False, "reason": "weights.i3d is not set"},
    })  # fmt: skip
    return home / "index.json"


SAMPLED = {
    ("a", "g1", -1): [30, 26], ("a", "g1", 0): [28, 24], ("a", "g1", 1): [24, 20],
    ("b", "g2", -1): [22, 20], ("b", "g2", 0): [20, 16], ("b", "g2", 1): [21, 19],
}  # fmt: skip
STILL = {("a", "g1", 0): [20.0, 18.0], ("b", "g2", 0): [19.0, 17.0]}
WORSE = {("a", "g1", 0): [10.0, 10.0], ("b", "g2", 0): [12.0, 12.0]}


@pytest.fixture
def tables(tmp_path) -> Tables:
    paths = [
        evaluation(tmp_path, "d.worse", "baseline", WORSE),
        evaluation(tmp_path, "d.still", "baseline", STILL),
        evaluation(tmp_path, "p", "predictor", SAMPLED),
    ]
    return make_tables(read_rows(paths, ["p"]), RESAMPLES)


def row(tables: Tables, name: str) -> Row:
    return next(row for row in tables.rows if row.name == name)


def test_single_mean_and_best_follow_their_definitions(tables):
    predictor = row(tables, "p")
    single = tables.estimate(predictor, PSNR, "single")
    assert single.value == pytest.approx((24 + 19) / 2)  # clip a: (26 + 22) / 2; b: (18 + 20) / 2
    assert (single.clips, single.groups, single.seeds) == (2, 2, 1)
    assert single.low <= 19.01 and single.high >= 23.99  # two groups: an interval over both
    assert tables.estimate(predictor, PSNR, "mean").value == pytest.approx((28 + 21) / 2)
    assert tables.estimate(predictor, PSNR, "best").value == pytest.approx((26 + 20) / 2)
    assert tables.estimate(predictor, MSE, "best").value == pytest.approx(100 - (26 + 20) / 2)


def test_rows_stand_predictors_first_and_in_the_named_order(tmp_path):
    paths = [
        evaluation(tmp_path, name, kind, STILL)
        for name, kind in [("a", "predictor"), ("z", "predictor"), ("d.b", "baseline")]
    ]
    assert [row.name for row in read_rows(paths, ["z", "a"])] == ["z", "a", "d.b"]


def test_one_future_has_no_mean_and_no_best(tables):
    assert not tables.estimate(row(tables, "d.still"), PSNR, "best").known


def test_frames_without_an_object_are_left_out(tmp_path):
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    scores = pd.read_parquet(path.with_name("scores.parquet"))
    scores.loc[(scores["clip"] == "a") & (scores["frame"] == 2), "object_psnr"] = np.nan
    scores.loc[scores["clip"] == "b", "object_psnr"] = np.nan
    scores.to_parquet(path.with_name("scores.parquet"))
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES)
    estimate = tables.estimate(tables.rows[0], OBJECT_PSNR)
    assert estimate.value == pytest.approx((27 + 23) / 2)
    assert (estimate.clips, estimate.groups) == (1, 1)
    assert not estimate.has_interval and estimate.note == "one group: no interval"


def test_horizon_is_the_mean_over_clips_and_trajectories_of_each_frame(tables):
    curve = [item.value for item in tables.horizon["p", "psnr", "single"]]
    assert curve == pytest.approx([(26 + 20.5) / 2, (22 + 17.5) / 2])
    table = horizon_table(tables)
    line = table[(table["row"] == "p") & (table["sampling"] == "single") & (table["frame"] == 2)]
    assert line.set_index("metric")["value"]["psnr"] == pytest.approx((22 + 17.5) / 2)


def test_comparisons_are_paired_and_mark_the_best_baseline(tables):
    table = comparisons_table(tables).set_index(["other", "metric"])
    still = table.loc[("d.still", "psnr")]
    assert still["value"] == pytest.approx(((24 - 19) + (19 - 18)) / 2)
    assert (still["low"], still["high"]) == (pytest.approx(1), pytest.approx(5))
    assert still["verdict"] == "better" and still["best_baseline"]
    assert not table.loc[("d.worse", "psnr"), "best_baseline"]
    assert table.loc[("d.still", "mse"), "verdict"] == "better", "a smaller error is better"
    assert table.loc[("d.still", "lpips"), "verdict"] == "not computed"


def test_an_interval_that_holds_zero_finds_no_difference(tmp_path):
    other = {("a", "g1", 0): [26.0, 24.0], ("b", "g2", 0): [17.0, 17.0]}
    paths = [
        evaluation(tmp_path, "p", "predictor", SAMPLED),
        evaluation(tmp_path, "d.other", "baseline", other),
    ]
    table = comparisons_table(make_tables(read_rows(paths, ["p"]), RESAMPLES))
    assert set(table[table["metric"] == "psnr"]["verdict"]) == {"no difference found"}


def test_ceiling_and_floor_are_not_opponents(tmp_path):
    paths = [
        evaluation(tmp_path, "p", "predictor", SAMPLED),
        evaluation(tmp_path, "x.reconstruction", "ceiling", STILL),
    ]
    assert comparisons_table(make_tables(read_rows(paths, ["p"]), RESAMPLES)).empty


def test_seeds_give_a_mean_and_a_deviation(tmp_path):
    higher = {key: [value + 2 for value in values] for key, values in SAMPLED.items()}
    paths = [
        evaluation(tmp_path, "p", "predictor", SAMPLED, seed=0),
        evaluation(tmp_path, "p", "predictor", higher, seed=1),
    ]
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES)
    estimate = tables.estimate(tables.rows[0], PSNR)
    assert estimate.value == pytest.approx(22.5) and estimate.seeds == 2
    assert estimate.seed_std == pytest.approx(np.sqrt(2))
    assert estimate.clips == 2, "two seeds of one clip are one clip"


def test_what_is_missing_says_why(tables):
    table = results_table(tables)
    line = table[(table["row"] == "p") & (table["metric"] == "lpips")].iloc[0]
    assert np.isnan(line["value"])
    assert line["note"] == "not computed: weights.lpips_backbone is not set"
    assert tables.reason(FVD) == "not computed: weights.i3d is not set"
    text = results_markdown(tables, "t")
    assert "- LPIPS: weights.lpips\\_backbone is not set" in text
    assert f"| {LPIPS.label}" not in text


def test_every_number_carries_what_it_depends_on(tables):
    for table in (results_table(tables), horizon_table(tables), comparisons_table(tables)):
        known = table[table["value"].notna()]
        assert len(known)
        assert {"protocol", "clips", "groups", "seeds", "low", "high", "note"} <= set(table)
        assert (known["clips"] > 0).all() and (known["groups"] > 0).all()
        assert known["protocol"].str.contains("4 observed").all()


def test_distances_come_from_the_features_and_small_fvd_is_labelled(tmp_path):
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    real = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    features = {"motion_predicted": real, "motion_real": real, "i3d_real": real}
    save_file(features | {"i3d_predicted": real + 3}, path.with_name("features.safetensors"))
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES)
    assert tables.estimate(tables.rows[0], MOTION).value == pytest.approx(0)
    fvd = tables.estimate(tables.rows[0], FVD)
    assert fvd.value == pytest.approx(2 * 3.0**2)  # the same shape, moved by 3 in two dimensions
    assert fvd.note.startswith("2 clips, below 256: not comparable with published values")
    assert not fvd.has_interval and fvd.note.endswith("no interval")


def test_rows_on_other_clips_or_datasets_are_refused(tmp_path):
    one = evaluation(tmp_path, "p", "predictor", SAMPLED)
    other = evaluation(tmp_path, "d.b", "baseline", {("c", "g", 0): [1.0, 1.0]})
    with pytest.raises(UserError, match="other clips"):
        read_rows([one, other], ["p"])
    other = evaluation(tmp_path, "e.b", "baseline", STILL, dataset="e")
    with pytest.raises(UserError, match=r"several datasets \(d, e\)"):
        read_rows([one, other], ["p"])


def test_a_missing_score_table_names_the_file(tmp_path):
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    path.with_name("scores.parquet").unlink()
    with pytest.raises(UserError, match=r"scores\.parquet: no such file"):
        read_rows([path], ["p"])


def test_the_floor_s_interval_is_labelled_where_its_clips_are_related(tmp_path):
    path = evaluation(tmp_path, "d.real", "floor", STILL)
    real = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    save_file({"motion_predicted": real + 1, "motion_real": real},
              path.with_name("features.safetensors"))  # fmt: skip
    index = read_json(path) | {"paired": False, "groups": 2}
    write_json(path, index)
    tables = make_tables(read_rows([path], []), RESAMPLES)
    estimate = tables.estimate(tables.rows[0], MOTION)
    assert estimate.has_interval and estimate.groups == 2
    assert "6 clips of 2 groups" in estimate.note and "too narrow" in estimate.note
