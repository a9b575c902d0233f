"""The definition of the config: types, defaults, bounds, units. Loads without torch.

Above each field stands its one sentence; docs/config.md is made from them.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len, Lt, MultipleOf
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import to_jsonable_python

SCHEMA = 2  # the version of this format
SAMPLERS = ("euler", "heun", "ddim", "dpm-solver")
BASELINES = (
    "copy-last",
    "context-median",
    "context-mean",
    "blurred-copy-last",
    "linear-extrapolation",
    "flow-extrapolation",
)
DEFINITION_NAMES = ("rsvp", "mcvd", "extdm", "far")  # of PSNR, SSIM, LPIPS and FVD
BETWEEN_BASELINES = ("linear-blend", "nearer-end", "flow-interpolation")  # where both ends are seen
LARGEST = 10**9  # above it, a number is a slip


class Section(BaseModel):
    """Keys of a config."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


class InWords(str):
    """Mark a field with what it allows, for messages and docs/config.md."""


class Only:
    """Mark a field that is read only where another field of its section has one of `values`."""

    def __init__(self, key: str, *values: str) -> None:
        self.key, self.values = key, values


def no_truth(value: Any) -> Any:
    """Refuse true and false, which Python counts among the whole numbers."""
    if isinstance(value, bool):
        raise ValueError
    return value


def resolution_of(value: Any) -> int | list[int]:
    """Return the side of a square as a number, a rectangle as [height, width]."""
    try:
        sides = SIDES.validate_python(value if isinstance(value, list) else [value, value])
    except ValidationError:
        raise ValueError from None
    return sides[0] if sides[0] == sides[1] else sides


def size_of(resolution: int | list[int]) -> tuple[int, int]:
    """Return height and width of a resolution as configs and indexes hold it."""
    height, width = resolution if isinstance(resolution, list) else (resolution, resolution)
    return height, width


def axes_of(letters: Any) -> str:
    """Return the letters of an array's axes, each once, height, width and time among them."""
    if not isinstance(letters, str) or len(set(letters)) != len(letters):
        raise ValueError
    if not set("THW") <= set(letters) <= set("NTHWC"):
        raise ValueError
    return letters


def range_of(pair: Any) -> list[float] | list[str]:
    """Return two numbers, or two percentiles as text, the first below the second; refuse others."""
    try:
        pair = PAIR.validate_python(pair)
    except ValidationError:
        raise ValueError from None
    low, high = percentiles_of(pair) or pair
    if not -math.inf < low < high < math.inf:
        raise ValueError
    return pair


def percentiles_of(pair: list[float] | list[str] | None) -> tuple[float, float] | None:
    """Return the two percentiles that a range names; None where it names values, or is none."""
    if not pair or not isinstance(pair[0], str):
        return None
    low, high = (float(item.removesuffix("%")) for item in pair)
    return low, high


Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Int = Annotated[int, BeforeValidator(no_truth)]
Float = Annotated[float, BeforeValidator(no_truth)]
Count = Annotated[Int, Gt(0), Le(LARGEST)]
CountOrZero = Annotated[Int, Ge(0), Le(LARGEST)]
Videos = Annotated[Int, Gt(0), Le(10**6)]  # each split has as many seeds of its own
Channels = Annotated[Int, Gt(0), Le(4096)]
Seed = Annotated[Int, Ge(0), Le(2**32 - 1)]
Positive = Annotated[Float, Gt(0), Le(LARGEST)]
Weight = Annotated[Float, Ge(0), Le(LARGEST)]
Share = Annotated[Float, Ge(0), Le(1)]
ShareBelowOne = Annotated[Float, Ge(0), Lt(1)]
OpenShare = Annotated[Float, Gt(0), Lt(1)]
SourceKind = Literal[
    "videos",
    "frames",
    "arrays",
    "hdf5",
    "tar",
    "lerobot",
    "tfrecord",
    "table",
    "moving_mnist",
    "generated",
]
Pixels = Annotated[Int, Ge(32), Le(2048), MultipleOf(16)]
SIDES = TypeAdapter(Annotated[list[Pixels], Len(2, 2)])
Resolution = Annotated[
    int | list[int],
    PlainValidator(resolution_of),
    InWords(
        "a whole number, 32 or more, 2048 at most, a multiple of 16; or [height, width] of two"
    ),
]
Axes = Annotated[
    str,
    PlainValidator(axes_of),
    InWords("letters of N, T, H, W and C, each once, with T, H and W"),
]
Percentile = Annotated[str, Field(strict=True, pattern=r"^(100|\d{1,2}(\.\d+)?)%$")]
PAIR = TypeAdapter(Annotated[list[Percentile] | list[Float], Len(2, 2)])
Range = Annotated[
    list[float] | list[str],
    PlainValidator(range_of),
    InWords("two numbers, or two percentiles as 0.1%, the first below the second"),
]
Fit = Literal["crop", "pad", "stretch"]
Colours = Literal["rgb", "gray"]
Resize = Literal["bicubic", "lanczos", "area"]
SeenFrames = Literal["predicted", "context"]
Augment = Literal["none", "horizontal", "all"]


