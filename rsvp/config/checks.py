"""Relations between the config's keys, checked before any job starts."""

import dataclasses
import difflib
import re
import reprlib
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from rsvp.config.schema import (
    BASELINES,
    DETECTORS,
    LPIPS_KEYS,
    PROTOCOLS,
    REGULARISATION_KEYS,
    REGULARISER_KEYS,
    SAMPLERS,
    SCHEMA,
    SHA256_MARK,
    Augment,
    Autoencoder,
    AutoencoderKind,
    Compute,
    Config,
    Dataset,
    DiscriminatorAugment,
    Finetune,
    Perceptual,
    Predictor,
    Pretrain,
    Regulariser,
    RegulariserKind,
    Scores,
    SourceKind,
    SplitKind,
    Times,
    foreign_keys,
    is_url,
    weights_sources,
)
from rsvp.runtime.errors import UserError


def check_keys(kind: Any, values: Any, path: str) -> None:
    """Refuse keys that the definition lacks, and values of another shape than it has."""
    if type(None) in get_args(kind):
        if values is None:
            return
        kind = next(inner for inner in get_args(kind) if inner is not type(None))
    if get_origin(kind) is dict:
        check_mapping(values, path)
        for name, item in values.items():
            check_name(name, path)
            check_keys(get_args(kind)[1], item, f"{path}.{name}")
        return
    if get_origin(kind) is list:
        if not isinstance(values, list):
            raise UserError(f"config: {path}: expected a list, got {shown(values)}")
        for place, item in enumerate(values):
            check_value(item, f"{path}[{place}]")
        return
    if not dataclasses.is_dataclass(kind):
        check_value(values, path)
        return
    check_mapping(values, path)
    types = get_type_hints(kind)
    for key, item in values.items():
        where = f"{path}.{key if key in types else shorten(str(key))}".lstrip(".")
        if key not in types:
            near = difflib.get_close_matches(str(key), types, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(types)}"
            raise UserError(f"config: {where}: unknown key; {hint}")
        check_keys(types[key], item, where)


def check_mapping(values: Any, path: str) -> None:
    """Refuse a scalar, a list or nothing where keys belong."""
    if not isinstance(values, Mapping):
        where = path or "the file"
        raise UserError(f"config: {where}: expected keys and values, got {shown(values)}")


def check_value(value: Any, path: str) -> None:
    """Refuse what is no single value, which YAML's anchors can nest without end, and odd text."""
    if not isinstance(value, str | int | float | None):
        raise UserError(f"config: {path}: expected text or a number, got {shown(value)}")
    if isinstance(value, str) and BROKEN_TEXT.search(value):
        raise UserError(f"config: {path}: {shown(value)} holds characters that are no text")


BROKEN_TEXT = re.compile(r"[\0\ud800-\udfff]")  # no path may hold them
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_name(name: Any, path: str) -> None:
    """Names become folders, so they hold letters, digits, - and _ only."""
    if not isinstance(name, str):
        raise UserError(f"config: {path}: the name {name!r} is no text; put it in quotes")
    if not NAME.fullmatch(name):
        raise UserError(
            f"config: {path}.{shorten(name)}: a name has letters, digits, - and _ only"
            " (64 at most), and starts with a letter or digit"
        )


def check(config: Config) -> None:
    """Refuse impossible values and references, before any job starts."""
    if config.schema != SCHEMA:
        raise UserError(
            f"config: schema: {config.schema} is not supported; this rsvp reads schema {SCHEMA}"
        )
    check_that(bool(config.results.strip()), "results", config.results, "the name of a folder")
    for name, dataset in config.datasets.items():
        check_dataset(f"datasets.{name}", dataset)
    for name, autoencoder in config.autoencoders.items():
        check_autoencoder(f"autoencoders.{name}", autoencoder, config)
    for name, predictor in config.predictors.items():
        check_predictor(f"predictors.{name}", predictor, config)
    check_protocols(config)
    check_report(config)
    check_compute(config.compute)
    check_weights(config)


