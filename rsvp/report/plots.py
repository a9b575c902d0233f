"""Figures as SVG that read in light and in dark: colours are CSS variables, text is text."""

import io
import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsvp.report.estimates import Estimate
from rsvp.report.measures import DRAWN
from rsvp.report.records import StageHistory
from rsvp.report.rows import ResultRow
from rsvp.report.tables import Quantity, Tables

matplotlib.use("svg")

# Placeholders that matplotlib draws with, and the CSS that takes their place: (variable, light,
# dark). The page and the stand-alone files set the variables.
COLOURS = {
    "#010101": ("ink", "#20242b", "#e6e8ec"),
    "#020202": ("quiet", "#6b7280", "#9aa3b0"),
    "#030303": ("line", "#d9dce1", "#363b44"),
    "#040404": ("accent", "#1d5fbf", "#7ab2ff"),
    "#050505": ("second", "#b4531a", "#f2a265"),
    "#060606": ("third", "#18794e", "#63c991"),
    "#070707": ("fourth", "#7c3fa8", "#c79bea"),
}
INK, QUIET, LINE, *SERIES = COLOURS
BEST_BASELINE = SERIES[1]
PREDICTORS = (SERIES[0], *SERIES[2:])
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # tell thin grey lines apart
DOTTED = (0, (1.5, 1.5))
STYLE = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9, "text.color": INK,
    "axes.edgecolor": LINE, "axes.labelcolor": QUIET, "axes.titlecolor": INK,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": LINE, "grid.linewidth": 0.6,
    "xtick.color": QUIET, "ytick.color": QUIET, "xtick.major.size": 0, "ytick.major.size": 0,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "lines.linewidth": 1.4,
}  # fmt: skip
PANEL = (5.6, 3.1)  # inches
CHARACTERS = 15  # of a caption, per inch
LEAST_DISTANCE = 1e-6  # a logarithmic axis has no 0


def drawn_over_horizon(tables: Tables) -> list[Quantity]:
    """The quantities that have curves over the future frames."""
    keys = {key.measure: key for _, key in tables.horizon if key.sampling == key.measure.sampling}
    return [keys[measure] for measure in DRAWN if measure in keys]


def horizon_plot(tables: Tables, keys: Sequence[Quantity], caption: str = "") -> str:
    """SVG: one panel per quantity over the future frames, one line per row, bands for predictors.

    caption: what stands below, where nothing beside the figure says it.
    """
    with matplotlib.rc_context(STYLE):
        figure, panels = grid(len(keys), columns=2, panel=PANEL)
        for axes, key in zip(panels, keys, strict=True):
            draw_horizon(axes, tables, key)
        write_below(figure, caption)
        return svg(figure, "horizon-" + "-".join(key.measure.key for key in keys))


def colours(rows: Iterable[ResultRow], hardest: ResultRow | None) -> dict[str, str]:
    """The colour of each row's line, by name: only predictors and the best baseline stand out."""
    found, series = {}, itertools.cycle(PREDICTORS)
    for row in rows:
        plain = BEST_BASELINE if row is hardest else QUIET
        found[row.name] = next(series) if row.kind == "predictor" else plain
    return found