class Generated(Section):
    """Generated videos: textured shapes that move and turn over a textured background."""

    # Videos to train on; of moving_mnist, too.
    train_videos: Videos = 800
    # Videos of the validation split.
    validation_videos: Videos = 24
    # Videos of the test split; their textures and shapes are unseen in training.
    test_videos: Videos = 64
    # Frames of a training video; of moving_mnist, too.
    frames: Count = 24
    # Frames of a validation or test video.
    held_out_frames: Count = 16
    # Objects of a video, at most; each has 1 or more.
    objects: Annotated[Int, Gt(0), Le(1000)] = 2
    # Pixels per frame, at most, in a video of 64 pixels; scales with the shorter side.
    speed: Weight = 2.8
    # Of the videos; of moving_mnist, too.
    seed: Seed = 0


class Split(Section):
    """The division of videos into train, validation and test."""

    # official: UCF-101's lists. folders: the first folder of the path is train, val or test, or the
    # source names the side (a table's column, a file's own). groups: whole groups, chosen by hash.
    # time: each video is cut in time, with a gap.
    kind: Literal["official", "folders", "groups", "time"] = "groups"
    # The folder of trainlist01.txt and testlist01.txt.
    lists: Annotated[Text | None, Only("kind", "official")] = None
    # The number of the split, 1 to 3.
    number: Annotated[Count, Only("kind", "official")] = 1
    # Every n-th video of the test list, from its first; by default all.
    every: Annotated[Count | None, Only("kind", "official")] = None
    # One clip of each test video that this code scores (docs/evaluation.md), in place of
    # all clips of all.
    test_clips: Annotated[Literal["mcvd", "extdm", "far"] | None, Only("kind", "official")] = None
    # A regular expression; its group is a video's group, else the one that the source knows, else
    # the video's own. Groups count over all classes; those of the default, UCF-101's, within a
    # class.
    group_pattern: Text = r"_g(\d+)"
    # Those for testing, in place of a share: KTH's persons, say.
    test_groups: Annotated[list[Text] | None, Only("kind", "groups")] = None
    # Those for validation, in place of a share.
    validation_groups: Annotated[list[Text] | None, Only("kind", "groups")] = None
    # Of the training side's groups, where there is no val folder.
    validation_fraction: OpenShare = 0.15
    # Of all groups or frames.
    test_fraction: Annotated[OpenShare, Only("kind", "groups", "time")] = 0.2
    # Seconds left out between the sides.
    gap_seconds: Annotated[Weight, Only("kind", "time")] = 2.0
    # Of the choice of groups.
    seed: Annotated[Seed, Only("kind", "official", "folders", "groups")] = 0


class ObservedFrames(Section):
    """A context beside the prefix, for autoencoders that name it (docs/contexts.md)."""

    # Observed frames at the beginning of a clip.
    first: CountOrZero = 0
    # Observed frames at the end of a clip.
    last: CountOrZero = 0