def check_dataset(path: str, dataset: Dataset) -> None:
    """Sizes that the stages can work with."""
    check_numbers(path, dataset)
    check_that(
        dataset.resolution % 16 == 0 and dataset.resolution >= 32,
        f"{path}.resolution",
        dataset.resolution,
        "a multiple of 16, at least 32",
    )
    if dataset.source is not SourceKind.generated and not dataset.path:
        raise UserError(f"config: {path}.path: missing; name the folder that holds the videos")
    check_that(
        1 <= dataset.context_frames < dataset.clip_frames,
        f"{path}.context_frames",
        dataset.context_frames,
        f"1 to {dataset.clip_frames - 1} (clip_frames - 1)",
    )
    check_observed(path, dataset)
    for key in ("validation_fraction", "test_fraction"):
        value = getattr(dataset.split, key)
        check_that(0 < value < 1, f"{path}.split.{key}", value, "between 0 and 1")
    value = dataset.max_rejected_fraction
    check_that(0 <= value <= 1, f"{path}.max_rejected_fraction", value, "0 to 1")
    if dataset.split.kind is SplitKind.official and not dataset.split.lists:
        raise UserError(
            f"config: {path}.split.lists: missing; name the folder of trainlist01.txt and"
            " testlist01.txt"
        )
    try:
        groups = re.compile(dataset.split.group_pattern).groups
    except re.error as error:
        raise UserError(f"config: {path}.split.group_pattern: not a pattern: {error}") from None
    check_that(
        groups == 1,
        f"{path}.split.group_pattern",
        dataset.split.group_pattern,
        "a regular expression with one group in brackets",
    )


def check_observed(path: str, dataset: Dataset) -> None:
    """Contexts that leave something to predict, under names of their own."""
    for name, context in (dataset.contexts or {}).items():
        where, most = f"{path}.contexts.{name}", dataset.clip_frames - 1
        check_that(name != "prefix", where, name, "another name; it is the first context_frames")
        check_numbers(where, context)
        count = context.first + context.last
        check_that(
            count <= most, where, count, f"{most} observed frames (clip_frames - 1) or fewer"
        )


def check_autoencoder(path: str, autoencoder: Autoencoder, config: Config) -> None:
    """References, sizes, and no keys of other kinds, which would do nothing."""
    check_reference(f"{path}.dataset", autoencoder.dataset, config.datasets)
    check_numbers(path, autoencoder)
    channels = autoencoder.motion_channels
    check_that(channels >= 2, f"{path}.motion_channels", channels, "2 or more")
    # Features at half the resolution have half as many channels, normalised in groups of 8.
    width = autoencoder.width
    check_that(width % 16 == 0, f"{path}.width", width, "a multiple of 16")
    dataset = config.datasets[autoencoder.dataset]
    future = dataset.clip_frames - dataset.context_frames
    for stage in ("pretrain", "finetune"):
        frames = getattr(autoencoder, stage).target_frames
        check_that(frames <= future, f"{path}.{stage}.target_frames", frames, f"1 to {future}")
        check_budget(f"{path}.{stage}", getattr(autoencoder, stage))
    check_contexts(path, autoencoder, dataset)
    # More copies of a clip than there are symmetries would be the same again.
    copies, most = autoencoder.latent_copies, SYMMETRIES[dataset.augment.name]
    check_that(
        copies <= most,
        f"{path}.latent_copies",
        copies,
        f"1 to {most} where the dataset's augment is {dataset.augment.name}",
    )
    kind, default = autoencoder.kind.name, Autoencoder()
    for key, kinds in foreign_keys(autoencoder).items():
        check_unset(path, key, autoencoder, default, f"kind {' or '.join(kinds)}, not {kind}")
    check_regulariser(path, autoencoder)
    check_losses(path, autoencoder)
    check_adversary(f"{path}.finetune", autoencoder.finetune)


