"""Make the report: tables, plots, and one HTML page that works offline.

Reads the scores of every row and the records of every stage. Nothing is computed again: what the
page says follows from files, and a number that is missing says why.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from rsvp.config.stages import Settings
from rsvp.report.budgets import budget_grids, budget_table, budgets
from rsvp.report.costs import cost_table, costs
from rsvp.report.examples import Gallery, examples
from rsvp.report.formats import FORMATS, write_table
from rsvp.report.grids import comparison_grids, cost_grid, curves_grid, horizon_grids, result_grids
from rsvp.report.measures import PSNR
from rsvp.report.memorisation import (
    memorisation_grids,
    memorisation_table,
    nearest_pictures,
    read_memorisation,
)
from rsvp.report.page import Report, render
from rsvp.report.plots import (
    curves_plot,
    horizon_measures,
    horizon_plot,
    learning_plot,
    pictures_plot,
)
from rsvp.report.records import (
    autoencoder_of,
    read_dataset,
    read_histories,
    read_records,
    resize_of,
)
from rsvp.report.rows import read_rows
from rsvp.report.semantics import conclusions, read_semantics, semantics_grids, semantics_table
from rsvp.report.tables import (
    Tables,
    comparisons_table,
    curves_basis,
    curves_table,
    horizon_basis,
    horizon_table,
    make_tables,
    results_table,
)
from rsvp.report.views import read_views
from rsvp.runtime.files import read_json, write_text
from rsvp.runtime.main import run_stage, stage_parser

logger = logging.getLogger(__name__)
INPUTS = {
    "evaluations": "evaluation/<row>/seed<n>/index.json of all rows",
    "histories": "history.csv of all training stages",
    "records": "run.json of all stages",
    "predictions": "predictions/<row>/seed<n>/index.json of all rows, whose videos play",
    "semantics": "semantics/<autoencoder>/seed<n>/index.json: scene, object and motion of clips",
    "copies": "memorisation/<dataset>/index.json: distances to training clips",
    "datasets": "datasets/<dataset>/index.json; its tables and frames lie beside it",
}
TABLES = {
    "results": "every number of the headline table",
    "horizon": "the measures per future frame",
    "comparisons": "each predictor against every other row",
    "curves": "how distances between sets fall with the number of clips",
    "decomposition": "what scene, object and motion of each autoencoder mean",
    "memorisation": "whether predictions are nearer to training clips than real clips are",
    "budgets": "what the training of each predictor took: stage one and stage two",
    "cost": "time, memory, parameters and operations of every stage",
}
OUTPUTS = {
    "page": "report.html to write: the whole report in one file",
    "horizon-plot": "horizon.svg to write",
    "curves-plot": "curves.svg to write",
    "learning-plot": "learning.svg to write",
    "copies-plot": "copies.svg to write",
}


def main() -> None:
    """The command line."""
    run_stage(report_parser(), run)


def report_parser() -> argparse.ArgumentParser:
    """The flags: files of the stages before, and files to write."""
    parser = stage_parser(__doc__)
    for name, text in INPUTS.items():
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[], help=text)
    for name, text in TABLES.items():
        formats = ", ".join(FORMATS)
        text = f"{text}: files to write, each in the format of its suffix ({formats})"
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=text)
    for name, text in OUTPUTS.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    return parser


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write all outputs; returns the counts for the run record."""
    config = settings.report
    rows = read_rows(arguments.evaluations, config.predictors)
    histories, records = read_histories(arguments.histories), read_records(arguments.records)
    resize = resize_of(rows[0].index["dataset"], records)
    tables = make_tables(rows, settings.evaluation.bootstrap, settings.protocols, resize)
    lines, spent = costs(records), budgets(records)
    semantics = read_semantics(arguments.semantics, settings.evaluation.bootstrap)
    copies = read_memorisation(arguments.copies)
    nearest = pictures_plot(nearest_pictures(copies))
    page = render(
        Report(
            title=config.title,
            tables=tables,
            histories=histories,
            records=records,
            costs=lines,
            budgets=budget_grids(spent),
            galleries=galleries(arguments, tables, records, config.examples),
            decomposition=semantics_grids(semantics),
            conclusions=conclusions(semantics),
            memorisation=memorisation_grids(copies),
            nearest=nearest,
            datasets=[read_dataset(path) for path in arguments.datasets],
            resamples=settings.evaluation.bootstrap,
        )
    )
    for paths, frame, grids in (
        (arguments.results, results_table(tables), result_grids(tables)),
        (arguments.horizon, horizon_table(tables), horizon_grids(tables)),
        (arguments.comparisons, comparisons_table(tables), comparison_grids(tables)),
        (arguments.curves, curves_table(tables), [curves_grid(tables)]),
        (arguments.decomposition, semantics_table(semantics), semantics_grids(semantics)),
        (arguments.memorisation, memorisation_table(copies), memorisation_grids(copies)),
        (arguments.budgets, budget_table(spent), budget_grids(spent)),
        (arguments.cost, cost_table(lines), [cost_grid(lines)]),
    ):
        write_table(paths, frame, grids, config.title)
    drawn = horizon_measures(tables)
    write_text(arguments.horizon_plot, horizon_plot(tables, drawn, horizon_basis(tables, drawn)))
    write_text(arguments.curves_plot, curves_plot(tables, curves_basis(tables)))
    write_text(arguments.learning_plot, learning_plot(histories))
    write_text(arguments.copies_plot, nearest)
    write_text(arguments.page, page)
    logger.info("%d rows, %d comparisons", len(rows), len(tables.comparisons))
    return {"rows": [row.name for row in rows], "bytes": len(page.encode())}


def galleries(
    arguments: argparse.Namespace, tables: Tables, records: list[dict[str, Any]], wanted: int
) -> list[Gallery]:
    """The playing examples of each predictor."""
    datasets = {read_json(path)["dataset"]: path for path in arguments.datasets}
    made = []
    for row in tables.rows:
        if row.kind == "predictor":
            autoencoder = autoencoder_of(row.name, records)
            views = read_views(arguments.semantics, autoencoder, row.index["seed"])
            ceilings = [r for r in tables.rows if r.name == f"{autoencoder}.reconstruction"]
            others = [r for r in (tables.best_baseline(PSNR), *ceilings) if r is not None]
            shown = examples(row, others, arguments.predictions, datasets, views, wanted)
            made.append(Gallery(row.label, row.index["trajectories"], shown, views))
    return made


if __name__ == "__main__":
    main()
