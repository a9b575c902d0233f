"""Tables as Markdown, with their protocol and notes."""

from collections.abc import Sequence

from rsvp.report.grids import Cell, Grid


def markdown(grids: Sequence[Grid], title: str) -> str:
    """The grids under one heading."""
    return "\n".join([f"# {escape(title)}\n", *map(table, grids)])


def table(grid: Grid) -> str:
    """One grid: caption, table, notes."""
    lines = [
        escape(grid.caption), "",
        "| " + " | ".join(map(escape, grid.heads)) + " |",
        "|" + "|".join("---:" if numeric else "---" for numeric in grid.numeric) + "|",
    ]  # fmt: skip
    lines += ["| " + " | ".join(map(cell_text, cells)) + " |" for cells in grid.lines]
    if grid.notes:
        lines += ["", "Notes:", "", *(f"- {escape(note)}" for note in grid.notes)]
    return "\n".join([*lines, ""])


def cell_text(cell: Cell) -> str:
    """`**24.10** [23.50, 24.70]`: bold where it is the best of its column."""
    text = f"**{escape(cell.text)}**" if cell.best else escape(cell.text)
    return f"{text} {escape(cell.interval)}".rstrip()


def escape(text: str) -> str:
    """`text` with what Markdown and HTML would take for markup made harmless."""
    for character in "\\`*_[]|":
        text = text.replace(character, "\\" + character)
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
