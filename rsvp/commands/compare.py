"""Score anybody's predictions against real videos, both in folders, under a named protocol.

Folders hold videos, folders of frames, or arrays (npy, safetensors). They are decoded and turned as
the pipeline does; nothing is trained, resized or cut out. Clips are paired by name, each prediction
with the real clip that is called like it. Take lossless videos: what a codec changed is scored.
A dataset and predictions of the pipeline's own are read as they are. Tables and a page with playing
clips, report.html, are written.
"""

import argparse
import itertools
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from rsvp.config.load import load_measuring, read_yaml, structured
from rsvp.config.schema import (
    BASELINES,
    FETCH,
    PROTOCOLS,
    Compute,
    Config,
    Evaluation,
    Protocol,
    Report,
    Split,
    Weights,
    is_url,
    weights_sources,
)
from rsvp.config.stages import measuring_weights
from rsvp.data.clips import Clips
from rsvp.data.folders import (
    ClipFolder,
    DatasetClips,
    Limits,
    NamedClips,
    RowTrajectory,
    row_index,
    row_trajectories,
    trajectories_in,
)
from rsvp.data.splits import spread
from rsvp.metrics.features import clip_features
from rsvp.metrics.folders import (
    FolderClips,
    Method,
    baseline_row,
    ceiling_row,
    floor_row,
    halves_row,
    predicted_row,
    real_index,
    real_side,
)
from rsvp.metrics.networks import Networks, load_networks
from rsvp.metrics.row import RowScorer, group_codes, measured_scores, write_row
from rsvp.metrics.self_test import PICTURES, self_test
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.report.examples import Gallery, Views, examples
from rsvp.report.measures import CRPS, LPIPS, MSE, PSNR, SSIM
from rsvp.report.page import PageContent, render
from rsvp.report.results import comparisons, curves, horizon, motion, results
from rsvp.report.rows import read_rows
from rsvp.report.tables import Tables
from rsvp.runtime.device import device_of
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, write_json, write_text
from rsvp.runtime.journal import StateKey
from rsvp.runtime.main import run_command
from rsvp.runtime.parts import PartWriter

HEADLINE = tuple((measure, measure.sampling) for measure in (PSNR, MSE, SSIM, LPIPS, CRPS))
PAGE = "report.html"
PART_BYTES = 2 * 2**20  # of measured scores: what a row keeps in memory
NO_FLOOR = (
    "No floor: how far other real clips are from these, more than 0 in a Fréchet distance. These "
    "are of one group, which has no halves; --floor names a folder of other ones."
)


