"""The definition of the config: types, defaults, bounds, units. Loads without torch.

Above each field stands its one sentence; docs/config.md is made from them.
"""

import os
import typing
from collections.abc import Iterable
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from enum import Enum
from functools import cache
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import to_jsonable_python

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
BETWEEN_BASELINES = ("linear-blend", "nearer-end", "flow-interpolation")  # where both ends are seen
LARGEST = 10**9  # above it, a number is a slip


class Only:
    """Mark a field that is read only where another field of its section has one of `values`."""

    def __init__(self, key: str, *values: str) -> None:
        self.key, self.values = key, values

    def holds(self, section: Any) -> bool:
        """Check whether the section reads the field."""
        return getattr(section, self.key).name in self.values


def no_truth(value: Any) -> Any:
    """Refuse true and false, which Python counts among the whole numbers."""
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def single(value: Any) -> Any:
    """Refuse lists and keys, which an Enum would write out, however deep they are."""
    if isinstance(value, list | dict):
        raise ValueError("a single word")
    return value


section = dataclass(config=ConfigDict(extra="forbid", coerce_numbers_to_str=True))
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Choice = Annotated[typing.TypeVar("Choices", bound=Enum), BeforeValidator(single)]
Int = Annotated[int, BeforeValidator(no_truth)]
Float = Annotated[float, BeforeValidator(no_truth)]
Count = Annotated[Int, Gt(0), Le(LARGEST)]
CountOrZero = Annotated[Int, Ge(0), Le(LARGEST)]
Channels = Annotated[Int, Gt(0), Le(4096)]
Seed = Annotated[Int, Ge(0), Le(2**32 - 1)]
Positive = Annotated[Float, Gt(0), Le(LARGEST)]
Weight = Annotated[Float, Ge(0), Le(LARGEST)]
Share = Annotated[Float, Ge(0), Le(1)]
ShareBelowOne = Annotated[Float, Ge(0), Lt(1)]
OpenShare = Annotated[Float, Gt(0), Lt(1)]


class SourceKind(Enum):
    """The source of a dataset's videos."""

    # a tree of video files: class/video.avi, also mp4, mkv, mov, webm, gif
    videos = "videos"
    # a tree of folders of image files: train/video/frame00000.png
    frames = "frames"
    # textured shapes that move and turn over a textured background
    generated = "generated"


class SplitKind(Enum):
    """The division of videos into train, validation and test."""

    # UCF-101's lists
    official = "official"
    # the first folder of the path is train, val or test
    folders = "folders"
    # whole groups, chosen by hash
    groups = "groups"
    # each video is cut in time, with a gap
    time = "time"


class Resize(Enum):
    """The antialiasing filter of the shorter-side resize (names as in ffmpeg's scaler)."""

    bicubic = "bicubic"
    lanczos = "lanczos"
    area = "area"


class Scores(Enum):
    """The comparison that a protocol makes."""

    # each predicted frame with the true one
    frames = "frames"
    # the predicted videos as a set with the real ones
    distribution = "distribution"


class SeenFrames(Enum):
    """Frames that a distance between sets of videos sees; the two are never mixed."""

    # future frames only
    predicted = "predicted"
    # observed and future frames, as MCVD and SRVP do
    context = "context"


class Augment(Enum):
    """Symmetries under which training clips are as likely as they are."""

    none = "none"
    # mirrored left and right, as natural video
    horizontal = "horizontal"
    # the eight symmetries of the square
    all = "all"


class AutoencoderKind(Enum):
    """The latents of an autoencoder."""

    # scene, object and motion
    rsvp = "rsvp"
    # the same, and scene and object of the future
    joint = "joint"
    # three planes of a clip: space, and width and height over time, as PVDM
    triplane = "triplane"
    # a latent image of each frame, as latent diffusion
    frames = "frames"


class RegulariserKind(Enum):
    """Bounds of the latents of frames and triplane."""

    # to [-1, 1], with noise in training
    tanh = "tanh"
    # weakly to the standard normal
    kl = "kl"
    # to the nearest of learnt codes
    vq = "vq"
    # to a few levels per channel
    fsq = "fsq"


