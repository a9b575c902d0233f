"""Score anybody's predictions against real videos, both in folders, under a named protocol.

Folders hold videos, folders of frames, or arrays (npy, safetensors). Nothing is trained, resized or
cut out. Clips are paired by name, each prediction with the real clip that is called like it.
Videos are scored as they decode, so take lossless ones.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
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
    Scores,
    Split,
    Weights,
    is_url,
    weights_sources,
)
from rsvp.config.stages import measuring_weights
from rsvp.data.folders import ClipFolder
from rsvp.data.splits import spread
from rsvp.metrics.features import clip_features
from rsvp.metrics.folders import (
    BaselinePredictions,
    FolderClips,
    FolderPredictions,
    check_lengths,
    check_size,
    chosen_names,
    label,
)
from rsvp.metrics.networks import Networks, load_networks
from rsvp.metrics.row import RealSide, RowScorer, group_codes, write_row
from rsvp.report.results import comparisons, curves, horizon, results
from rsvp.report.rows import read_rows
from rsvp.report.tables import Tables, make_tables
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
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help="folder of the real clips")
    parser.add_argument(
        "--predicted",
        type=Path,
        required=True,
        nargs="+",
        help="folder of the predicted clips; several folders are several futures of each clip",
    )
    parser.add_argument("--protocol", required=True, help="prediction, fvd256_16f, … or yours")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--config", type=Path, help="YAML with `weights` and your `protocols`")
    parser.add_argument(
        "--context", type=int, default=0, help="observed frames of a clip: not scored"
    )
    parser.add_argument(
        "--futures-only", action="store_true", help="predicted clips lack the observed frames"
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
        default=["copy-last"],
        help="scored beside the predictions where clips are paired and frames are observed "
        "(default: copy-last)",
    )
    parser.add_argument(
        "--floor", type=Path, help="other real clips, at least as many: scored as the floor"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Score the predictions, print the table, and write it in several formats."""
    config = load_measuring(read_yaml(arguments.config) if arguments.config else {})
    protocol = protocol_of(arguments.protocol, config)
    rows, real = folder_rows(arguments, protocol)
    if arguments.floor:
        rows.append(floor_row(arguments, protocol, rows[0].index, real))
    networks = networks_of(config, arguments.device, min(real.shape[1:3]))
    windows = [protocol.frames] if protocol.scores is Scores.distribution else []
    arguments.out.mkdir(parents=True, exist_ok=True)
    side = real_side(real, rows[0].index["context_frames"], windows, networks)
    indexes = [measure(row, side, windows, networks, arguments.out) for row in rows]
    scored = read_rows(indexes, [rows[0].index["row"]])
    tables = make_tables(scored, Evaluation().bootstrap, {arguments.protocol: protocol})
    write_results(arguments, tables)


def real_side(
    real: FolderClips, context: int, windows: list[int | None], networks: Networks
) -> RealSide:
    """The features of the real clips, one clip at a time."""
    kept: dict[str, list[np.ndarray]] = {}
    for number in tqdm(range(len(real.table)), desc="real features", unit="clip"):
        frames = real.frames(number)
        found = clip_features(frames, context, windows, networks.detectors.present)
        for name, values in found.items():
            kept.setdefault(name, []).append(values)
    features = {name: np.stack(values) for name, values in kept.items()}
    return RealSide(features, group_codes(real))


def measure(
    row: RowScorer, real: RealSide, windows: list[int | None], networks: Networks, out: Path
) -> Path:
    """Score one row; the answer is its index, which lies beside scores and features."""
    folder = out / row.index["row"]
    with TemporaryDirectory(dir=out) as temporary:
        parts = PartWriter(Path(temporary), Path(temporary), StateKey(None, ""), "row")
        for number in tqdm(range(len(row)), desc=row.index["row"], unit="clip"):
            parts.append(row.measure(number, windows, networks))
        parts.finish()
        files = [folder / name for name in ("scores.parquet", "features.safetensors", INDEX)]
        write_row(row, parts, real, networks, *files)
    return folder / INDEX


def protocol_of(name: str, config: Config) -> Protocol:
    """The protocol of that name, built in or the config's."""
    known = PROTOCOLS | config.protocols
    check_choice("--protocol", name, known)
    return known[name]


def check_choice(flag: str, value: str, known: Iterable[str]) -> None:
    """UserError where a flag's value is none of those that are known."""
    if value not in known:
        raise UserError(f"{flag}: no {value!r}; allowed: {', '.join(known)}")