def check_losses(path: str, autoencoder: Autoencoder) -> None:
    """Losses of frames that are there, and that this kind and its weights can have."""
    pretrain, finetune = autoencoder.pretrain, autoencoder.finetune
    allowed = "above 0, or l2 above 0"
    check_that(pretrain.l1 + pretrain.l2 > 0, f"{path}.pretrain.l1", pretrain.l1, allowed)
    if finetune.lpips > 0 and autoencoder.perceptual is not Perceptual.lpips:
        raise UserError(
            f"config: {path}.finetune.lpips: {finetune.lpips} needs {path}.perceptual: lpips; or"
            " set it to 0"
        )
    for stage, decay in (("pretrain", pretrain.ema_decay), ("finetune", finetune.ema_decay)):
        holds = decay is None or decay < 1
        check_that(holds, f"{path}.{stage}.ema_decay", decay, "0 to below 1")


def check_adversary(path: str, finetune: Finetune) -> None:
    """A target that a mean sign can have, and no keys that nothing reads."""
    chosen, default = finetune.regularisation, Finetune()
    for kind, keys in REGULARISATION_KEYS.items():
        for key in keys if kind is not chosen else ():
            whose = f"regularisation {kind.name}, not {chosen.name}"
            check_unset(path, key, finetune, default, whose)
    if finetune.augment is DiscriminatorAugment.none:
        for key in ("ada_target", "ada_clips"):
            check_unset(path, key, finetune, default, "augment ada, not none")
    target = finetune.ada_target
    check_that(target < 1, f"{path}.ada_target", target, "above 0 and below 1")


def check_budget(path: str, section: Pretrain | Finetune | Predictor) -> None:
    """Refuse a budget that is given twice, in steps and in seconds."""
    if section.seconds is not None and section.steps != type(section)().steps:
        raise UserError(
            f"config: {path}.seconds: {section.seconds:g}, but {path}.steps is set too, to"
            f" {section.steps}; remove one: steps are found from seconds"
        )


COPYING = (AutoencoderKind.rsvp, AutoencoderKind.joint)  # their decoders copy from the context


def check_contexts(path: str, autoencoder: Autoencoder, dataset: Dataset) -> None:
    """Contexts that the dataset defines, and that an autoencoder of the kind can work from."""
    names = autoencoder.contexts or []
    check_that(len(set(names)) == len(names), f"{path}.contexts", names, "each name once")
    for name in names:
        known = dataset.contexts or {}
        check_reference(f"{path}.contexts", name, known)
        if autoencoder.kind in COPYING and known[name].first + known[name].last == 0:
            raise UserError(
                f"config: {path}.contexts: {name} observes nothing, and kind"
                f" {autoencoder.kind.name} makes frames from what is observed; take kind frames or"
                " triplane"
            )
        most = dataset.clip_frames - known[name].last
        frames = autoencoder.finetune.target_frames
        check_that(frames <= most, f"{path}.finetune.target_frames", frames, f"1 to {most}")


def check_regulariser(path: str, autoencoder: Autoencoder) -> None:
    """Levels for each channel, a codebook, and no keys of other regularisers."""
    regulariser, path = autoencoder.regulariser, f"{path}.regulariser"
    kind, default = regulariser.kind.name, Regulariser()
    for other, keys in REGULARISER_KEYS.items():
        for key in keys if other is not regulariser.kind else ():
            check_unset(path, key, regulariser, default, f"kind {other.name}, not {kind}")
    if regulariser.kind is RegulariserKind.fsq:
        levels, channels = regulariser.levels, autoencoder.channels
        allowed = f"{channels} whole numbers from 3 to 256, one for each of the channels"
        fits = len(levels) == channels and all(3 <= level <= 256 for level in levels)
        check_that(fits, f"{path}.levels", levels, allowed)
    if regulariser.kind is RegulariserKind.vq:
        check_that(regulariser.codes >= 2, f"{path}.codes", regulariser.codes, "2 or more")
        decay = regulariser.codes_decay
        check_that(decay < 1, f"{path}.codes_decay", decay, "above 0 and below 1")


