"""The structured config: one definition, with types, defaults, units and checks.

`load` turns YAML files (or the dict that Snakemake read) into a checked `Config`; `stage_settings`
cuts out exactly the part that one stage depends on. Loads without torch.
"""

import dataclasses
import difflib
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsvp.errors import UserError

SCHEMA = 1
SAMPLERS = ("euler", "heun", "ddim", "dpm-solver")
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


class Scores(Enum):
    """What a protocol compares with what."""

    frames = "frames"  # each predicted frame with the true one
    distribution = "distribution"  # the predicted videos as a set with the real ones


class Column(Enum):
    """Which frames a distance between sets of videos sees; the two are never mixed."""

    predicted = "predicted"  # future frames only
    context = "context"  # observed and future frames, as MCVD and SRVP do


class Augment(Enum):
    """Symmetries under which training clips are as likely as they are."""

    none = "none"
    horizontal = "horizontal"  # mirrored left and right, as natural video
    all = "all"  # the eight symmetries of the square


class AutoencoderKind(Enum):
    """What an autoencoder makes of a clip."""

    rsvp = "rsvp"  # scene, object and motion
    joint = "joint"  # the same, and scene and object of the future
    triplane = "triplane"  # planes of space, and of space and time, as PVDM
    frames = "frames"  # a latent image of each frame, as latent diffusion


class RegulariserKind(Enum):
    """What bounds the latents of an autoencoder of images or planes."""

    tanh = "tanh"  # to [-1, 1], with noise in training
    kl = "kl"  # weakly to the standard normal
    vq = "vq"  # to the nearest of learnt codes
    fsq = "fsq"  # to a few levels per channel


class Perceptual(Enum):
    """How the training of an autoencoder judges what frames look like."""

    sliced_wasserstein = "sliced_wasserstein"  # of image patches; needs no weights
    lpips = "lpips"  # also a loss of pretraining; needs weights.lpips_backbone and lpips_linear


class Regularisation(Enum):
    """What keeps the discriminators of fine-tuning from being too sure."""

    none = "none"
    r1 = "r1"  # the gradient at real clips is small
    lecam = "lecam"  # logits stay near what those of the other side were on average


class DiscriminatorAugment(Enum):
    """What the discriminators see of clips."""

    none = "none"  # the clips
    ada = "ada"  # clips that are transformed, the more often the more the discriminators overfit


class Objective(Enum):
    """What the denoiser is trained to output."""

    flow = "flow"  # the velocity of the straight path from noise to data
    noise = "noise"  # the noise, on the linear schedule of latent-diffusion and PVDM
    v = "v"  # alpha noise - sigma data, on the cosine schedule
    edm = "edm"  # preconditioned between data and noise


class Times(Enum):
    """How training draws noise levels."""

    logit_normal = "logit_normal"  # around time_mean; for edm: log-normal sigma
    uniform = "uniform"  # in the objective's own time, as noise and v do in their papers


class Weighting(Enum):
    """How much the loss of each noise level counts."""

    none = "none"  # squared errors of the objective's output, all alike
    min_snr = "min_snr"  # squared errors of the data, by the signal-to-noise ratio up to 5


@dataclass
class Generated:
    """The generated videos: textured shapes that move and turn over a textured background."""

    train_videos: int = 800
    validation_videos: int = 24
    test_videos: int = 64
    frames: int = 24  # frames per training video
    held_out_frames: int = 16  # frames per validation and test video
    size: int = 64  # pixels, width and height of the video files
    objects: int = 2  # at most; each video has one or two
    speed: float = 2.8  # pixels per frame, at most, at 64 pixels; scales with size
    turn: float = 0.3  # radians per frame that a path bends, at most
    spin: float = 0.4  # how far an object rotates, as a share of its path's bend
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
class ObservedFrames:
    """A context: how many of a clip's frames are observed at its beginning, and at its end."""

    first: int = 0
    last: int = 0


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
    contexts: dict[str, ObservedFrames] | None = None  # others, that autoencoders name
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
class DetectorProgram:
    """A network of the user's own whose features FVD and its relatives compare: docs/weights.md."""

    program: str = ""  # a Python file that defines the class `Detector`
    weights: str | None = None  # safetensors that it is given: a path, or a URL
    weights_sha256: str | None = None


