"""The report's table of copies."""

from rsvp.reporting.memorisation import memorisation_grids, memorisation_table, read_memorisation
from tests.fake_results import write_memorisation


def test_table_and_grid_say_what_the_index_says(tmp_path):
    write_memorisation(tmp_path, [("copier", 0), ("honest", 0)])
    rows = read_memorisation([tmp_path / "index.json"])
    table = memorisation_table(rows).set_index("row")
    assert table["flagged"].to_dict() == {"copier": True, "honest": False}
    assert table.loc["copier", ["ratio", "ratio_low", "ratio_high"]].tolist() == [0.4, 0.3, 0.45]
    (grid,) = memorisation_grids(rows)
    assert [cell.text for cell in grid.lines[0]] == [
        "copier", "0", "0.40", "0.50", "0.00", "8", "yes"
    ]  # fmt: skip
    assert grid.lines[0][2].interval == "[0.30, 0.45]" and not grid.lines[0][3].interval
    assert grid.lines[1][-1].text == "no"


def test_no_predictor_is_no_table():
    assert memorisation_grids([]) == [] and memorisation_table([]).empty