def folder_rows(
    arguments: argparse.Namespace, protocol: Protocol
) -> tuple[list[RowScorer], FolderClips]:
    """The predicted clips and the baselines as rows, and the real clips."""
    paired = not arguments.unpaired
    if not paired and protocol.scores is Scores.frames:
        raise UserError(f"--unpaired: the protocol {arguments.protocol} compares clip with clip")
    for folder in filter(None, (arguments.real, *arguments.predicted, arguments.floor)):
        if arguments.out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"--out: {arguments.out} lies in {folder}, whose clips are scored")
    truth, samples = ClipFolder(arguments.real), [ClipFolder(path) for path in arguments.predicted]
    real_names, names = chosen_names(truth, samples, paired, protocol.clips)
    context, skip = arguments.context, 0 if arguments.futures_only else arguments.context
    real = FolderClips(truth, real_names, protocol.frames, arguments.group_pattern)
    check_size(real)
    if not 0 <= context < real.shape[0]:
        raise UserError(f"--context: {context} is not possible; allowed: 0 to {real.shape[0] - 1}")
    most = protocol.frames and protocol.frames - context + skip
    predicted = [FolderClips(item, names, most, arguments.group_pattern) for item in samples]
    check_lengths(real, predicted, skip, context)
    if not paired and skip < context:
        raise UserError("--futures-only: unpaired clips have no observed frames to be shown with")
    index = row_index(arguments, real, names)
    rows = [RowScorer(real if paired else predicted[0], FolderPredictions(predicted, index, skip))]
    for name in arguments.baselines if paired and context else ():
        check_choice("--baselines", name, BASELINES)
        own = {"row": f"{index['dataset']}.{name}", "kind": "baseline", "trajectories": 1}
        rows.append(RowScorer(real, BaselinePredictions(name, real, index | own)))
    return rows, real


def floor_row(
    arguments: argparse.Namespace, protocol: Protocol, index: dict[str, Any], real: FolderClips
) -> RowScorer:
    """As many other real clips in place of predictions; `index` of these."""
    if protocol.scores is Scores.frames:
        raise UserError(f"--floor: the protocol {arguments.protocol} compares clip with clip")
    folder, context, count = ClipFolder(arguments.floor), arguments.context, len(real.table)
    if len(folder.names) < count:
        raise UserError(
            f"--floor: {folder.path} has {len(folder.names)} clips, and {count} are needed: as "
            f"many as are scored of {real.index_path}"
        )
    names = [folder.names[i] for i in spread(len(folder.names), count)]
    clips = FolderClips(folder, names, protocol.frames, arguments.group_pattern)
    check_lengths(real, [clips], context, context)
    own = {"row": f"{index['dataset']}.floor", "kind": "floor", "paired": False}
    own |= {"clips": names, "trajectories": 1}
    return RowScorer(clips, FolderPredictions([clips], index | own, context))


def row_index(arguments: argparse.Namespace, real: FolderClips, names: list[str]) -> dict[str, Any]:
    """Return the index of the predictions, as `RowScorer` reads it."""
    frames, height, width = real.shape[:3]
    return {
        "row": label(arguments.predicted[0]),
        "kind": "predictor",
        "seed": None,
        "dataset": label(arguments.real),
        "split": "whole",
        "paired": not arguments.unpaired,
        "trajectories": len(arguments.predicted),
        "clips": names,
        "context_frames": arguments.context,
        "future_frames": frames - arguments.context,
        "resolution": width if width == height else f"{width}×{height}",
    }


def networks_of(config: Config, device: str, side: int) -> Networks:
    """The networks that the config names, for frames whose shorter side has so many pixels."""
    for key, source in weights_sources(config.weights).items():
        there = Path(source.local).is_file()
        if not there and not is_url(source.source):
            raise UserError(f"config: weights.{key}: no file {source.source}; correct the path")
        if not there and config.weights.required:
            raise UserError(f"config: weights.{key}: not there yet, but required; {FETCH}")
    weights = structured(Weights, measuring_weights(config.weights))
    return load_networks(weights, side, device_of(Compute(device=device)))


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
    """The lines of a table as JSON values; what is not known is null."""
    return table.astype(object).where(table.notna(), None).to_dict(orient="records")


if __name__ == "__main__":
    main()