def check_unset(path: str, key: str, section: Any, default: Any, whose: str) -> None:
    """Refuse a key that was set though nothing reads it there."""
    if getattr(section, key) != getattr(default, key):
        raise UserError(f"config: {path}.{key}: a key of {whose}; remove it")


def check_predictor(path: str, predictor: Predictor, config: Config) -> None:
    """References, and a denoiser whose tokens fit the latents."""
    check_reference(f"{path}.autoencoder", predictor.autoencoder, config.autoencoders)
    check_numbers(path, predictor)
    check_budget(path, predictor)
    denoiser = predictor.denoiser
    check_that(
        denoiser.width % (2 * denoiser.heads) == 0,
        f"{path}.denoiser.width",
        denoiser.width,
        f"a multiple of twice the heads, {2 * denoiser.heads}",
    )
    autoencoder = config.autoencoders[predictor.autoencoder]
    dataset = config.datasets[autoencoder.dataset]
    cells = dataset.resolution // 8
    check_that(
        cells % denoiser.patch == 0,
        f"{path}.denoiser.patch",
        denoiser.patch,
        f"a divisor of the latent's {cells} cells (resolution / 8)",
    )
    if predictor.augment_latents and dataset.augment is Augment.none:
        raise UserError(
            f"config: {path}.augment_latents: the dataset's augment is none, so nothing is turned;"
            f" remove it, or set datasets.{autoencoder.dataset}.augment to horizontal or all"
        )
    contexts = ["prefix", *(autoencoder.contexts or ())]
    check_reference(f"{path}.context", predictor.context or "prefix", dict.fromkeys(contexts))
    check_sampling(path, predictor)
    if predictor.times is not Times.logit_normal:
        for key in ("time_mean", "time_std"):
            check_unset(path, key, predictor, Predictor(), "times logit_normal, not uniform")
    for key in ("ema_decay", "drop_context"):
        value = getattr(predictor, key)
        check_that(0 <= value < 1, f"{path}.{key}", value, "0 to below 1")


def check_sampling(path: str, predictor: Predictor) -> None:
    """A sampler that exists, and guidance that the denoiser was trained for."""
    sampler, guidance = predictor.sampler, predictor.guidance
    check_reference(f"{path}.sampler.name", sampler.name, dict.fromkeys(SAMPLERS))
    check_that(sampler.eta <= 1, f"{path}.sampler.eta", sampler.eta, "0 to 1")
    if sampler.eta > 0 and sampler.name != "ddim":
        raise UserError(
            f"config: {path}.sampler.eta: {sampler.name} adds no noise; set eta to 0, or the"
            " sampler to ddim"
        )
    levels = f"{path}.guidance"
    check_that(guidance.high <= 1, f"{levels}.high", guidance.high, "above 0 and up to 1, noise")
    below = f"below guidance.high, {guidance.high}"
    check_that(guidance.low < guidance.high, f"{levels}.low", guidance.low, below)
    if guidance.scale != 1 and predictor.drop_context == 0:
        raise UserError(
            f"config: {levels}.scale: {guidance.scale} needs a denoiser that was trained without"
            f" context too; set {path}.drop_context (0.1 is usual), or the scale to 1"
        )


