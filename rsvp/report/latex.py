r"""Tables as LaTeX that needs only `\usepackage{booktabs}` and UTF-8 input."""

import re
import textwrap

from rsvp.report.grids import Cell, Grid

HEAD = 14  # characters in a line of a column's head, where words allow it

ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", '"': "''",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "±": r"$\pm$",
    "×": r"$\times$", "²": r"$^2$", "\N{MINUS SIGN}": "$-$", "–": "--",
    "\N{NO-BREAK SPACE}": "~", "\N{NARROW NO-BREAK SPACE}": r"\,", "\N{THIN SPACE}": r"\,",
    "\n": " ",
}  # fmt: skip


def escape(text: str) -> str:
    """`text` with all that LaTeX would take for a command made harmless."""
    return "".join(ESCAPES.get(character, character) for character in text)


def latex(grid: Grid) -> str:
    """The grid as a table environment with caption, label, rules and notes."""
    columns = "".join("r" if numeric else "l" for numeric in grid.numeric)
    heads = " & ".join(map(heading, grid.heads, columns))
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}", r"\centering", r"\small",
        rf"\caption{{{escape(grid.caption)}}}", rf"\label{{tab:{grid.name}}}",
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{heads} \\", r"\midrule",
    ]  # fmt: skip
    for place, cells in enumerate(grid.lines):
        if place in grid.starts:
            lines.append(r"\midrule")
        lines.append(" & ".join(map(value, cells)) + r" \\")
        # Intervals stand below their numbers: a table of many columns fits a page only so.
        if any(cell.interval for cell in cells):
            lines.append(" & ".join(map(interval, cells)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if grid.notes:
        notes = r"\\ ".join(escape(note) for note in grid.notes)
        lines.append(rf"\par\smallskip\footnotesize {notes}")
    return "\n".join([*lines, r"\end{table}", ""])


def heading(text: str, side: str) -> str:
    """A column's head, broken where it would make the column wide; `side` is l or r."""
    if len(text) <= HEAD:
        return rf"\textbf{{{escape(text)}}}"
    parts = re.split(r"(?<=,) | (?=\()", text)  # after a comma, before a bracket
    lines = [line for part in parts for line in textwrap.wrap(part, HEAD, break_long_words=False)]
    bold = r"\\".join(rf"\textbf{{{escape(line)}}}" for line in lines)
    return rf"\shortstack[{side}]{{{bold}}}"


def value(cell: Cell) -> str:
    """The cell's number or text, bold where it is the best."""
    return rf"\textbf{{{escape(cell.text)}}}" if cell.best else escape(cell.text)


def interval(cell: Cell) -> str:
    """The cell's interval in small type, empty where there is none."""
    return rf"{{\scriptsize {escape(cell.interval)}}}" if cell.interval else ""