class Perceptual(Enum):
    """The distance by which the early stop of fine-tuning compares frames."""

    # of image patches; needs no weights
    sliced_wasserstein = "sliced_wasserstein"
    # also a loss of pretraining; needs weights.lpips_backbone and lpips_linear
    lpips = "lpips"


class Regularisation(Enum):
    """The penalty of the discriminators."""

    # their spectral norm alone
    none = "none"
    # the gradient at real clips is small
    r1 = "r1"


class DiscriminatorAugment(Enum):
    """Transformations of the clips that the discriminators see."""

    none = "none"
    # the more often the more the discriminators overfit
    ada = "ada"


class Objective(Enum):
    """The output that the denoiser is trained to give."""

    # the velocity from noise to data
    flow = "flow"
    # the noise, on the linear schedule of latent-diffusion and PVDM (there: times uniform)
    noise = "noise"
    # alpha noise - sigma data, on the cosine schedule (in its paper: times uniform)
    v = "v"
    # preconditioned between data and noise (in its paper: time_mean 0.5, time_std 1.2)
    edm = "edm"


class Times(Enum):
    """The distribution of the noise levels in training."""

    # around time_mean; for edm: log-normal sigma
    logit_normal = "logit_normal"
    # in the objective's own time
    uniform = "uniform"


@section
class Generated:
    """Generated videos: textured shapes that move and turn over a textured background."""

    # Videos to train on.
    train_videos: Count = 800
    # Videos of the validation split.
    validation_videos: Count = 24
    # Videos of the test split; their textures and shapes are unseen in training.
    test_videos: Count = 64
    # Frames of a training video.
    frames: Count = 24
    # Frames of a validation or test video.
    held_out_frames: Count = 16
    # Objects of a video, at most; each has 1 or more.
    objects: Annotated[Int, Gt(0), Le(1000)] = 2
    # Pixels per frame, at most, in a video of 64 pixels; scales with the resolution.
    speed: Weight = 2.8
    # Of the videos.
    seed: Seed = 0


@section
class Split:
    """The division of videos into train, validation and test."""

    kind: Choice[SplitKind] = SplitKind.groups
    # official: the folder of trainlist01.txt and testlist01.txt.
    lists: Text | None = None
    # official: the number of the split, 1 to 3.
    number: Count = 1
    # A regular expression; its group is a video's group, and a video without one its own.
    group_pattern: Text = r"_g(\d+)"
    # Of the training side's groups, where there is no val folder.
    validation_fraction: OpenShare = 0.15
    # groups and time: of all groups or frames.
    test_fraction: OpenShare = 0.2
    # time: seconds left out between the sides.
    gap_seconds: Weight = 2.0
    # Of the choice of groups.
    seed: Seed = 0


@section
class ObservedFrames:
    """A context beside the prefix, for autoencoders that name it (docs/contexts.md)."""

    # Observed frames at the beginning of a clip.
    first: CountOrZero = 0
    # Observed frames at the end of a clip.
    last: CountOrZero = 0


@section
class Dataset:
    """Videos, and how clips are cut from them."""

    source: Choice[SourceKind] = SourceKind.videos
    # videos and frames: the folder; relative to where snakemake starts.
    path: Text | None = None
    generated: Generated = field(default_factory=Generated)
    # Pixels, square: the shorter side is resized to it, then the centre is cut out.
    resolution: Annotated[Int, Ge(32), Le(2048), MultipleOf(16)] = 64
    resize: Choice[Resize] = Resize.bicubic
    # frames: frames per second that they stand for.
    fps: Positive = 25.0
    # Every n-th stored frame is a frame of a clip.
    frame_stride: Count = 1
    # Frames per second in place of frame_stride: the nearest stored frames in time.
    target_fps: Positive | None = None
    # Frames of a clip.
    clip_frames: Annotated[Int, Gt(0), Le(4096)] = 16
    # Observed first frames of a clip; the others are the future.
    context_frames: Count = 4
    contexts: dict[Name, ObservedFrames] | None = None
    # Frames between the starts of neighbouring clips of a video.
    clip_stride: Count = 16
    # Clips of a video, at most, spread evenly over it; by default all.
    max_clips_per_video: Count | None = None
    # Videos, at most: the first by hash of their id; by default all.
    max_videos: Count | None = None
    augment: Choice[Augment] = Augment.horizontal
    # Jobs that decode in parallel; each video belongs to one by its name.
    decode_jobs: Annotated[Int, Gt(0), Le(1000)] = 4
    # The share of videos that may be unreadable or too short; above it the run stops.
    max_rejected_fraction: Share = 0.1
    # A binary; by default the one that comes with rsvp.
    ffmpeg: Text | None = None
    split: Split = field(default_factory=Split)