def check_protocols(config: Config) -> None:
    """Protocols that can be computed, and names that mean what they mean elsewhere."""
    detectors = dict.fromkeys([*DETECTORS, *config.weights.detectors])
    for name, protocol in config.protocols.items():
        path = f"protocols.{name}"
        if name in PROTOCOLS:
            raise UserError(f"config: {path}: built in and the same everywhere; take another name")
        check_numbers(path, protocol)
        check_reference(f"{path}.detector", protocol.detector, detectors)
        check_that(bool(protocol.columns), f"{path}.columns", protocol.columns, "one or two")
        if protocol.scores is Scores.distribution:
            for key, low in {"clips": 2, "frames": 2}.items():
                value = getattr(protocol, key)
                check_that(value is None or value >= low, f"{path}.{key}", value, f"{low} or more")
            value = protocol.trajectories
            allowed = "1: distances between sets take the first trajectory of each clip"
            check_that(value in (None, 1), f"{path}.trajectories", value, allowed)
    names = config.evaluation.protocols
    check_that(bool(names), "evaluation.protocols", names, "at least one protocol")
    for name in names:
        check_reference("evaluation.protocols", name, PROTOCOLS | config.protocols)
    check_that(len(set(names)) == len(names), "evaluation.protocols", names, "each name once")


def check_report(config: Config) -> None:
    """The report's rows exist and work on one dataset."""
    report = config.report
    if not report.predictors:
        raise UserError("config: report.predictors: empty; name at least one predictor")
    for name in report.predictors:
        check_reference("report.predictors", name, config.predictors)
    check_that(
        bool(report.seeds)
        and len(set(report.seeds)) == len(report.seeds)
        and min(report.seeds) >= 0
        and max(report.seeds) <= MOST["seed"],
        "report.seeds",
        report.seeds,
        f"different whole numbers from 0 to {MOST['seed']}, at least one",
    )
    check_numbers("report", report)
    for name in config.evaluation.baselines:
        check_reference("evaluation.baselines", name, dict.fromkeys(BASELINES))
    check_numbers("evaluation", config.evaluation)
    for predictor in report.predictors:
        context = config.predictors[predictor].context
        if context not in (None, "prefix"):
            raise UserError(
                f"config: report.predictors: {predictor} predicts from the context {context}, and"
                " the report compares rows of the prefix; take it out, and ask for its scores:"
                f" snakemake evaluation/{predictor}/seed0/index.json"
            )
        name = config.autoencoders[config.predictors[predictor].autoencoder].dataset
        check_horizon(config.evaluation.horizon, name, config.datasets[name])


def check_horizon(horizon: int | None, name: str, dataset: Dataset) -> None:
    """A horizon is that of training, or longer; generated videos are long enough for it."""
    if horizon is None:
        return
    trained = dataset.clip_frames - dataset.context_frames
    allowed = f"{trained} or more, the future frames of datasets.{name}"
    check_that(horizon >= trained, "evaluation.horizon", horizon, allowed)
    span = (dataset.context_frames + horizon - 1) * dataset.frame_stride + 1
    if dataset.source is SourceKind.generated and dataset.target_fps is None:
        for key in ("held_out_frames", "frames"):
            frames, path = getattr(dataset.generated, key), f"datasets.{name}.generated.{key}"
            check_that(frames >= span, path, frames, f"{span} or more, for evaluation.horizon")


SHA256 = re.compile(r"[0-9a-f]{64}")


def check_weights(config: Config) -> None:
    """LPIPS has both of its files, URLs have their sums, and what training uses is named."""
    weights = config.weights
    missing = [key for key in LPIPS_KEYS if not getattr(weights, key)]
    if len(missing) == 1:
        raise UserError(
            f"config: weights.{missing[0]}: missing; LPIPS needs both {' and '.join(LPIPS_KEYS)}, "
            "or neither"
        )
    for name, autoencoder in config.autoencoders.items():
        if missing and autoencoder.perceptual is Perceptual.lpips:
            raise UserError(
                f"config: autoencoders.{name}.perceptual: lpips needs weights.{missing[0]} and "
                f"weights.{missing[1]}; or take sliced_wasserstein"
            )
    for key, source in weights_sources(weights).items():
        known = is_url(source.source) or "://" not in source.source
        check_that(known, f"weights.{key}", source.source, "a path, or an http(s) address")
        if is_url(source.source) and not source.sha256:
            raise UserError(
                f"config: weights.{key}: a URL needs its file's SHA-256; write {SHA256_MARK} and"
                " the sum behind it"
            )
        if source.sha256 and not SHA256.fullmatch(source.sha256):
            allowed = f"64 hexadecimal digits behind {SHA256_MARK}"
            check_that(False, f"weights.{key}", source.sha256, allowed)
    for name, detector in weights.detectors.items():
        path = f"weights.detectors.{name}"
        check_that(name not in DETECTORS, path, name, "another name; I3D is weights.i3d")
        # Features are called by it: "motion" is the statistic's, "…_context", "…_16f" are parts.
        plain = name != "motion" and "_" not in name
        check_that(plain, path, name, "a name without _ that is not motion")
        if not detector.program:
            raise UserError(f"config: {path}.program: missing; name the detector's Python file")


