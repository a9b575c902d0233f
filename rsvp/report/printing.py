r"""The type of a table, and its printers: CSV, Parquet, Markdown and LaTeX.

The page prints the same tables (`page.html.jinja`). LaTeX needs only `\usepackage{booktabs}` and
UTF-8 input.
"""

import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rsvp.config.schema import size_of
from rsvp.report.estimates import Estimate
from rsvp.report.measures import Measure
from rsvp.runtime.files import atomic_path, write_text

FORMATS = (".csv", ".parquet", ".md", ".tex")
UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
ARROWS = {"higher": "↑", "lower": "↓", "": ""}
HEAD = 14  # characters in a line of a column's head in LaTeX, where words allow it
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", '"': "''",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "±": r"$\pm$",
    "†": r"$^\dagger$", "×": r"$\times$", "²": r"$^2$", MINUS: "$-$", UNKNOWN: "--",
    "\N{NO-BREAK SPACE}": "~", "\N{NARROW NO-BREAK SPACE}": r"\,", "\N{THIN SPACE}": r"\,",
    "\n": " ",
}  # fmt: skip
MARKDOWN = {character: f"\\{character}" for character in "\\`*_[]|"} | {
    "<": "&lt;", ">": "&gt;", "\n": " "
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One cell: a number with its interval, or a text."""

    value: str
    low: str = ""
    high: str = ""
    deviation: str = ""  # over seeds, or subsets
    number: bool = True
    best: bool = False  # of its column
    exact: str = ""  # the page sorts by it
    note: str = ""
    label: str = ""  # the page says it in place of the value
    verdict: str = ""  # of a comparison
    scope: str = ""  # of a verdict: of which trainings alone it holds
    mark: str = ""  # stands at the number
    hardest: bool = False  # a comparison with the best baseline

    @property
    def text(self) -> str:
        """The value with its deviation and its mark."""
        return self.value + (f" ± {self.deviation}" if self.deviation else "") + self.mark

    @property
    def interval(self) -> str:
        """The interval in brackets; empty where there is none."""
        return f"[{self.low}, {self.high}]" if self.low else ""

    @property
    def known(self) -> bool:
        """True where there is a number."""
        return self.value != UNKNOWN

    @property
    def span(self) -> str:
        """The interval in words."""
        return span(self.low, self.high) if self.low else ""


def span(low: str, high: str) -> str:
    """An interval: `23.55 – 24.60`, or `+0.10 to +0.30` where signs would confuse."""
    signed = any(sign in low + high for sign in ("+", MINUS))
    return low + (" to " if signed else "\N{THIN SPACE}–\N{THIN SPACE}") + high


@dataclass(frozen=True)
class Column:
    """The head of a column: all in one line, and in parts as the page stacks them."""

    head: str
    label: str = ""
    details: Sequence[str] = ()
    protocol: str = ""
    better: str = ""  # "higher" or "lower"
    warning: str = ""

    @property
    def arrow(self) -> str:
        """An arrow towards what is better."""
        return ARROWS[self.better]


@dataclass(frozen=True)
class Table:
    """A table for people, line by line."""

    name: str  # for references: results
    caption: str
    columns: Sequence[Column]
    lines: list[list[Cell]]
    notes: Sequence[str] = ()
    starts: Sequence[int] = ()  # lines that begin a new part
    title: str = ""
    protocols: Sequence[str] = ()  # in words, all that the numbers depend on
    basis: str = ""  # of comparisons: protocols, and how many clips, groups and seeds
    context: str = ""  # the observed frames, where they are not the first ones

    @property
    def numeric(self) -> list[bool]:
        """For each column, whether it holds a number: then it stands right."""
        return [any(line[i].number for line in self.lines) for i in range(len(self.columns))]


@dataclass(frozen=True)
class TableFile:
    """One subject: `frame` has a line per number for machines, people get `tables`."""

    name: str
    frame: pd.DataFrame  # an unknown number is empty, with a note beside it
    tables: list[Table]

    def write(self, folder: Path, title: str) -> None:
        """Write the files <name>.csv and so on (`FORMATS`) into `folder`."""
        path = folder / self.name
        write_text(path.with_suffix(".csv"), self.frame.to_csv(index=False))
        with atomic_path(path.with_suffix(".parquet")) as temporary:
            self.frame.to_parquet(temporary, index=False)
        write_text(path.with_suffix(".md"), markdown(self.tables, title))
        write_text(path.with_suffix(".tex"), "\n".join(map(latex, self.tables)))


def frame_of(lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The lines as a data frame; without any, `columns` alone."""
    return pd.DataFrame(lines, columns=None if lines else columns)


def table_of(
    name: str,
    caption: str,
    columns: Mapping[str, Callable[[Any], Cell | str]],
    lines: Sequence[Any],
    notes: Sequence[str] = (),
) -> Table:
    """A table with a line for each of `lines`; `columns`: heads, and what makes a cell of a line.

    Texts become cells that stand left.
    """
    made = [[function(line) for function in columns.values()] for line in lines]
    cells = [[text(item) if isinstance(item, str) else item for item in line] for line in made]
    return Table(name, caption, [Column(head) for head in columns], cells, notes)


def text(value: str, label: str = "", note: str = "") -> Cell:
    """A cell that holds no number; `label`: what the page says in its place."""
    return Cell(value, number=False, label=label, note=note)


def number(
    measure: Measure, estimate: Estimate, sign: bool = False, best: bool = False, **more: Any
) -> Cell:
    """A number with its 95 % interval, and its deviation over seeds where there are several."""
    if not estimate.known:
        note = estimate.note or "not computed: one trajectory per clip"
        return Cell(UNKNOWN, number=False, note=note, **more)
    ends = (estimate.low, estimate.high) if estimate.has_interval else ()
    low, high = [measure.text(end, sign) for end in ends] or ("", "")
    deviation = "" if math.isnan(estimate.seed_std) else measure.text(estimate.seed_std)
    value, exact = measure.text(estimate.value, sign), repr(estimate.value)
    return Cell(value, low, high, deviation, best=best, exact=exact, note=estimate.note, **more)


def markdown(tables: Sequence[Table], title: str) -> str:
    """The tables under one heading."""
    return "\n".join([f"# {escape(title, MARKDOWN)}\n", *map(markdown_table, tables)])


def markdown_table(table: Table) -> str:
    """Caption, table and notes; a cell is `**24.10** [23.50, 24.70]`, bold where it is the best."""

    def shown(cell: Cell) -> str:
        value = escape(cell.text, MARKDOWN)
        value = f"**{value}**" if cell.best else value
        return f"{value} {escape(cell.interval, MARKDOWN)}".rstrip()

    heads = [escape(column.head, MARKDOWN) for column in table.columns]
    lines = [escape(table.caption, MARKDOWN), "", "| " + " | ".join(heads) + " |",
             "|" + "|".join("---:" if numeric else "---" for numeric in table.numeric) + "|",
             *("| " + " | ".join(map(shown, line)) + " |" for line in table.lines)]  # fmt: skip
    if table.notes:
        lines += ["", "Notes:", "", *(f"- {escape(note, MARKDOWN)}" for note in table.notes)]
    return "\n".join([*lines, ""])


def latex(table: Table) -> str:
    """A table environment with caption, label, rules and notes."""
    sides = "".join("r" if numeric else "l" for numeric in table.numeric)
    heads = " & ".join(latex_head(column.head, side)
                       for column, side in zip(table.columns, sides, strict=True))  # fmt: skip
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}", r"\centering", r"\small",
        rf"\caption{{{escape(table.caption, LATEX)}}}", rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{sides}}}", r"\toprule", rf"{heads} \\", r"\midrule",
    ]  # fmt: skip
    for place, cells in enumerate(table.lines):
        if place in table.starts:
            lines.append(r"\midrule")
        values = [(escape(cell.text, LATEX), cell.best) for cell in cells]
        values = [rf"\textbf{{{value}}}" if best else value for value, best in values]
        lines.append(" & ".join(values) + r" \\")
        # Intervals stand below their numbers: a table of many columns fits a page only so.
        if any(cell.interval for cell in cells):
            ends = [escape(cell.interval, LATEX) for cell in cells]
            small = [rf"{{\scriptsize {end}}}" if end else "" for end in ends]
            lines.append(" & ".join(small) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes = r"\\ ".join(escape(note, LATEX) for note in table.notes)
        lines.append(rf"\par\smallskip\footnotesize {notes}")
    return "\n".join([*lines, r"\end{table}", ""])


def pixels(resolution: int | list[int]) -> str:
    """Return a resolution in words: "64 px", or "80×144 px", the height first."""
    height, width = size_of(resolution)
    return f"{width} px" if height == width else f"{height}×{width} px"


def latex_head(text: str, side: str) -> str:
    """A column's head, broken where it would make the column wide; `side` is l or r."""
    if len(text) <= HEAD:
        return rf"\textbf{{{escape(text, LATEX)}}}"
    parts = re.split(r"(?<=,) | (?=\()", text)  # after a comma, before a bracket
    lines = [line for part in parts for line in textwrap.wrap(part, HEAD, break_long_words=False)]
    bold = r"\\".join(rf"\textbf{{{escape(line, LATEX)}}}" for line in lines)
    return rf"\shortstack[{side}]{{{bold}}}"


def escape(text: str, characters: Mapping[str, str]) -> str:
    """`text` with what would be taken for markup made harmless."""
    return "".join(characters.get(character, character) for character in text)
