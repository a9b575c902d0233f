"""Look at videos before anything runs, and write a config to start from.

Says what a folder or file holds: sizes, rates, lengths, what cannot be used and why, copies. All
headers are read, and some of the videos decoded, for frames that are shown twice and cuts from shot
to shot. --deep decodes all of them, and finds films that are there twice in other files.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml

from rsvp.commands.main import workflow_home
from rsvp.config.load import load, read_yaml, structured
from rsvp.config.schema import Dataset, SourceKind, pick
from rsvp.data.formats.detect import detect
from rsvp.data.headers import SPLIT_GAPS
from rsvp.data.sources import (
    Options,
    Source,
    absolute,
    id_hash,
    list_sources,
    plain,
    unused_files,
)
from rsvp.data.splits import why_no_clip
from rsvp.data.suggestion import as_dataset, shares_left, suggested, videos_of
from rsvp.data.survey import (
    Header,
    Look,
    decode_all,
    equal_files,
    grouped,
    near_duplicates,
    read_headers,
    value_range,
)
from rsvp.runtime.errors import UserError, one_line
from rsvp.runtime.files import write_text
from rsvp.runtime.main import run_command
from rsvp.runtime.words import counted, duration

TEMPLATE = "configs/ucf101-mini.yaml"  # a start for real videos
SAMPLE = 32  # videos that are decoded
TARGET_FRAMES = 4  # that a step of the template's trainings reconstructs
LISTED = 5  # examples of each finding
BAR = 40  # characters of a histogram's longest bar
ROWS = 8  # of a histogram
LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536)  # frames, where bars begin
Line = str


def main() -> None:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, metavar="PATH", help="folder or file of videos")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="write a config to start from; it must not exist",
    )
    parser.add_argument(
        "--deep", action="store_true", help="decode all videos, after saying how long it takes"
    )
    parser.add_argument(
        "--sample", type=int, default=SAMPLE, metavar="N",
        help=f"videos that are decoded without --deep; default: {SAMPLE}",
    )  # fmt: skip
    parser.add_argument(
        "--source", choices=get_args(SourceKind), help="kind of the source; by default rsvp looks"
    )
    parser.add_argument("--camera", help="lerobot: key of the camera, where there are several")
    parser.add_argument("--axes", help="arrays: a letter for each axis, as NTHWC")
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Look at the videos, print what was found, and write the config."""
    if arguments.sample < 1:
        raise UserError(f"--sample: {arguments.sample}; allowed: 1 or more")
    target = arguments.config
    if target and target.exists():
        raise UserError(f"--config: {target} is there already; name another file")
    given = {
        key: value
        for key in ("source", "camera", "axes")
        if (value := getattr(arguments, key)) is not None
    }
    try:
        source = structured(Dataset, {"path": str(arguments.path), **given})
    except UserError as error:
        raise UserError(str(error).replace("config: ", "--", 1)) from None
    kind, words = (source.source, source.source) if source.source else detect(str(arguments.path))
    print(f"{plain(str(arguments.path))}: {words}")
    options = Options(**pick(source, Options._fields))
    sources = list_sources(arguments.path, kind, None, options)
    show(unused_lines(unused_files(arguments.path, kind, sources)))
    headers = read_headers(sources)
    if broken := sum(header.reason.endswith(SPLIT_GAPS) for header in headers):
        print(f"frame numbers are missing in {counted(broken, 'folder')}; {SPLIT_GAPS}")
        given["gaps"] = "split"
        headers = read_headers(
            list_sources(arguments.path, kind, None, options._replace(gaps="split"))
        )
    show(header_lines(headers))
    show(group_lines("equal files", equal_files([header.source for header in headers])))
    usable = [header for header in headers if not header.reason]
    chosen = sorted(usable, key=lambda header: id_hash(header.source.id))[: arguments.sample]
    limits = value_range(header.source for header in chosen)
    if limits:
        print("values: most lie between {:.4g} and {:.4g}".format(*limits))
    looks = decode_all([header.source for header in chosen], limits)
    if arguments.deep:
        looks += others_looked(usable, chosen, looks, limits)
    show(look_lines(looks, len(headers)))
    if arguments.deep:
        equal = grouped((look for look in looks if look.content), lambda look: look.content)
        show(group_lines("equal pictures", [[look.source for look in group] for group in equal]))
        show(group_lines("nearly equal", near_duplicates(looks)))
    try:
        keys = suggested(headers, looks, kind, limits)
    except UserError as error:
        if target:
            raise
        print(f"\nno config to start from: {error}")
        return
    show(clip_lines(headers, looks, keys))
    if target:
        written = {"source": kind, "path": str(arguments.path), **given} | keys
        write_text(target, config_text(arguments.path, written, words))
        print(f"\n{target} is written: rsvp run --configfile {target}")


