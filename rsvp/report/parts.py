"""Which numbers stand together: the few of the headline, and the tables of details below it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rsvp.config.schema import FETCH
from rsvp.report.estimates import Estimate
from rsvp.report.measures import (
    CRPS,
    ENSEMBLE,
    FVD,
    LPIPS,
    MEASURES,
    MOTION,
    OBJECT_PSNR,
    PAIRED,
    PSNR,
    SSIM,
    Measure,
)
from rsvp.report.rows import Row
from rsvp.report.tables import Tables, best_row, measured_by, plain_reason, protocol_text


@dataclass(frozen=True)
class Column:
    """One measured quantity under one protocol."""

    measure: Measure
    sampling: str
    protocol: str

    def estimate(self, tables: Tables, row: Row) -> Estimate:
        """The cell of a row; of a single future, that is also the mean and the best of all."""
        one = row.index["trajectories"] == 1 and self.sampling in ("mean", "best")
        return tables.estimate(row, self.measure, "single" if one else self.sampling, self.protocol)

    def measured(self, tables: Tables) -> bool:
        """Whether any row has a value; one future alone has no mean and no best."""
        if self.sampling in ("mean", "best") and tables.futures(self.protocol) == 1:
            return False
        return any(
            tables.estimate(row, self.measure, self.sampling, self.protocol).known
            for row in tables.rows
        )

    def best(self, tables: Tables) -> Row | None:
        """The best predictor or baseline; None for a choice that looks at the truth."""
        if self.sampling != self.measure.sampling:
            return None
        ranked = [row for row in tables.rows if row.kind in ("predictor", "baseline")]
        return best_row(ranked, self.measure, tables, self.protocol)

    def network(self, tables: Tables) -> str:
        """What the measure looks at frames with, where that is a network."""
        network = tables.network(self.measure, tables.protocols[self.protocol])
        return "" if network == "motion statistic" else network

    def sampled(self, tables: Tables) -> str:
        """ "best of 3" and the like; empty where futures count one by one, or all at once."""
        if self.sampling not in ("mean", "best"):
            return ""
        return f"{self.sampling} of {tables.futures(self.protocol)}"

    def heading(self, tables: Tables) -> str:
        """Name, network, way of sampling, unit, and the direction that is better."""
        name, network = self.measure.label, self.network(tables)
        name += f" of {network}" if network else ""
        if sampled := self.sampled(tables):
            name += f", {sampled}"
        unit = f" ({self.measure.unit})" if self.measure.unit else ""
        return f"{name}{unit} {self.measure.arrow}".rstrip()


@dataclass(frozen=True)
class Part:
    """A table: rows are the report's, columns these."""

    name: str
    title: str
    protocols: list[str]  # in words, all that the numbers depend on
    columns: list[Column]

    def rows(self, tables: Tables) -> list[Row]:
        """The rows that have a value in any column."""
        return [
            row for row in tables.rows
            if any(column.estimate(tables, row).known for column in self.columns)
        ]  # fmt: skip


def headline(tables: Tables) -> Part:
    """The measures that say most, each under the protocol that stands for it."""
    distance = FVD if tables.measured(FVD) else MOTION
    columns = [
        Column(measure, measure.sampling, tables.protocol_of(measure))
        for measure in (PSNR, OBJECT_PSNR, SSIM, LPIPS, CRPS, distance)
        if tables.measured(measure)
    ]
    return part(tables, "results", "Results", columns)


def details(tables: Tables) -> list[Part]:
    """Everything that was measured and does not stand in the headline, protocol by protocol."""
    above = headline(tables).columns
    parts = []
    for name, protocol in tables.protocols.items():
        if name in tables.frame_protocols:
            single = [Column(measure, "single", name) for measure in PAIRED]
            several = [Column(measure, sampling, name) for measure in PAIRED
                       for sampling in ("mean", "best")]  # fmt: skip
            together = [Column(measure, "all", name) for measure in ENSEMBLE]
            groups = [("Frame by frame", single), ("Mean of the futures, and the best", several),
                      ("All futures of a clip together", together)]  # fmt: skip
        else:
            sets = [Column(measure, "single", name) for measure in measured_by(protocol)]
            groups = [("As sets of videos", sets)]
        for number, (title, columns) in enumerate(groups):
            shown = [item for item in columns if item.measured(tables) and item not in above]
            if shown:
                parts.append(part(tables, f"{name}-{number}", f"{title}, {name}", shown))
    return parts


def part(tables: Tables, name: str, title: str, columns: list[Column]) -> Part:
    """A part with its protocols in words."""
    measures: dict[str, list[Measure]] = {}
    for column in columns:
        measures.setdefault(column.protocol, []).append(column.measure)
    texts = [protocol_text(protocol, tables, those) for protocol, those in measures.items()]
    return Part(name, title, texts, columns)


def equal_rows(tables: Tables, column: Column) -> str:
    """Which rows have the very same motion distance, and why; empty where none have."""
    values: dict[float, list[str]] = {}
    for row in tables.rows if column.measure is MOTION else ():
        if (cell := column.estimate(tables, row)).known:
            values.setdefault(cell.value, []).append(row.label)
    same = max(values.values(), key=len, default=[])
    if len(same) < 2:
        return ""
    return f"{MOTION.label} of {', '.join(same)} is one number, since their futures stand still."


def absent(tables: Tables) -> list[tuple[str, str]]:
    """(names, reason) of the measures without any value, and of protocols without any."""
    reasons: dict[str, list[str]] = {}
    for measure in MEASURES:
        if not tables.measured(measure):
            reason = plain_reason(tables.reason(measure))
            if FETCH in reason:  # of several files, one command
                reason = "their weights are not there yet; make weights downloads them"
            reasons.setdefault(reason, []).append(measure.label)
    for name in tables.protocols:
        cells = [cell for key, cell in tables.headline.items() if key[3] == name]
        if cells and not any(cell.known for cell in cells):
            reason = next((cell.note for cell in cells if cell.note), "nothing was scored")
            reasons.setdefault(plain_reason(reason), []).append(f"protocol {name}")
    return [(", ".join(names), reason) for reason, names in reasons.items()]


def notes(tables: Tables, columns: Sequence[Column]) -> list[str]:
    """What qualifies numbers of these columns, each once, with what it is about."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for column in columns:
        for row in tables.rows:
            note = column.estimate(tables, row).note
            if note and not note.startswith("not computed"):
                measures, rows = found.setdefault(note, ({}, {}))
                measures[column.measure.label] = rows[row.label] = None
    texts = [text for column in columns if (text := equal_rows(tables, column))]
    for note, (measures, rows) in found.items():
        of = f" of {', '.join(rows)}" if len(rows) < len(tables.rows) / 2 else ""
        texts.append(f"{', '.join(measures)}{of}: {note}.")
    return texts