def main() -> None:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="only check this installation, and the weights of --config, by known answers",
    )
    needed = "--self-test" not in sys.argv
    parser.add_argument(
        "--real",
        type=Path,
        required=needed,
        help="folder of the real clips, or a dataset's index.json: its test clips",
    )
    parser.add_argument(
        "--predicted",
        required=needed,
        nargs="+",
        action="append",
        metavar="[NAME=]FOLDER",
        help="a method's predicted clips; several are several methods. Trajectories of each clip "
        "are sub-folders of all clips, or NAME=FOLDER,FOLDER, or called clip_s0, clip_s1, … or "
        "clip/0, clip/1, …. A row's folder of the pipeline's (predictions/<row>/seed<n>) has its "
        "trajectories",
    )
    parser.add_argument("--protocol", required=needed, help="prediction, fvd256_16f, … or yours")
    parser.add_argument("--out", type=Path, required=needed, help="folder to write")
    parser.add_argument("--config", type=Path, help="YAML with `weights` and your `protocols`")
    parser.add_argument(
        "--context", type=int,
        help="observed frames of a clip: not scored (default: a dataset's, else 0)",
    )  # fmt: skip
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
        "--floor", type=Path,
        help="other real clips, best as many: scored as the floor (default: a dataset's training "
        "clips, else one half of the real clips against the other half)",
    )  # fmt: skip
    parser.add_argument(
        "--autoencoder", type=Path, metavar="FOLDER",
        help="a predictor's `bundle`, or autoencoders/<name>/seed<n>/finetuned: its reconstruction "
        "of the true future is scored as the ceiling",
    )  # fmt: skip
    parser.add_argument(
        "--examples", type=int, default=Report().examples,
        help="playing clips of each method on the page (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--range", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="values of black and white in arrays of floats, which are refused without it",
    )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Score the predictions, print the table, and write it in several formats."""
    config = load_measuring(read_yaml(arguments.config) if arguments.config else {})
    if arguments.self_test:
        return check_installation(config, arguments.device)
    protocols = PROTOCOLS | config.protocols
    protocol = protocols.get(arguments.protocol)
    if protocol is None:
        allowed = ", ".join(protocols)
        raise UserError(f"--protocol: no {arguments.protocol!r}; allowed: {allowed}")
    check_flags(arguments, protocol)
    methods, real, rows = rows_of(arguments, protocol)
    networks = networks_of(config, arguments.device, real.shape[1:3])
    indexes = score(rows, real, protocol, networks, arguments.out)
    scored = read_rows(indexes, [method.name for method in methods])
    tables = Tables(
        scored, {arguments.protocol: protocol}, Evaluation().bootstrap, headline=HEADLINE
    )
    write_results(arguments, tables, methods, galleries(tables, rows, real, arguments.examples))


def rows_of(
    arguments: argparse.Namespace, protocol: Protocol
) -> tuple[list[Method], FolderClips, list[RowScorer]]:
    """Open the methods and the real clips; return them, and all rows that are scored."""
    limits = arguments.range and tuple(arguments.range)
    truth = real_clips(arguments.real, limits)
    paired, pattern = not arguments.unpaired, arguments.group_pattern
    methods = methods_of(arguments.predicted, truth.names if paired else None, limits)
    sources = [item.path for method in methods for item in method.trajectories]
    truth = as_predicted(truth, methods)
    taken = {"clips": protocol.clips, "frames": protocol.frames}
    real = real_side(truth, methods, **taken, paired=paired, group_pattern=pattern)
    label, context = own_name(arguments.real), arguments.context or 0
    if isinstance(truth, DatasetClips):
        label = truth.clips.index["dataset"]
        context = truth.clips.context_frames if arguments.context is None else context
    index = real_index(real, label, context, paired)
    rows = [predicted_row(item, real, index, arguments.future_only, pattern) for item in methods]
    if paired and not context and arguments.context is None:
        check_observed(rows[0], real)
    if paired and context:
        rows += [baseline_row(name, real, index) for name in arguments.baselines]
    if arguments.autoencoder:
        rows.append(ceiling(arguments, truth, real, index))
    if protocol.of_sets and (floor := other_clips(arguments.floor, truth, limits)):
        rows.append(floor_row(floor, real, index, pattern))
    check_names(rows)
    for row in rows:
        folder = arguments.out / row.index["row"]
        check_out(folder, [arguments.real, *sources, *filter(None, [arguments.floor])])
    return methods, real, rows


def check_observed(row: RowScorer, real: FolderClips) -> None:
    """UserError where a row's first clip begins as the real one: it holds observed frames."""
    predicted, truth = row.predictions.frames(0)[0], real.frames(row.numbers[0])
    equal = (predicted == truth).flatten(1).all(dim=1)
    count = int(equal.long().cumprod(dim=0).sum())
    if 0 < count < len(truth):
        raise UserError(
            f"--context is not given, and {row.index['row']} begins with {count} frames of the "
            f"real '{row.index['clips'][0]}'; observed frames are not scored: --context {count}, "
            "or --context 0 where these are predicted"
        )


def ceiling(
    arguments: argparse.Namespace, truth: NamedClips, real: FolderClips, index: dict[str, Any]
) -> RowScorer:
    """Load the autoencoder, of a predictor's bundle or of the pipeline's; return its row."""
    if not (index["paired"] and index["context_frames"]):
        raise UserError("--autoencoder: it takes paired clips, and observed frames (--context)")
    folder = arguments.autoencoder
    bundled = folder / "autoencoder" / "config.json"
    autoencoder = load_autoencoder(bundled if bundled.is_file() else folder / INDEX)
    autoencoder = autoencoder.to(device_of(Compute(device=arguments.device)))
    clip = truth.clips.index["clip_frames"] if isinstance(truth, DatasetClips) else real.shape[0]
    return ceiling_row(autoencoder, real, index, clip - index["context_frames"])


def other_clips(path: Path | None, truth: NamedClips, limits: Limits | None) -> NamedClips | None:
    """Open the clips of the floor: a folder's, or the training clips of a dataset."""
    if path:
        return ClipFolder(path, limits)
    if not isinstance(truth, DatasetClips):
        return None
    future = truth.clips.clip_frames - truth.clips.context_frames
    known = Clips(truth.path, "train", future).fitting
    return DatasetClips(truth.path, future, "train") if known else None