class Dataset(Section):
    """Videos, and how clips are cut from them."""

    # By default rsvp looks and says what it found (docs/sources.md). videos: a tree of video files,
    # class/video.avi, also mp4, mkv, mov, webm, gif. frames: a tree of folders of image files,
    # train/video/frame00000.png. arrays: npy, npz, h5. hdf5: VideoGPT's file, MCVD's shards. tar:
    # WebDataset's shards. lerobot: v2.1 and v3.0. tfrecord: BAIR's. table: CSV, JSON lines or
    # parquet that names files. moving_mnist: its test set, and training videos made of the digits
    # beside it. generated: textured shapes that move and turn over a textured background.
    source: SourceKind | None = None
    # The folder, or the file; relative to where snakemake starts.
    path: Text | None = None
    # A letter for each axis, as NTHWC: video, frame, height, width, colour; by default inferred.
    axes: Annotated[Axes | None, Only("source", "arrays")] = None
    # The key of the camera, where there are several.
    camera: Annotated[Text | None, Only("source", "lerobot")] = None
    # split makes a video of each run of numbers without a gap; by default a folder with a
    # gap is rejected.
    gaps: Annotated[Literal["split"] | None, Only("source", "frames")] = None
    generated: Generated = Generated()
    # Pixels: the side of a square, or the [height, width] of a rectangle.
    resolution: Resolution = 64
    # How frames of another shape become it. crop: they are resized to cover it, and the centre is
    # cut out. pad: they are resized to lie within it, on black. stretch: each side is resized.
    fit: Fit = "crop"
    # gray: one channel, the luma of BT.601, a third of the memory. Networks of RGB, LPIPS and I3D,
    # see it three times.
    channels: Colours = "rgb"
    # Of 16 bits or floats: the values that become black and white, or their percentiles in a sample
    # of the training videos (docs/sources.md).
    range: Annotated[Range | None, Only("source", "arrays", "hdf5")] = None
    # The antialiasing filter of the resize (names as in ffmpeg's scaler).
    resize: Resize = "bicubic"
    # frames: frames per second that they stand for.
    fps: Positive = 25.0
    # Every n-th stored frame is a frame of a clip.
    frame_stride: Count = 1
    # Frames per second in place of frame_stride: the nearest stored frames in time.
    target_fps: Positive | None = None
    # Leave frames that are equal to the one before out of clips; off where numbers are compared
    # with published ones.
    skip_repeated: bool | None = None
    # Let no clip span a cut from one shot to another; off where numbers are compared with published
    # ones.
    cut_shots: bool | None = None
    # Frames of a clip.
    clip_frames: Annotated[Int, Gt(0), Le(4096)] = 16
    # Observed first frames of a clip; the others are the future.
    context_frames: Count = 4
    contexts: dict[Name, ObservedFrames] | None = None
    # Frames between the starts of neighbouring clips of a video.
    clip_stride: Count = 16
    # Clips of a video, at most, spread evenly over it; by default all.
    max_clips_per_video: Count | None = None
    # Frames between the starts of training clips, of which all are taken; by default they are cut
    # as the others are.
    training_stride: Count | None = None
    # Videos, at most: the first by hash of their id; by default all.
    max_videos: Count | None = None
    # Symmetries under which training clips are as likely as they are. horizontal: mirrored left and
    # right, as natural video. all: the eight symmetries of the square.
    augment: Augment = "horizontal"
    # Training clips are played backwards, too: where that is as natural, and motion has no sign of
    # its direction.
    backwards: bool | None = None
    # Jobs that decode in parallel; each video belongs to one by its name.
    decode_jobs: Annotated[Int, Gt(0), Le(1000)] = 4
    # Shares of a job's videos. Where videos are added or replaced, their shares alone are decoded.
    decode_shares: Annotated[Int, Gt(0), Le(1000)] = 1
    # The share of videos that may be unreadable or too short; above it the run stops.
    max_rejected_fraction: Share = 0.1
    # A binary, of ffmpeg 6 or newer; by default the one that comes with rsvp.
    ffmpeg: Text | None = None
    split: Split = Split()


class DetectorProgram(Section):
    """A network of the user's own whose features distances between sets compare."""

    # A Python file that defines the class Detector (docs/weights.md).
    program: Text = ""
    # safetensors that it reads: a path, or a URL with #sha256=….
    weights: Text | None = None


class Weights(Section):
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
    detectors: dict[Name, DetectorProgram] = {}
    # Stop before any job where one of these files is not there.
    required: bool = False


