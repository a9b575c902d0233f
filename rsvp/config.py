"""The structured config: one definition, with types, defaults, units and checks.

`load` turns YAML files (or the dict that Snakemake read) into a checked `Config`; `stage_settings`
cuts out exactly the part that one stage depends on. Loads without torch.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsvp.errors import UserError

SCHEMA = 1
BASELINES = (
    "copy-last",
    "context-median",
    "context-mean",
    "blurred-copy-last",
    "linear-extrapolation",
    "flow-extrapolation",
)


class SourceKind(Enum):
    """Where the videos of a dataset come from."""

    videos = "videos"  # a tree of video files: class/video.avi, train/class/video.mp4, …
    frames = "frames"  # a tree of folders of image files: train/video/frame00000.png
    generated = "generated"  # moving textured shapes, made by rsvp itself


class SplitKind(Enum):
    """How videos are divided into train, validation and test."""

    official = "official"  # UCF-101's lists: trainlistNN.txt and testlistNN.txt
    folders = "folders"  # the first folder of the path is train, val or test
    groups = "groups"  # deterministic, whole groups
    time = "time"  # each video is cut in time, with a gap


class Resize(Enum):
    """The antialiasing filter of the shorter-side resize (names as in ffmpeg's scaler)."""

    bicubic = "bicubic"
    lanczos = "lanczos"
    area = "area"


class Augment(Enum):
    """Symmetries under which training clips are as likely as they are."""

    none = "none"
    horizontal = "horizontal"  # mirrored left and right, as natural video
    all = "all"  # the eight symmetries of the square


@dataclass
class Generated:
    """The generated videos: textured shapes that move and turn over a textured background."""

    train_videos: int = 320
    validation_videos: int = 24
    test_videos: int = 64
    frames: int = 48  # frames per training video
    held_out_frames: int = 16  # frames per validation and test video
    size: int = 64  # pixels, width and height of the video files
    objects: int = 2  # at most; each video has one or two
    speed: float = 2.8  # pixels per frame, at most, at 64 pixels; scales with size
    turn: float = 0.3  # radians per frame, at most
    seed: int = 0


@dataclass
class Split:
    """Which videos train, which choose, which test."""

    kind: SplitKind = SplitKind.groups
    lists: str | None = None  # official: the folder of trainlistNN.txt and testlistNN.txt
    number: int = 1  # official: NN
    group_pattern: str = r"_g(\d+)"  # first match's group 1 in the video's name; none: own group
    validation_fraction: float = 0.15  # of the training side's groups
    test_fraction: float = 0.2  # groups and time: of all
    gap_seconds: float = 2.0  # time: left out between the sides
    seed: int = 0


@dataclass
class Dataset:
    """Videos, and how clips are cut from them."""

    source: SourceKind = SourceKind.videos
    path: str | None = None  # folder of videos or frame folders; relative to where snakemake runs
    generated: Generated = field(default_factory=Generated)
    resolution: int = 64  # pixels, square
    resize: Resize = Resize.bicubic
    fps: float = 25.0  # frame folders: frames per second that they stand for
    frame_stride: int = 1  # every n-th stored frame
    target_fps: float | None = None  # instead of frame_stride: nearest stored frame in time
    clip_frames: int = 16
    context_frames: int = 4  # observed; the rest of the clip is the future
    clip_stride: int = 16  # frames between starts of neighbouring clips of one video
    max_clips_per_video: int | None = None  # spread evenly over the video
    max_videos: int | None = None  # the first n by hash of their id, so that adding one moves few
    augment: Augment = Augment.horizontal  # of training clips
    decode_jobs: int = 4
    shard_mb: int = 64  # size of one frame-cache file, at most
    max_rejected_fraction: float = 0.1  # of the videos; above it the run stops
    ffmpeg: str | None = None  # a binary; by default the one that imageio-ffmpeg ships
    split: Split = field(default_factory=Split)


@dataclass
class Weights:
    """Pretrained weights of the perceptual metrics: paths, or nothing."""

    lpips_backbone: str | None = None  # AlexNet features, torchvision keys, safetensors
    lpips_linear: str | None = None  # LPIPS v0.1 linear heads, safetensors
    i3d: str | None = None  # I3D Kinetics-400 (rgb, from scratch), safetensors, or a URL
    i3d_sha256: str | None = None  # of the file; required for a URL


@dataclass
class Compute:
    """Where and how a training stage runs."""

    device: str = "auto"  # auto, cpu, cuda
    precision: str = "auto"  # auto, 32-true, bf16-mixed
    threads: int = 2  # CPU threads of one job
    deterministic: bool = False  # on a GPU: only deterministic kernels


@dataclass
class Pretrain:
    """Stage one, reconstruction."""

    steps: int = 1200
    batch_size: int = 12  # clips
    target_frames: int = 4  # frames of each clip that are reconstructed in one step
    learning_rate: float = 2.0e-3
    warmup_steps: int = 50
    weight_decay: float = 0.01
    lpips: float = 0.5  # weight of LPIPS; used where its weights are given


@dataclass
class Finetune:
    """Stage one, adversarial, with early stop."""

    steps: int = 400  # at most
    batch_size: int = 8  # clips
    target_frames: int = 4  # consecutive, for the 3-D discriminator
    learning_rate: float = 1.0e-3  # at its peak; falls to a fiftieth at the last step
    warmup_steps: int = 20
    discriminator_learning_rate: float = 2.0e-3
    adversarial: float = 0.1  # weight of the generator's loss relative to the reconstruction's
    feature_matching: float = 10.0  # weight of the distance of the discriminators' features
    discriminator_width: int = 32
    validate_every: int = 50  # steps
    patience: int = 4  # validations without improvement
    max_psnr_drop: float = 0.4  # dB on the validation split; weights below it are not kept


@dataclass
class Autoencoder:
    """Stage one: a video becomes scene, object and motion."""

    dataset: str = ""
    width: int = 32  # channels at a quarter of the resolution
    scene_channels: int = 4
    object_channels: int = 8
    motion_channels: int = 4  # two of displacement, the others of content
    latent_copies: int = 1  # cached per training clip, each another symmetry (datasets.*.augment)
    pretrain: Pretrain = field(default_factory=Pretrain)
    finetune: Finetune = field(default_factory=Finetune)


@dataclass
class Denoiser:
    """The transformer over typed space-time tokens."""

    width: int = 192
    depth: int = 6
    heads: int = 6
    patch: int = 2  # latent cells per token side
    frames_per_token: int = 12  # future frames per token


@dataclass
class Sampler:
    """How futures are drawn."""

    name: str = "heun"  # euler, heun
    steps: int = 6
    temperature: float = 1.0  # scale of the initial noise


@dataclass
class Predictor:
    """Stage two: a diffusion model that continues latents."""

    autoencoder: str = ""
    denoiser: Denoiser = field(default_factory=Denoiser)
    sampler: Sampler = field(default_factory=Sampler)
    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 1.0e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.995  # every step, ramped up from 0
    time_mean: float = -0.7  # logit-normal times: mean and standard deviation of logit(t)
    time_std: float = 1.0


@dataclass
class Evaluation:
    """What is measured."""

    trajectories: int = 4  # K futures per test clip
    max_clips: int | None = 256  # test clips, spread evenly over the test split
    baselines: list[str] = field(default_factory=lambda: list(BASELINES))
    bootstrap: int = 2000  # resamples of groups
    videos: int = 24  # side-by-side videos kept per predictor


@dataclass
class Report:
    """Which rows stand in the report."""

    predictors: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    title: str = "rsvp report"
    examples: int = 6  # playing videos per predictor


@dataclass
class Config:
    """The whole config. `config.yaml` shows it with comments."""

    schema: int = SCHEMA
    results: str = "results"
    datasets: dict[str, Dataset] = field(default_factory=dict)
    autoencoders: dict[str, Autoencoder] = field(default_factory=dict)
    predictors: dict[str, Predictor] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    compute: Compute = field(default_factory=Compute)
    evaluation: Evaluation = field(default_factory=Evaluation)
    report: Report = field(default_factory=Report)


@dataclass
class Settings:
    """What one stage is handed: the sections that it depends on; the rest keeps its defaults."""

    name: str = ""  # of the dataset, autoencoder or predictor that the stage makes
    seed: int = 0
    dataset: Dataset = field(default_factory=Dataset)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    predictor: Predictor = field(default_factory=Predictor)
    weights: Weights = field(default_factory=Weights)
    compute: Compute = field(default_factory=Compute)
    evaluation: Evaluation = field(default_factory=Evaluation)
    report: Report = field(default_factory=Report)


# Fields of a dataset that shape its stored frames. The others only cut clips out of them.
FRAME_KEYS = (
    "source",
    "path",
    "generated",
    "resolution",
    "resize",
    "fps",
    "max_videos",
    "decode_jobs",
    "shard_mb",
    "ffmpeg",
)
DENOISER_KEYS = tuple(f.name for f in dataclasses.fields(Predictor) if f.name != "sampler")


def pick(section: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """The named fields of a section as plain values."""
    plain = to_plain(section)
    return {key: plain[key] for key in keys}


def omit(section: Any, *keys: str) -> dict[str, Any]:
    """All fields of a section but the named ones, as plain values."""
    return {key: value for key, value in to_plain(section).items() if key not in keys}


def stage_settings(config: Config, stage: str, name: str = "", seed: int = 0) -> dict[str, Any]:
    """Exactly the part of the config that `stage` depends on, as plain values.

    `name` names the dataset, autoencoder or predictor that the stage works for. Two configs that
    give equal settings give equal outputs of the stage, so a change elsewhere leaves it alone.
    """
    settings: dict[str, Any] = {"name": name}
    if stage == "generate_videos":
        settings["dataset"] = pick(config.datasets[name], ("source", "generated", "fps"))
    elif stage == "decode":
        settings["dataset"] = pick(config.datasets[name], FRAME_KEYS)
    elif stage == "split":
        settings["dataset"] = omit(config.datasets[name], "ffmpeg", "shard_mb")
    elif stage == "pretrain_autoencoder":
        autoencoder = omit(config.autoencoders[name], "finetune", "latent_copies")
        settings |= {"seed": seed, "autoencoder": autoencoder}
        settings |= {"weights": lpips_weights(config), "compute": to_plain(config.compute)}
    elif stage == "finetune_autoencoder":
        autoencoder = omit(config.autoencoders[name], "pretrain", "latent_copies")
        settings |= {"seed": seed, "autoencoder": autoencoder}
        settings |= {"weights": lpips_weights(config), "compute": to_plain(config.compute)}
    elif stage in ("cache_latents", "reconstruct"):
        settings |= {"seed": seed, "compute": to_plain(config.compute)}
        if stage == "cache_latents":
            settings["autoencoder"] = pick(config.autoencoders[name], ("latent_copies",))
        if stage == "reconstruct":
            settings["evaluation"] = pick(config.evaluation, ("max_clips",))
    elif stage == "train_diffusion":
        predictor = pick(config.predictors[name], DENOISER_KEYS)
        settings |= {"seed": seed, "predictor": predictor, "compute": to_plain(config.compute)}
    elif stage == "predict":
        settings |= {"seed": seed, "predictor": pick(config.predictors[name], ("sampler",))}
        settings |= {"compute": to_plain(config.compute)}
        settings["evaluation"] = pick(config.evaluation, ("trajectories", "max_clips", "videos"))
    elif stage == "predict_baseline":
        settings["evaluation"] = pick(config.evaluation, ("max_clips",))
    elif stage == "evaluate":
        settings |= {"weights": to_plain(config.weights), "compute": to_plain(config.compute)}
    elif stage == "report":
        settings |= {"report": to_plain(config.report)}
        settings["evaluation"] = pick(config.evaluation, ("bootstrap", "baselines"))
    else:
        raise ValueError(f"no such stage: {stage}")
    return settings


def lpips_weights(config: Config) -> dict[str, Any]:
    """The weights that training may use."""
    return pick(config.weights, ("lpips_backbone", "lpips_linear"))


def to_plain(value: Any) -> Any:
    """Dataclasses and enums as JSON values."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


Section = TypeVar("Section")


def read_settings(values: Mapping[str, Any]) -> Settings:
    """The typed settings of a stage from the values that `stage_settings` cut out."""
    return structured(Settings, values)


def load(values: Mapping[str, Any]) -> Config:
    """A checked config from plain values (as read from YAML).

    Raises UserError with the key's path, its value, what is allowed and the nearest valid key.
    """
    config = structured(Config, values)
    check(config)
    return config


def structured(kind: type[Section], values: Mapping[str, Any]) -> Section:
    """Merge `values` into the defaults of the dataclass `kind`, with one clear line on a misfit."""
    check_keys(kind, values, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.create(dict(values)))
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        key = getattr(error, "full_key", None) or "config"
        raise UserError(f"config: {key}: {reason}") from None


def check_keys(kind: Any, values: Any, path: str) -> None:
    """Refuse keys that the definition lacks, and sections that are not mappings."""
    if get_origin(kind) is dict:
        check_mapping(values, path)
        for name, item in values.items():
            check_name(str(name), path)
            check_keys(get_args(kind)[1], item, f"{path}.{name}")
        return
    if not dataclasses.is_dataclass(kind):
        return
    check_mapping(values, path)
    types = get_type_hints(kind)
    for key, item in values.items():
        where = f"{path}.{key}".lstrip(".")
        if key not in types:
            near = difflib.get_close_matches(str(key), types, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(types)}"
            raise UserError(f"config: {where}: unknown key; {hint}")
        check_keys(types[key], item, where)


def check_mapping(values: Any, path: str) -> None:
    """Refuse a scalar, a list or nothing where keys belong."""
    if not isinstance(values, Mapping):
        where = path or "the file"
        raise UserError(f"config: {where}: expected keys and values, got {values!r}")


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_name(name: str, path: str) -> None:
    """Names become folders, so they hold letters, digits, - and _ only."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"config: {path}.{name}: a name has letters, digits, - and _ only (64 at most),"
            " and starts with a letter or digit"
        )


def check(config: Config) -> None:
    """Refuse impossible values and references, before any job starts."""
    if config.schema != SCHEMA:
        raise UserError(
            f"config: schema: {config.schema} is not supported; this rsvp reads schema {SCHEMA}"
        )
    for name, dataset in config.datasets.items():
        check_dataset(f"datasets.{name}", dataset)
    for name, autoencoder in config.autoencoders.items():
        path = f"autoencoders.{name}"
        check_reference(f"{path}.dataset", autoencoder.dataset, config.datasets)
        check_positive(path, autoencoder)
        channels = autoencoder.motion_channels
        check_that(channels >= 2, f"{path}.motion_channels", channels, "2 or more")
        dataset = config.datasets[autoencoder.dataset]
        future = dataset.clip_frames - dataset.context_frames
        for stage in ("pretrain", "finetune"):
            frames = getattr(autoencoder, stage).target_frames
            check_that(frames <= future, f"{path}.{stage}.target_frames", frames, f"1 to {future}")
    for name, predictor in config.predictors.items():
        check_predictor(f"predictors.{name}", predictor, config)
    check_report(config)
    check_compute(config.compute)
    check_weights(config.weights)


def check_dataset(path: str, dataset: Dataset) -> None:
    """Sizes that the stages can work with."""
    check_positive(path, dataset)
    generated = dataset.source is SourceKind.generated
    if generated:
        size = dataset.generated.size
        check_that(
            size == dataset.resolution,
            f"{path}.generated.size",
            size,
            f"{path}.resolution, {dataset.resolution}",
        )
    elif not dataset.path:
        raise UserError(f"config: {path}.path: missing; name the folder that holds the videos")
    check_that(
        dataset.resolution % 16 == 0 and dataset.resolution >= 32,
        f"{path}.resolution",
        dataset.resolution,
        "a multiple of 16, at least 32",
    )
    check_that(
        1 <= dataset.context_frames < dataset.clip_frames,
        f"{path}.context_frames",
        dataset.context_frames,
        f"1 to {dataset.clip_frames - 1} (clip_frames - 1)",
    )
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


def check_predictor(path: str, predictor: Predictor, config: Config) -> None:
    """References, and a denoiser whose tokens fit the latents."""
    check_reference(f"{path}.autoencoder", predictor.autoencoder, config.autoencoders)
    check_positive(path, predictor)
    denoiser = predictor.denoiser
    check_that(
        denoiser.width % (2 * denoiser.heads) == 0,
        f"{path}.denoiser.width",
        denoiser.width,
        f"a multiple of twice the heads, {2 * denoiser.heads}",
    )
    dataset = config.datasets[config.autoencoders[predictor.autoencoder].dataset]
    cells = dataset.resolution // 8
    check_that(
        cells % denoiser.patch == 0,
        f"{path}.denoiser.patch",
        denoiser.patch,
        f"a divisor of the latent's {cells} cells (resolution / 8)",
    )
    check_that(
        predictor.sampler.name in ("euler", "heun"),
        f"{path}.sampler.name",
        predictor.sampler.name,
        "euler, heun",
    )
    check_that(
        0 <= predictor.ema_decay < 1, f"{path}.ema_decay", predictor.ema_decay, "0 to below 1"
    )


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
        and min(report.seeds) >= 0,
        "report.seeds",
        report.seeds,
        "different whole numbers from 0, at least one",
    )
    for name in config.evaluation.baselines:
        check_reference("evaluation.baselines", name, dict.fromkeys(BASELINES))
    check_positive("evaluation", config.evaluation)


