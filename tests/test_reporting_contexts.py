"""Rows of other contexts than the first frames, from predictions to the report's page."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rsvp.config.schema import BETWEEN_BASELINES, PROTOCOLS, ObservedFrames, to_plain
from rsvp.config.stages import Settings, read_settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.contexts import contexts_of, fitting_baselines, task_of
from rsvp.data.predictions import STEM, Predictions, RowWriter
from rsvp.report.rows import read_rows
from rsvp.runtime.files import write_json
from rsvp.runtime.journal import StateKey
from rsvp.runtime.parts import PartWriter
from rsvp.stages import predict_baseline, report
from tests.squares import make_dataset
from tests.test_evaluate import score

CONTEXT, FUTURE, SIZE = 4, 8, 32
CONTEXTS = {
    "ends": ObservedFrames(first=2, last=2),
    "back": ObservedFrames(last=2),
    "none": ObservedFrames(),
}
BASELINES = ["copy-last", "real", *(f"{name}_ends" for name in BETWEEN_BASELINES),
             "copy-last_back", *(f"real_{name}" for name in CONTEXTS)]  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Predictions and scores of a noisy predictor and of all baselines, in all contexts."""
    folder = tmp_path_factory.mktemp("contexts")
    splits = ["train"] * 6 + ["test"] * 4
    dataset = make_dataset(folder / "datasets/squares", splits, CONTEXT, FUTURE, SIZE)
    for name in ("prefix", *CONTEXTS):
        score(dataset, predict(dataset, name))
    settings = Settings()
    settings.contexts = CONTEXTS
    for name in BASELINES:
        path = folder / f"predictions/squares.{name}/index.json"
        arguments = Namespace(
            dataset=dataset, baseline=name, predictions=path, state=path.parent / "state", code=None
        )
        predict_baseline.run(arguments, settings)
        score(dataset, path)
    return folder


def predict(dataset: Path, name: str) -> Path:
    """Predictions near the truth by a row that is named like its context."""
    clips = Clips(dataset, "test")
    context = contexts_of(CONTEXT, CONTEXTS)[name]
    task = task_of(context, clips.clip_frames, clips.clip_frames)
    path = dataset.parents[2] / f"predictions/{name}/index.json"
    noise = np.random.default_rng(0)
    parts = PartWriter(path.parent, path.parent / "state", StateKey(None, ""), STEM)
    writer = RowWriter(path, parts, clips, name, "predictor", 0, trajectories=2, task=task)
    for i in evaluation_clips(clips, None):
        truth = clips.frames_at(i, task.predicted).numpy().astype(float)
        noisy = [truth + noise.normal(scale=6, size=truth.shape) for _ in range(2)]
        writer.add(i, torch.from_numpy(np.clip(np.stack(noisy), 0, 255).astype(np.uint8)))
    writer.finish()
    return path


@pytest.fixture(scope="module")
def page(results) -> Path:
    """The report on all of them."""
    return report_on(results, ["prefix", *CONTEXTS], "report")


def report_on(results: Path, predictors: list[str], name: str) -> Path:
    """Make a report on some predictors, and on all baselines."""
    protocols = {name: to_plain(PROTOCOLS[name]) for name in ("prediction", "distribution")}
    values = {"report": {"title": "Contexts", "predictors": predictors},
              "evaluation": {"bootstrap": 20}, "protocols": protocols}  # fmt: skip
    found = [str(path) for path in sorted(results.glob("evaluation/*/index.json"))]
    found = [
        path
        for path in found
        if Path(path).parent.name not in {"prefix", *CONTEXTS} - {*predictors}
    ]
    write_json(results / "inputs.json", {"evaluations": found})
    arguments = Namespace(inputs=results / "inputs.json", folder=results / name)
    report.run(arguments, read_settings(values))
    return results / name / "report.html"


def test_each_context_has_the_baselines_that_fit():
    fitting = {name: fitting_baselines(item, ["copy-last"]) for name, item in CONTEXTS.items()}
    assert fitting == {"ends": list(BETWEEN_BASELINES), "back": ["copy-last"], "none": []}


def test_frames_before_the_context_are_predicted_backwards(results):
    rows = Predictions(results / "predictions/squares.copy-last_back/index.json")
    clips = Clips(results / "datasets/squares/index.json", "test")
    assert rows.index["predicted"] == list(range(CONTEXT + FUTURE - 2))
    first = clips.frames_at(0, [CONTEXT + FUTURE - 2])
    assert (rows.frames(0)[0] == first).all(), "the nearest observed frame, again and again"


def test_each_context_has_a_table_with_its_own_rows(page):
    table = pd.read_csv(page.parent / "tables/results.csv").query("value == value")
    context = table["protocol"].str.extract(r"\((nothing observed|frames .* observed)\)")[0]
    rows = table.groupby(context.fillna("prefix"))["row"].agg(set).to_dict()
    assert rows == {
        "prefix": {"prefix", "squares.copy-last", "squares.real"},
        "frames 1, 2, 11, 12 of 12 observed": {
            "ends", "squares.real_ends", *(f"squares.{name}_ends" for name in BETWEEN_BASELINES)
        },
        "frames 11, 12 of 12 observed": {"back", "squares.copy-last_back", "squares.real_back"},
        "nothing observed": {"none", "squares.real_none"},
    }  # fmt: skip
    of_none = table[table["row"] == "none"]
    assert set(of_none["metric"]) == {"motion_frechet"}, "sets alone can be compared"


def test_predictors_are_compared_with_rows_of_their_context(page):
    table = pd.read_csv(page.parent / "tables/comparisons.csv").query("metric == 'psnr'")
    others = table.groupby("predictor")["other"].agg(set)
    assert others["prefix"] == {"squares.copy-last"} and others["back"] == {
        "squares.copy-last_back"
    }
    assert others["ends"] == {f"squares.{name}_ends" for name in BETWEEN_BASELINES}
    assert set(table.query("predictor == 'ends'")["verdict"]) == {"better of this training"}


def test_the_page_has_a_section_of_contexts(page):
    text = page.read_text().split('<section id="contexts">')[1].split("</section>")[0]
    assert "<h3>Frames 1, 2, 11, 12 of 12 observed</h3>" in text and "Nothing observed" in text
    assert "linear-blend" in text and "linear-blend_ends</th>" not in text
    assert text.count("Not computed: LPIPS, LPIPS diversity") == 2, "why a context lacks numbers"
    markdown = (page.parent / "tables/results.md").read_text()
    assert "linear-blend\\_ends" in markdown


def test_distances_are_of_the_predicted_frames(results):
    paths = sorted(results.glob("evaluation/*/index.json"))
    rows = {row.name: row for row in read_rows(paths, [])}
    assert rows["ends"].context and not rows["prefix"].context
    assert rows["squares.real_none"].context == "nothing observed"


def test_a_report_on_another_context_alone_is_about_it(results):
    folder = report_on(results, ["ends"], "ends").parent
    said = (folder / "verdict.txt").read_text()
    assert said.startswith("it predicts") and "of ends is" in said
