"""Tables as Markdown and LaTeX: structure, escaping, and what stands out."""

import re

import pytest

from rsvp.report.printing import LATEX, Cell, Column, Table, escape, latex, latex_head, markdown

TABLE = Table(
    "results", "50 % of a_b & {c}",
    [Column("row"), Column("PSNR (dB) ↑")],
    [
        [Cell("rsvp_m", number=False), Cell("21.00", "20.00", "22.00", best=True)],
        [Cell("a&b", number=False), Cell("\N{MINUS SIGN}1.50")],
        [Cell("real", number=False), Cell("–", number=False)],
    ],
    starts=[2], notes=["below 256 clips: 100 % <not> comparable"],
)  # fmt: skip


def rows(text: str) -> list[list[str]]:
    """The cells between the first and the last rule of a LaTeX table."""
    body = text.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    return [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in lines]


def test_latex_has_rules_aligned_columns_and_intervals_below():
    text = latex(TABLE)
    assert r"\begin{tabular}{lr}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    cells = [[cell.strip() for cell in row] for row in rows(text)]
    assert cells == [
        [r"rsvp\_m", r"\textbf{21.00}"],
        ["", r"{\scriptsize [20.00, 22.00]}"],
        [r"a\&b", "$-$1.50"],
        ["real", "--"],
    ]
    assert r"\caption{50 \% of a\_b \& \{c\}}" in text and r"\label{tab:results}" in text
    assert r"100 \% \textless{}not\textgreater{} comparable" in text


def test_latex_breaks_long_heads_at_commas_and_brackets_first():
    """Else ten columns of 'mean of 4' and 'best of 4' are wider than any page."""
    assert latex_head("row", "l") == r"\textbf{row}"
    long = r"\shortstack[r]{\textbf{PSNR,}\\\textbf{best of 4}\\\textbf{(dB) $\uparrow$}}"
    assert latex_head("PSNR, best of 4 (dB) ↑", "r") == long
    broken = latex_head("LPIPS of SqueezeNet, mean of 4 ↓", "r")
    lines = re.findall(r"\\textbf\{([^}]*)\}", broken.replace(r"$\downarrow$", "v"))
    assert max(map(len, lines)) <= 14 and " ".join(lines) == "LPIPS of SqueezeNet, mean of 4 v"


def test_latex_environments_and_braces_close():
    text = latex(TABLE)
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1]
    bare = re.sub(r"\\[{}]", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert re.sub(r"\\\$", "", text).count("$") % 2 == 0


@pytest.mark.parametrize("character", list("\\{}$&#_%~^<>"))
def test_no_command_of_latex_survives(character):
    escaped = escape(f"a{character}b", LATEX)
    for command in (r"\\textbackslash\{\}", r"\\textasciitilde\{\}", r"\\textasciicircum\{\}",
                    r"\\textless\{\}", r"\\textgreater\{\}", r"\\[{}$&#_%]"):  # fmt: skip
        escaped = re.sub(command, "", escaped)
    assert escaped == "ab"


def test_markdown_has_one_line_per_row_and_no_markup_of_names():
    lines = markdown([TABLE], "A | B <b>").splitlines()
    assert lines[0] == r"# A \| B &lt;b&gt;"
    table = [line for line in lines if line.startswith("|")]
    assert table[1] == "|---|---:|"
    assert table[2] == r"| rsvp\_m | **21.00** \[20.00, 22.00\] |"
    assert len(table) == 5 and all(line.count("|") == 3 for line in table)