@dataclass
class Weights:
    """Pretrained networks that measure: paths, or URLs that only `make weights` downloads."""

    folder: str = "weights"  # where downloads go; relative to where snakemake runs
    lpips_backbone: str | None = None  # features of AlexNet, SqueezeNet 1.1 or VGG16
    lpips_backbone_sha256: str | None = None  # of the file; required for a URL
    lpips_linear: str | None = None  # LPIPS v0.1 linear heads
    lpips_linear_sha256: str | None = None
    i3d: str | None = None  # I3D, RGB, from scratch on Kinetics-400
    i3d_sha256: str | None = None
    detectors: dict[str, DetectorProgram] = field(default_factory=dict)  # beside I3D, by name
    required: bool = False  # stop before any job where a file of these is not there


@dataclass
class Compute:
    """Where and how a training stage runs."""

    device: str = "auto"  # auto, cpu, cuda
    precision: str = "auto"  # auto, 32-true, bf16-mixed
    threads: int = 2  # CPU threads of one job; of one that measures half (`measuring_threads`)
    deterministic: bool = False  # on a GPU: only deterministic kernels
    compile: bool | None = None  # true: denoisers, by torch.compile
    save_seconds: float = 120.0  # of work, at most, are lost when a job is killed


@dataclass
class Pretrain:
    """Stage one, reconstruction."""

    steps: int = 1200
    seconds: float | None = None  # of training, in place of steps: a calibration finds the steps
    batch_size: int = 12  # clips
    target_frames: int = 4  # frames of each clip that are reconstructed in one step
    learning_rate: float = 2.0e-3
    warmup_steps: int = 50
    weight_decay: float = 0.01
    l1: float = 1.0  # weight of the frames' mean absolute difference; of fine-tuning, too
    l2: float = 2.0  # weight of their mean squared difference; of fine-tuning, too
    lpips: float = 0.5  # weight of LPIPS; counts where `perceptual` is lpips
    # triplane and frames, tanh and kl: weight of L1 and L2 of what latents downsampled by 2 are
    # decoded to; of fine-tuning, too
    scale_equivariance: float = 0.0
    ema_decay: float | None = None  # of the weights that are kept, every step, ramped up from 0


@dataclass
class Finetune:
    """Stage one, adversarial, with early stop."""

    steps: int = 400  # at most
    seconds: float | None = None  # of training at most, in place of steps
    batch_size: int = 8  # clips
    target_frames: int = 4  # consecutive, for the 3-D discriminator
    learning_rate: float = 1.0e-3  # at its peak; falls to a fiftieth at the last step
    warmup_steps: int = 20
    discriminator_learning_rate: float = 2.0e-3
    adversarial: float = 0.1  # weight of the generator's loss relative to the reconstruction's
    feature_matching: float = 10.0  # weight of the distance of the discriminators' features
    adaptive_weight: bool = False  # `adversarial` is a share of the reconstruction's gradient
    lpips: float = 0.0  # weight of LPIPS; needs `perceptual: lpips`
    sliced_wasserstein: float = 0.0  # weight of the distance of image patches
    discriminator_width: int = 32
    regularisation: Regularisation = Regularisation.none  # of the discriminators
    r1_weight: float = 1.0  # r1: gamma
    r1_every: int = 16  # r1: steps, with as many times the weight
    lecam_weight: float = 0.01  # lecam
    augment: DiscriminatorAugment = DiscriminatorAugment.none  # of what discriminators see
    ada_target: float = 0.6  # ada: mean sign of the logits of real clips
    ada_clips: int = 4000  # ada: seen while the probability of a transformation rises from 0 to 1
    ema_decay: float = 0.98  # of the weights that are watched and kept, every step
    validate_every: int = 50  # steps
    validation_clips: int = 32  # at most, spread evenly over the validation split
    patience: int = 4  # validations without improvement
    max_psnr_drop: float = 0.4  # dB on the validation split; weights below it are not kept


