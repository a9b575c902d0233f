"""Comparisons with copy-last by quarters of the truth's motion, against what was put in."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rsvp.config.schema import PROTOCOLS
from rsvp.metrics.frame import motion as frame_motion
from rsvp.metrics.scoring import COLUMNS
from rsvp.report.measures import PSNR
from rsvp.report.page import difference_text
from rsvp.report.quarters import by_quarter, signs
from rsvp.report.results import motion, results
from rsvp.report.rows import ResultRow, Run
from rsvp.report.scores import frame_scores
from rsvp.report.tables import Quantity, Tables

CLIPS = 16
# dB over copy-last, by rank of motion.
GAIN = np.repeat([-2.0, 0.0, 1.0, 3.0], CLIPS // 4) + np.tile([-0.5, 0.5, 0.3, -0.3], 4)
# Motion is not in the order of the clips' names.
MOTION = np.random.default_rng(0).permutation(CLIPS) + 1.0


def row(name: str, kind: str, psnr: np.ndarray, moving: np.ndarray = MOTION) -> ResultRow:
    """A row whose clips have these PSNRs and motions, at two future frames."""
    lines = [
        dict.fromkeys(COLUMNS, np.nan)
        | {"clip": f"c{clip:02d}", "group": f"g{clip:02d}", "trajectory": 0, "frame": frame}
        | {"psnr": psnr[clip], "truth_motion": moving[clip] + (frame - 1.5)}
        for clip in range(CLIPS)
        for frame in (1, 2)
    ]
    index = {
        "row": name, "kind": kind, "seed": 0, "dataset": "d", "trajectories": 1, "clips": CLIPS,
        "context_frames": 4, "future_frames": 2, "resolution": 64, "protocol": {},
    }  # fmt: skip
    return ResultRow(name, kind, (Run(index, Path(), frame_scores(pd.DataFrame(lines))),))


@pytest.fixture
def tables() -> Tables:
    gain = GAIN[(MOTION - 1).astype(int)]
    rows = [row("mine", "predictor", 20 + gain), row("d.copy-last", "baseline", 20 + 0 * gain)]
    return Tables(rows, {"prediction": PROTOCOLS["prediction"]}, resamples=500)


def test_each_quarter_has_its_own_difference(tables: Tables) -> None:
    key = Quantity(PSNR, "single", "prediction")
    found = by_quarter(tables, tables.rows[0], key)
    assert [item.estimate.value for _, item in found] == pytest.approx([-2, 0, 1, 3])
    assert [(quarter.low, quarter.high) for quarter, _ in found] == [
        (1, 4), (5, 8), (9, 12), (13, 16)
    ]  # fmt: skip
    assert [item.estimate.clips for _, item in found] == [4] * 4
    assert signs(tables, tables.rows[0], key) == "− = + +"
    assert signs(tables, tables.rows[1], key) == ""


def test_equal_scores_are_no_difference() -> None:
    rows = [row("mine", "predictor", 20 + GAIN[:1].repeat(16)),
            row("d.copy-last", "baseline", 20 + GAIN[:1].repeat(16))]  # fmt: skip
    tables = Tables(rows, {"prediction": PROTOCOLS["prediction"]}, resamples=500)
    assert signs(tables, rows[0], Quantity(PSNR, "single", "prediction")) == "= = = ="
    compared = next(item for item in tables.comparisons if item.quantity.measure is PSNR)
    assert difference_text(compared) == "mine scores as the best baseline, copy-last, on all clips."


def test_tables_show_them(tables: Tables) -> None:
    top = results(tables).tables[0]
    assert [line[-1].value for line in top.lines] == ["− = + +", "–"]
    assert any(note.startswith("By motion: PSNR against copy-last") for note in top.notes)
    file = motion(tables)
    assert file.tables[0].columns[1].head == "least motion: 1.0 to 4.0"
    assert file.frame["verdict"].tolist() == [
        "worse of this training",
        "no difference found",
        "better of this training",
        "better of this training",
    ]
    assert file.frame["quarter"].nunique() == 4


def test_too_few_clips_have_no_quarters() -> None:
    known = np.where(np.arange(CLIPS) > 6, np.nan, MOTION)
    rows = [row(name, kind, 20 + 0 * GAIN, known)
            for name, kind in (("mine", "predictor"), ("d.copy-last", "baseline"))]  # fmt: skip
    tables = Tables(rows, {"prediction": PROTOCOLS["prediction"]}, resamples=500)
    assert motion(tables).tables == []
    assert "by motion" not in [column.head for column in results(tables).tables[0].columns]


def test_motion_is_the_mean_difference_to_the_frame_before() -> None:
    frames = torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (3, 11, 12, 3), dtype=np.uint8)
    )
    change = np.abs(np.diff(frames.numpy().astype(float), axis=0)).mean(axis=(1, 2, 3))
    found = frame_motion(frames).numpy()
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], change)
