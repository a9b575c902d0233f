"""Relations between the config's keys, checked before any job starts."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn

from rsvp.config.messages import impossible, undefined
from rsvp.config.schema import (
    BASELINES,
    DETECTORS,
    LPIPS_KEYS,
    PROTOCOLS,
    SHA256_MARK,
    Autoencoder,
    Config,
    Dataset,
    Predictor,
    Section,
    Weights,
    foreign_keys,
    is_url,
    limits,
    size_of,
    weights_sources,
)
from rsvp.runtime.errors import UserError

SYMMETRIES = {"none": 1, "horizontal": 2, "all": 8}  # of clips, by a dataset's `augment`
COPYING = ("rsvp", "joint")  # kinds of autoencoders whose decoders copy from the context
SHA256 = re.compile(r"[0-9a-f]{64}")


def check(config: Config) -> None:
    """Refuse impossible values and references, before any job starts."""
    check_that(bool(config.results.strip()), "results", config.results, "the name of a folder")
    micro_batches, processes = config.compute.micro_batches or 1, config.compute.processes
    allowed = f"{micro_batches} (compute.micro_batches, which trains anew) or fewer"
    check_that(processes <= micro_batches, "compute.processes", processes, allowed)
    nodes = config.compute.nodes
    divisors = f"1, or what divides compute.processes ({processes})"
    check_that(processes % nodes == 0, "compute.nodes", nodes, divisors)
    for path, section in sections(config):
        check_own_keys(path, section)
        check_budget(path, section)
        check_batch(path, section, micro_batches)
    for name, dataset in config.datasets.items():
        check_dataset(f"datasets.{name}", dataset)
    for name, autoencoder in config.autoencoders.items():
        check_autoencoder(f"autoencoders.{name}", autoencoder, config)
    for name, predictor in config.predictors.items():
        check_predictor(f"predictors.{name}", predictor, config)
    check_protocols(config)
    check_report(config)
    check_weights(config)


def sections(value: Section | Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Section]]:
    """Yield the path and the section of each section in a config."""
    if isinstance(value, Section):
        yield path, value
    for key, item in dict(value).items():
        if isinstance(item, Section | Mapping):
            yield from sections(item, f"{path}.{key}".lstrip("."))


def check_own_keys(path: str, section: Any) -> None:
    """Refuse keys that were set though nothing reads them there."""
    default = type(section)()
    for key in foreign_keys(section):
        if getattr(section, key) != getattr(default, key):
            mark = limits(type(section))[key]
            kinds, own = " or ".join(mark.values), getattr(section, mark.key)
            refuse(f"{path}.{key}", f"a key of {mark.key} {kinds}, not {own}; remove it")


def check_budget(path: str, section: Any) -> None:
    """Refuse a budget that is given twice, in steps and in seconds."""
    seconds = getattr(section, "seconds", None)
    if seconds is not None and section.steps != type(section)().steps:
        reason = f"{seconds:g}, but {path}.steps is set too, to {section.steps}; remove one: steps"
        refuse(f"{path}.seconds", f"{reason} are found from seconds")


def check_batch(path: str, section: Any, micro_batches: int) -> None:
    """Refuse a batch that has no clip for each of its parts."""
    size = getattr(section, "batch_size", micro_batches)
    allowed = f"{micro_batches} or more (compute.micro_batches)"
    check_that(size >= micro_batches, f"{path}.batch_size", size, allowed)


def check_dataset(path: str, dataset: Dataset) -> None:
    """Refuse clips that leave nothing to predict, and splits that lack something."""
    split, last = dataset.split, dataset.clip_frames - 1
    if dataset.source != "generated" and not dataset.path:
        refuse(f"{path}.path", "missing; name the folder that holds the videos")
    context, allowed = dataset.context_frames, f"1 to {last} (clip_frames - 1)"
    check_that(context <= last, f"{path}.context_frames", context, allowed)
    if dataset.augment == "all" and isinstance(dataset.resolution, list):
        reason = "all, but a turn by 90 degrees needs a square, and resolution is"
        refuse(f"{path}.augment", f"{reason} {dataset.resolution}; take horizontal or none")
    for name, observed in (dataset.contexts or {}).items():
        where, count = f"{path}.contexts.{name}", observed.first + observed.last
        check_that(name != "prefix", where, name, "another name; it is the first context_frames")
        allowed = f"{last} observed frames (clip_frames - 1) or fewer"
        check_that(count <= last, where, count, allowed)
    if split.kind == "official" and not split.lists:
        reason = "missing; name the folder of trainlist01.txt and testlist01.txt"
        refuse(f"{path}.split.lists", reason)
    check_generated(path, dataset, dataset.clip_frames, "a clip")
    if both := sorted(set(split.test_groups or ()) & set(split.validation_groups or ())):
        reason = f"{', '.join(both[:5])}: in test_groups, too; a group is on one side"
        refuse(f"{path}.split.validation_groups", reason)
    if split.test_clips and (dataset.cut_shots or split.every):
        reason = "this code has a choice of its own; remove cut_shots and split.every"
        refuse(f"{path}.split.test_clips", reason)
    where, allowed = (
        f"{path}.split.group_pattern",
        "a regular expression with one group in brackets",
    )
    try:
        groups = re.compile(split.group_pattern).groups
    except re.error as error:
        refuse(where, f"not a pattern: {error}")
    check_that(groups == 1, where, split.group_pattern, allowed)


def check_autoencoder(path: str, autoencoder: Autoencoder, config: Config) -> None:
    """Refuse references to nothing, frames that are not there, and losses that cannot be."""
    check_reference(f"{path}.dataset", autoencoder.dataset, config.datasets)
    dataset = config.datasets[autoencoder.dataset]
    pretrain, finetune = autoencoder.pretrain, autoencoder.finetune
    future = dataset.clip_frames - dataset.context_frames
    for stage in ("pretrain", "finetune"):
        frames = getattr(autoencoder, stage).target_frames
        check_that(frames <= future, f"{path}.{stage}.target_frames", frames, f"1 to {future}")
    check_contexts(path, autoencoder, dataset)
    # More copies of a clip than there are symmetries would be the same again.
    augment, copies = dataset.augment, autoencoder.latent_copies
    allowed = f"1 to {SYMMETRIES[augment]} where the dataset's augment is {augment}"
    check_that(copies <= SYMMETRIES[augment], f"{path}.latent_copies", copies, allowed)
    regulariser, channels = autoencoder.regulariser, autoencoder.channels
    if regulariser.kind == "fsq":
        levels = regulariser.levels
        allowed = f"{channels} whole numbers from 3 to 256, one for each of the channels"
        fits = len(levels) == channels and all(3 <= level <= 256 for level in levels)
        check_that(fits, f"{path}.regulariser.levels", levels, allowed)
    allowed = "above 0, or l2 above 0"
    check_that(pretrain.l1 + pretrain.l2 > 0, f"{path}.pretrain.l1", pretrain.l1, allowed)
    masked = autoencoder.kind in COPYING
    allowed = f"0 for kind {autoencoder.kind}, which has no mask"
    check_that(
        masked or not pretrain.decided, f"{path}.pretrain.decided", pretrain.decided, allowed
    )
    if finetune.lpips > 0 and autoencoder.perceptual != "lpips":
        reason = f"{finetune.lpips} needs {path}.perceptual: lpips; or set it to 0"
        refuse(f"{path}.finetune.lpips", reason)


def check_contexts(path: str, autoencoder: Autoencoder, dataset: Dataset) -> None:
    """Refuse contexts that the dataset lacks, or that an autoencoder of the kind cannot have."""
    names, known = autoencoder.contexts or [], dataset.contexts or {}
    check_once(f"{path}.contexts", names)
    for name in names:
        check_reference(f"{path}.contexts", name, known)
        if autoencoder.kind in COPYING and known[name].first + known[name].last == 0:
            kind = f"kind {autoencoder.kind}"
            reason = f"{name} observes nothing, and {kind} makes frames from what is observed"
            refuse(f"{path}.contexts", f"{reason}; take kind frames or triplane")
        most, frames = dataset.clip_frames - known[name].last, autoencoder.finetune.target_frames
        check_that(frames <= most, f"{path}.finetune.target_frames", frames, f"1 to {most}")


def check_predictor(path: str, predictor: Predictor, config: Config) -> None:
    """Refuse references to nothing, tokens that do not fit latents, and sampling without use."""
    if predictor.kind == "simvp":
        check_reference(f"{path}.dataset", predictor.dataset, config.datasets)
        return
    check_reference(f"{path}.autoencoder", predictor.autoencoder, config.autoencoders)
    autoencoder = config.autoencoders[predictor.autoencoder]
    dataset, denoiser = config.datasets[autoencoder.dataset], predictor.denoiser
    twice, cells = 2 * denoiser.heads, [side // 8 for side in size_of(dataset.resolution)]
    allowed = f"a multiple of twice the heads, {twice}"
    width, patch = denoiser.width, denoiser.patch
    check_that(width % twice == 0, f"{path}.denoiser.width", width, allowed)
    shown = " and ".join(map(str, dict.fromkeys(cells)))
    allowed = f"a divisor of the latent's {shown} cells (resolution / 8)"
    fits = all(side % patch == 0 for side in cells)
    check_that(fits, f"{path}.denoiser.patch", patch, allowed)
    if predictor.augment_latents and dataset.augment == "none":
        reason = "the dataset's augment is none, so nothing is turned; remove it, or set"
        where = f"datasets.{autoencoder.dataset}.augment to horizontal or all"
        refuse(f"{path}.augment_latents", f"{reason} {where}")
    if predictor.hidden:
        check_once(f"{path}.hidden", predictor.hidden)
        allowed = f"nothing for kind {autoencoder.kind}, which has no such latents"
        check_that(autoencoder.kind in COPYING, f"{path}.hidden", predictor.hidden, allowed)
    contexts = ["prefix", *(autoencoder.contexts or ())]
    check_reference(f"{path}.context", predictor.context or "prefix", contexts)
    guidance = predictor.guidance
    below = f"below guidance.high, {guidance.high}"
    check_that(guidance.low < guidance.high, f"{path}.guidance.low", guidance.low, below)
    if guidance.scale != 1 and predictor.drop_context == 0:
        reason = f"{guidance.scale} needs a denoiser that was trained without context too; set"
        way = f"{path}.drop_context (0.1 is usual), or the scale to 1"
        refuse(f"{path}.guidance.scale", f"{reason} {way}")


def check_protocols(config: Config) -> None:
    """Refuse protocols that cannot be computed, and names that mean something else elsewhere."""
    for name, protocol in config.protocols.items():
        path = f"protocols.{name}"
        if name in PROTOCOLS:
            refuse(path, "built in and the same everywhere; take another name")
        detectors = [*DETECTORS, *config.weights.detectors]
        check_own_keys(path, protocol)
        check_reference(f"{path}.detector", protocol.detector, detectors)
        check_that(bool(protocol.columns), f"{path}.columns", protocol.columns, "one or two")
        if protocol.of_sets:
            for key in ("clips", "frames"):
                value = getattr(protocol, key)
                check_that(value is None or value >= 2, f"{path}.{key}", value, "2 or more")
    names = config.evaluation.protocols
    check_that(bool(names), "evaluation.protocols", names, "at least one protocol")
    for name in names:
        check_reference("evaluation.protocols", name, PROTOCOLS | config.protocols)
    check_once("evaluation.protocols", names)


def check_report(config: Config) -> None:
    """Refuse rows that do not exist, or that work on two datasets."""
    report = config.report
    if not report.predictors:
        refuse("report.predictors", "empty; name at least one predictor")
    check_that(bool(report.seeds), "report.seeds", report.seeds, "at least one seed")
    check_once("report.seeds", report.seeds, "seed")
    for name in config.evaluation.baselines:
        check_reference("evaluation.baselines", name, BASELINES)
    datasets: dict[str, str] = {}  # and the first predictor of each
    for name in report.predictors:
        check_reference("report.predictors", name, config.predictors)
        datasets.setdefault(config.dataset_of(name), name)
    if len(datasets) > 1:
        (dataset, name), (other, another), *_ = datasets.items()
        reason = f"{name} predicts datasets.{dataset}, and {another} datasets.{other}; a report is"
        refuse("report.predictors", f"{reason} of one dataset: write a config for each")
    dataset = next(iter(datasets))
    check_horizon(config.evaluation.horizon, dataset, config.datasets[dataset])


def check_horizon(horizon: int | None, name: str, dataset: Dataset) -> None:
    """Refuse a horizon below that of training, or beyond the generated videos."""
    if horizon is None:
        return
    trained = dataset.clip_frames - dataset.context_frames
    allowed = f"{trained} or more, the future frames of datasets.{name}"
    check_that(horizon >= trained, "evaluation.horizon", horizon, allowed)
    if dataset.source == "generated":  # Moving-MNIST's test set is a file
        frames = dataset.context_frames + horizon
        check_generated(f"datasets.{name}", dataset, frames, "evaluation.horizon")


def check_generated(path: str, dataset: Dataset, frames: int, use: str) -> None:
    """Refuse videos to be made that are too short for so many frames of a clip."""
    stride = dataset.frame_stride
    if dataset.target_fps is not None:
        stride = dataset.fps / dataset.target_fps
    span = round((frames - 1) * stride) + 1
    made = {"generated": ("held_out_frames", "frames"), "moving_mnist": ("frames",)}
    for key in made.get(dataset.source or "", ()):
        where, length = f"{path}.generated.{key}", getattr(dataset.generated, key)
        check_that(length >= span, where, length, f"{span} or more, for {use}")


def check_weights(config: Config) -> None:
    """Refuse half of LPIPS, URLs without their sums, and trainings on weights without a name."""
    weights = config.weights
    missing = [key for key in LPIPS_KEYS if not getattr(weights, key)]
    if len(missing) == 1:
        both = " and ".join(LPIPS_KEYS)
        refuse(f"weights.{missing[0]}", f"missing; LPIPS needs both {both}, or neither")
    for name, autoencoder in config.autoencoders.items():
        if missing and autoencoder.perceptual == "lpips":
            files = " and ".join(f"weights.{key}" for key in missing)
            reason = f"lpips needs {files}; or take sliced_wasserstein"
            refuse(f"autoencoders.{name}.perceptual", reason)
    for key, source in weights_sources(weights).items():
        path = f"weights.{key}"
        known = is_url(source.source) or "://" not in source.source
        check_that(known, path, source.source, "a path, or an http(s) address")
        if is_url(source.source) and not source.sha256:
            reason = f"a URL needs its file's SHA-256; write {SHA256_MARK} and the sum behind it"
            refuse(path, reason)
        allowed = f"64 hexadecimal digits behind {SHA256_MARK}"
        matches = source.sha256 is None or bool(SHA256.fullmatch(source.sha256))
        check_that(matches, path, source.sha256, allowed)
    check_detectors(weights)


def check_detectors(weights: Weights) -> None:
    """Refuse names of detectors that mean something else in tables of features."""
    for name, detector in weights.detectors.items():
        path = f"weights.detectors.{name}"
        check_that(name not in DETECTORS, path, name, "another name; I3D is weights.i3d")
        # Features are called by it: "motion" is the statistic's, "…_context", "…_16f" are parts.
        plain = name != "motion" and "_" not in name
        check_that(plain, path, name, "a name without _ that is not motion")
        if not detector.program:
            refuse(f"{path}.program", "missing; name the detector's Python file")


def check_reference(path: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that nothing in the config defines."""
    if name not in known:
        raise undefined(path, name, list(known))


def check_once(path: str, values: list[Any], noun: str = "name") -> None:
    """Refuse a value that stands twice in a list."""
    check_that(len(set(values)) == len(values), path, values, f"each {noun} once")


def check_that(holds: bool, path: str, value: Any, allowed: str) -> None:
    """Refuse a value with its key's path and what is allowed."""
    if not holds:
        raise impossible(path, value, allowed)


def refuse(path: str, reason: str) -> NoReturn:
    """Raise UserError with the path of a key."""
    raise UserError(f"config: {path}: {reason}")