@dataclass
class Regulariser:
    """What bounds latents, other than those of rsvp."""

    kind: RegulariserKind = RegulariserKind.tanh
    kl_weight: float = 1.0e-3  # kl: of the divergence per latent value
    codes: int = 1024  # vq
    codes_decay: float = 0.99  # vq: of the moving average that codes are
    commitment: float = 0.25  # vq: weight of the distance from encoder's output to code
    levels: list[int] = field(default_factory=lambda: [8, 5, 5, 5])  # fsq: of each channel


@dataclass
class Autoencoder:
    """Stage one: a video becomes latents."""

    dataset: str = ""
    kind: AutoencoderKind = AutoencoderKind.rsvp
    width: int = 32  # channels at a quarter of the resolution
    scene_channels: int = 4  # rsvp, joint
    object_channels: int = 8  # rsvp, joint
    motion_channels: int = 4  # rsvp, joint: two of displacement, the others of content
    displacement_scale: float = (
        1.0  # rsvp, joint: pixels; shorter displacements are told apart best
    )
    channels: int = 4  # triplane, frames: of the latent
    regulariser: Regulariser = field(default_factory=Regulariser)  # triplane, frames
    contexts: list[str] | None = None  # beside the prefix: names of the dataset's
    latent_copies: int = 1  # cached per training clip, each another symmetry (datasets.*.augment)
    init_from: str | None = None  # folder of a finished autoencoder that pretraining starts from
    perceptual: Perceptual = Perceptual.sliced_wasserstein  # what fine-tuning watches
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

    name: str = "heun"  # euler, heun, ddim, dpm-solver
    steps: int = 6
    temperature: float = 1.0  # scale of the initial noise, and of ddim's
    eta: float = 0.0  # ddim: share of the noise that each step replaces, 0 to 1


@dataclass
class Guidance:
    """Classifier-free guidance: away from what is predicted without a context.

    Noise levels are the share sigma / (alpha + sigma): 0 is data, 1 noise.
    """

    scale: float = 1.0  # 1 is none; above, the context counts more
    low: float = 0.0  # noise levels between which it acts; there each step costs twice
    high: float = 1.0


@dataclass
class Predictor:
    """Stage two: a diffusion model that continues latents."""

    autoencoder: str = ""
    same_as: str | None = None  # the predictor that this one is, but for `ROW_KEYS`
    context: str | None = None  # one of the autoencoder's; null: the prefix
    denoiser: Denoiser = field(default_factory=Denoiser)
    sampler: Sampler = field(default_factory=Sampler)
    guidance: Guidance = field(default_factory=Guidance)
    objective: Objective = Objective.flow
    times: Times = Times.logit_normal
    time_mean: float = -0.7  # logit-normal times: mean and standard deviation of logit(t)
    time_std: float = 1.0
    weighting: Weighting = Weighting.none
    drop_context: float = 0.0  # probability that a clip is trained without context, for guidance
    augment_latents: bool = False  # training turns latents, too (datasets.*.augment)
    init_from: str | None = None  # folder of a finished predictor that training starts from
    steps: int = 1500
    seconds: float | None = None  # of training, in place of steps: a calibration finds the steps
    batch_size: int = 32
    learning_rate: float = 1.0e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.995  # every step, ramped up from 0


@dataclass
class Protocol:
    """What a number depends on beside dataset and weights; it is printed with every number.

    Clips are of the test split, spread evenly over those that are predicted. A distance between
    sets of videos takes the first trajectory of each clip.
    """

    scores: Scores = Scores.frames
    clips: int | None = None  # N, exactly; null: all that are predicted
    frames: int | None = None  # of a clip, observed and future; null: the whole clip
    trajectories: int | None = None  # frames: K futures per clip; null: all that are sampled
    columns: list[Column] = field(default_factory=lambda: list(Column))  # distribution
    detector: str = "i3d"  # distribution: the network whose features are compared


# The protocols that need no definition. FVD as the field computes it: StyleGAN-V's fvd2048_16f
# (Skorokhodov et al. 2022), and 256 clips as MCVD (Voleti et al. 2022).
PROTOCOLS = {
    "prediction": Protocol(),
    "distribution": Protocol(Scores.distribution),
    "fvd256_16f": Protocol(Scores.distribution, clips=256, frames=16),
    "fvd2048_16f": Protocol(Scores.distribution, clips=2048, frames=16),
}
DETECTORS = ("i3d",)


