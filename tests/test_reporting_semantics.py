"""The report's table of what scene, object and motion mean, from hand-made results."""

import pandas as pd
import pytest

from rsvp.report.estimates import Estimate
from rsvp.report.measures import PSNR
from rsvp.report.semantics import (
    SemanticsScore,
    conclusions,
    decomposition,
    read_semantics,
)
from rsvp.runtime.files import read_json, write_json
from tests.fake_results import write_semantics

CLIPS = [f"c{number}" for number in range(8)]


@pytest.fixture
def indexes(tmp_path):
    """Those of two seeds."""
    for seed in (0, 1):
        write_semantics(tmp_path / f"seed{seed}", seed, CLIPS, groups=4)
    return [tmp_path / f"seed{seed}/index.json" for seed in (0, 1)]


def table_of(indexes) -> pd.DataFrame:
    return decomposition(read_semantics(indexes, 200)).frame


def line(table: pd.DataFrame, measure: str, latent: str = "") -> pd.Series:
    return table[(table["measure"] == measure) & (table["latent"] == latent)].iloc[0]


def test_scores_are_averaged_over_seeds(indexes):
    scene = line(table_of(indexes), "scene_psnr")
    assert scene["value"] == pytest.approx(31.5)
    assert 29 < scene["low"] < 31.5 < scene["high"] < 34
    assert scene["seeds"] == 2 and scene["seed_std"] == pytest.approx(0.5**0.5)
    assert (scene["clips"], scene["groups"]) == (8, 4)


def test_goals_are_judged_by_the_interval(indexes):
    table = table_of(indexes)
    assert (line(table, "scene_psnr")["goal"], line(table, "scene_psnr")["verdict"]) == (
        31.5,
        "not shown",
    )
    assert line(table, "object_iou")["verdict"] == "met"
    assert line(table, "swap_margin")["verdict"] == ""  # nothing was promised


def test_ablations_are_lines_of_their_own(indexes):
    table = table_of(indexes[:1])
    assert line(table, "psnr", "scene")["value"] == pytest.approx(11.0)
    assert line(table, "ssim", "motion")["value"] == pytest.approx(0.14)
    assert line(table, "psnr", "object")["replaced_by"] == "other"
    assert not (table["measure"] == "lpips").any()  # it was not computed


def test_real_videos_have_no_truth_to_be_held_to(indexes):
    scores = indexes[0].with_name("scores.parquet")
    table = pd.read_parquet(scores)
    table.drop(columns=["scene_psnr", "object_iou", "swap_margin", "swap_right"]).to_parquet(scores)
    assert set(table_of(indexes[:1])["latent"]) == {"scene", "object", "motion"}


def test_one_group_has_no_interval(tmp_path):
    write_semantics(tmp_path / "seed0", 0, CLIPS, groups=1)
    found = line(table_of([tmp_path / "seed0/index.json"]), "object_iou")
    assert found["value"] == pytest.approx(0.8) and pd.isna(found["low"])
    assert found["verdict"] == "not shown" and "one group" in found["note"]


def test_nothing_measured_is_an_empty_table():
    table = table_of([])
    assert table.empty and "measure" in table
    assert decomposition([]).tables == []


def test_grids_for_people(indexes):
    truth, ablated = decomposition(read_semantics(indexes[:1], 200)).tables
    texts = [[cell.text for cell in cells] for cells in truth.lines]
    assert ["Scene PSNR (dB)", "31.00", "8", "31.50", "not shown"] in texts
    assert ["Swap margin (dB)", "4.00", "8", "", ""] in texts
    assert truth.caption.startswith("rsvp. ") and "semantics: fake test split" in truth.caption
    assert [column.head for column in ablated.columns[2:]] == [
        "PSNR (dB)",
        "SSIM",
        "Motion statistics",
    ]
    assert [cell.text for cell in ablated.lines[0]] == [
        "scene", "other", "+11.00", "+0.220", "+0.500"
    ]  # fmt: skip
    assert ablated.lines[0][2].interval.startswith("[+10.")


def test_each_autoencoder_has_its_tables_with_its_protocol(indexes):
    index = read_json(indexes[1])
    index["protocol"]["scene_and_object"] = "of the true future"
    write_json(indexes[1], index | {"autoencoder": "joint"})
    tables = decomposition(read_semantics(indexes, 200)).tables
    names = ["decomposition-rsvp", "ablations-rsvp", "decomposition-joint", "ablations-joint"]
    assert [table.name for table in tables] == names
    for table, name in zip(tables, ("rsvp", "rsvp", "joint", "joint"), strict=True):
        future = "8 clips, scene and object of the true future." in table.caption
        assert table.caption.startswith(f"{name}. ") and future == (name == "joint")
        assert "semantics: fake test split, 8 clips" in table.caption and table.notes


def test_what_idle_latents_mean_is_said(indexes):
    def mean(latent: str, loss: float) -> SemanticsScore:
        return SemanticsScore("rsvp", PSNR, Estimate(loss), latent=latent, replaced_by="mean")

    scores = [mean("scene", 0.02), mean("object", -0.004), mean("motion", 7.5)]
    (sentence,) = conclusions(scores)
    assert "the scene or object latent costs next to nothing (0.02 dB, 0.00 dB)" in sentence
    assert "of the motion latent 7.50 dB" in sentence
    assert conclusions(scores[2:]) == [] and conclusions(read_semantics(indexes, 200)) == []


def test_every_number_has_its_protocol_and_seeds(indexes):
    table = table_of(indexes)
    assert (table["protocol"] == "semantics: fake test split, 8 clips").all()
    assert (table["seed_numbers"] == "0, 1").all()
