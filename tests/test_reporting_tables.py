"""The report's numbers against numbers computed by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scipy import stats

from rsvp.config.schema import PROTOCOLS, Protocol
from rsvp.metrics import definitions
from rsvp.metrics.scoring import ENSEMBLE_SCORES
from rsvp.report.measures import (
    CRPS,
    FVD,
    FVD_CONTEXT,
    KVD,
    LPIPS,
    MOTION,
    MSE,
    OBJECT_PSNR,
    PRECISION,
    PSNR,
    SPREAD_SKILL,
)
from rsvp.report.page import explained_samplings
from rsvp.report.printing import latex, markdown
from rsvp.report.results import absent, comparisons, curves, headline, horizon, notes, results
from rsvp.report.rows import ResultRow, read_rows
from rsvp.report.tables import Quantity, Tables
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json, write_json

RESAMPLES = 500
CHOSEN = {name: PROTOCOLS[name] for name in ("prediction", "distribution")}


def evaluation(
    folder: Path, row: str, kind: str, psnr: dict[tuple[str, str, int], list[float]],
    seed: int = 0, dataset: str = "d", **columns: float,
) -> Path:  # fmt: skip
    """An evaluation whose PSNR is given by (clip, group, trajectory) and frame."""
    home = folder / "evaluation" / row / f"seed{seed}"
    home.mkdir(parents=True)
    lines = [
        {"clip": clip, "group": group, "trajectory": trajectory, "frame": frame, "psnr": value,
         "ssim": value / 100, "mse": 100 - value, "lpips": np.nan, "object_psnr": value - 1,
         "truth_motion": 1.0}
        | dict.fromkeys((*ENSEMBLE_SCORES, *definitions.COLUMNS), np.nan)
        | columns
        for (clip, group, trajectory), values in psnr.items()
        for frame, value in enumerate(values, start=1)
    ]  # fmt: skip
    table = pd.DataFrame(lines).sort_values("clip", kind="stable")  # a clip after the other
    table.to_parquet(home / "scores.parquet")
    trajectories = 1 + max(trajectory for _, _, trajectory in psnr)
    write_json(home / "index.json", {
        "row": row, "kind": kind, "seed": seed, "dataset": dataset, "paired": True,
        "trajectories": trajectories, "clips": 2, "groups": 2, "context_frames": 4,
        "future_frames": 2, "resolution": 64, "protocol": {"name": "prediction"},
        "lpips": {"computed": False, "reason": "weights.lpips_backbone is not set"},
        "detectors": {"i3d": {"computed": False, "reason": "weights.i3d is not set"}},
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
    return make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN)


def make_tables(rows: list[ResultRow], resamples: int, protocols, resize: str = "") -> Tables:
    return Tables(rows, protocols, resamples, resize)


def heads(table) -> list[str]:
    return [column.head for column in table.columns]


def row(tables: Tables, name: str) -> ResultRow:
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


def test_one_trajectory_has_no_mean_and_no_best(tables):
    assert not tables.estimate(row(tables, "d.still"), PSNR, "best").known


def test_frames_without_an_object_are_left_out(tmp_path):
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    scores = pd.read_parquet(path.with_name("scores.parquet"))
    scores.loc[(scores["clip"] == "a") & (scores["frame"] == 2), "object_psnr"] = np.nan
    scores.loc[scores["clip"] == "b", "object_psnr"] = np.nan
    scores.to_parquet(path.with_name("scores.parquet"))
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    estimate = tables.estimate(tables.rows[0], OBJECT_PSNR)
    assert estimate.value == pytest.approx((27 + 23) / 2)
    assert (estimate.clips, estimate.groups) == (1, 1)
    assert not estimate.has_interval and estimate.note == "one group: no interval can be given"


def test_horizon_is_the_mean_over_clips_and_trajectories_of_each_frame(tables):
    curve = [
        item.value
        for item in tables.horizon[row(tables, "p"), Quantity(PSNR, "single", "prediction")]
    ]
    assert curve == pytest.approx([(26 + 20.5) / 2, (22 + 17.5) / 2])
    table = horizon(tables).frame
    line = table[(table["row"] == "p") & (table["sampling"] == "single") & (table["frame"] == 2)]
    assert line.set_index("metric")["value"]["psnr"] == pytest.approx((22 + 17.5) / 2)


def test_horizon_and_curves_are_computed_only_where_they_are_printed(tables):
    """Tables of other contexts print neither."""
    assert results(tables).tables and comparisons(tables).tables
    assert not {"horizon", "curves"} & vars(tables).keys()
    assert horizon(tables).tables and "horizon" in vars(tables)


def test_the_printed_horizon_is_thin_and_has_a_table_for_each_measure(tmp_path):
    path = evaluation(
        tmp_path, "p", "predictor",
        {key: [*values, *range(10)] for key, values in SAMPLED.items()}, crps=2.5,
    )  # fmt: skip
    write_json(path, read_json(path) | {"future_frames": 12})
    only_frames = {"prediction": PROTOCOLS["prediction"]}
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, only_frames)
    grids = {grid.name: grid for grid in horizon(tables).tables}
    assert {"horizon-psnr", "horizon-crps"} <= set(grids)
    grid = grids["horizon-psnr"]
    assert heads(grid) == ["row", *(f"frame {frame}" for frame in (1, 3, 5, 8, 10, 12))]
    curve = tables.horizon[row(tables, "p"), Quantity(PSNR, "single", "prediction")]
    assert grid.lines[0][2].text == PSNR.text(curve[2].value)
    only_sets = {"distribution": PROTOCOLS["distribution"]}
    assert horizon(Tables(tables.rows, only_sets, RESAMPLES)).tables == []


def test_the_printed_horizon_marks_the_best_predictor_or_baseline_of_each_frame(tmp_path):
    better = {("a", "g1", 0): [1.0, 90.0], ("b", "g2", 0): [1.0, 90.0]}
    paths = [
        evaluation(tmp_path, "p", "predictor", SAMPLED),
        evaluation(tmp_path, "d.late", "baseline", better),
        evaluation(tmp_path, "x.reconstruction", "ceiling", {k: [95.0, 95.0] for k in STILL}),
    ]
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN)
    grids = {grid.name: grid for grid in horizon(tables).tables}
    best = {name: [[cell.best for cell in line[1:]] for line in grid.lines]
            for name, grid in grids.items()}  # fmt: skip
    assert best["horizon-psnr"] == [[True, False], [False, True], [False, False]]
    assert best["horizon-mse"] == best["horizon-psnr"], "a smaller error is better"


def test_comparisons_are_paired_and_mark_the_best_baseline(tables):
    table = comparisons(tables).frame.set_index(["other", "metric", "sampling"])
    still = table.loc[("d.still", "psnr", "single")]
    assert still["value"] == pytest.approx(((24 - 19) + (19 - 18)) / 2)
    assert (still["low"], still["high"]) == (pytest.approx(1), pytest.approx(5))
    assert still["verdict"] == "better of this training" and still["best_baseline"]
    assert (still["clips_better"], still["median"]) == (2, pytest.approx(3))
    assert not table.loc[("d.worse", "psnr", "single"), "best_baseline"]
    assert table.loc[("d.still", "mse", "single"), "verdict"] == "better of this training"
    assert table.loc[("d.still", "lpips", "single"), "verdict"] == "not computed"
    # The mean of both trajectories against the one of the baseline.
    mean = table.loc[("d.still", "psnr", "mean")]
    assert mean["value"] == pytest.approx(6) and mean["best_baseline"]


def test_an_interval_that_holds_zero_finds_no_difference(tmp_path):
    other = {("a", "g1", 0): [26.0, 24.0], ("b", "g2", 0): [17.0, 17.0]}
    paths = [
        evaluation(tmp_path, "p", "predictor", SAMPLED),
        evaluation(tmp_path, "d.other", "baseline", other),
    ]
    table = comparisons(make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN)).frame
    single = table[(table["metric"] == "psnr") & (table["sampling"] == "single")]
    assert set(single["verdict"]) == {"no difference found"}


def test_every_predictor_meets_every_other_row_but_the_floor(tmp_path):
    paths = [
        evaluation(tmp_path, "p", "predictor", SAMPLED),
        evaluation(tmp_path, "q", "predictor", STILL),
        evaluation(tmp_path, "d.still", "baseline", STILL),
        evaluation(tmp_path, "x.reconstruction", "ceiling", WORSE),
        floor(tmp_path, [0, 0, 1, 1, 1], [5, 5, 6, 7, 7]),
    ]
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN)
    table = comparisons(tables).frame
    opponents = table[table["metric"] == "psnr"].groupby("predictor")["other"].apply(set)
    assert opponents["p"] == {"q", "d.still", "x.reconstruction"}
    assert opponents["q"] == {"p", "d.still", "x.reconstruction"}


def test_seeds_give_a_mean_and_a_deviation(tmp_path):
    higher = {key: [value + 2 for value in values] for key, values in SAMPLED.items()}
    paths = [
        evaluation(tmp_path, "p", "predictor", SAMPLED, seed=0),
        evaluation(tmp_path, "p", "predictor", higher, seed=1),
    ]
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN)
    estimate = tables.estimate(tables.rows[0], PSNR)
    assert estimate.value == pytest.approx(22.5) and estimate.seeds == 2
    assert estimate.seed_std == pytest.approx(np.sqrt(2))
    assert estimate.clips == 2, "two seeds of one clip are one clip"


def of_seeds(folder: Path, shifts: list[float], row: str = "p") -> list[Path]:
    """Evaluations of one predictor, whose PSNR is moved by so much under each seed."""
    return [
        evaluation(folder, row, "predictor", seed=seed, psnr={
            key: [value + shift for value in values] for key, values in SAMPLED.items()
        })
        for seed, shift in enumerate(shifts)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shifts", "verdict"),
    [
        ([0.0], "better of this training"),
        ([0.0, 2.0], "better of these 2 trainings"),
        ([0.0, 0.1, -0.1], "better"),
        ([-3.0, 0.0, 3.0], "no difference found"),
    ],
)
def test_better_holds_of_the_method_from_three_seeds_on(tmp_path, shifts, verdict):
    paths = [evaluation(tmp_path, "d.still", "baseline", STILL), *of_seeds(tmp_path, shifts)]
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN)
    line = comparisons(tables).frame.query("metric == 'psnr' and sampling == 'single'").iloc[0]
    assert line["verdict"] == verdict and line["value"] == pytest.approx(3 + np.mean(shifts))
    method = len(shifts) >= 3
    assert line["interval_of"] == ("the method" if method else "these weights")
    # Over clips alone it reaches 2 to both sides: the two groups differ by 1 and 5.
    trainings = stats.t.interval(0.95, 2, 0, stats.sem(shifts))[1] if method else 0.0
    assert line["high"] - line["value"] == pytest.approx(np.hypot(2, trainings))
    found = results(tables).frame.query("metric == 'psnr' and sampling == 'single'")
    assert found.set_index("row")["interval_of"].to_dict() == {
        "p": line["interval_of"], "d.still": "the method"
    }  # fmt: skip
    held = "of the method, whose clips and trainings (≥ 3 seeds)" if method else "of these weights"
    assert f"Brackets: 95 % intervals {held}" in comparisons(tables).tables[0].caption


def test_trainings_of_one_seed_are_a_pair(tmp_path):
    """Two rows whose seeds move them alike, as those that share an autoencoder."""
    shifts = [-3.0, 0.0, 3.0]
    paths = of_seeds(tmp_path, shifts) + of_seeds(tmp_path, [s - 1 for s in shifts], "q")
    tables = make_tables(read_rows(paths, ["p", "q"]), RESAMPLES, CHOSEN)
    difference = tables.difference(*tables.rows, tables.quantity(PSNR))
    assert difference.value == pytest.approx(1) and difference.seed_std == pytest.approx(0)


def test_what_stays_after_holms_correction_is_marked(tmp_path):
    random = np.random.default_rng(0)
    clips = [(f"c{i}", f"g{i}", 0) for i in range(12)]
    base = 20 + random.normal(size=12)

    def shifted(shift: float) -> dict:
        noise = random.normal(size=12)
        return {clip: [value + shift + draw] * 2
                for clip, value, draw in zip(clips, base, noise, strict=True)}  # fmt: skip

    paths = [evaluation(tmp_path, "p", "predictor", shifted(0))]
    paths += [
        evaluation(tmp_path, f"d.{name}", "baseline", shifted(-shift))
        for name, shift in {"far": 9, "near": 1.75, "same": 0}.items()
    ]
    protocols = {"prediction": PROTOCOLS["prediction"]}
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, protocols)
    table, (printed,) = comparisons(tables).frame, comparisons(tables).tables
    known = table[table["p_holm"].notna()]
    assert len(known) == 6 and known["p_holm"].min() == pytest.approx(6 * known["p"].min())
    stay, decided = (known["p_holm"] < 0.05).sum(), known["verdict"].str.startswith("better").sum()
    assert 0 < stay < decided, "one is found, and does not stay"
    marks = [bool(cell.mark) for line in printed.lines for cell in line[1:]]
    assert sum(marks) == stay
    assert printed.notes == [
        f"Of these 6 comparisons, chance alone would make 0.15 look better, and as many worse, if "
        f"no methods differed. {decided} look better or worse; {stay} of them, marked †, stay "
        f"after Holm's correction for all 6."
    ]


def test_what_is_missing_says_why(tables):
    table = results(tables).frame
    line = table[(table["row"] == "p") & (table["metric"] == "lpips")].iloc[0]
    assert np.isnan(line["value"])
    assert line["note"] == "not computed: weights.lpips_backbone is not set"
    assert ("FVD, FVD with context, KVD", "weights.i3d is not set") in absent(tables)
    text = markdown(results(tables).tables, "t")
    assert "- Not computed: LPIPS, LPIPS diversity: weights.lpips\\_backbone is not set" in text
    assert f"| {LPIPS.label}" not in text


def test_every_number_carries_what_it_depends_on(tables):
    for table in (results(tables).frame, horizon(tables).frame, comparisons(tables).frame):
        known = table[table["value"].notna()]
        assert len(known)
        assert {"protocol", "clips", "groups", "seeds", "low", "high", "note"} <= set(table)
        assert (known["clips"] > 0).all() and (known["groups"] > 0).all()
        assert known["protocol"].str.contains("4 observed").all()


def with_features(path: Path, groups: list[int], **features: np.ndarray) -> Path:
    """Features beside an evaluation of clips that are long enough to have them."""
    codes = {f"groups_{side}": np.array(groups) for side in ("predicted", "real")}
    save_file(codes | features, path.with_name("features.safetensors"))
    index = read_json(path) | {"future_frames": 12, "clips": len(groups)}
    computed = "i3d_real" in features
    i3d = {"computed": computed, "reason": "none", "minimum_frames": 9}
    write_json(path, index | {"detectors": {"i3d": i3d}})
    return path


def floor(folder: Path, groups: list[int], real_groups: list[int]) -> Path:
    """A floor whose motion features lie one away from the real ones."""
    path = evaluation(folder, "d.real", "floor", STILL)
    real = np.random.default_rng(0).normal(size=(len(groups), 3))
    with_features(path, groups, motion_predicted=real + 1, motion_real=real,
                  groups_real=np.array(real_groups))  # fmt: skip
    write_json(path, read_json(path) | {"paired": False})
    return path


def test_distances_come_from_the_features_and_small_fvd_is_labelled(tmp_path):
    real = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    with_features(path, [0, 1], motion_predicted=real, motion_real=real, i3d_predicted=real + 3,
                  i3d_real=real, i3d_context_predicted=real, i3d_context_real=real)  # fmt: skip
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    assert tables.estimate(tables.rows[0], MOTION).value == pytest.approx(0)
    fvd = tables.estimate(tables.rows[0], FVD)
    assert fvd.value == pytest.approx(2 * 3.0**2)  # the same shape, moved by 3 in two dimensions
    assert fvd.note.startswith("2 clips, below 256: not comparable with published values")
    assert not fvd.has_interval and fvd.note.endswith("no interval can be given")
    assert tables.estimate(tables.rows[0], FVD_CONTEXT).value == pytest.approx(0)


def test_an_own_detector_is_named_with_its_numbers(tmp_path):
    real = np.random.default_rng(0).normal(size=(20, 3))
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    with_features(path, list(range(20)), colours_predicted=real + 1, colours_real=real,
                  motion_predicted=real, motion_real=real)  # fmt: skip
    own = {"computed": True, "reason": "", "minimum_frames": 4}
    write_json(path, read_json(path) | {"detectors": {"colours": own}})
    protocol = Protocol(scores="distribution", clips=20, columns=["predicted"], detector="colours")
    rows = read_rows([path], ["p"])
    fvd = make_tables(rows, RESAMPLES, {"mine": protocol}).estimate(rows[0], FVD, protocol="mine")
    assert fvd.value == pytest.approx(3 * 1.0**2)
    assert fvd.note.startswith("on the features of colours, not of I3D")
    unknown = Protocol(scores="distribution", detector="other")
    fvd = make_tables(rows, RESAMPLES, {"mine": unknown}).estimate(rows[0], FVD, protocol="mine")
    assert fvd.note == "not computed: no weights of other"


def test_a_strict_protocol_refuses_and_the_labelled_one_stands(tmp_path):
    real = np.random.default_rng(0).normal(size=(20, 3))
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    with_features(path, list(range(20)), i3d_predicted=real + 1, i3d_real=real,
                  i3d_context_predicted=real, i3d_context_real=real, motion_predicted=real,
                  motion_real=real)  # fmt: skip
    rows = read_rows([path], ["p"])
    strict = Protocol(scores="distribution", clips=10, frames=16)
    longer = Protocol(scores="distribution", frames=32)
    tables = make_tables(rows, RESAMPLES, CHOSEN | {"ten": strict, "longer": longer})
    refused = tables.estimate(rows[0], FVD, protocol="longer")
    assert refused.note == (
        "not computed: the protocol takes clips of 32 frames, and these have 16"
    )
    assert tables.protocol_of(FVD) == "ten" and tables.estimate(rows[0], FVD).clips == 10
    tables = make_tables(rows, RESAMPLES, CHOSEN | {"fvd256_16f": PROTOCOLS["fvd256_16f"]})
    refused = tables.estimate(rows[0], FVD, protocol="fvd256_16f")
    assert refused.note == "not computed: the protocol takes 256 clips, and 20 are predicted"
    assert tables.protocol_of(FVD) == "distribution" and tables.estimate(rows[0], FVD).clips == 20
    table = results(tables).frame.query("metric == 'fvd'")
    assert table["protocol"].str.partition(":")[0].tolist() == ["distribution", "fvd256_16f"]


def test_fewer_than_nine_future_frames_have_fvd_with_context_only(tmp_path):
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    real = np.random.default_rng(0).normal(size=(8, 3))
    with_features(path, list(range(8)), motion_predicted=real, motion_real=real,
                  i3d_context_predicted=real + 1, i3d_context_real=real, i3d_real=real)  # fmt: skip
    write_json(path, read_json(path) | {"future_frames": 8})
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    assert tables.estimate(tables.rows[0], FVD).note == (
        "not computed: I3D needs 9 frames, and there are 8 future frames"
    )
    assert tables.estimate(tables.rows[0], FVD_CONTEXT).value == pytest.approx(3)


def test_distances_are_compared_on_the_same_clips(tmp_path):
    random = np.random.default_rng(0)
    real = random.normal(size=(24, 3))
    shared = 0.5 * random.normal(size=real.shape)  # what both rows get wrong in the same way
    paths = [
        with_features(evaluation(tmp_path, name, "predictor", SAMPLED), list(range(24)),
                      motion_real=real, motion_predicted=real + shared + shift)
        for name, shift in {"p": 0.2, "q": 0.3}.items()
    ]  # fmt: skip
    rows = read_rows(paths, ["p", "q"])
    tables = make_tables(rows, RESAMPLES, {"distribution": PROTOCOLS["distribution"]})
    mine, theirs = (tables.estimate(row, MOTION) for row in rows)
    table = comparisons(tables).frame.query("metric == 'motion_frechet' and predictor == 'p'")
    line = table.iloc[0]
    assert line["value"] == pytest.approx(mine.value - theirs.value)
    assert line["verdict"] == "better of this training"
    assert mine.high > theirs.low, "the two intervals overlap; the paired one excludes 0"


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


def test_the_floor_has_its_own_groups_and_one_group_has_no_interval(tmp_path):
    groups, others = [0, 0, 1, 1, 2, 2, 3, 3], [5, 5, 6, 6, 7, 7, 8, 8]
    by_clip = make_tables(read_rows([floor(tmp_path / "a", list(range(8)), list(range(8)))], []),
                          RESAMPLES, CHOSEN)  # fmt: skip
    by_group = make_tables(read_rows([floor(tmp_path / "b", groups, others)], []),
                           RESAMPLES, CHOSEN)  # fmt: skip
    one, four = (tables.estimate(tables.rows[0], MOTION) for tables in (by_clip, by_group))
    assert one.value == four.value and (one.groups, four.groups) == (8, 4)
    assert four.has_interval and one.high != four.high
    alone = make_tables(read_rows([floor(tmp_path / "c", [1] * 8, others)], []),
                        RESAMPLES, CHOSEN)  # fmt: skip
    estimate = alone.estimate(alone.rows[0], MOTION)
    assert estimate.known and estimate.note == "one group: no interval can be given"


def test_a_floor_of_fewer_clips_is_labelled(tmp_path):
    real = np.random.default_rng(0).normal(size=(24, 3))
    path = with_features(evaluation(tmp_path, "p", "predictor", SAMPLED), list(range(24)),
                         motion_predicted=real + 1, motion_real=real)  # fmt: skip
    paths = [path, floor(tmp_path, list(range(8)), list(range(8)))]
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN)
    few = tables.estimate(row(tables, "d.real"), MOTION)
    assert few.clips == 8 and few.note == "8 clips, the others 24: not at equal N"
    assert not tables.estimate(row(tables, "p"), MOTION).note
    printed = notes(tables, headline(tables))
    assert "Motion distance: 8 clips, the others 24: not at equal N." in printed
    table = results(tables).frame.query("metric == 'motion_frechet'").set_index("row")
    training = table["protocol"].str.endswith("training clips in place of predictions")
    assert training.to_dict() == {"p": False, "d.real": True}
    # A protocol of more clips than there are has a floor all the same, which stands for nothing.
    strict = make_tables(
        read_rows(paths, ["p"]), RESAMPLES, CHOSEN | {"fvd256_16f": PROTOCOLS["fvd256_16f"]}
    )
    key = next(key for key in headline(strict) if key.measure is MOTION)
    assert key.protocol == "distribution" and strict.cell(row(strict, "p"), key).known


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_few_groups_have_values_and_say_what_is_missing(tmp_path, groups):
    real, other = np.random.default_rng(0).normal(size=(2, 24, 3)) * [[[1.0]], [[2.0]]]
    path = with_features(evaluation(tmp_path, "p", "predictor", SAMPLED),
                         [i % groups for i in range(24)], motion_predicted=other,
                         motion_real=real, i3d_predicted=other, i3d_real=real,
                         i3d_context_predicted=other, i3d_context_real=real)  # fmt: skip
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    fvd, kvd, precision = (
        tables.estimate(tables.rows[0], measure) for measure in (FVD, KVD, PRECISION)
    )
    assert fvd.known and fvd.has_interval == (groups > 1) == precision.has_interval
    assert kvd.known == (groups > 1) and kvd.has_interval == (groups > 2)
    note = "no interval can be given" if groups == 2 else "needs clips of two groups or more"
    assert groups > 2 or note in kvd.note


def test_intervals_stay_in_the_possible_range(tmp_path):
    """Those of distances by the jackknife would leave it."""
    real = np.random.default_rng(0).normal(size=(16, 3))
    near = real + 0.02 * np.random.default_rng(1).normal(size=(16, 3))
    near[0] += 40.0
    path = with_features(evaluation(tmp_path, "p", "predictor", SAMPLED), list(range(16)),
                         motion_predicted=near, motion_real=real)  # fmt: skip
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    motion, precision = (tables.estimate(tables.rows[0], m) for m in (MOTION, PRECISION))
    assert motion.low == 0 < motion.value < motion.high
    assert precision.value == pytest.approx(15 / 16) and precision.high == 1


def test_where_all_groups_agree_there_is_no_interval(tmp_path):
    real = np.random.default_rng(0).normal(size=(16, 3))
    path = with_features(evaluation(tmp_path, "p", "predictor", SAMPLED, lpips=0.25),
                         list(range(16)), motion_predicted=real, motion_real=real)  # fmt: skip
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    for measure, value in {PRECISION: 1.0, LPIPS: 0.25}.items():
        estimate = tables.estimate(tables.rows[0], measure)
        assert estimate.value == value and not estimate.has_interval
        assert "the same value in all groups: no interval can be given" in estimate.note


def test_protocols_name_the_network_of_their_own_measure(tmp_path):
    real, other = np.random.default_rng(0).normal(size=(2, 20, 3))
    paths = [
        with_features(evaluation(tmp_path, "p", "predictor", SAMPLED, seed, lpips=0.2 + seed),
                      list(range(20)), motion_predicted=other, motion_real=real,
                      i3d_predicted=other, i3d_real=real, i3d_context_predicted=other,
                      i3d_context_real=real)
        for seed in (0, 3)
    ]  # fmt: skip
    for path in paths:
        write_json(path, read_json(path) | {"lpips": {"computed": True, "backbone": "squeeze"}})
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN, resize="bicubic")
    table = results(tables).frame
    texts = table.drop_duplicates("metric").set_index("metric")["protocol"]
    assert texts["lpips"].endswith("LPIPS: SqueezeNet") and texts["fvd"].endswith("FVD: I3D")
    assert "I3D" not in texts["motion_frechet"] and "SqueezeNet" not in texts["psnr"]
    assert texts.str.contains(r"20 clips spread evenly, .* 64 px \(bicubic\)").all()
    assert (table["seed_numbers"] == "0, 3").all()
    shown = heads(results(tables).tables[0])
    assert "LPIPS of SqueezeNet ↓" in shown and "FVD of I3D ↓" in shown
    table = curves(tables).frame
    assert (table["groups"] == table["clips"]).all() and (table["seed_numbers"] == "0").all()


def test_curves_over_the_number_of_clips_fall(tmp_path):
    random = np.random.default_rng(0)
    path = with_features(evaluation(tmp_path, "p", "predictor", SAMPLED), list(range(100)),
                         motion_predicted=random.normal(size=(100, 8)),
                         motion_real=random.normal(size=(100, 8)))  # fmt: skip
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    table = curves(tables).frame.set_index("clips")
    assert list(table.index) == [16, 32, 64, 100]
    assert table["value"].is_monotonic_decreasing, "a Fréchet distance of few clips is too large"
    assert table["value"][100] == pytest.approx(tables.estimate(tables.rows[0], MOTION).value)
    assert np.isnan(table["deviation"][100]) and (table["deviation"][:3] > 0).all()
    whole = tables.estimate(tables.rows[0], MOTION)
    assert (table["low"][100], table["high"][100]) == (whole.low, whole.high)
    assert table["low"][:3].isna().all() and table["note"][:3].str.contains("random subsets").all()
    assert table["protocol"].str.contains("Motion distance: motion statistic").all()
    # All clips are one subset, which has no deviation but an interval.
    grid = curves(tables).tables[0]
    assert ["±" in cell.text for cell in grid.lines[0][3:]] == [True, True, True, False]
    ends = f"[{MOTION.text(whole.low)}, {MOTION.text(whole.high)}]"
    assert [cell.interval for cell in grid.lines[0][3:]] == ["", "", "", ends]


def test_curves_say_what_they_stand_on_and_below_which_number_fvd_is_not_comparable(tmp_path):
    random = np.random.default_rng(0)
    features = {name: random.normal(size=(260, 3)) for name in ("predicted", "real")}
    paths = [
        with_features(evaluation(tmp_path, "p", "predictor", SAMPLED, seed), list(range(260)),
                      **{f"{kind}_{side}": values for side, values in features.items()
                         for kind in ("motion", "i3d", "i3d_context")})
        for seed in (4, 7)
    ]  # fmt: skip
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, CHOSEN)
    table = curves(tables).frame.set_index(["metric", "clips"])["note"]
    few = "256 clips, below 256: not comparable with published values"
    assert table["fvd", 128].endswith(f"; {few.replace('256', '128', 1)}")
    assert "comparable" not in table["fvd", 256] + table["fvd", 260] + table["motion_frechet", 128]
    caption = curves(tables).tables[0].caption
    assert "distribution: d test split, 260 clips spread evenly, 4 observed" in caption
    assert "260 clips in 260 groups" in caption and "first seed only (4)" in caption
    assert caption.endswith("FVD below 256 clips is not comparable with published values.")


def test_protocols_of_fewer_frames_trajectories_and_clips(tmp_path):
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    rows = read_rows([path], ["p"])
    chosen = {
        "first": Protocol(frames=5), "one": Protocol(trajectories=1), "half": Protocol(clips=1),
        "five": Protocol(trajectories=5),
    }  # fmt: skip
    tables = make_tables(rows, RESAMPLES, CHOSEN | chosen)

    def psnr(name: str, sampling: str = "single"):
        return tables.estimate(rows[0], PSNR, sampling, name)

    assert psnr("first").value == pytest.approx((26 + 20.5) / 2)
    assert psnr("one").value == pytest.approx((26 + 18) / 2)
    assert not psnr("one", "mean").known, "the mean is over two trajectories"
    assert (
        psnr("one", "mean").note == "not computed: it is kept for all 2 trajectories of a clip only"
    )
    assert psnr("half").value == pytest.approx(19) and psnr("half").clips == 1
    assert psnr("five").note == (
        "not computed: the protocol takes 5 trajectories per clip, and 2 are sampled"
    )


def test_best_of_k_names_the_k_of_its_protocol(tmp_path):
    three = SAMPLED | {("a", "g1", 2): [40, 40], ("b", "g2", 2): [40, 40]}
    paths = [
        evaluation(tmp_path, "p", "predictor", three, crps=2.0),
        evaluation(tmp_path, "d.still", "baseline", STILL, crps=3.0),
    ]
    chosen = {"prediction": PROTOCOLS["prediction"], "two": Protocol(trajectories=2)}
    tables = make_tables(read_rows(paths, ["p"]), RESAMPLES, chosen)
    assert tables.estimate(row(tables, "p"), PSNR, "best", "two").value == pytest.approx(23)
    by_name = {grid.name: heads(grid) for grid in results(tables).tables}
    assert "PSNR, best of 3 (dB) ↑" in by_name["prediction-1"]
    assert "PSNR, best of 2 (dB) ↑" in by_name["two-1"]
    assert not any("mean of" in head for head in by_name["two-1"]), (
        "kept over three trajectories only"
    )
    assert "two-2" not in by_name and tables.protocol_of(CRPS) == "prediction"
    assert explained_samplings(tables).keys() == {
        "no suffix", "mean of 3", "best of 3", "best of 2"
    }  # fmt: skip
    table = results(tables).frame.query("metric == 'psnr' and sampling != 'mean'")
    table["protocol"] = table["protocol"].str.partition(":")[0]
    counts = table.groupby(["protocol", "row"])["trajectories"].agg(set).to_dict()
    assert counts == {
        ("prediction", "p"): {3}, ("prediction", "d.still"): {1},
        ("two", "p"): {2}, ("two", "d.still"): {1},
    }  # fmt: skip


def test_one_trajectory_shows_no_mean_and_no_best(tmp_path):
    path = evaluation(tmp_path, "p", "predictor", STILL)
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    assert not any("of 1" in head for grid in results(tables).tables for head in heads(grid))


def test_scores_of_all_trajectories_together(tmp_path):
    path = evaluation(tmp_path, "p", "predictor", SAMPLED)
    scores = pd.read_parquet(path.with_name("scores.parquet"))
    together = scores["trajectory"] < 0
    spread = {"a": [2.0, 4.0], "b": [6.0, 2.0]}
    scores.loc[together, "diversity"] = [value for clip in "ab" for value in spread[clip]]
    scores.loc[together, "mean_error"] = [3.0, 7.0, 10.0, 20.0]
    scores.loc[together, "crps"] = [1.0, 3.0, 5.0, 7.0]
    scores.to_parquet(path.with_name("scores.parquet"))
    tables = make_tables(read_rows([path], ["p"]), RESAMPLES, CHOSEN)
    assert tables.estimate(tables.rows[0], CRPS).value == pytest.approx(4)
    ratio = tables.estimate(tables.rows[0], SPREAD_SKILL)
    # (K + 1) / K times half the squared differences, over the errors, both averaged first.
    assert ratio.value == pytest.approx(np.sqrt(1.5 * np.mean([2, 8, 18, 2]) / 10))
    assert ratio.low <= ratio.value <= ratio.high and ratio.clips == 2
    assert [
        item.value for item in tables.horizon[row(tables, "p"), Quantity(CRPS, "all", "prediction")]
    ] == pytest.approx([3, 5])
    assert "spread_skill" not in set(comparisons(tables).frame["metric"]), "neither way is better"


def test_printed_comparisons_stand_under_their_measure(tables):
    (grid,) = comparisons(tables).tables
    table = comparisons(tables).frame.set_index(["other", "metric", "sampling"])
    for line in grid.lines:
        cells = dict(zip(heads(grid)[1:], line[1:], strict=True))
        for head, key in {"PSNR (dB) ↑": (PSNR, "single"), "PSNR, mean of 2 (dB) ↑": (PSNR, "mean"),
                          "Object PSNR (dB) ↑": (OBJECT_PSNR, "single")}.items():  # fmt: skip
            found = table.loc[(line[0].text, key[0].key, key[1])]
            assert cells[head].text == key[0].text(found["value"], sign=True), head
            assert cells[head].best == (found["low"] > 0)


def test_ceilings_of_two_autoencoders_are_told_apart(tmp_path):
    paths = [evaluation(tmp_path, f"{name}.reconstruction", "ceiling", STILL) for name in "ab"]
    paths.append(evaluation(tmp_path, "d.copy-last", "baseline", STILL))
    labels = [row.label for row in read_rows(paths, [])]
    assert labels == ["copy-last", "a reconstruction", "b reconstruction"]


RESULTS = """\
| row | kind | PSNR (dB) ↑ | Object PSNR (dB) ↑ | PSNR, mean of 2 (dB) ↑ | MSE, mean of 2 ↓ |
|---|---|---:|---:|---:|---:|
| p | predictor | **21.50** \\[19.00, 24.00\\] | **20.50** \\[18.00, 23.00\\] \
| **24.50** \\[21.00, 28.00\\] | **75.5** \\[72.0, 79.0\\] |
| d.still | baseline | 18.50 \\[18.00, 19.00\\] | 17.50 \\[17.00, 18.00\\] \
| 18.50 \\[18.00, 19.00\\] | 81.5 \\[81.0, 82.0\\] |
| d.worse | baseline | 11.00 \\[10.00, 12.00\\] | 10.00 \\[9.00, 11.00\\] \
| 11.00 \\[10.00, 12.00\\] | 89.0 \\[88.0, 90.0\\] |
"""
COMPARISONS = r"""\begin{tabular}{lrrrr}
\toprule
\textbf{p against} & \textbf{PSNR (dB) $\uparrow$} & \shortstack[r]{\textbf{Object PSNR}\\\textbf{(dB) $\uparrow$}} & \shortstack[r]{\textbf{PSNR,}\\\textbf{mean of 2}\\\textbf{(dB) $\uparrow$}} & \shortstack[r]{\textbf{MSE,}\\\textbf{mean of 2 $\downarrow$}} \\
\midrule
d.still & \textbf{+3.00} & \textbf{+3.00} & \textbf{+6.00} & \textbf{$-$6.0} \\
 & {\scriptsize [+1.00, +5.00]} & {\scriptsize [+1.00, +5.00]} & {\scriptsize [+3.00, +9.00]} & {\scriptsize [$-$9.0, $-$3.0]} \\