@dataclass
class Evaluation:
    """What is measured."""

    protocols: list[str] = field(
        default_factory=lambda: ["prediction", "distribution", "fvd256_16f"]
    )
    trajectories: int = 4  # K futures per test clip
    max_clips: int | None = 256  # test clips, spread evenly over the test split
    horizon: int | None = None  # future frames; null: as in training. More roll forward
    baselines: list[str] = field(default_factory=lambda: list(BASELINES))
    semantics_clips: int | None = 64  # for the meaning of scene, object and motion; spread evenly
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
    protocols: dict[str, Protocol] = field(default_factory=dict)  # beside the built-in ones
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
    contexts: dict[str, ObservedFrames] | None = None  # of the autoencoder, beside the prefix
    evaluation: Evaluation = field(default_factory=Evaluation)
    protocols: dict[str, Protocol] = field(default_factory=dict)  # those that the report prints
    windows: list[int | None] = field(default_factory=list)  # see `feature_windows`
    report: Report = field(default_factory=Report)
    # The values as they were handed, without defaults: what saved states are keyed by.
    handed: dict[str, Any] = field(default_factory=dict)


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
ROW_KEYS = ("sampler", "guidance", "context")  # of a predictor; the others shape its denoiser
LPIPS_KEYS = ("lpips_backbone", "lpips_linear")
NETWORK_KEYS = (*LPIPS_KEYS, "i3d")
FETCH = "make weights downloads it (for another config: make weights CONFIG=FILE)"
# For each training stage the one that turns its seconds into steps.
CALIBRATIONS = {
    "pretrain_autoencoder": "calibrate_pretraining",
    "finetune_autoencoder": "calibrate_finetuning",
    "train_diffusion": "calibrate_diffusion",
}
BUDGETS = {  # where a training stage's settings hold its steps
    "pretrain_autoencoder": ("autoencoder", "pretrain"),
    "finetune_autoencoder": ("autoencoder", "finetune"),
    "train_diffusion": ("predictor",),
}
DENOISER_KEYS = tuple(
    f.name for f in dataclasses.fields(Predictor) if f.name not in ("same_as", *ROW_KEYS)
)


# Fields of an autoencoder that are of some kinds only, and of a regulariser.
LAYER_KEYS = ("scene_channels", "object_channels", "motion_channels", "displacement_scale")
KIND_KEYS = {
    AutoencoderKind.rsvp: LAYER_KEYS,
    AutoencoderKind.joint: LAYER_KEYS,
    AutoencoderKind.triplane: ("channels", "regulariser"),
    AutoencoderKind.frames: ("channels", "regulariser"),
}
FRAME_LOSS_KEYS = ("l1", "l2", "scale_equivariance")  # of pretraining that fine-tuning shares
REGULARISATION_KEYS = {
    Regularisation.r1: ("r1_weight", "r1_every"),
    Regularisation.lecam: ("lecam_weight",),
}
REGULARISER_KEYS = {
    RegulariserKind.tanh: (),
    RegulariserKind.kl: ("kl_weight",),
    RegulariserKind.vq: ("codes", "codes_decay", "commitment"),
    RegulariserKind.fsq: ("levels",),
}


def autoencoder_keys(autoencoder: Autoencoder) -> tuple[str, ...]:
    """The fields that only autoencoders of its kind have."""
    return KIND_KEYS[autoencoder.kind]


def foreign_keys(autoencoder: Autoencoder) -> dict[str, list[str]]:
    """The fields that autoencoders of its kind lack, each with the kinds that have it."""
    kinds: dict[str, list[str]] = {}
    for kind, keys in KIND_KEYS.items():
        for key in keys:
            if key not in autoencoder_keys(autoencoder):
                kinds.setdefault(key, []).append(kind.name)
    return kinds


