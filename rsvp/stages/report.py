"""Make the report: tables, plots, and one HTML page that works offline.

Reads the scores and features of every row and the records of every stage. Means, intervals and
distances between sets are taken here, and nothing is scored again; a number that is missing says
why.
"""

import argparse
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

from rsvp.config.stages import Settings
from rsvp.data.clips import Clips
from rsvp.data.predictions import Predictions
from rsvp.report.costs import budgets, cost
from rsvp.report.examples import Gallery, examples, read_views
from rsvp.report.measures import DRAWN, PSNR
from rsvp.report.memorisation import memorisation, nearest_pictures, read_memorisation
from rsvp.report.page import PageContent, render
from rsvp.report.plots import curves_plot, horizon_plot, learning_plot, pictures_plot
from rsvp.report.printing import FORMATS
from rsvp.report.records import (
    autoencoder_of,
    read_dataset,
    read_histories,
    read_records,
    resize_of,
)
from rsvp.report.results import (
    comparisons,
    curves,
    curves_basis,
    horizon,
    motion,
    of_contexts,
    results,
)
from rsvp.report.rows import read_rows
from rsvp.report.semantics import conclusions, decomposition, read_semantics
from rsvp.report.tables import Tables, basis, by_context
from rsvp.report.verdict import verdict
from rsvp.runtime.files import read_json, write_text
from rsvp.runtime.main import run_stage, stage_parser

logger = logging.getLogger(__name__)
TABLES = ("results", "horizon", "comparisons", "motion", "curves", "decomposition",
          "memorisation", "budgets", "cost")  # fmt: skip


def main() -> None:
    """The command line."""
    run_stage(report_parser(), run)


def report_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--inputs",
        type=Path,
        required=True,
        help="JSON: lists of the files of earlier stages. evaluations, predictions, semantics,"
        " copies, datasets: their indexes; histories: of trainings; records: run.json of all",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        help="folder to write: report.html, verdict.txt, plots/ (SVG), and tables/"
        f" ({', '.join(TABLES)}, each as {', '.join(FORMATS)})",
    )
    return parser


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write all outputs; returns the counts for the run record."""
    named = read_json(arguments.inputs)
    inputs = defaultdict(list, {kind: [*map(Path, files)] for kind, files in named.items()})
    config = settings.report
    found = read_rows(inputs["evaluations"], config.predictors)
    histories, records = read_histories(inputs["histories"]), read_records(inputs["records"])
    resize, resamples = resize_of(found[0].index["dataset"], records), settings.evaluation.bootstrap
    contexts = by_context(found, settings.protocols, resamples, resize)
    # What the page is about: the first context that is predicted from.
    tables = next((each for each in contexts if each.of_kind("predictor")), contexts[0])
    nearest = read_memorisation(inputs["copies"])
    scores = read_semantics(inputs["semantics"], resamples)
    files = [
        of_contexts(results, contexts), horizon(tables), of_contexts(comparisons, contexts),
        motion(tables), curves(tables), decomposition(scores), memorisation(nearest),
        budgets(records), cost(records),
    ]  # fmt: skip
    judged, drawn = verdict(tables, histories, records), tables.over_frames(DRAWN)
    plots = {
        "horizon": horizon_plot(tables, drawn, basis(tables, drawn)),
        "curves": curves_plot(tables, curves_basis(tables)),
        "learning": learning_plot(histories),
        "copies": pictures_plot(nearest_pictures(nearest)),
    }
    page = render(
        PageContent(
            title=config.title,
            tables=tables,
            rows=found,
            printed={file.name: file.tables for file in files},
            galleries=galleries(inputs, tables, records, config.examples),
            numbers="tables",
            verdict=judged,
            histories=histories,
            records=records,
            conclusions=conclusions(scores),
            nearest=plots["copies"],
            datasets=[read_dataset(path) for path in inputs["datasets"]],
        )
    )
    for file in files:
        file.write(arguments.folder / "tables", config.title)
    for name, plot in plots.items():
        write_text(arguments.folder / f"plots/{name}.svg", plot)
    write_text(arguments.folder / "verdict.txt", "\n".join([*judged.lines, ""]))
    write_text(arguments.folder / "report.html", page)
    logger.info("%d rows, %d comparisons", len(tables.rows), len(tables.comparisons))
    return {"rows": [row.name for row in tables.rows], "bytes": len(page.encode())}


def galleries(
    inputs: dict[str, list[Path]], tables: Tables, records: list[dict[str, Any]], wanted: int
) -> list[Gallery]:
    """The playing examples of each predictor that observes the first frames."""
    datasets = {read_json(path)["dataset"]: path for path in inputs["datasets"]}
    paths = {prediction_key(path): path for path in inputs["predictions"]}
    made = []
    for row in tables.of_kind("predictor"):
        if row.context:
            continue
        autoencoder = autoencoder_of(row.name, records)
        views = read_views(inputs["semantics"], autoencoder, row.index["seed"])
        ceilings = [r for r in tables.rows if r.name == f"{autoencoder}.reconstruction"]
        hardest = tables.best(tables.quantity(PSNR), "baseline")
        others = [r for r in (hardest, *ceilings) if r is not None]
        predicted = {
            each: Predictions(paths[key]) for each in (row, *others)
            if each.kind != "ceiling" and (key := (each.name, each.index["seed"])) in paths
        }  # fmt: skip
        shown = []
        if row in predicted:
            index, split = row.index, row.index["protocol"].get("split", "test")
            clips = Clips(datasets[index["dataset"]], split, index["future_frames"])
            shown = examples(row, others, clips, predicted, views, wanted)
        made.append(Gallery(row.label, row.index["trajectories"], shown, views))
    return made


def prediction_key(path: Path) -> tuple[str, int]:
    """Return the row and the seed of an index of predictions."""
    index = read_json(path)
    return index["row"], index["seed"]


if __name__ == "__main__":
    main()