@section
class DetectorProgram:
    """A network of the user's own whose features distances between sets compare."""

    # A Python file that defines the class Detector (docs/weights.md).
    program: Text = ""
    # safetensors that it reads: a path, or a URL with #sha256=….
    weights: Text | None = None


@section
class Weights:
    """Pretrained networks that measure: a path, or a URL that only `make weights` downloads.

    #sha256= and the file's SHA-256 stand behind it; behind a path they may be left out.
    """

    # The folder of downloads; relative to where snakemake starts.
    folder: Text = "weights"
    # LPIPS: features of AlexNet, SqueezeNet 1.1 or VGG16.
    lpips_backbone: Text | None = None
    # LPIPS: the linear heads of version 0.1 that go with them.
    lpips_linear: Text | None = None
    # FVD and KVD: I3D, RGB, trained from scratch on Kinetics-400.
    i3d: Text | None = None
    # Networks of the user's own, by a name that protocols take.
    detectors: dict[Name, DetectorProgram] = field(default_factory=dict)
    # Stop before any job where one of these files is not there.
    required: bool = False


@section
class Compute:
    """The device of a stage, its threads, and its precision."""

    # auto is a GPU where there is one.
    device: typing.Literal["auto", "cpu", "cuda"] = "auto"
    # auto is bf16-mixed on a GPU that has it, else 32-true.
    precision: typing.Literal["auto", "32-true", "bf16-mixed"] = "auto"
    # CPU threads of a job that runs a network; a job that measures takes half.
    threads: Annotated[Int, Gt(0), Le(1024)] = 2
    # On a GPU: only kernels that repeat bit for bit; slower.
    deterministic: bool = False
    # Compile denoisers by torch.compile: for a GPU; on a CPU it brings nothing.
    compile: bool | None = None
    # Seconds of work that are lost, at most, when a job is killed.
    save_seconds: Positive = 120.0


@section
class Pretrain:
    """Stage one: reconstruction."""

    # Steps of training.
    steps: Count = 1200
    # Seconds of training in place of steps; the training times steps and finds their number.
    seconds: Positive | None = None
    # Clips of a step.
    batch_size: Count = 12
    # Frames of each clip that a step reconstructs.
    target_frames: Count = 4
    # At its peak.
    learning_rate: Positive = 2.0e-3
    # Steps in which the learning rate rises.
    warmup_steps: CountOrZero = 50
    # Of AdamW.
    weight_decay: Weight = 0.01
    # Weight of the frames' mean absolute difference; of fine-tuning, too.
    l1: Weight = 1.0
    # Weight of the frames' mean squared difference; of fine-tuning, too.
    l2: Weight = 2.0
    # Weight of LPIPS, where perceptual is lpips.
    lpips: Weight = 0.5
    # Decay per step of averaged weights that are kept; by default those of the last step are.
    ema_decay: ShareBelowOne | None = None