class Compute(Section):
    """The device of a stage, its threads, and its precision."""

    # auto is a GPU where there is one.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # auto is bf16-mixed on a GPU that has it, else 32-true.
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    # CPU threads of a job that runs a network; a job that measures takes half.
    threads: Annotated[Int, Gt(0), Le(1024)] = 2
    # On a GPU: only kernels that repeat bit for bit; slower.
    deterministic: bool = False
    # Compile denoisers by torch.compile: for a GPU; on a CPU it brings nothing.
    compile: bool | None = None
    # Parts of a training step's batch that are computed one after the other, by default one
    # (docs/training.md).
    micro_batches: Count | None = None
    # Processes that share a training, each with a GPU of its own; micro_batches at most. They
    # change no result (docs/training.md).
    processes: Count = 1
    # Nodes of SLURM over which these processes are spread, as many on each (docs/cluster.md).
    nodes: Count = 1
    # Jobs that share caching, predicting, or evaluating of a row between them; by default one. They
    # change no result.
    shares: Annotated[Int, Gt(0), Le(1000)] | None = None
    # Seconds of work that are lost, at most, when a job is killed.
    save_seconds: Positive = 120.0
    # Validation clips whose reconstructions and continuations TensorBoard shows while networks
    # train; 0 none (docs/training.md).
    watch: Annotated[Int, Ge(0), Le(64)] = 4


class Pretrain(Section):
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
    # Of the steps of convolutions: less for trainings of a few hundred steps, 0.95 for long ones.
    momentum: ShareBelowOne = 0.9
    # Of all weights.
    weight_decay: Weight = 0.01
    # Weight of the frames' mean absolute difference; of fine-tuning, too.
    l1: Weight = 1.0
    # Weight of the frames' mean squared difference; of fine-tuning, too.
    l2: Weight = 2.0
    # Weight of LPIPS, where perceptual is lpips.
    lpips: Weight = 0.5
    # Weight of how far the object mask is from 0 and 1 (rsvp, joint); of fine-tuning, too. In
    # pretraining it rises from 0 between three and six tenths of the steps.
    decided: Weight = 0.0
    # Decay per step of averaged weights that are kept; by default those of the last step are.
    ema_decay: ShareBelowOne | None = None


class Finetune(Section):
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
    # The penalty of the discriminators beside their spectral norm. r1: the gradient at real clips
    # is small.
    regularisation: Literal["none", "r1"] = "none"
    # Gamma.
    r1_weight: Annotated[Positive, Only("regularisation", "r1")] = 1.0
    # Steps between penalties, each with as many times the weight.
    r1_every: Annotated[Count, Only("regularisation", "r1")] = 16
    # Transformations of the clips that the discriminators see. ada: the more often the more the
    # discriminators overfit.
    augment: Literal["none", "ada"] = "none"
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


class Regulariser(Section):
    """Bounds of the latents of frames and triplane."""

    # tanh: to [-1, 1], with noise in training. kl: weakly to the standard normal. vq: to the
    # nearest of learnt codes. fsq: to a few levels per channel.
    kind: Literal["tanh", "kl", "vq", "fsq"] = "tanh"
    # Of the divergence from the standard normal, per latent value.
    kl_weight: Annotated[Weight, Only("kind", "kl")] = 1.0e-3
    # Number of codes.
    codes: Annotated[Int, Ge(2), Le(2**20), Only("kind", "vq")] = 1024
    # Of the moving average that codes are.
    codes_decay: Annotated[OpenShare, Only("kind", "vq")] = 0.99
    # Weight of the distance from the encoder's output to the code.
    commitment: Annotated[Weight, Only("kind", "vq")] = 0.25
    # Levels of each channel, 3 to 256.
    levels: Annotated[list[Int], Only("kind", "fsq")] = [8, 5, 5, 5]


