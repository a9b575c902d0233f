"""Score anybody's predictions against real videos, both in folders, under a named protocol.

Folders hold videos, folders of frames, or arrays (npy, safetensors). They are decoded and turned as
the pipeline does; nothing is trained, resized or cut out. Clips are paired by name, each prediction
with the real clip that is called like it. Take lossless videos: what a codec changed is scored.
"""

import argparse
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from rsvp.config.load import load_measuring, structured
from rsvp.config.schema import (
    BASELINES,
    FETCH,
    PROTOCOLS,
    Compute,
    Config,
    Evaluation,
    Protocol,
    Split,
    Weights,
    is_url,
    weights_sources,
)
from rsvp.config.stages import measuring_weights
from rsvp.metrics.features import clip_features
from rsvp.metrics.folders import baseline_row, floor_row, predicted_row
from rsvp.metrics.networks import Networks, load_networks
from rsvp.metrics.row import group_codes, write_row
from rsvp.report.results import comparisons, curves, horizon, results
from rsvp.report.rows import read_rows
from rsvp.report.tables import Tables
from rsvp.runtime.device import device_of
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, read_yaml, write_json
from rsvp.runtime.journal import StateKey
from rsvp.runtime.main import run_command
from rsvp.runtime.parts import PartWriter

NO_FLOOR = (
    "No floor: how far other real clips are from these, more than 0 in a Fréchet distance; --floor "
    "names a folder of such clips."
)


def main() -> None:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help="folder of the real clips")
    parser.add_argument(
        "--predicted",
        type=Path,
        required=True,
        nargs="+",
        help="folder of the predicted clips; several folders are trajectories of each clip",
    )
    parser.add_argument("--protocol", required=True, help="prediction, fvd256_16f, … or yours")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--config", type=Path, help="YAML with `weights` and your `protocols`")
    parser.add_argument(
        "--context", type=int, default=0, help="observed frames of a clip: not scored"
    )
    parser.add_argument(
        "--future-only", action="store_true", help="predicted clips lack the observed frames"
    )
    parser.add_argument(
        "--unpaired", action="store_true", help="equal names mean nothing: score as sets only"
    )
    parser.add_argument(
        "--group-pattern",
        default=Split().group_pattern,
        help="clips whose names share what it finds are resampled together (default: %(default)s)",
    )
    parser.add_argument(
        "--baselines",
        nargs="*",
        choices=BASELINES,
        default=["copy-last"],
        help="scored beside the predictions where clips are paired and frames are observed "
        "(default: copy-last)",
    )
    parser.add_argument(
        "--floor", type=Path, help="other real clips, at least as many: scored as the floor"
    )
    parser.add_argument(
        "--range", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="values of black and white in arrays of floats, which are refused without it",
    )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Score the predictions, print the table, and write it in several formats."""
    config = load_measuring(read_yaml(arguments.config) if arguments.config else {})
    protocols = PROTOCOLS | config.protocols
    protocol = protocols.get(arguments.protocol)
    if protocol is None:
        allowed = ", ".join(protocols)
        raise UserError(f"--protocol: no {arguments.protocol!r}; allowed: {allowed}")
    check_flags(arguments, protocol)
    row, real = predicted_row(
        arguments.real,
        arguments.predicted,
        clips=protocol.clips,
        frames=protocol.frames,
        context=arguments.context,
        future_only=arguments.future_only,
        paired=not arguments.unpaired,
        group_pattern=arguments.group_pattern,
        limits=arguments.range and tuple(arguments.range),
    )
    rows = [row]
    if row.paired and arguments.context:
        rows += [baseline_row(name, real, row.index) for name in arguments.baselines]
    if arguments.floor:
        rows.append(floor_row(arguments.floor, real, row.index, arguments.group_pattern))
    networks = networks_of(config, arguments.device, min(real.shape[1:3]))
    windows = [protocol.frames] if protocol.scores == "distribution" else []
    groups = group_codes(real)

    @cache
    def real_features(i: int) -> dict[str, np.ndarray]:
        frames, detectors = real.frames(i), networks.detectors
        return clip_features(frames, arguments.context, windows, detectors) | {"groups": groups[i]}

    indexes = []
    for row in rows:
        folder = arguments.out / row.index["row"]
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as temporary:
            parts = PartWriter(Path(temporary), Path(temporary), StateKey(None, ""), "row")
            for i in tqdm(range(len(row)), desc=row.index["row"], unit="clip"):
                parts.append(row.measure(i, real_features(i), windows, networks))
            parts.finish()
            files = [folder / name for name in ("scores.parquet", "features.safetensors", INDEX)]
            write_row(row, parts, networks, *files)
        indexes.append(folder / INDEX)
    scored = read_rows(indexes, [rows[0].index["row"]])
    tables = Tables(scored, {arguments.protocol: protocol}, Evaluation().bootstrap)
    write_results(arguments, tables)


def check_flags(arguments: argparse.Namespace, protocol: Protocol) -> None:
    """UserError where flags do not go together."""
    for flag in ("unpaired", "floor"):
        if getattr(arguments, flag) and protocol.scores == "frames":
            raise UserError(f"--{flag}: the protocol {arguments.protocol} compares clip with clip")
    for folder in filter(None, (arguments.real, *arguments.predicted, arguments.floor)):
        if arguments.out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"--out: {arguments.out} lies in {folder}, whose clips are scored")


def networks_of(config: Config, device: str, side: int) -> Networks:
    """Load the networks that the config names; side: pixels of the frames' shorter side."""
    for key, source in weights_sources(config.weights).items():
        if Path(source.local).is_file():
            continue
        if not is_url(source.source):
            raise UserError(f"config: weights.{key}: no file {source.source}; correct the path")
        if config.weights.required:
            raise UserError(f"config: weights.{key}: not there yet, but required; {FETCH}")
    weights = structured(Weights, measuring_weights(config.weights))
    return load_networks(weights, device_of(Compute(device=device)), side)


def write_results(arguments: argparse.Namespace, tables: Tables) -> None:
    """Print the tables, and write them: Markdown and LaTeX, CSV and Parquet, and JSON."""
    folder, title = arguments.out, tables.rows[0].name
    found, compared = results(tables), comparisons(tables)
    if not tables.frame_protocols and not arguments.floor:
        top = found.tables[0]
        found.tables[0] = replace(top, notes=[*top.notes, NO_FLOOR])
    for file in (found, compared, horizon(tables), curves(tables)):
        file.write(folder, title)
    known = {
        "real": str(arguments.real),
        "predicted": [str(path) for path in arguments.predicted],
        "floor": str(arguments.floor) if arguments.floor else None,
        "rows": [row.index for row in tables.rows],
        "results": records(found.frame),
        "comparisons": records(compared.frame),
    }
    write_json(folder / "results.json", known)
    print((folder / "results.md").read_text(encoding="utf-8"))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the lines of a table as JSON values, with null for unknown ones."""
    return table.astype(object).where(table.notna(), None).to_dict(orient="records")


if __name__ == "__main__":
    main()