def regulariser_keys(regulariser: Regulariser) -> tuple[str, ...]:
    """The fields that a regulariser of that kind has."""
    return ("kind", *REGULARISER_KEYS[regulariser.kind])


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
    for training, calibration in CALIBRATIONS.items():
        if stage == calibration:
            return calibration_settings(config, training, name, seed)
    settings: dict[str, Any] = {"name": name}
    compute = omit(config.compute, "save_seconds", "compile")
    measuring = compute | {"threads": measuring_threads(config.compute)}
    if stage == "generate_videos":
        settings["dataset"] = pick(config.datasets[name], ("source", "generated", "fps"))
    elif stage == "decode":
        settings["dataset"] = pick(config.datasets[name], FRAME_KEYS)
    elif stage == "split":
        settings["dataset"] = omit(config.datasets[name], "ffmpeg", "shard_mb", "contexts")
    elif stage == "pretrain_autoencoder":
        own = config.autoencoders[name]
        autoencoder = omit(own, "finetune", "latent_copies", "contexts", *foreign_keys(own))
        autoencoder["pretrain"] = without_budget(own.pretrain)
        settings |= {"seed": seed, "autoencoder": autoencoder}
        settings["contexts"] = to_plain(chosen_contexts(config, name))
        settings |= {"weights": training_weights(config, name), "compute": compute}
    elif stage == "finetune_autoencoder":
        own = config.autoencoders[name]
        others = ("latent_copies", "init_from", "contexts")
        autoencoder = omit(own, *others, *foreign_keys(own))
        autoencoder["pretrain"] = pick(own.pretrain, FRAME_LOSS_KEYS)
        autoencoder["finetune"] = without_budget(own.finetune)
        settings |= {"seed": seed, "autoencoder": autoencoder}
        settings["contexts"] = to_plain(chosen_contexts(config, name))
        settings |= {"weights": training_weights(config, name), "compute": compute}
    elif stage in ("cache_latents", "reconstruct"):
        settings |= {"seed": seed, "compute": compute}
        if stage == "cache_latents":
            settings["autoencoder"] = pick(config.autoencoders[name], ("latent_copies",))
            settings["contexts"] = to_plain(chosen_contexts(config, name))
        if stage == "reconstruct":
            settings["evaluation"] = pick(config.evaluation, ("max_clips", "horizon"))
    elif stage == "train_diffusion":
        own = config.predictors[name]
        predictor = pick(own, tuple(key for key in DENOISER_KEYS if key in without_budget(own)))
        settings |= {"seed": seed, "predictor": predictor}
        settings["compute"] = omit(config.compute, "save_seconds")
    elif stage == "predict":
        settings |= {
            "seed": seed,
            "predictor": pick(config.predictors[name], (*ROW_KEYS, "same_as")),
        }
        settings["compute"] = omit(config.compute, "save_seconds")
        settings["evaluation"] = pick(
            config.evaluation, ("trajectories", "max_clips", "horizon", "videos")
        )
    elif stage == "predict_baseline":
        settings["evaluation"] = pick(config.evaluation, ("max_clips", "horizon"))
    elif stage == "real_features":
        settings["weights"] = omit(measuring_weights(config.weights), *LPIPS_KEYS)
        settings |= {"compute": measuring, "windows": feature_windows(config)}
        settings["evaluation"] = pick(config.evaluation, ("max_clips", "horizon"))
    elif stage == "check_memorisation":
        settings["evaluation"] = pick(config.evaluation, ("bootstrap",))
        settings["weights"] = {"i3d": weights_files(config.weights).get("i3d")}
        settings["compute"] = measuring
    elif stage == "measure_semantics":
        keys = ("max_clips", "horizon", "semantics_clips", "bootstrap")
        settings |= {"seed": seed, "evaluation": pick(config.evaluation, keys)}
        files = weights_files(config.weights)
        settings |= {"weights": {key: files.get(key) for key in LPIPS_KEYS}, "compute": measuring}
    elif stage == "evaluate":
        settings |= {"weights": measuring_weights(config.weights), "compute": measuring}
        settings["windows"] = feature_windows(config)
    elif stage == "report":
        settings |= {"report": to_plain(config.report)}
        settings["protocols"] = to_plain(chosen_protocols(config))
        settings["evaluation"] = pick(config.evaluation, ("bootstrap", "baselines"))
    else:
        raise ValueError(f"no such stage: {stage}")
    return without_unset(settings, to_plain(Settings()))


