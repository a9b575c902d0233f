"""The cost of each row: the sum of its stages, and of what they share."""

import pandas as pd
import pytest

from rsvp.report.costs import budgets, cost


def record(stage, name, seed=0, seconds=10.0, **more):
    """A run record of a training stage."""
    settings = {"name": name} | more.pop("settings", {})
    return {"stage": stage, "seed": seed, "settings": settings, "steps": 40} | (
        {"training_seconds": seconds} | more
    )


def predictor(name, autoencoder, seed=0, **more):
    settings = {"predictor": {"autoencoder": autoencoder}}
    return record("train_diffusion", name, seed, settings=settings, **more)


RECORDS = [
    {"stage": "decode", "seconds": 5.0},
    record("calibrate_pretraining", "ae"),
    record("pretrain_autoencoder", "ae", seconds=100.0, calibration={"seconds": 102.0}),
    record("finetune_autoencoder", "ae", seconds=20.0, stopped_by="patience"),
    record("pretrain_autoencoder", "other", seconds=7.0),
    record("finetune_autoencoder", "other", seconds=3.0, stopped_by="steps"),
    record("pretrain_autoencoder", "ae", seed=1, seconds=1000.0),
    predictor("a", "ae", seconds=1.0),
    predictor("b", "ae", seconds=2.0, stopped_by="patience"),
    predictor("c", "other", seconds=4.0),
    predictor("a", "ae", seed=1, seconds=1.0),
]


def sums(records):
    """Seconds by row and seed; None where they are not known."""
    frame = budgets(records).frame.set_index(["row", "seed"])["seconds"]
    return {key: None if pd.isna(value) else value for key, value in frame.items()}


def test_shared_autoencoder_counts_in_full_for_each_row():
    assert sums(RECORDS) == {("a", 0): 121.0, ("b", 0): 122.0, ("c", 0): 14.0, ("a", 1): None}


def test_row_that_shares_a_training_costs_as_much():
    predicted = [
        record("predict", name, seed, settings={"predictor": parts})
        for name, seed, parts in (
            ("a", 0, {}), ("guided", 0, {"same_as": "a"}), ("guided", 1, {"same_as": "a"}),
            ("lost", 0, {"same_as": "nothing"}),
        )
    ]  # fmt: skip
    found = sums([*RECORDS, *predicted])
    assert found["guided", 0] == found["a", 0] == 121.0 and found["guided", 1] is None
    assert found.keys() == {(n, s) for n, s in found if n in "abc"} | {("guided", 0), ("guided", 1)}


def test_table_holds_both_stages_and_what_was_asked():
    table = budgets(RECORDS).frame.set_index(["row", "seed"])
    first = table.loc[("a", 0)]
    assert first["stage_one_seconds"] == 120.0 and first["stage_two_seconds"] == 1.0
    assert first["pretraining_asked"] == 102.0 and first["pretraining_steps"] == 40
    assert table["finetuning_asked"].isna().all()
    assert table.loc[("c", 0), "stopped_by"] == "steps"


def test_stage_that_stopped_early_says_so():
    (table,) = budgets(RECORDS).tables
    shown = {line[0].text: [cell.text for cell in line] for line in table.lines[:3]}
    assert "(stopped early: patience)" in shown["a"][4] and "stopped" not in " ".join(shown["c"])
    assert "(stopped early: patience)" in shown["b"][6] and "stopped" not in shown["a"][6]
    assert shown["a"][3] == "1 min 40 s of 1 min 42 s, 40 steps"
    assert shown["a"][-1] == "2 min 01 s"


def test_seeds_with_other_numbers_of_steps_in_equal_seconds_are_named():
    def planned(*steps):
        records = [
            predictor("a", "ae", seed, calibration={"seconds": 10.0, "steps": count})
            for seed, count in enumerate(steps)
        ]
        return [str(note) for note in budgets([*RECORDS[:3], *records]).tables[0].notes]

    (note,) = planned(900, 444, 850)
    assert note.startswith("train diffusion of a: 444 to 900 steps by seed for equal seconds")
    assert planned(900, 650) == planned(900) == []


def test_what_is_not_known_is_not_summed():
    (table,) = budgets(RECORDS[-1:]).tables
    assert [cell.text for cell in table.lines[0]][4:6] == ["–", "–"]
    assert table.lines[0][-1].text == "–"


def test_jobs_of_one_thing_are_one_line():
    jobs = [
        {"stage": "predict", "label": "of p", "seconds": 90.0, "peak_memory_mb": 5.0, "clips": 3,
         "samples_per_second": 2.5, "flops_forward": 1_520_000_000, "device": "cuda"},
        {"stage": "predict", "label": "of p", "seconds": 30.0, "peak_memory_mb": 7.0, "clips": 4},
        {"stage": "evaluate", "label": "row a", "clips": {"test": 4}, "parameters": 0},
        {"stage": "evaluate", "label": "row b"},
    ]  # fmt: skip
    file = cost(jobs)
    frame = file.frame.set_index("stage")
    assert frame["jobs"].to_dict() == {"predict": 2, "evaluate": 2}
    assert frame.loc["predict", ["seconds", "peak_memory_mb", "clips"]].tolist() == [120, 7, 7]
    assert pd.isna(frame.loc["evaluate", "clips"]), "no number of all"
    heads = [column.head for column in file.tables[0].columns]
    first = dict(zip(heads, file.tables[0].lines[0], strict=True))
    assert [first[head].text for head in ("time", "FLOPs per clip", "samples per second")] == [
        "2 min 00 s", "1.52\N{NO-BREAK SPACE}G", "2.5 trajectories/s"
    ]  # fmt: skip
    assert first["work"].text == "7 clips" and "on the GPU (MB)" not in heads
    assert "2 min 00 s in all" in file.tables[0].caption


@pytest.mark.parametrize("records", [[], RECORDS[:3]])
def test_nothing_trained_is_no_table(records):
    found = budgets(records)
    assert found.tables == [] and found.frame.empty and "row" in found.frame
