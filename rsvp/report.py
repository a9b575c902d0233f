"""Make the report: tables, plots, and one HTML page that works offline.

Reads the scores of every row and the records of every stage. Nothing is computed again: what the
page says follows from files, and a number that is missing says why.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from rsvp.config import Settings
from rsvp.files import write_text
from rsvp.reporting.examples import examples, kept_videos
from rsvp.reporting.page import Report, render
from rsvp.reporting.plots import horizon_measures, horizon_plot, learning_plot
from rsvp.reporting.records import read_dataset, read_histories, read_records
from rsvp.reporting.rows import read_rows
from rsvp.reporting.tables import (
    Tables,
    comparisons_table,
    horizon_table,
    make_tables,
    results_markdown,
    results_table,
)
from rsvp.stage import run_stage, stage_parser

logger = logging.getLogger(__name__)
INPUTS = {
    "evaluations": "evaluation/<row>/seed<n>/index.json of all rows",
    "histories": "history.csv of all training stages",
    "records": "run.json of all stages",
    "predictions": "predictions/<row>/seed<n>/index.json of the rows whose videos play",
    "datasets": "datasets/<dataset>/index.json; videos.csv and rejected.csv lie beside it",
}
OUTPUTS = {
    "page": "report.html to write: the whole report in one file",
    "results": "results.csv to write: every number of the headline table",
    "results-markdown": "results.md to write: the headline table",
    "horizon": "horizon.csv to write: the measures per future frame",
    "comparisons": "comparisons.csv to write: the first predictor against every other row",
    "horizon-plot": "horizon.svg to write",
    "learning-plot": "learning.svg to write",
}


def main() -> None:
    """Parse the flags and run the stage."""
    parser = stage_parser(__doc__)
    for name, text in INPUTS.items():
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[], help=text)
    for name, text in OUTPUTS.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    run_stage(parser, run)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write all outputs; returns the counts for the run record."""
    report = settings.report
    rows = read_rows(arguments.evaluations, report.predictors)
    tables = make_tables(rows, settings.evaluation.bootstrap)
    histories = read_histories(arguments.histories)
    predictors = [row for row in rows if row.kind == "predictor"]
    page = render(
        Report(
            title=report.title,
            tables=tables,
            histories=histories,
            records=read_records(arguments.records),
            examples={
                row.name: examples(row, rows, arguments.predictions, report.examples)
                for row in predictors
            },
            videos={row.name: len(kept_videos(row, arguments.predictions)) for row in predictors},
            datasets=[read_dataset(path) for path in arguments.datasets],
            resamples=settings.evaluation.bootstrap,
        )
    )
    write_tables(arguments, tables, report.title)
    write_text(arguments.horizon_plot, horizon_plot(tables, horizon_measures(tables)))
    write_text(arguments.learning_plot, learning_plot(histories))
    write_text(arguments.page, page)
    logger.info("%d rows, %d comparisons", len(rows), len(tables.comparisons))
    return {"rows": [row.name for row in rows], "bytes": len(page.encode())}


def write_tables(arguments: argparse.Namespace, tables: Tables, title: str) -> None:
    """The CSV and Markdown tables; what is not known is an empty cell with a note beside it."""
    write_text(arguments.results, results_table(tables).to_csv(index=False))
    write_text(arguments.results_markdown, results_markdown(tables, title))
    write_text(arguments.horizon, horizon_table(tables).to_csv(index=False))
    write_text(arguments.comparisons, comparisons_table(tables).to_csv(index=False))


if __name__ == "__main__":
    main()
