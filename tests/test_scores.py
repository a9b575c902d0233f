"""Score tables on the disk, against pandas on the whole table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsvp.metrics.scoring import COLUMNS
from rsvp.report.estimates import clip_values, frame_values
from rsvp.report.measures import LPIPS, PSNR
from rsvp.report.scores import read_scores
from rsvp.runtime.errors import UserError

CLIPS, LINES, FRAMES = ("c", "a", "b"), (0, 1, -1), (1, 2, 3, 4)


@pytest.fixture
def table() -> pd.DataFrame:
    """Random scores of three clips; one frame of a clip has none, and of another no frame."""
    grid = pd.MultiIndex.from_product([CLIPS, LINES, FRAMES], names=COLUMNS[:1] + COLUMNS[2:4])
    lines = grid.to_frame(index=False)
    random = np.random.default_rng(0)
    lines = lines.assign(group=lines["clip"] + "0", **dict.fromkeys(COLUMNS[4:], 0.0))
    for name in ("psnr", "lpips"):
        lines[name] = random.random(len(lines))
    lines.loc[(lines["clip"] == "a") & (lines["frame"] == 2), "psnr"] = np.nan
    lines.loc[lines["clip"] == "b", "psnr"] = np.nan
    return lines


def test_means_are_those_of_the_whole_table(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "scores.parquet", row_group_size=7)
    scores = read_scores(tmp_path / "scores.parquet")
    assert scores.clips.tolist() == ["a", "b", "c"] and scores.groups.tolist() == ["a0", "b0", "c0"]
    for measure in (PSNR, LPIPS):
        for sampling, lines in (("mean", table.query("trajectory < 0")),
                                ("single", table.query("trajectory >= 0"))):  # fmt: skip
            clips = lines.groupby(["clip", "trajectory"])[measure.key].mean().groupby("clip")
            np.testing.assert_allclose(clip_values(scores, measure, sampling), clips.mean())
            frames = lines.groupby(["clip", "frame"])[measure.key].mean().unstack("frame")
            np.testing.assert_allclose(frame_values(scores, measure, sampling), frames)
        best = clips.max() if measure.higher_is_better else clips.min()
        np.testing.assert_allclose(clip_values(scores, measure, "best"), best)


def test_clips_frames_and_trajectories_are_chosen(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "scores.parquet")
    chosen = read_scores(tmp_path / "scores.parquet").counted(2, 3, 1)
    own = table.set_index(["clip", "trajectory", "frame"])["lpips"]
    assert chosen.clips.tolist() == ["b", "c"], "the first and the last of the table"
    assert chosen.values("lpips").tolist() == [[[own[clip, 0, frame] for frame in (1, 2, 3)]]
                                               for clip in "bc"]  # fmt: skip


def test_clips_of_other_lines_are_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    table.drop(index=3).to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(UserError, match=r"scores\.parquet: its clips have other lines"):
        read_scores(tmp_path / "scores.parquet")
