"""The loss table."""

import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rsvp.training.history import History


def test_rows_of_one_step_are_one_and_empty_cells_stay_empty(tmp_path):
    history = History(tmp_path / "board")
    history.add(1, loss=0.5)
    history.add(2, loss=0.25)
    history.add(2, validation=0.75)
    history.write(tmp_path / "history.csv")
    table = pd.read_csv(tmp_path / "history.csv")
    assert table.columns.tolist() == ["step", "seconds", "loss", "validation"]
    assert table["step"].tolist() == [1, 2]
    assert table["validation"].isna().tolist() == [True, False]
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]


def test_goes_on_from_earlier_rows(tmp_path):
    rows = [{"step": 1, "seconds": 100.0, "loss": 0.5}]
    history = History(tmp_path / "board", rows, 105.0)
    history.add(2, loss=0.25)
    assert [row["step"] for row in history.rows] == [1, 2]
    assert 105.0 <= history.rows[1]["seconds"] <= history.seconds + 0.001 < 160.0
    assert rows == [{"step": 1, "seconds": 100.0, "loss": 0.5}]