class Autoencoder(Section):
    """Stage one: a video becomes latents."""

    # The name of the dataset that it learns.
    dataset: Text = ""
    # The latents. rsvp: scene, object and motion. joint: the same, and scene and object of the
    # future. triplane: three planes of a clip: space, and width and height over time, as PVDM.
    # frames: a latent image of each frame, as latent diffusion.
    kind: Literal["rsvp", "joint", "triplane", "frames"] = "rsvp"
    # Channels at a quarter of the resolution; half of them are normalised in groups of 8.
    width: Annotated[Int, Ge(16), Le(16384), MultipleOf(16)] = 32
    # Latent channels of what stays.
    scene_channels: Annotated[Channels, Only("kind", "rsvp", "joint")] = 8
    # Latent channels of what moves.
    object_channels: Annotated[Channels, Only("kind", "rsvp", "joint")] = 24
    # Latent channels of how it moves: two of displacement, the others of content.
    motion_channels: Annotated[Int, Ge(2), Le(4096), Only("kind", "rsvp", "joint")] = 4
    # Pixels; shorter displacements are told apart best.
    displacement_scale: Annotated[Positive, Only("kind", "rsvp", "joint")] = 1.0
    # What is taken away, to compare with (docs/methods.md). one_layer: the whole reference moves in
    # one layer, without a mask. random_mask: the mask's network keeps its first, random weights.
    ablation: Annotated[Literal["one_layer", "random_mask"] | None, Only("kind", "rsvp")] = None
    # Latent channels.
    channels: Annotated[Channels, Only("kind", "triplane", "frames")] = 4
    regulariser: Annotated[Regulariser, Only("kind", "triplane", "frames")] = Regulariser()
    # Contexts of the dataset that it and its predictors learn beside the first
    # context_frames.
    contexts: list[Text] | None = None
    # Latents cached per training clip, each of another symmetry of the dataset's augment.
    latent_copies: Count = 1
    # The folder of a finished autoencoder that pretraining starts from.
    init_from: Text | None = None
    # The distance by which the early stop of fine-tuning compares frames. sliced_wasserstein: of
    # image patches; needs no weights. lpips: also a loss of pretraining; needs
    # weights.lpips_backbone and lpips_linear.
    perceptual: Literal["sliced_wasserstein", "lpips"] = "sliced_wasserstein"
    pretrain: Pretrain = Pretrain()
    finetune: Finetune = Finetune()


class Denoiser(Section):
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


class SimVP(Section):
    """The network of SimVP, which gives all future frames at once, by regression."""

    # Channels of a frame at a quarter of the resolution.
    width: Annotated[Int, Ge(16), Le(16384), MultipleOf(16)] = 32
    # Channels of all frames together, between the blocks of the translator.
    translator_width: Annotated[Int, Ge(16), Le(16384), MultipleOf(16)] = 256
    # Blocks of the translator.
    depth: Annotated[Int, Gt(0), Le(1000)] = 4


class Sampler(Section):
    """The sampling of trajectories; a change predicts again and trains nothing."""

    # euler: first order. heun: second order, asks the network twice per step, once in the
    # last. dpm-solver: DPM-Solver++(2M), second order, asks once. ddim: first order.
    name: Literal[SAMPLERS] = "heun"  # type: ignore[valid-type]
    # Steps from noise to data.
    steps: Count = 6
    # Scale of the noise that sampling starts from, and of ddim's.
    temperature: Weight = 1.0
    # Share of the noise that each step replaces; 1 is ancestral sampling.
    eta: Annotated[Share, Only("name", "ddim")] = 0.0


class Guidance(Section):
    """Classifier-free guidance away from what is predicted without context; trains nothing either.

    Noise levels are the share sigma / (alpha + sigma): 0 is data, 1 noise.
    """

    # 1 is none; another one needs drop_context, and costs two evaluations each time.
    scale: Weight = 1.0
    # Noise level below which it does not act.
    low: Weight = 0.0
    # Noise level above which it does not act.
    high: Annotated[Float, Gt(0), Le(1)] = 1.0


