"""Figures as SVG that read in light and in dark: colours are CSS variables, text is text."""

import io
import re
from collections.abc import Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rsvp.reporting.estimates import Estimate
from rsvp.reporting.measures import MEASURES, MSE, PAIRED, Measure
from rsvp.reporting.records import History
from rsvp.reporting.rows import Row
from rsvp.reporting.tables import Tables

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
DASHES = ((0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)), (0, (8, 3)))
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.4,
}
PANEL = (5.6, 3.1)  # inches


def horizon_measures(tables: Tables) -> list[Measure]:
    """The measures that have curves over the future frames."""
    drawn = [measure for measure in PAIRED if measure is not MSE]  # MSE repeats PSNR
    return [m for m in drawn if any(key[1:] == (m.key, "single") for key in tables.horizon)]


def horizon_plot(tables: Tables, measures: Sequence[Measure]) -> str:
    """SVG: one panel per measure over the future frames, one line per row, bands for predictors."""
    with matplotlib.rc_context(STYLE):
        figure, panels = grid(len(measures), columns=2, panel=PANEL)
        for axes, measure in zip(panels, measures, strict=True):
            draw_horizon(axes, tables, measure)
        return svg(figure, "horizon-" + "-".join(measure.key for measure in measures))


def draw_horizon(axes: Axes, tables: Tables, measure: Measure) -> None:
    """Draw one measure over the horizon, with a label at the end of each line."""
    labels = []
    predictors = baselines = 0
    hardest = tables.best_baseline(measure)
    for row in tables.rows:
        estimates = tables.horizon.get((row.name, measure.key, "single"))
        if not estimates:
            continue
        if row.kind == "predictor":
            colour, dash = PREDICTORS[predictors % len(PREDICTORS)], "-"
            predictors += 1
        elif row is hardest:
            colour, dash = BEST_BASELINE, "-"
        else:
            colour, dash = QUIET, "-" if row.kind == "ceiling" else DASHES[baselines % len(DASHES)]
            baselines += row.kind == "baseline"
        draw_line(axes, row, estimates, colour, dash)
        labels.append(([item.value for item in estimates if item.known][-1], row.label, colour))
    future = tables.rows[0].index["future_frames"]
    axes.set_xlim(0.6, future + 0.2)
    ticks = range(1, future + 1) if future <= 16 else range(0, future + 1, max(future // 8, 1))
    axes.set_xticks([tick for tick in ticks if tick])
    axes.set_xlabel("future frame")
    unit = f" ({measure.unit})" if measure.unit else ""
    arrow = "higher is better" if measure.higher_is_better else "lower is better"
    axes.set_title(f"{measure.label}{unit}, {arrow}")
    label_ends(axes, labels, future + 0.05, future + 0.35)


def draw_line(axes: Axes, row: Row, estimates: list[Estimate], colour: str, dash: object) -> None:
    """One row's curve; predictors get a band of their 95 % interval."""
    frames = np.arange(1, len(estimates) + 1)
    values = np.array([item.value for item in estimates])
    axes.plot(
        frames, values, color=colour, linestyle=dash, linewidth=0.9 if colour == QUIET else 1.8
    )
    if row.kind == "predictor":
        low = np.array([item.low for item in estimates])
        high = np.array([item.high for item in estimates])
        axes.fill_between(frames, low, high, color=colour, alpha=0.16, linewidth=0)


def curves_plot(tables: Tables) -> str:
    """SVG: each distance between sets against the number of clips, bands of ± one deviation."""
    panels = list(dict.fromkeys((key, protocol) for _, key, protocol in tables.curves))
    with matplotlib.rc_context(STYLE):
        figure, all_axes = grid(len(panels), columns=2, panel=PANEL)
        for axes, (key, protocol) in zip(all_axes, panels, strict=True):
            draw_curves(axes, tables, next(m for m in MEASURES if m.key == key), protocol)
        return svg(figure, "curves")


def draw_curves(axes: Axes, tables: Tables, measure: Measure, protocol: str) -> None:
    """Draw one distance against the number of clips, with a label at the end of each line.

    Of the baselines the best alone: the others are often a hundred times as far.
    """
    labels, last = [], 1
    hardest = tables.best_baseline(measure, protocol)
    predictors = 0
    for row in tables.rows:
        curve = tables.curves.get((row.name, measure.key, protocol))
        if not curve or (row.kind == "baseline" and row is not hardest):
            continue
        colour = QUIET if row is not hardest else BEST_BASELINE
        if row.kind == "predictor":
            colour = PREDICTORS[predictors % len(PREDICTORS)]
            predictors += 1
        clips, values, deviations = np.array(curve).T
        axes.plot(clips, values, color=colour, linestyle=DASHES[1] if row.kind == "floor" else "-")
        low, high = values - deviations, values + deviations
        axes.fill_between(clips, low, high, color=colour, alpha=0.14, linewidth=0)
        labels.append((values[-1], row.label, colour))
        last = max(last, int(clips[-1]))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_xlabel("clips")
    axes.set_title(f"{measure.label}, {protocol}, lower is better")
    label_ends(axes, labels, last * 1.005, last * 1.035)


def label_ends(axes: Axes, labels: list[tuple[float, str, str]], end: float, x: float) -> None:
    """Write labels (value, text, colour) at `x`, moved apart where they would touch.

    `end` is where the lines end.
    """
    if not labels:
        return
    low, high = axes.get_ylim()
    spacing = (high - low) * 0.062
    labels = sorted(labels)
    places = [value for value, _, _ in labels]
    for _ in range(200):  # push neighbours apart, a little at a time
        for i in range(len(places) - 1):
            overlap = spacing - (places[i + 1] - places[i])
            if overlap > 1e-9:
                places[i] -= overlap / 2
                places[i + 1] += overlap / 2
    for place, (value, text, colour) in zip(places, labels, strict=True):
        axes.plot(
            [end, x - 0.2 * (x - end)], [value, place], color=LINE, linewidth=0.8, clip_on=False
        )
        axes.text(x, place, text, color=colour, va="center", fontsize=8.5, clip_on=False)


def learning_plot(histories: Sequence[History]) -> str:
    """SVG: the curves of all given training stages, a small panel for each; seeds overlaid."""
    panels = [
        (stage, curve)
        for stage in dict.fromkeys(history.stage for history in histories)
        for curve in dict.fromkeys(
            curve for history in histories if history.stage == stage for curve in history.curves
        )
    ]
    with matplotlib.rc_context(STYLE):
        figure, all_axes = grid(len(panels), columns=4, panel=(3.0, 2.1))
        several = len({stage for stage, _ in panels}) > 1
        for axes, (stage, curve) in zip(all_axes, panels, strict=True):
            mine = [history for history in histories if history.stage == stage]
            draw_learning(axes, mine, curve)
            name = curve.replace("_", " ")
            axes.set_title(f"{stage}\n{name}" if several else name, fontsize=9)
        return svg(figure, "learning-" + "-".join(dict.fromkeys(stage for stage, _ in panels)))


def draw_learning(axes: Axes, histories: list[History], curve: str) -> None:
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


def grid(count: int, columns: int, panel: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, each `panel` inches, filled row by row."""
    columns = max(min(columns, count), 1)
    rows = max(-(-count // columns), 1)
    figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


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