def measuring_threads(compute: Compute) -> int:
    """CPU threads of a job that measures: half, so that two of them use what one training uses.

    There is one such job per row, and much of each is no network's work.
    """
    return max(1, compute.threads // 2)


def budget_section(config: Config, training: str, name: str) -> Pretrain | Finetune | Predictor:
    """The section of the config that holds the budget of a training stage."""
    kind, *inner = BUDGETS[training]
    section = getattr(config, f"{kind}s")[name]
    return getattr(section, inner[0]) if inner else section


def without_budget(section: Pretrain | Finetune | Predictor) -> dict[str, Any]:
    """A section's fields as plain values; without steps where they are found from seconds.

    Training knows steps only: how they were found does not change its settings.
    """
    return omit(section, "seconds", *(["steps"] if section.seconds is not None else []))


def calibration_settings(config: Config, training: str, name: str, seed: int) -> dict[str, Any]:
    """The settings of the stage that calibrates `training`: its own, and the seconds."""
    settings = section = stage_settings(config, training, name, seed)
    for key in BUDGETS[training]:
        section = section[key]
    section["seconds"] = budget_section(config, training, name).seconds
    return settings


def without_unset(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without those that are None and None by default, at any depth.

    So an option that a later rsvp adds changes no stage's settings while nobody sets it.
    """
    kept = {}
    for key, value in values.items():
        if value is None and key in defaults and defaults[key] is None:
            continue
        default = defaults.get(key)
        nested = isinstance(value, Mapping) and isinstance(default, Mapping)
        kept[key] = without_unset(value, default) if nested else value
    return kept


def chosen_contexts(config: Config, autoencoder: str) -> dict[str, ObservedFrames] | None:
    """The contexts that an autoencoder is trained for beside the prefix; None where it names none.

    A dataset's contexts that no autoencoder names train nothing again.
    """
    own = config.autoencoders[autoencoder]
    known = config.datasets[own.dataset].contexts or {}
    return {name: known[name] for name in own.contexts or ()} or None


def chosen_protocols(config: Config) -> dict[str, Protocol]:
    """The protocols that `evaluation.protocols` names, in its order."""
    known = PROTOCOLS | config.protocols
    return {name: known[name] for name in config.evaluation.protocols}


def feature_windows(config: Config) -> list[int | None]:
    """How many first frames of a clip the distances between sets need; None is the whole clip.

    This is all that scoring a row depends on in the protocols: how many clips count, and how, is
    chosen from stored scores and features.
    """
    protocols = chosen_protocols(config).values()
    frames = {item.frames for item in protocols if item.scores is Scores.distribution}
    return sorted(frames, key=lambda count: count or 0)


def measuring_weights(weights: Weights) -> dict[str, Any]:
    """The local files that evaluation measures with; not where they are downloaded from."""
    files = weights_files(weights)
    detectors = {
        name: {"program": detector.program, "weights": files.get(f"detectors.{name}.weights")}
        for name, detector in weights.detectors.items()
    }
    return {key: files.get(key) for key in NETWORK_KEYS} | {"detectors": detectors}


def training_weights(config: Config, autoencoder: str) -> dict[str, Any]:
    """LPIPS's local files where that autoencoder is trained with it, else nothing.

    So weights that are added for the evaluation do not train anything again.
    """
    if config.autoencoders[autoencoder].perceptual is not Perceptual.lpips:
        return {}
    files = weights_files(config.weights)
    return {key: files[key] for key in LPIPS_KEYS}


@dataclass(frozen=True)
class WeightsSource:
    """Where one file of weights comes from."""

    source: str  # a path, or a URL
    sha256: str | None  # of that file
    local: str  # the file that is read


def weights_sources(weights: Weights) -> dict[str, WeightsSource]:
    """What the section `weights` names, by its key below `weights`.

    A URL's local file is called by its key and the first digits of its SHA-256.
    """
    named = {
        key: (getattr(weights, key), getattr(weights, f"{key}_sha256")) for key in NETWORK_KEYS
    }
    for name, detector in weights.detectors.items():
        named[f"detectors.{name}.weights"] = (detector.weights, detector.weights_sha256)
    sources = {}
    for key, (source, sha256) in named.items():
        if source:
            file = key.removeprefix("detectors.").removesuffix(".weights")
            local = f"{weights.folder}/{file}-{(sha256 or '')[:8].lower()}.safetensors"
            path = os.path.expanduser(local if is_url(source) else source)
            sources[key] = WeightsSource(source, sha256, path)
    return sources


def weights_files(weights: Weights) -> dict[str, str]:
    """The local file of each of `weights_sources`, there or not."""
    return {key: source.local for key, source in weights_sources(weights).items()}


def is_url(source: str) -> bool:
    """Whether a config value names something to download."""
    return source.startswith(("http://", "https://"))


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
    settings = structured(Settings, values)
    settings.handed = to_plain(values)
    return settings


def load(values: Mapping[str, Any]) -> Config:
    """A checked config from plain values (as read from YAML).

    Raises UserError with the key's path, its value, what is allowed and the nearest valid key.
    """
    config = structured(Config, with_shared_training(values))
    check(config)
    return config


def with_shared_training(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values with all keys of the other predictor given to those that are the same as it."""
    named = values.get("predictors")
    if not isinstance(named, Mapping):
        return values
    resolved = dict(named)
    for name, own in named.items():
        other = own.get("same_as") if isinstance(own, Mapping) else None
        if not isinstance(other, str):
            continue  # not set, or of a type that is refused with all others
        path = f"predictors.{shorten(str(name))}"
        check_reference(f"{path}.same_as", other, named)
        trained = named[other]
        if other == name or not isinstance(trained, Mapping) or trained.get("same_as"):
            raise UserError(
                f"config: {path}.same_as: {other} is trained by itself nowhere; name one"
            )
        foreign = [key for key in own if key not in ("same_as", *ROW_KEYS)]
        if foreign:
            allowed = ", ".join(ROW_KEYS)
            raise UserError(
                f"config: {path}.{foreign[0]}: {other}, the same_as, has it already; remove it (its"
                f" own may be {allowed})"
            )
        resolved[name] = {k: v for k, v in trained.items() if k != "context"} | dict(own)
    return {**values, "predictors": resolved}


def load_measuring(values: Mapping[str, Any]) -> Config:
    """The weights and protocols of a config, checked; its other sections may be incomplete."""
    config = structured(Config, values)
    check_protocols(config)
    check_weights(config)
    return config


def structured(kind: type[Section], values: Mapping[str, Any]) -> Section:
    """Merge `values` into the defaults of the dataclass `kind`, with one clear line on a misfit."""
    check_keys(kind, values, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.create(dict(values)))
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0][:200]
        key = getattr(error, "full_key", None) or "config"
        raise UserError(f"config: {key}: {reason}") from None


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
    kinds = (AutoencoderKind.triplane, AutoencoderKind.frames)
    regularisers = (RegulariserKind.tanh, RegulariserKind.kl)
    plain = autoencoder.kind in kinds and autoencoder.regulariser.kind in regularisers
    if pretrain.scale_equivariance > 0 and not plain:
        raise UserError(
            f"config: {path}.pretrain.scale_equivariance: {pretrain.scale_equivariance} needs kind"
            " triplane or frames with regulariser tanh or kl; set it to 0"
        )
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


SHA256 = re.compile(r"[0-9a-fA-F]{64}")


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
                f"config: weights.{key}: a URL needs weights.{key}_sha256, its file's SHA-256"
            )
        if source.sha256:
            matches = bool(SHA256.fullmatch(source.sha256))
            check_that(matches, f"weights.{key}_sha256", source.sha256, "64 hexadecimal digits")
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
    "scale_equivariance",
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
    "turn",
    "spin",
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


def resolve_path(path: str, base: str) -> str:
    """`path` as an absolute path without links, relative ones from `base`."""
    return os.path.realpath(os.path.join(base, os.path.expanduser(path)))