@section
class Finetune:
    """Stage one: adversarial, with early stop."""

    # Steps of training, at most.
    steps: Count = 400
    # Seconds of training, at most, in place of steps; validations count.
    seconds: Positive | None = None
    # Clips of a step.
    batch_size: Count = 8
    # Consecutive frames of each clip that a step reconstructs.
    target_frames: Count = 4
    # At its peak; falls to a fiftieth at the last step.
    learning_rate: Positive = 1.0e-3
    # Steps in which the learning rate rises.
    warmup_steps: CountOrZero = 20
    # Of the discriminators.
    discriminator_learning_rate: Positive = 2.0e-3
    # Weight of the adversarial loss.
    adversarial: Weight = 0.1
    # Weight of the distance of the discriminators' features.
    feature_matching: Weight = 10.0
    # Multiply adversarial by the ratio of the losses' gradients (adversarial 0.8 then).
    adaptive_weight: bool = False
    # Weight of LPIPS; needs perceptual lpips.
    lpips: Weight = 0.0
    # Weight of the distance of image patches: contrast, texture.
    sliced_wasserstein: Weight = 0.0
    # Channels of the discriminators' first layer.
    discriminator_width: Annotated[Int, Gt(0), Le(16384)] = 32
    regularisation: Choice[Regularisation] = Regularisation.none
    # Gamma.
    r1_weight: Annotated[Positive, Only("regularisation", "r1")] = 1.0
    # Steps between penalties, each with as many times the weight.
    r1_every: Annotated[Count, Only("regularisation", "r1")] = 16
    augment: Choice[DiscriminatorAugment] = DiscriminatorAugment.none
    # Mean sign of the logits of real clips.
    ada_target: Annotated[OpenShare, Only("augment", "ada")] = 0.6
    # Clips seen while the probability of a transformation rises from 0 to 1.
    ada_clips: Annotated[Count, Only("augment", "ada")] = 4000
    # Decay per step of the averaged weights that are validated and kept.
    ema_decay: ShareBelowOne = 0.98
    # Steps between validations.
    validate_every: Count = 50
    # Clips, at most, spread evenly over the validation split.
    validation_clips: Count = 32
    # Validations without improvement before the stop.
    patience: Count = 4
    # dB of PSNR on the validation split; weights that lose more are not kept.
    max_psnr_drop: Weight = 0.4


@section
class Regulariser:
    """Bounds of the latents of frames and triplane."""

    kind: Choice[RegulariserKind] = RegulariserKind.tanh
    # Of the divergence from the standard normal, per latent value.
    kl_weight: Annotated[Weight, Only("kind", "kl")] = 1.0e-3
    # Number of codes.
    codes: Annotated[Int, Ge(2), Le(2**20), Only("kind", "vq")] = 1024
    # Of the moving average that codes are.
    codes_decay: Annotated[OpenShare, Only("kind", "vq")] = 0.99
    # Weight of the distance from the encoder's output to the code.
    commitment: Annotated[Weight, Only("kind", "vq")] = 0.25
    # Levels of each channel, 3 to 256.
    levels: Annotated[list[Int], Only("kind", "fsq")] = field(default_factory=lambda: [8, 5, 5, 5])


@section
class Autoencoder:
    """Stage one: a video becomes latents."""

    # The name of the dataset that it learns.
    dataset: Text = ""
    kind: Choice[AutoencoderKind] = AutoencoderKind.rsvp
    # Channels at a quarter of the resolution; half of them are normalised in groups of 8.
    width: Annotated[Int, Ge(16), Le(16384), MultipleOf(16)] = 32
    # Latent channels of what stays.
    scene_channels: Annotated[Channels, Only("kind", "rsvp", "joint")] = 4
    # Latent channels of what moves.
    object_channels: Annotated[Channels, Only("kind", "rsvp", "joint")] = 8
    # Latent channels of how it moves: two of displacement, the others of content.
    motion_channels: Annotated[Int, Ge(2), Le(4096), Only("kind", "rsvp", "joint")] = 4
    # Pixels; shorter displacements are told apart best.
    displacement_scale: Annotated[Positive, Only("kind", "rsvp", "joint")] = 1.0
    # Latent channels.
    channels: Annotated[Channels, Only("kind", "triplane", "frames")] = 4
    regulariser: Annotated[Regulariser, Only("kind", "triplane", "frames")] = field(
        default_factory=Regulariser
    )
    # Contexts of the dataset that it and its predictors learn beside the first
    # context_frames.
    contexts: list[Text] | None = None
    # Latents cached per training clip, each of another symmetry of the dataset's augment.
    latent_copies: Count = 1
    # The folder of a finished autoencoder that pretraining starts from.
    init_from: Text | None = None
    perceptual: Choice[Perceptual] = Perceptual.sliced_wasserstein
    pretrain: Pretrain = field(default_factory=Pretrain)
    finetune: Finetune = field(default_factory=Finetune)


