"""The definition of the config: types, defaults, units. Loads without torch."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SCHEMA = 2
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


@dataclass
class Generated:
    """The generated videos: textured shapes that move and turn over a textured background."""

    train_videos: int = 800
    validation_videos: int = 24
    test_videos: int = 64
    frames: int = 24  # frames per training video
    held_out_frames: int = 16  # frames per validation and test video
    objects: int = 2  # at most; each video has one or two
    speed: float = 2.8  # pixels per frame, at most, at 64 pixels; scales with the resolution
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
    max_rejected_fraction: float = 0.1  # of the videos; above it the run stops
    ffmpeg: str | None = None  # a binary; by default the one that imageio-ffmpeg ships
    split: Split = field(default_factory=Split)


@dataclass
class DetectorProgram:
    """A network of the user's own whose features FVD and its relatives compare: docs/weights.md."""

    program: str = ""  # a Python file that defines the class `Detector`
    weights: str | None = None  # safetensors that it is given


@dataclass
class Weights:
    """Pretrained networks that measure: paths, or URLs that only `make weights` downloads.

    Each may end in #sha256=… of the file, a URL has to.
    """

    folder: str = "weights"  # where downloads go; relative to where snakemake runs
    lpips_backbone: str | None = None  # features of AlexNet, SqueezeNet 1.1 or VGG16
    lpips_linear: str | None = None  # LPIPS v0.1 linear heads
    i3d: str | None = None  # I3D, RGB, from scratch on Kinetics-400
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


ROW_KEYS = ("sampler", "guidance", "context")  # of a predictor; the others shape its denoiser
LPIPS_KEYS = ("lpips_backbone", "lpips_linear")
NETWORK_KEYS = (*LPIPS_KEYS, "i3d")
SHA256_MARK = "#sha256="  # between a file of weights and its sum
FETCH = "make weights downloads it (for another config: make weights CONFIG=FILE)"
# Fields of an autoencoder that are of some kinds only, and of a regulariser.
LAYER_KEYS = ("scene_channels", "object_channels", "motion_channels", "displacement_scale")
KIND_KEYS = {
    AutoencoderKind.rsvp: LAYER_KEYS,
    AutoencoderKind.joint: LAYER_KEYS,
    AutoencoderKind.triplane: ("channels", "regulariser"),
    AutoencoderKind.frames: ("channels", "regulariser"),
}
FRAME_LOSS_KEYS = ("l1", "l2")  # of pretraining that fine-tuning shares
REGULARISATION_KEYS = {Regularisation.r1: ("r1_weight", "r1_every")}
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


@dataclass(frozen=True)
class WeightsSource:
    """Where one file of weights comes from."""

    source: str  # a path, or a URL
    sha256: str | None  # of that file, in lower case
    local: str  # the file that is read


def weights_sources(weights: Weights) -> dict[str, WeightsSource]:
    """What the section `weights` names, by its key below `weights`.

    A URL's local file is called by its key and the first digits of its SHA-256.
    """
    named = {key: getattr(weights, key) for key in NETWORK_KEYS}
    for name, detector in weights.detectors.items():
        named[f"detectors.{name}.weights"] = detector.weights
    sources = {}
    for key, value in named.items():
        if value:
            source, _, sha256 = value.partition(SHA256_MARK)
            file = key.removeprefix("detectors.").removesuffix(".weights")
            local = f"{weights.folder}/{file}-{sha256[:8].lower()}.safetensors"
            path = os.path.expanduser(local if is_url(source) else source)
            sources[key] = WeightsSource(source, sha256.lower() or None, path)
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