def check_installation(config: Config, device: str) -> None:
    """Print each check of this installation; UserError where one fails."""
    networks = networks_of(config, device, PICTURES[1:])
    checks = []
    for check in self_test(networks, device_of(Compute(device=device))):
        print(check.line, flush=True)
        checks.append(check)
    if failed := [check.name for check in checks if not check.holds]:
        raise UserError(f"--self-test: {len(failed)} of {len(checks)} fail: {'; '.join(failed)}")


def real_clips(path: Path, limits: Limits | None) -> NamedClips:
    """Open a folder of real clips, or the test clips of a dataset's index."""
    dataset = path.name == INDEX and path.is_file()
    return DatasetClips(path) if dataset else ClipFolder(path, limits)


def as_predicted(truth: NamedClips, methods: Sequence[Method]) -> NamedClips:
    """Return the real clips; those of a dataset as long as rows of the pipeline predict them."""
    futures = [
        source.predictions.index["future_frames"]
        for method in methods
        for source in method.trajectories
        if isinstance(source, RowTrajectory)
    ]
    known = isinstance(truth, DatasetClips) and futures
    return DatasetClips(truth.path, max(futures)) if known else truth


def methods_of(
    given: Sequence[Sequence[str]], names: Collection[str] | None, limits: Limits | None
) -> list[Method]:
    """Return the methods that --predicted names, each time with one or more words.

    names: of the real clips; None where names mean nothing.
    """
    methods = []
    for word in itertools.chain.from_iterable(given):
        name, named, rest = word.partition("=")
        if not named or Path(word).exists():
            name, rest = None, word
        elif not name or "/" in name or name in (".", ".."):
            raise UserError(f"--predicted: '{word}': its name is no folder's name")
        paths = [rest] if Path(rest).exists() else rest.split(",")
        methods.append(method_of(name, list(map(Path, paths)), names, limits))
    return methods


def method_of(
    name: str | None, paths: Sequence[Path], names: Collection[str] | None, limits: Limits | None
) -> Method:
    """Return a method of these folders, called like the first one where it has no name."""
    row = row_index(paths[0])
    trajectories: list[NamedClips] = []
    for path in paths:
        own = row_index(path)
        trajectories += row_trajectories(path) if own else trajectories_in(path, limits, names)
    return Method(name or (row["row"] if row else own_name(paths[0])), trajectories)


def own_name(path: Path) -> str:
    """Return a path's own name, whole."""
    return path.name or path.resolve().name


def check_names(rows: Sequence[RowScorer]) -> None:
    """UserError where two rows have one name."""
    name, count = Counter(row.index["row"] for row in rows).most_common(1)[0]
    if count > 1:
        raise UserError(f"--predicted: two rows are called '{name}'; name them: NAME=FOLDER")


def score(
    rows: Sequence[RowScorer],
    real: FolderClips,
    protocol: Protocol,
    networks: Networks,
    out: Path,
) -> list[Path]:
    """Score all rows clip by clip, so that each clip is decoded once; return the rows' indexes."""
    windows = [protocol.frames] if protocol.of_sets else []
    others = [] if protocol.own else [protocol.definition]
    context, groups, indexes = rows[0].index["context_frames"], group_codes(real), []
    with ExitStack() as stack:
        writers = []
        for row in rows:
            folder = out / row.index["row"]
            folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
            writers.append(PartWriter(temporary, temporary, StateKey(None, ""), "row", PART_BYTES))
        count = len(real.table)
        places = [{i: n for n, i in enumerate(spread(count, len(row)))} for row in rows]
        for i in tqdm(range(count), desc="compare", unit="clip", disable=None):
            features = clip_features(real.frames(i), context, windows, networks.detectors)
            features |= {"groups": groups[i]}
            for row, writer, place in zip(rows, writers, places, strict=True):
                if i in place:
                    writer.append(row.measure(place[i], features, windows, networks, others))
        for row, writer in zip(rows, writers, strict=True):
            writer.finish()
            measured = measured_scores(row, writer)
            indexes.append(write(row, *measured, networks, out))
            if row is rows[0]:
                found = measured[1]
    if protocol.of_sets and not any(row.index["kind"] == "floor" for row in rows):
        of_real = {name.removesuffix("_real"): values for name, values in found.items()
                   if name.endswith("_real")}  # fmt: skip
        if halved := halves_row(real, rows[0].index, of_real | {"groups": groups}):
            indexes.append(write(halved[0], (), halved[1], networks, out))
    return indexes