@section
class Denoiser:
    """The transformer over typed space-time tokens."""

    # Channels of a token, a multiple of twice the heads.
    width: Annotated[Int, Gt(0), Le(16384)] = 192
    # Layers.
    depth: Annotated[Int, Gt(0), Le(1000)] = 6
    # Attention heads of a layer.
    heads: Count = 6
    # Latent cells per side of a token.
    patch: Count = 2
    # Future frames of a token.
    frames_per_token: Count = 12


@section
class Sampler:
    """The sampling of trajectories; a change predicts again and trains nothing."""

    # euler: first order. heun: second order, asks the network twice per step, once in the
    # last. dpm-solver: DPM-Solver++(2M), second order, asks once. ddim: first order.
    name: typing.Literal[SAMPLERS] = "heun"  # type: ignore[valid-type]
    # Steps from noise to data.
    steps: Count = 6
    # Scale of the noise that sampling starts from, and of ddim's.
    temperature: Weight = 1.0
    # ddim: share of the noise that each step replaces; 1 is ancestral sampling.
    eta: Share = 0.0


@section
class Guidance:
    """Classifier-free guidance away from what is predicted without context; trains nothing either.

    Noise levels are the share sigma / (alpha + sigma): 0 is data, 1 noise.
    """

    # 1 is none; another one needs drop_context, and costs two evaluations each time.
    scale: Weight = 1.0
    # Noise level below which it does not act.
    low: Weight = 0.0
    # Noise level above which it does not act.
    high: Annotated[Float, Gt(0), Le(1)] = 1.0


@section
class Predictor:
    """Stage two: a diffusion model that continues latents."""

    # The name of the autoencoder whose latents it learns.
    autoencoder: Text = ""
    # The predictor whose training it shares; only context, sampler and guidance are its own.
    same_as: Text | None = None
    # One of the autoencoder's contexts; by default the first context_frames.
    context: Text | None = None
    denoiser: Denoiser = field(default_factory=Denoiser)
    sampler: Sampler = field(default_factory=Sampler)
    guidance: Guidance = field(default_factory=Guidance)
    objective: Choice[Objective] = Objective.flow
    times: Choice[Times] = Times.logit_normal
    # Mean of logit(t) = ln(alpha / sigma); more is less noise.
    time_mean: Annotated[Float, Ge(-LARGEST), Le(LARGEST), Only("times", "logit_normal")] = -0.7
    # Standard deviation of logit(t).
    time_std: Annotated[Positive, Only("times", "logit_normal")] = 1.0
    # Share of clips trained without context, which guidance needs; 0.1 is usual.
    drop_context: ShareBelowOne = 0.0
    # Mirror and turn latents in training, as the dataset's augment says.
    augment_latents: bool = False
    # The folder of a finished predictor that training starts from.
    init_from: Text | None = None
    # Steps of training.
    steps: Count = 1500
    # Seconds of training in place of steps; the training times steps and finds their number.
    seconds: Positive | None = None
    # Clips of a step.
    batch_size: Count = 32
    # At its peak.
    learning_rate: Positive = 1.0e-3
    # Steps in which the learning rate rises.
    warmup_steps: CountOrZero = 100
    # Of AdamW.
    weight_decay: Weight = 0.01
    # Decay per step of the averaged weights that predict.
    ema_decay: ShareBelowOne = 0.995


@section
class Protocol:
    """All that a number depends on beside dataset and weights; it is printed with every number.

    Clips are of the test split, spread evenly over those that are predicted. A distance between
    sets of videos takes the first trajectory of each clip.
    """

    scores: Choice[Scores] = Scores.frames
    # The number of clips, exactly; by default all that are predicted.
    clips: Count | None = None
    # First frames of a clip, observed and future; by default the whole clip.
    frames: Count | None = None
    # frames: trajectories per clip; by default all that are sampled.
    trajectories: Count | None = None
    # distribution: frames that are compared; the two are never mixed.
    columns: list[Choice[SeenFrames]] = field(default_factory=lambda: list(SeenFrames))
    # distribution: the network whose features are compared.
    detector: Text = "i3d"