def check_compute(compute: Compute) -> None:
    """Devices and precisions that Fabric knows."""
    check_numbers("compute", compute)
    check_that(
        compute.device in ("auto", "cpu", "cuda"),
        "compute.device",
        compute.device,
        "auto, cpu, cuda",
    )
    check_that(
        compute.precision in ("auto", "32-true", "bf16-mixed"),
        "compute.precision",
        compute.precision,
        "auto, 32-true, bf16-mixed",
    )


# Numbers that may be zero; all others in the config must be above it.
MAY_BE_ZERO = {
    "seed",
    "warmup_steps",
    "weight_decay",
    "l1",
    "l2",
    "lpips",
    "sliced_wasserstein",
    "adversarial",
    "feature_matching",
    "gap_seconds",
    "max_rejected_fraction",
    "kl_weight",
    "commitment",
    "temperature",
    "eta",
    "scale",
    "low",
    "drop_context",
    "ema_decay",
    "schema",
    "videos",
    "examples",
    "first",
    "last",
    "max_psnr_drop",
    "speed",
}
MAY_BE_NEGATIVE = {"time_mean"}
SYMMETRIES = {"none": 1, "horizontal": 2, "all": 8}  # of clips, by a dataset's `augment`
# Above these a stage could not begin; above the largest, any other number is a slip.
MOST = {
    "resolution": 2048,
    "clip_frames": 4096,
    "decode_jobs": 1000,
    "objects": 1000,
    "threads": 1024,
    "width": 16384,
    "discriminator_width": 16384,
    "scene_channels": 4096,
    "object_channels": 4096,
    "motion_channels": 4096,
    "channels": 4096,
    "codes": 2**20,
    "depth": 1000,
    "seed": 2**32 - 1,
}
LARGEST = 10**9


def check_numbers(path: str, section: Any) -> None:
    """Refuse numbers that make no sense: nan, infinite and huge ones, most often 0 and below."""
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        where = f"{path}.{item.name}"
        if dataclasses.is_dataclass(value):
            check_numbers(where, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            most = MOST.get(item.name, LARGEST)
            least = -LARGEST if item.name in MAY_BE_NEGATIVE else 0
            above = item.name not in MAY_BE_ZERO | MAY_BE_NEGATIVE
            low = f"above {least}" if above else f"{least} or more"
            holds = least < value <= most or (value == least and not above)
            check_that(holds, where, value, f"{most} at most" if value > most else low)


def check_reference(path: str, name: str, known: Mapping[str, Any]) -> None:
    """Refuse a name that nothing in the config defines."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"defined: {', '.join(known) or 'none'}"
        raise UserError(f"config: {path}: {shown(name)} is not defined; {hint}")


def check_that(holds: bool, path: str, value: Any, allowed: str) -> None:
    """Refuse a value with its key's path and what is allowed."""
    if not holds:
        raise UserError(f"config: {path}: {shown(value)} is not possible; allowed: {allowed}")


SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxlist, SHORT.maxdict = 2, 4, 2
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80


def shown(value: Any) -> str:
    """A value for a message; of a long one the beginning and the end."""
    return SHORT.repr(value)


def shorten(key: str) -> str:
    """A key for a message; of a long one the beginning."""
    return key if len(key) <= 80 else f"{key[:80]}…"