class Predictor(Section):
    """Stage two: a diffusion model that continues latents, or a network that continues frames."""

    # diffusion: over the latents of an autoencoder. simvp: one forecast by regression, without an
    # autoencoder, as SimVP; a row to compare with.
    kind: Literal["diffusion", "simvp"] = "diffusion"
    # The name of the autoencoder whose latents it learns.
    autoencoder: Annotated[Text, Only("kind", "diffusion")] = ""
    # The name of the dataset whose frames it learns.
    dataset: Annotated[Text, Only("kind", "simvp")] = ""
    # The predictor whose training it shares; only context, sampler and guidance are its own.
    same_as: Annotated[Text | None, Only("kind", "diffusion")] = None
    # One of the autoencoder's contexts; by default the first context_frames.
    context: Annotated[Text | None, Only("kind", "diffusion")] = None
    simvp: Annotated[SimVP, Only("kind", "simvp")] = SimVP()
    denoiser: Annotated[Denoiser, Only("kind", "diffusion")] = Denoiser()
    sampler: Annotated[Sampler, Only("kind", "diffusion")] = Sampler()
    guidance: Annotated[Guidance, Only("kind", "diffusion")] = Guidance()
    # The output that the denoiser is trained to give. flow: the velocity from noise to data. noise:
    # the noise, on the linear schedule of latent-diffusion and PVDM (there: times uniform). v:
    # alpha noise - sigma data, on the cosine schedule (in its paper: times uniform). edm:
    # preconditioned between data and noise (in its paper: time_mean 0.5, time_std 1.2).
    objective: Annotated[Literal["flow", "noise", "v", "edm"], Only("kind", "diffusion")] = "flow"
    # The noise that becomes data. white: each value by itself. correlated: over time, rows and
    # columns as latents are, so that what is left of it in a sample is likely motion.
    noise: Annotated[Literal["white", "correlated"], Only("kind", "diffusion")] = "white"
    # The distribution of the noise levels in training. logit_normal: around time_mean; for edm:
    # log-normal sigma. uniform: in the objective's own time.
    times: Annotated[Literal["logit_normal", "uniform"], Only("kind", "diffusion")] = "logit_normal"
    # Mean of logit(t) = ln(alpha / sigma); more is less noise.
    time_mean: Annotated[Float, Ge(-LARGEST), Le(LARGEST), Only("times", "logit_normal")] = -0.7
    # Standard deviation of logit(t).
    time_std: Annotated[Positive, Only("times", "logit_normal")] = 1.0
    # Share of clips trained without context, which guidance needs; 0.1 is usual.
    drop_context: Annotated[ShareBelowOne, Only("kind", "diffusion")] = 0.0
    # Latents of the context that the denoiser does not see (rsvp, joint), to compare with.
    hidden: Annotated[list[Literal["scene", "object"]] | None, Only("kind", "diffusion")] = None
    # Mirror and turn latents in training, as the dataset's augment says.
    augment_latents: Annotated[bool, Only("kind", "diffusion")] = False
    # The folder of a finished predictor that training starts from.
    init_from: Text | None = None
    # Steps of training.
    steps: Count = 1500
    # Seconds of training in place of steps; the training times steps and finds their number.
    seconds: Positive | None = None
    # Validations, one each 100 steps, that are worse than the best before the stop; by default all
    # steps are made. The best weights are kept in any case.
    patience: Count | None = None
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


class Protocol(Section):
    """All that a number depends on beside dataset and weights; it is printed with every number.

    Clips are of `evaluation.split`, spread evenly over those that are predicted. A distance between
    sets of videos takes the first trajectory of each clip.
    """

    # frames: each predicted frame with the true one. distribution: the predicted videos as a set
    # with the real ones. both: as codes of other papers do.
    scores: Literal["frames", "distribution", "both"] = "frames"
    # The code whose definitions of PSNR, SSIM, LPIPS and FVD count: rsvp's own, or one that stands
    # behind tables of the literature (docs/evaluation.md).
    definition: Literal[DEFINITION_NAMES] = "rsvp"  # type: ignore[valid-type]
    # The number of clips, exactly; by default all that are predicted.
    clips: Count | None = None
    # First frames of a clip, observed and future; by default the whole clip.
    frames: Count | None = None
    # Trajectories per clip; by default all that are sampled.
    trajectories: Annotated[Count | None, Only("scores", "frames", "both")] = None
    # Frames that are compared; the two are never mixed. predicted: future frames only. context:
    # observed and future frames, as MCVD and SRVP do.
    columns: Annotated[list[SeenFrames], Only("scores", "distribution", "both")] = [
        "predicted",
        "context",
    ]
    # The network whose features are compared.
    detector: Annotated[Text, Only("scores", "distribution", "both")] = "i3d"

    @property
    def of_frames(self) -> bool:
        """True where predicted frames are compared with true ones."""
        return self.scores != "distribution"

    @property
    def of_sets(self) -> bool:
        """True where predicted videos are compared with real ones as sets."""
        return self.scores != "frames"

    @property
    def own(self) -> bool:
        """True under rsvp's own definitions."""
        return self.definition == "rsvp"


