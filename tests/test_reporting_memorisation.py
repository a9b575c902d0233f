"""The report's table of copies."""

from rsvp.report.memorisation import (
    CRITERION,
    memorisation,
    nearest_pictures,
    read_memorisation,
)
from tests.fake_results import write_memorisation


def test_table_and_grid_say_what_the_index_says(tmp_path):
    write_memorisation(tmp_path, [("copier", 0), ("honest", 0)])
    rows = read_memorisation([tmp_path / "index.json"])
    rows[1]["kind"] = "ceiling"
    file = memorisation(rows)
    table = file.frame.set_index("row")
    assert table["flagged"].to_dict() == {"copier": True, "honest": False}
    assert table.loc["copier", ["ratio", "ratio_low", "ratio_high"]].tolist() == [0.4, 0.3, 0.45]
    assert table["protocol"].str.contains("against 192 training clips").all()
    (grid,) = file.tables
    assert [cell.text for cell in grid.lines[0]] == [
        "copier", "0", "0.40", "0.50", "0.00", "8", CRITERION, "yes"
    ]  # fmt: skip
    assert grid.lines[0][2].interval == "[0.30, 0.45]" and not grid.lines[0][3].interval
    assert grid.notes[-1] == (
        "nearer than real of copier (seed 0), honest (seed 0): the same value in all groups: no "
        "interval can be given"
    )
    assert table.loc["copier", "note"].startswith("nearer than real: the same value in all groups")
    assert grid.lines[1][-1].text == "–", "a ceiling has seen the future and copies nothing"


def test_pictures_are_of_predictors_first_seeds(tmp_path):
    write_memorisation(tmp_path, [("p", 0), ("p", 1), ("rsvp.reconstruction", 0)])
    rows = read_memorisation([tmp_path / "index.json"])
    rows[2]["kind"] = "ceiling"
    pictures = nearest_pictures(rows)
    titles = [title.splitlines()[0] for title, _ in pictures]
    assert [title.split(",")[0] for title in titles] == ["p"] * 3
    assert titles[2] == "p, nearest to training: v2"
    assert pictures[2][0].endswith("training: t2, 5.1 grey levels away (its truth 7.4)")
    assert all(picture.shape == (128, 256, 3) for _, picture in pictures)


def test_no_predictor_is_no_table():
    file = memorisation([])
    assert file.tables == [] and file.frame.empty