def show(lines: Iterable[Line]) -> None:
    """Print lines."""
    for line in lines:
        print(one_line(line) if line else "")


def unused_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Say which files below a folder are no part of a video, by suffix."""
    if rows:
        named = [f"{row['suffix'] or 'no suffix'} ({row['files']})" for row in rows[:ROWS]]
        yield f"not used: {', '.join(named)}{', …' if len(rows) > ROWS else ''}"


def others_looked(
    usable: Sequence[Header],
    chosen: Sequence[Header],
    looks: Sequence[Look],
    limits: tuple[float, float] | None,
) -> list[Look]:
    """Decode the videos that were not chosen, after saying how long it takes by those that were."""
    known = {header.source.id for header in chosen}
    others = [header for header in usable if header.source.id not in known]
    rate = sum(look.seconds for look in looks) / max(1, sum(map(pixels, chosen)))
    seconds = rate * sum(map(pixels, others)) / (os.cpu_count() or 1)
    print(
        f"\ndecoding the other {counted(len(others), 'video')} takes about {duration(seconds)}",
        flush=True,
    )
    return decode_all([header.source for header in others], limits)


def pixels(header: Header) -> int:
    """Return the pixels in all frames of a video, which its decoding takes time for."""
    return header.width * header.height * header.frames


def header_lines(headers: Sequence[Header]) -> Iterator[Line]:
    """Say what the headers of all videos say."""
    usable = [header for header in headers if not header.reason]
    frames = sum(header.frames for header in usable)
    seconds = sum(header.frames / header.fps for header in usable)
    yield ""
    counts = f"{counted(len(headers), 'video')}, {counted(frames, 'frame')}"
    yield f"{counts}, {duration(seconds)} (by their headers)"
    yield from histogram("sizes", (f"{header.width}x{header.height}" for header in usable))
    yield from histogram("frames per second", (f"{header.fps:.4g}" for header in usable))
    yield from length_histogram([header.frames for header in usable])
    yield from histogram("pictures", filter(None, (header.picture for header in usable)))
    yield from reasons("cannot be used", [(h.source, h.reason) for h in headers if h.reason])


def look_lines(looks: Sequence[Look], total: int) -> Iterator[Line]:
    """Say what decoded videos show."""
    good = [look for look in looks if not look.reason]
    frames, repeated = sum(look.frames for look in good), sum(look.repeated for look in good)
    yield ""
    yield f"{len(looks)} of {total} videos decoded, {counted(frames, 'frame')}"
    if frames:
        twice = counted(sum(look.repeated > 0 for look in good), "video")
        cut = counted(sum(look.cuts > 0 for look in good), "video")
        yield f"  frames equal to the one before: {repeated / frames:.1%}, in {twice}"
        yield f"  cuts from shot to shot: {sum(look.cuts for look in good)}, in {cut}"
    uneven = sum(not look.regular for look in good)
    if uneven:
        yield f"  frames at irregular times: {counted(uneven, 'video')}"
    if good and all(look.grey for look in good):
        yield "  no colours: all are grey"
    yield from reasons("cannot be decoded", [(x.source, x.reason) for x in looks if x.reason])
    yield from reasons(
        "damaged, used up to there", [(x.source, x.damage) for x in good if x.damage]
    )


def clip_lines(
    headers: Sequence[Header], looks: Sequence[Look], keys: Mapping[str, Any]
) -> Iterator[Line]:
    """Say what a config to start from takes, and what frames shown twice would do to its clips."""
    dataset = as_dataset(keys)
    usable = [header for header in headers if not header.reason]
    short = [
        (header.source, f"{header.frames} frames")
        for header, video in zip(usable, videos_of(usable, dataset), strict=True)
        if why_no_clip(video, dataset)
    ]
    yield ""
    yield "a config to start from has"
    for key, value in keys.items():
        yield f"  {key}: {yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
    yield from reasons(f"too short for a clip of {dataset.clip_frames} frames", short)
    seen = [look for look in looks if not look.reason]
    if cropped := int((shares_left(usable, seen, keys["resolution"]) < 0.5).sum()):
        yield (
            f"crop leaves less than half of the picture of {cropped} of the decoded videos;"
            " fit: pad keeps all of it"
        )
    clips, twice, last = repeats_in_clips(looks, dataset)
    if twice:
        yield (
            f"without skip_repeated {twice / clips:.0%} of the decoded clips hold a frame twice;"
            f" {last / clips:.0%} predict the last observed one again"
        )


def repeats_in_clips(looks: Sequence[Look], dataset: Dataset) -> tuple[int, int, int]:
    """Return the clips of decoded videos, those with a repeat, and those with one at the future."""
    clips = twice = last = 0
    for look in looks:
        stride = dataset.frame_stride
        if dataset.target_fps and not look.reason:
            stride = max(1, round(look.fps / dataset.target_fps))
        span = (dataset.clip_frames - 1) * stride + 1
        moved = np.concatenate([[0], np.cumsum(look.changes)])
        for start in range(0, look.frames - span + 1, dataset.clip_stride):
            reached = moved[start + 1 : start + span + 1 : stride]
            equal = np.diff(reached) == 0
            clips, twice = clips + 1, twice + bool(equal.any())
            last += bool(equal[dataset.context_frames - 1])
    return clips, twice, last


def histogram(name: str, values: Iterable[str]) -> Iterator[Line]:
    """Show how often each value comes, the most frequent first."""
    counts = Counter(values).most_common()
    rest = sum(count for _, count in counts[ROWS:])
    yield from bars(name, counts[:ROWS] + ([("others", rest)] if rest else []))


def length_histogram(lengths: Sequence[int]) -> Iterator[Line]:
    """Show how long videos are, in frames."""
    edges = (0, *LENGTHS)
    counts = np.bincount(np.searchsorted(edges, lengths, side="right") - 1, minlength=len(edges))
    names = [f"{low}-{high - 1}" for low, high in zip(edges, LENGTHS, strict=False)] + [
        f"{LENGTHS[-1]} or more"
    ]
    yield from bars(
        "lengths in frames", [(n, int(c)) for n, c in zip(names, counts, strict=True) if c]
    )


def bars(name: str, counts: Sequence[tuple[str, int]]) -> Iterator[Line]:
    """Show counts as bars."""
    if counts:
        yield f"{name}:"
    most = max((count for _, count in counts), default=1)
    wide = max((len(label) for label, _ in counts), default=0)
    for label, count in counts:
        yield f"  {label:>{wide}}  {count:>7}  {'#' * max(1, round(BAR * count / most))}"


def reasons(name: str, found: Sequence[tuple[Source, str]]) -> Iterator[Line]:
    """Show how many videos something is true of, and some of them."""
    if found:
        yield f"{name}: {len(found)}"
    for source, reason in found[:LISTED]:
        yield f"  {source.id}: {reason}"
    if len(found) > LISTED:
        yield f"  and {len(found) - LISTED} more"


def group_lines(name: str, groups: Sequence[Sequence[Source]]) -> Iterator[Line]:
    """Show groups of videos that are the same."""
    if groups:
        yield f"{name}: {sum(map(len, groups))} videos in {counted(len(groups), 'group')}"
    for group in groups[:LISTED]:
        names = [source.id for source in group[:LISTED]]
        yield f"  {' = '.join(names)}{' = …' if len(group) > LISTED else ''}"
    if len(groups) > LISTED:
        yield f"  and {len(groups) - LISTED} more groups"


def config_text(path: Path, dataset: dict[str, Any], words: str) -> str:
    """Return a checked config: the dataset, and trainings for real videos."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.resolve().stem).strip("-_")[:48] or "mine"
    values = read_yaml(workflow_home() / TEMPLATE)
    training = next(iter(values["autoencoders"].values()))
    training |= {"dataset": name, "latent_copies": 2}
    future = dataset["clip_frames"] - dataset["context_frames"]
    for stage in ("pretrain", "finetune") if future < TARGET_FRAMES else ():
        training[stage]["target_frames"] = future
    values["results"] = results_beside(path, name)
    values["datasets"] = {name: dataset}
    values["report"]["title"] = f"rsvp on {name}"
    load(values)
    head = (
        f"# Written by `rsvp inspect` for {plain(str(path))}: {words}.\n"
        "# docs/config.md has every key; `rsvp plan` says what a run takes.\n"
        "# `rsvp weights --config FILE` downloads the networks of LPIPS and FVD.\n\n"
    )
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def results_beside(path: Path, name: str) -> str:
    """Return a folder of results that does not lie among the videos."""
    folder, videos = Path("results", name), Path(absolute(path))
    inside = videos == Path.cwd() or videos in Path.cwd().parents
    return str(videos.parent / f"{name}-results") if inside else str(folder)


if __name__ == "__main__":
    main()