def draw_horizon(axes: Axes, tables: Tables, key: Quantity) -> None:
    """Draw one quantity over the horizon, with a label at the end of each line."""
    labels, measure, markers = [], key.measure, itertools.cycle(MARKERS)
    rows = [row for row in tables.rows if (row, key) in tables.horizon]
    colour_of = colours(rows, tables.best(key, "baseline"))
    for row in rows:
        estimates, colour = tables.horizon[row, key], colour_of[row.name]
        marker = next(markers) if row.kind == "baseline" and colour == QUIET else ""
        draw_line(axes, row, estimates, colour, marker)
        last = [item.value for item in estimates if item.known][-1]
        labels.append(Label(last, row.label, colour, marker))
    future = tables.rows[0].index["future_frames"]
    axes.set_xlim(0.6, future + 0.2)
    ticks = range(1, future + 1) if future <= 16 else range(0, future + 1, max(future // 8, 1))
    axes.set_xticks([tick for tick in ticks if tick])
    axes.set_xlabel("future frame")
    network = tables.network(key)
    name = f"{measure.label} of {network}" if network else measure.label
    name += f" ({measure.unit})" if measure.unit else ""
    axes.set_title(
        f"{name}, {measure.better} is better" if measure.better else f"{name}, 1 is right"
    )
    label_ends(axes, labels, future + 0.05, future + 0.06 * future)


def draw_line(
    axes: Axes, row: ResultRow, estimates: list[Estimate], colour: str, marker: str
) -> None:
    """One row's curve; predictors get a band of their 95 % interval."""
    frames = np.arange(1, len(estimates) + 1)
    values = np.array([item.value for item in estimates])
    axes.plot(
        frames, values, color=colour, linewidth=0.9 if colour == QUIET else 1.8,
        marker=marker or None, markersize=3.5,
    )  # fmt: skip
    if row.kind == "predictor":
        low = np.array([item.low for item in estimates])
        high = np.array([item.high for item in estimates])
        axes.fill_between(frames, low, high, color=colour, alpha=0.16, linewidth=0)


def curves_plot(tables: Tables, caption: str = "") -> str:
    """SVG: each distance between sets against the number of clips, both on logarithmic axes.

    Bands are ± one standard deviation over subsets; all clips have a bar, their 95 % interval.
    caption: what stands below, where nothing beside the figure says it.
    """
    keys = list(dict.fromkeys(key for _, key in tables.curves))
    with matplotlib.rc_context(STYLE):
        figure, all_axes = grid(len(keys), columns=2, panel=PANEL)
        for axes, key in zip(all_axes, keys, strict=True):
            draw_curves(axes, tables, key)
        write_below(figure, caption)
        return svg(figure, "curves")


def draw_curves(axes: Axes, tables: Tables, key: Quantity) -> None:
    """Draw one distance against the number of clips, with a label at the end of each line.

    Rows of the same values, which stand still, share a line.
    """
    labels: list[Label] = []
    sizes = {1}
    found = distinct_curves(tables, key)
    hardest = tables.best(key, "baseline")
    colour_of = colours([row for _, row, _ in found], hardest)
    for names, row, curve in found:
        colour = colour_of[row.name]
        clips = np.array([point.clips for point in curve])
        values = np.array([point.value for point in curve])
        deviations = np.array([point.seed_std for point in curve])
        values = np.maximum(values, LEAST_DISTANCE)
        axes.plot(clips, values, color=colour, linestyle=DOTTED if row.kind == "floor" else "-")
        low, high = np.maximum(values - deviations, values / 10), values + deviations
        axes.fill_between(clips, low, high, color=colour, alpha=0.14, linewidth=0)
        if curve[-1].has_interval:
            ends = [max(curve[-1].low, values[-1] / 10), curve[-1].high]
            axes.plot(clips[[-1, -1]], ends, color=colour, linewidth=2.5, alpha=0.45)
        labels.append(Label(values[-1], names, colour))
        sizes |= {point.clips for point in curve}
    last = max(sizes)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted(sizes - {1}), [str(size) for size in sorted(sizes - {1})])
    axes.set_xlim(min(sizes - {1}, default=1) * 0.95, last * 1.02)
    axes.set_xlabel("clips")
    axes.set_title(f"{key.measure.label}, {key.protocol}, lower is better")
    label_ends(axes, labels, last * 1.01, last * 1.1)


def distinct_curves(tables: Tables, key: Quantity) -> list[tuple[str, ResultRow, list[Estimate]]]:
    """(labels, first row, curve) of each different curve."""
    found: dict[str, list[ResultRow]] = {}
    for row in tables.rows:
        if curve := tables.curves.get((row, key)):
            values = repr([(point.clips, point.value, point.seed_std) for point in curve])
            found.setdefault(values, []).append(row)
    return [
        (rows[0].label + (f" and {len(rows) - 1} like it" if rows[1:] else ""), rows[0],
         tables.curves[rows[0], key])
        for rows in found.values()
    ]  # fmt: skip


@dataclass(frozen=True, order=True)
class Label:
    """A text at the end of a line, at `value`."""

    value: float
    text: str
    colour: str
    marker: str = ""  # of the line


def label_ends(axes: Axes, labels: list[Label], end: float, x: float) -> None:
    """Write labels at `x`, moved apart where they would touch; `end` is where the lines end."""
    if not labels:
        return
    scale = axes.yaxis.get_transform()  # what is linear on paper
    low, high = scale.transform(np.array(axes.get_ylim()))
    spacing = (high - low) * 0.067
    labels = sorted(labels)
    places = list(scale.transform(np.array([label.value for label in labels])))
    for _ in range(200):  # push neighbours apart, a little at a time
        for i in range(len(places) - 1):
            overlap = spacing - (places[i + 1] - places[i])
            if overlap > 1e-9:
                places[i] -= overlap / 2
                places[i + 1] += overlap / 2
    for place, label in zip(scale.inverted().transform(np.array(places)), labels, strict=True):
        tip = x - 0.2 * (x - end)
        axes.plot([end, tip], [label.value, place], color=LINE, linewidth=0.8, clip_on=False)
        if label.marker:
            axes.plot(
                [x], [place], color=label.colour, marker=label.marker, markersize=3.5, clip_on=False
            )
        axes.annotate(
            label.text, (x, place), xytext=(6 if label.marker else 0, 0), color=label.colour,
            textcoords="offset points", va="center", fontsize=8.5, annotation_clip=False,
        )  # fmt: skip


def learning_plot(histories: Sequence[StageHistory]) -> str:
    """SVG: the curves of all given training stages, a small panel for each; seeds overlaid."""
    pairs = ((history.stage, curve) for history in histories for curve in history.curves)
    stages = list(dict.fromkeys(history.stage for history in histories))
    panels = sorted(dict.fromkeys(pairs), key=lambda panel: stages.index(panel[0]))
    with matplotlib.rc_context(STYLE):
        figure, all_axes = grid(len(panels), columns=4, panel=(3.0, 2.1))
        used = list(dict.fromkeys(stage for stage, _ in panels))
        for axes, (stage, curve) in zip(all_axes, panels, strict=True):
            mine = [history for history in histories if history.stage == stage]
            draw_learning(axes, mine, curve)
            name = curve.replace("_", " ")
            axes.set_title(f"{stage}\n{name}" if len(used) > 1 else name, fontsize=9)
        return svg(figure, "learning-" + "-".join(used))


def draw_learning(axes: Axes, histories: list[StageHistory], curve: str) -> None:
    """One curve of one stage: dense ones smoothed over their trace, sparse ones with points."""
    for number, history in enumerate(histories):
        if curve not in history.table:
            continue
        colour = SERIES[number % len(SERIES)]
        points = history.table[["step", curve]].dropna()
        if len(points) > 40:
            axes.plot(points["step"], points[curve], color=colour, alpha=0.25, linewidth=0.6)
            smooth = points[curve].rolling(max(len(points) // 25, 2), min_periods=1, center=True)
            axes.plot(points["step"], smooth.mean(), color=colour, linewidth=1.5)
            low, high = points[curve].quantile([0.0, 0.99])
            margin = 0.06 * (high - low) or 0.1
            axes.set_ylim(low - margin, high + margin)
        else:
            axes.plot(points["step"], points[curve], color=colour, marker="o", markersize=2.5)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)


def pictures_plot(pictures: Sequence[tuple[str, np.ndarray]]) -> str:
    """SVG: titled pictures, uint8 RGB, as they are."""
    with matplotlib.rc_context(STYLE):
        figure, all_axes = grid(len(pictures), columns=2, panel=(5.6, 3.4))
        for axes, (title, picture) in zip(all_axes, pictures, strict=True):
            axes.imshow(picture, interpolation="none")
            axes.set_title(title, fontsize=8.5, fontweight="normal")
            axes.set_axis_off()
        return svg(figure, "pictures")


def grid(count: int, columns: int, panel: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, each `panel` inches, filled row by row."""
    columns = max(min(columns, count), 1)
    rows = max(-(-count // columns), 1)
    figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def write_below(figure: Figure, text: str) -> None:
    """Write a caption below all panels, in lines as wide as the figure."""
    if text:
        lines = textwrap.fill(text, int(figure.get_figwidth() * CHARACTERS))
        figure.supxlabel(lines, x=0.01, ha="left", fontsize=8, color=QUIET)


def svg(figure: Figure, name: str) -> str:
    """The figure as stand-alone SVG text, the same for the same data."""
    with matplotlib.rc_context({"svg.hashsalt": name}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", stream.getvalue(), flags=re.DOTALL)
    for placeholder, (variable, light, _) in COLOURS.items():
        text = text.replace(placeholder, f"var(--{variable}, {light})")
    light = "".join(f"--{name}:{value};" for name, value, _ in COLOURS.values())
    dark = "".join(f"--{name}:{value};" for name, _, value in COLOURS.values())
    style = f"svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}"
    return re.sub(r"(<svg\b[^>]*>)", rf"\1<style>{style}</style>", text, count=1)


def inline_svg(text: str, title: str, prefix: str) -> str:
    """Stand-alone SVG text as an element of a page: ids made unique, variables left to the page.

    HTML needs no namespaces, so none is left and the page names no address at all.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<style>svg\{.*?</style>", "", text, count=1)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href=", "href=")
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    head, rest = text.split(">", 1)
    points = float(re.search(r'\bwidth="([\d.]+)pt"', head)[1])
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    head += f' style="max-width: {points / 72:.2f}in" role="img" aria-label="{escape(title)}"'
    return f"{head}>{rest}"
