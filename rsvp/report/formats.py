"""One table in several files: for machines CSV and Parquet, for people Markdown and LaTeX."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rsvp.report.grids import Grid
from rsvp.report.latex import latex
from rsvp.report.markdown import markdown
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import atomic_path, write_text

FORMATS = (".csv", ".parquet", ".md", ".tex")


def write_table(
    paths: Sequence[Path], frame: pd.DataFrame, grids: Sequence[Grid], title: str
) -> None:
    """Write a table to each path in the format of its suffix.

    Machines get `frame`, in which what is not known is an empty cell with a note beside it; people
    get `grids`, one below the other.
    """
    for path in paths:
        if path.suffix == ".csv":
            write_text(path, frame.to_csv(index=False))
        elif path.suffix == ".parquet":
            with atomic_path(path) as temporary:
                frame.to_parquet(temporary, index=False)
        elif path.suffix == ".md":
            write_text(path, markdown(grids, title))
        elif path.suffix == ".tex":
            write_text(path, "\n".join(map(latex, grids)))
        else:
            raise UserError(f"{path}: unknown table format; take {', '.join(FORMATS)}")