def write(
    row: RowScorer, lines: Iterable[pa.Table], features: dict[str, np.ndarray],
    networks: Networks, out: Path,
) -> Path:  # fmt: skip
    """Write a row's files into its folder; return its index."""
    folder = out / row.index["row"]
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("scores.parquet", "features.safetensors", INDEX)]
    write_row(row, lines, features, networks, *files)
    return folder / INDEX


def check_flags(arguments: argparse.Namespace, protocol: Protocol) -> None:
    """UserError where flags do not go together, and for a pattern without group."""
    try:
        groups = re.compile(arguments.group_pattern).groups
    except re.error:
        groups = 0
    if not groups:
        raise UserError(
            f"--group-pattern: {arguments.group_pattern!r}: no pattern with a group in brackets"
        )
    for flag in ("unpaired", "floor"):
        if getattr(arguments, flag) and not protocol.of_sets:
            raise UserError(f"--{flag}: the protocol {arguments.protocol} compares clip with clip")


def networks_of(config: Config, device: str, size: tuple[int, int]) -> Networks:
    """Load the networks that the config names, for frames of a size (height, width)."""
    for key, source in weights_sources(config.weights).items():
        if Path(source.local).is_file():
            continue
        if not is_url(source.source):
            raise UserError(f"config: weights.{key}: no file {source.source}; correct the path")
        if config.weights.required:
            raise UserError(f"config: weights.{key}: not there yet, but required; {FETCH}")
    weights = structured(Weights, measuring_weights(config.weights))
    return load_networks(weights, device_of(Compute(device=device)), size)


def check_out(out: Path, folders: Sequence[Path]) -> None:
    """UserError where the output lies among clips that are scored."""
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"--out: {out} lies in {folder}, whose clips are scored")


def galleries(
    tables: Tables, rows: Sequence[RowScorer], real: FolderClips, wanted: int
) -> list[Gallery]:
    """Return the playing examples of each method, beside the best baseline."""
    by_name = {row.index["row"]: row.predictions for row in rows}
    predictions = {row: by_name[row.name] for row in tables.rows if row.name in by_name}
    hardest = tables.best(tables.quantity(PSNR), "baseline") if tables.frame_protocols else None
    beside = [hardest] if hardest else tables.of_kind("baseline")[:1]
    found = [
        Gallery(row.label, row.index["trajectories"],
                examples(row, beside, real, predictions, Views(), wanted), Views())
        for row in tables.of_kind("predictor") if wanted and row.index["paired"]
    ]  # fmt: skip
    return found


def write_results(
    arguments: argparse.Namespace, tables: Tables, methods: Sequence[Method],
    playing: Sequence[Gallery],
) -> None:  # fmt: skip
    """Print the tables, and write them: Markdown and LaTeX, CSV and Parquet, JSON, and the page."""
    folder, title = arguments.out, ", ".join(method.name for method in methods)
    found, compared = results(tables), comparisons(tables)
    if any(item.of_sets for item in tables.protocols.values()) and not tables.of_kind("floor"):
        top = found.tables[0]
        found.tables[0] = replace(top, notes=[*top.notes, NO_FLOOR])
    files = (found, compared, motion(tables), horizon(tables), curves(tables))
    for file in files:
        file.write(folder, title)
    page = PageContent(
        title=title, tables=tables, rows=tables.rows, galleries=playing, numbers="results.csv",
        printed={file.name: file.tables for file in files},
    )  # fmt: skip
    write_text(folder / PAGE, render(page))
    known = {
        "real": str(arguments.real),
        "predicted": {
            method.name: [str(source.path) for source in method.trajectories] for method in methods
        },
        "floor": str(arguments.floor) if arguments.floor else None,
        "rows": [row.index for row in tables.rows],
        "results": records(found.frame),
        "comparisons": records(compared.frame),
    }
    write_json(folder / "results.json", known)
    print((folder / "results.md").read_text(encoding="utf-8"))
    print(folder / PAGE)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the lines of a table as JSON values, with null for unknown ones."""
    return table.astype(object).where(table.notna(), None).to_dict(orient="records")


if __name__ == "__main__":
    main()