# The protocols that need no definition. FVD as the field computes it: StyleGAN-V's fvd2048_16f
# (Skorokhodov et al. 2022), and 256 clips as MCVD (Voleti et al. 2022).
PROTOCOLS = {
    "prediction": Protocol(),
    "distribution": Protocol(Scores.distribution),
    "fvd256_16f": Protocol(Scores.distribution, clips=256, frames=16),
    "fvd2048_16f": Protocol(Scores.distribution, clips=2048, frames=16),
}
DETECTORS = ("i3d",)


@section
class Evaluation:
    """Measurements."""

    # Protocols of the report, built-in or of the section protocols, in its order.
    protocols: list[Text] = field(
        default_factory=lambda: ["prediction", "distribution", "fvd256_16f"]
    )
    # Trajectories sampled per test clip.
    trajectories: Count = 4
    # Test clips, at most, spread evenly over the test split; null is all.
    max_clips: Count | None = 256
    # Future frames; by default those of training. More roll forward (docs/contexts.md).
    horizon: Count | None = None
    # Predictors that learn nothing.
    baselines: list[Text] = field(default_factory=lambda: list(BASELINES))
    # Resamples of groups for the intervals.
    bootstrap: Count = 2000
    # Side-by-side videos kept per predictor.
    videos: CountOrZero = 24


@section
class Report:
    """The rows of the report."""

    # Predictors of one dataset, in the report's order; whatever they need is made.
    predictors: list[Text] = field(default_factory=list)
    # Each seed trains everything anew.
    seeds: list[Seed] = field(default_factory=lambda: [0])
    # Of the page.
    title: Text = "rsvp report"
    # Playing videos per predictor.
    examples: CountOrZero = 6


@section
class Config:
    """All sections. config.yaml, the demo, shows the most used keys."""

    # The version of this format.
    schema: Int = SCHEMA
    # The folder of all that is made.
    results: Text = "results"
    datasets: dict[Name, Dataset] = field(default_factory=dict)
    autoencoders: dict[Name, Autoencoder] = field(default_factory=dict)
    predictors: dict[Name, Predictor] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    compute: Compute = field(default_factory=Compute)
    protocols: dict[Name, Protocol] = field(default_factory=dict)
    evaluation: Evaluation = field(default_factory=Evaluation)
    report: Report = field(default_factory=Report)


ROW_KEYS = ("sampler", "guidance", "context")  # of a predictor; the others shape its denoiser
LPIPS_KEYS = ("lpips_backbone", "lpips_linear")
NETWORK_KEYS = (*LPIPS_KEYS, "i3d")
SHA256_MARK = "#sha256="  # between a file of weights and its sum
FETCH = "make weights downloads it (for another config: make weights CONFIG=FILE)"

to_plain = to_jsonable_python  # sections and enums as JSON values


@cache
def limits(kind: type) -> dict[str, Only]:
    """Return the fields of a section that are not always read, each with its mark."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        name: mark
        for name, hint in hints.items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, Only)
    }


def own_keys(section: Any) -> list[str]:
    """Return the marked fields that a section of its kind has."""
    return [key for key, mark in limits(type(section)).items() if mark.holds(section)]


def foreign_keys(section: Any) -> list[str]:
    """Return the marked fields that a section of its kind lacks."""
    return [key for key, mark in limits(type(section)).items() if not mark.holds(section)]


def pick(section: Any, keys: Iterable[str]) -> dict[str, Any]:
    """Return the named fields of a section as plain values."""
    plain = to_plain(section)
    return {key: plain[key] for key in keys}


def omit(section: Any, *keys: str) -> dict[str, Any]:
    """Return all fields of a section but the named ones, as plain values."""
    return {key: value for key, value in to_plain(section).items() if key not in keys}


@plain_dataclass(frozen=True)
class WeightsSource:
    """The origin of one file of weights."""

    source: str  # a path, or a URL
    sha256: str | None  # of that file, in lower case
    local: str  # the file that is read


def weights_sources(weights: Weights) -> dict[str, WeightsSource]:
    """Return the files that the section `weights` names, by their key below `weights`.

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
    """Return the local file of each of `weights_sources`, there or not."""
    return {key: source.local for key, source in weights_sources(weights).items()}


def is_url(source: str) -> bool:
    """Check whether a config value names something to download."""
    return source.startswith(("http://", "https://"))