# The protocols that need no definition. FVD as the field computes it: StyleGAN-V's fvd2048_16f
# (Skorokhodov et al. 2022), and 256 clips as MCVD (Voleti et al. 2022). mcvd, extdm and far score
# as these codes do.
PROTOCOLS = {
    "prediction": Protocol(),
    "distribution": Protocol(scores="distribution"),
    "fvd256_16f": Protocol(scores="distribution", clips=256, frames=16),
    "fvd2048_16f": Protocol(scores="distribution", clips=2048, frames=16),
    **{
        name: Protocol(
            scores="both", definition=name, clips=256, trajectories=count, columns=["context"]
        )
        for name, count in (("mcvd", 100), ("extdm", 10), ("far", 100))
    },
}
DETECTORS = ("i3d",)


class Evaluation(Section):
    """Measurements."""

    # Protocols of the report, built-in or of the section protocols, in its order.
    protocols: list[Text] = ["prediction", "distribution", "fvd256_16f"]
    # The split that is predicted and scored. validation: to choose by; its predictions, scores and
    # report lie in the folder validation of the results, beside those of test.
    split: Literal["test", "validation"] = "test"
    # Trajectories sampled per clip of that split.
    trajectories: Count = 4
    # Clips, at most, spread evenly over the split; null is all.
    max_clips: Count | None = 256
    # Future frames; by default those of training. More roll forward (docs/contexts.md).
    horizon: Count | None = None
    # Predictors that learn nothing.
    baselines: list[Text] = list(BASELINES)
    # Resamples of groups for the intervals.
    bootstrap: Count = 2000
    # Side-by-side videos kept per predictor.
    videos: CountOrZero = 24


class Report(Section):
    """The rows of the report."""

    # Predictors of one dataset, in the report's order; whatever they need is made.
    predictors: list[Text] = []
    # Each seed trains everything anew.
    seeds: list[Seed] = [0]
    # Of the page.
    title: Text = "rsvp report"
    # Playing videos per predictor.
    examples: CountOrZero = 6


class Config(Section):
    """All sections. config.yaml, the demo, shows the most used keys."""

    # The folder of all that is made.
    results: Text = "results"
    # A folder on another disk, which all nodes see: states, frames and latents lie there.
    scratch: Text | None = None
    datasets: dict[Name, Dataset] = {}
    autoencoders: dict[Name, Autoencoder] = {}
    predictors: dict[Name, Predictor] = {}
    weights: Weights = Weights()
    compute: Compute = Compute()
    protocols: dict[Name, Protocol] = {}
    evaluation: Evaluation = Evaluation()
    report: Report = Report()

    def dataset_of(self, predictor: str) -> str:
        """Return the name of the dataset that a predictor continues: its own or its
        autoencoder's."""
        own = self.predictors[predictor]
        return own.dataset or self.autoencoders[own.autoencoder].dataset


ROW_KEYS = ("sampler", "guidance", "context")  # of a predictor; the others shape its denoiser
LPIPS_KEYS = ("lpips_backbone", "lpips_linear")
NETWORK_KEYS = (*LPIPS_KEYS, "i3d")
SHA256_MARK = "#sha256="  # between a file of weights and its sum
FETCH = "make weights downloads it (for another config: make weights CONFIG=FILE)"

to_plain = to_jsonable_python  # sections as JSON values


@cache
def limits(kind: type[Section]) -> dict[str, Only]:
    """Return the fields of a section that are not always read, each with its mark."""
    return {
        name: mark
        for name, field in kind.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Only)
    }


def foreign_keys(section: Section) -> list[str]:
    """Return the marked fields that a section of its kind lacks; none where it is left open."""
    marks = limits(type(section)).items()
    return [key for key, mark in marks if getattr(section, mark.key) not in (None, *mark.values)]


def own_keys(section: Section) -> list[str]:
    """Return the marked fields that a section of its kind has."""
    return [key for key in limits(type(section)) if key not in foreign_keys(section)]


def pick(section: Section | dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return the named fields of a section as plain values."""
    plain = to_plain(section)
    return {key: plain[key] for key in keys}


def omit(section: Section, *keys: str) -> dict[str, Any]:
    """Return all fields of a section but the named ones, as plain values."""
    return {key: value for key, value in to_plain(section).items() if key not in keys}


@dataclass(frozen=True)
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


def is_url(source: str) -> bool:
    """Check whether a config value names something to download."""
    return source.startswith(("http://", "https://"))