d.worse & \textbf{+10.50} & \textbf{+10.50} & \textbf{+13.50} & \textbf{$-$13.5} \\
 & {\scriptsize [+7.00, +14.00]} & {\scriptsize [+7.00, +14.00]} & {\scriptsize [+9.00, +18.00]} & {\scriptsize [$-$18.0, $-$9.0]} \\
\bottomrule
\end{tabular}
"""  # noqa: E501
NUMBERS = """\
row,kind,seed_numbers,metric,sampling,trajectories,unit,better,value,low,high,clips,groups,seeds
p,predictor,0,psnr,single,2,dB,higher,21.5,19.0,24.0,2,2,1
p,predictor,0,psnr,mean,2,dB,higher,24.5,21.0,28.0,2,2,1
p,predictor,0,psnr,best,2,dB,higher,23.0,20.0,26.0,2,2,1
"""
CAPTION = (
    "prediction: d test split, 2 clips spread evenly, 4 observed + 2 predicted frames, 64 px, "
    "future frames only, K = 2. 2 clips in 2 groups, 1 seed. Brackets: 95 % intervals "
    "of these weights, whose clips alone are drawn anew. "
)


def test_printed_tables_are_word_for_word_as_they_were(tables):
    tables = make_tables(tables.rows, RESAMPLES, {"prediction": PROTOCOLS["prediction"]})
    found, compared = results(tables), comparisons(tables)
    text = markdown(found.tables[:1], "Title")
    best = "Bold: the best predictor or baseline of a column."
    assert text.startswith(f"# Title\n\nResults. {CAPTION}{best}\n\n{RESULTS}\nNotes:\n\n")
    assert COMPARISONS in latex(compared.tables[0])
    better = "Bold: better, as the interval excludes 0."
    start = f"p minus each other row, on the same clips. {CAPTION}"
    assert compared.tables[0].caption == start + better
    left_out = ["protocol", "seed_std", "note", "interval_of"]
    csv = found.frame.head(3).drop(columns=left_out).to_csv(index=False)
    assert csv == NUMBERS