def check_weights(weights: Weights) -> None:
    """LPIPS needs both of its files."""
    given = {"lpips_backbone": weights.lpips_backbone, "lpips_linear": weights.lpips_linear}
    missing = [key for key, path in given.items() if not path]
    if len(missing) == 1:
        raise UserError(
            f"config: weights.{missing[0]}: missing; LPIPS needs both {' and '.join(given)}, or"
            " neither"
        )


def check_compute(compute: Compute) -> None:
    """Devices and precisions that Fabric knows."""
    check_positive("compute", compute)
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
    "lpips",
    "adversarial",
    "gap_seconds",
    "max_rejected_fraction",
    "temperature",
    "ema_decay",
    "schema",
    "videos",
    "examples",
    "turn",
    "max_psnr_drop",
    "speed",
}
MAY_BE_NEGATIVE = {"time_mean"}


def check_positive(path: str, section: Any) -> None:
    """Refuse zero and negative numbers where only positive ones make sense."""
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        where = f"{path}.{item.name}"
        if dataclasses.is_dataclass(value):
            check_positive(where, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if item.name in MAY_BE_NEGATIVE:
                continue
            zero = item.name in MAY_BE_ZERO
            low = "0 or more" if zero else "above 0"
            check_that(value > 0 or (zero and value == 0), where, value, low)


def check_reference(path: str, name: str, known: Mapping[str, Any]) -> None:
    """Refuse a name that nothing in the config defines."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"defined: {', '.join(known) or 'none'}"
        raise UserError(f"config: {path}: {name!r} is not defined; {hint}")


def check_that(holds: bool, path: str, value: Any, allowed: str) -> None:
    """Refuse a value with its key's path and what is allowed."""
    if not holds:
        raise UserError(f"config: {path}: {value!r} is not possible; allowed: {allowed}")


def resolve_path(path: str, base: Path) -> str:
    """`path` as an absolute path, relative ones from `base`."""
    return str((base / Path(path).expanduser()).resolve())
