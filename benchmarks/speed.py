"""Speed of each method's training and sampling, against this machine's matrix products.

For every row of configs/methods.yaml and each of its phases (pretraining, adversarial fine-tuning,
caching of latents, training of the denoiser, sampling): the median time of a step, its operations
per second as a share of this machine's rate of matrix products, the wait for data, and the peak of
memory; and, with --operations, those of one clip forward and of one evaluation of the denoiser at
64, 128 and 256 pixels, counted without computing them. Networks are fresh and data are seeded
noise: nothing is read or kept. Each phase runs in a process of its own, so that its memory is its
own, right after the matrix products that it is compared with. One that fails, by too little memory
say, leaves a line that says so, and the next goes on.

    python -m benchmarks.speed --csv speed.csv --operations operations.csv
    python -m benchmarks.speed --rows rsvp-m --phases pretrain denoise --profile profile.csv

and on a GPU, with what its presets name,

    python -m benchmarks.speed --csv gpu.csv --resolutions 64 128 \\
      --configs configs/methods.yaml configs/methods-gpu.yaml
    python -m benchmarks.speed --csv gpu-256px.csv --resolutions 256 \\
      --configs configs/methods.yaml configs/methods-gpu.yaml configs/methods-256px.yaml

Rectangles against a square of as many pixels, and memory by the length of a clip,

    python -m benchmarks.speed --resolutions 64 32x128 --csv shapes.csv
    python -m benchmarks.speed --frames 8 16 32 64 128 --repeats 1 --csv lengths.csv

A clip has 16 frames unless told otherwise, 4 observed. On a GPU steps run in bfloat16 at all three
resolutions, on a CPU at 64 pixels and in 32 bit unless told otherwise.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from rsvp.config.load import load
from rsvp.config.schema import Config, ObservedFrames, Predictor, to_plain
from rsvp.config.stages import read_settings
from rsvp.data.clips import Clips
from rsvp.data.contexts import PREFIX
from rsvp.data.latents import Latents, LatentStatistics
from rsvp.data.pixels import to_float
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.diffusion.packing import Packing
from rsvp.diffusion.predictor import TrainedPredictor, future_noise, predict, step_noise
from rsvp.diffusion.samplers import sampling_of
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.kinds import autoencoder_arguments, make_autoencoder
from rsvp.models.denoiser import LatentDenoiser
from rsvp.runtime.device import device_name, make_fabric
from rsvp.runtime.main import tune_malloc
from rsvp.runtime.random import generator
from rsvp.runtime.record import peak_memory_mb, processor
from rsvp.stages.cache_latents import BATCH as CACHED
from rsvp.stages.predict import BATCH as PREDICTED
from rsvp.training.adversarial import (
    Discriminators,
    discriminator_step,
    draw_consecutive,
    generator_step,
)
from rsvp.training.batches import ClipBatches, LatentBatches, read_ahead
from rsvp.training.cost import autoencoder_flops, forward_flops
from rsvp.training.denoising import DiffusionPart, diffusion_step, divided, draw_noise
from rsvp.training.ema import WeightAverage
from rsvp.training.muon import Muon
from rsvp.training.processes import Processes
from rsvp.training.reconstruction import (
    ClipPart,
    clip_parts,
    draw_reconstruction,
    reconstruction_step,
)
from rsvp.training.state import Stateful

METHODS = Path(__file__).parents[1] / "configs/methods.yaml"
COUNTED = (64, 128, 256)  # pixels at which operations are counted
CLIPS = 64  # different random clips
WARM_UP = 2  # steps that are not timed
SEED = 0
# Limits at 256 px, in GFLOP: of one clip forward, and of one evaluation of the denoiser.
LIMITS = {"autoencoder": 260.0, "denoiser": 40.0}
# Floors of training steps: the share of the rate of matrix products, on a GPU the denoiser's alone;
# the share of a step that waits for data; and the memory of a GPU, at 256 px too.
TRAINING = ("pretrain", "finetune", "denoise")
CPU_SHARE, GPU_SHARE, DATA_WAIT, MEMORY_MB = 0.5, 0.35, 0.02, 24 * 1024
OTHERS = (
    "For comparison at 256 px, the originals: PVDM's autoencoder 2602 GFLOP per clip, its U-Net "
    "243 GFLOP x 400 evaluations; RSVP-M's U-Net 313 GFLOP x 100 evaluations. PVDM encodes two "
    "clips in every step of the diffusion: counted as one pass through its autoencoder, since an "
    "encoder is about half of it."
)
PVDM_STEP = 2602.0 + 3 * 243.0  # GFLOP per clip of a diffusion step; backward is twice forward
PVDM_SAMPLE = 400 * 243.0
GIGA = 1e9
Size = int | str  # of frames: 64 is a square, 32x128 is 32 high and 128 wide


def main() -> None:
    """Print what was timed and what was counted; write a line per row, size and phase."""
    arguments = parse()
    fabric = make_fabric(compute(arguments))
    on_gpu = fabric.device.type == "cuda"
    machine = device_name(fabric) if on_gpu else processor()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}.")
    sizes: list[Size] = arguments.resolutions or [*(COUNTED if on_gpu else COUNTED[:1])]
    counted, timed_lines, operators = [], [], []
    config = config_at(arguments, COUNTED[0])
    diffusions = [p for p in config.report.predictors if config.predictors[p].kind == "diffusion"]
    for row in arguments.rows or diffusions:
        for frames, size in product(arguments.lengths, dict.fromkeys([*COUNTED, *sizes])):
            asked = argparse.Namespace(**vars(arguments) | {"frames": frames})
            line = {"row": row, "resolution": size, "frames": frames}
            if arguments.operations:
                counted.append(line | operations(config_at(asked, size), row))
            for phase in arguments.phases if size in sizes else ():
                where = {"device": machine} | line | {"phase": phase}
                found, busy = in_own_process(times, asked, row, size, phase)
                timed_lines.append(where | found)
                operators += [where | operator for operator in busy]
                said = found.get("error") or f"{1000 * found['seconds']:.0f} ms"
                print(f"{row}, {size} px, {frames} frames, {phase}: {said}", flush=True)
                if arguments.csv:  # what is there, should a later phase take the machine down
                    pd.DataFrame(timed_lines).to_csv(arguments.csv, index=False)
    tables = [pd.DataFrame(lines) for lines in (timed_lines, counted, operators)]
    for table, shown, path in (
        (tables[0], speed_lines, arguments.csv),
        (tables[1], operation_lines, arguments.operations),
        (tables[2], operator_lines, arguments.profile),
    ):
        if len(table):
            print("\n" + markdown(shown(table)))
            if path:
                table.to_csv(path, index=False)
    beyond = over_limits(tables[1]) if counted else []
    print("\n" + "\n".join([*beyond, *missed_floors(tables[0], on_gpu), OTHERS]))


def in_own_process(
    work: Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]], *arguments: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run `work` (`times`) in a fresh process, where the peak of memory is its alone.

    Where it fails, the line holds the `error`.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except Exception as error:  # of any kind: the other phases are still worth their time
            first = (str(error).splitlines() or [""])[0]
            return {"error": f"{type(error).__name__}: {first}"}, []


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", type=Path, nargs="+", default=[METHODS], metavar="FILE",
                        help="each changes those before; default configs/methods.yaml")  # fmt: skip
    parser.add_argument(
        "--rows", nargs="+", help="predictors with an autoencoder; by default the report's"
    )
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    parser.add_argument("--resolutions", type=size_named, nargs="+",
                        help="that are timed, as 64 or 32x128 (height x width); by default 64, and"
                        f" on a GPU {', '.join(map(str, COUNTED))}")  # fmt: skip
    parser.add_argument("--frames", type=int, nargs="+", default=[16], dest="lengths",
                        help="of a clip; default 16")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=10, help="steps that are timed")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "32-true", "bf16-mixed"))
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--compile", action="store_true", help="compile networks (torch.compile)")
    parser.add_argument("--return-memory", action="store_true",
                        help="leave the C library's allocator as it is; stages tell it to keep"
                        " what is freed")  # fmt: skip
    parser.add_argument("--csv", type=Path, help="where to keep what was timed")
    parser.add_argument("--operations", type=Path, help="where to keep what was counted")
    parser.add_argument("--profile", type=Path, help="profile steps, too; where to keep operators")
    return parser.parse_args()


def compute(arguments: argparse.Namespace) -> Any:
    """The section `compute` of the config."""
    names = ("device", "precision", "threads", "deterministic")
    asked = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    return read_settings({"compute": asked}).compute


def size_named(text: str) -> Size:
    """The side of a square, or a rectangle as it was written."""
    return int(text) if text.isdigit() else text


def config_at(arguments: argparse.Namespace, size: Size) -> Config:
    """The methods' config at another resolution, and with as many frames as a clip is to have."""
    parts = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in arguments.configs]
    parts.append(getattr(arguments, "changes", {}))
    if arguments.compile:
        parts.append({"compute": {"compile": True}})  # which stages ask for denoisers
    values: Any = OmegaConf.to_container(OmegaConf.merge(*parts))
    for dataset in values["datasets"].values():
        dataset["resolution"] = size
        if isinstance(size, str):
            dataset |= {"resolution": [*map(int, size.split("x"))], "augment": "horizontal"}
        dataset["clip_frames"] = getattr(arguments, "frames", dataset["clip_frames"])
        if dataset.get("source") == "generated":  # its videos hold a clip, though none is made
            lengths = dict.fromkeys(("frames", "held_out_frames"), dataset["clip_frames"])
            dataset["generated"] |= lengths
    return load(values)


def matmul_rate(device: torch.device, precision: str) -> float:
    """FLOP/s of large matrix products of the type that steps compute in, the best of a few."""
    size = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    allowed, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(WARM_UP + 5):
        started = time.perf_counter()
        a @ b
        finish(device)
        seconds.append(time.perf_counter() - started)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return 2.0 * size**3 / min(seconds)


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class RandomClips(Clips):
    """Clips of seeded noise in place of a dataset's, each a group of its own."""

    def __init__(self, config: Config, autoencoder: str) -> None:
        dataset = config.datasets[config.autoencoders[autoencoder].dataset]
        self.clip_frames, self.context_frames = dataset.clip_frames, dataset.context_frames
        self.resolution, self.augment = dataset.resolution, dataset.augment
        self.table = pd.DataFrame({"group": [str(number) for number in range(CLIPS)]})
        self.fitting = list(range(CLIPS))
        self.channels = 3
        shape = (CLIPS, self.clip_frames, *self.shape)
        random = torch.Generator().manual_seed(SEED)
        self.stored = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)

    def __len__(self) -> int:
        return CLIPS

    def frames(self, i: int, start: int = 0, stop: int | None = None) -> Tensor:
        return self.stored[i, start:stop].clone()


class RandomLatents(Latents):
    """Seeded noise of the shapes that an autoencoder gives a clip, in place of a cache."""

    def __init__(self, autoencoder: ClipAutoencoder, clips: RandomClips) -> None:
        self.scopes, self.context_frames = autoencoder.scopes, clips.context_frames
        self.metadata = {
            "scopes": {name: scope.value for name, scope in autoencoder.scopes.items()},
            "over_time": list(autoencoder.over_time),
            "clip_frames": clips.clip_frames,
            "augment": clips.augment,
            "displacements": list(autoencoder.displacements),
        }
        shapes = latent_shapes(autoencoder, clips)
        random = torch.Generator().manual_seed(SEED)
        self.stored = {
            name: torch.randn((CLIPS, *shape), generator=random) for name, shape in shapes.items()
        }
        self.statistics = {
            name: LatentStatistics([0.0] * shape[-3], [1.0] * shape[-3])
            for name, shape in shapes.items()
        }

    def __len__(self) -> int:
        return CLIPS

    def raw(self, indices: Any, context: str = PREFIX) -> dict[str, Tensor]:
        return {name: values[list(indices)] for name, values in self.stored.items()}


@torch.no_grad()
def latent_shapes(autoencoder: ClipAutoencoder, clips: RandomClips) -> dict[str, tuple[int, ...]]:
    """The shape of each latent of one clip."""
    device = next(autoencoder.parameters()).device
    shape = (1, clips.clip_frames, 3, *clips.shape[:2])
    latents, _ = autoencoder.encode_clip(torch.zeros(shape, device=device), clips.context_frames)
    return {name: tuple(value.shape[1:]) for name, value in latents.items()}


@dataclass
class Work:
    """The repeated work of a phase: the next batch, and a step with it."""

    ahead: Iterator[Any]
    step: Callable[[int, Any], object]  # number, what was next
    clips: int  # of one step
    stateful: dict[str, Stateful] = field(default_factory=dict)  # what steps change


@dataclass
class Setup:
    """A fresh autoencoder and seeded data, for any phase of a row."""

    arguments: argparse.Namespace
    row: str
    size: Size
    first: int = 0  # step

    def __post_init__(self) -> None:
        self.config = config_at(self.arguments, self.size)
        self.predictor = self.config.predictors[self.row]
        self.fabric = make_fabric(compute(self.arguments), SEED)
        self.processes = Processes()
        self.clips = RandomClips(self.config, self.predictor.autoencoder)
        self.last = self.first + WARM_UP + self.arguments.repeats + 2 * EXTRA

    def ahead(self, batch: Callable[[int], Any]) -> Iterator[Any]:
        """Return the batches of all steps, on the device, read ahead as a training does."""
        return read_ahead(batch, self.first, self.last, self.fabric.device)

    def autoencoder(self) -> ClipAutoencoder:
        """The row's, untrained, on the device."""
        torch.manual_seed(SEED)
        own = self.config.autoencoders[self.predictor.autoencoder]
        autoencoder = make_autoencoder(**autoencoder_arguments(own))
        return autoencoder.to(self.fabric.device, memory_format=torch.channels_last).eval()

    def compiled(self, *networks: torch.nn.Module) -> None:
        """Compile networks, where the command line asks for it; of autoencoders their parts, which
        are called by other methods than `forward`."""
        if self.arguments.compile:
            for network in networks:
                whole = not isinstance(network, ClipAutoencoder)
                for part in [network] if whole else network.children():
                    part.compile()


def pretraining(setup: Setup) -> Work:
    """Steps of pretraining."""
    config = setup.config.autoencoders[setup.predictor.autoencoder].pretrain
    clips, fabric, autoencoder = setup.clips, setup.fabric, setup.autoencoder()
    observed = clips.context_frames
    optimizer = fabric.setup_optimizers(Muon(autoencoder.parameters()))
    setup.compiled(autoencoder)
    parts = setup.processes.own(config.batch_size)
    batches = ClipBatches(clips, SEED, parts, clips.augment, "pretrain")

    def batch(number: int) -> list[ClipPart]:
        frames, random = batches[number], generator(SEED, number, "pretrain")
        shape = (config.batch_size, *frames[0].shape[1:])
        targets = torch.randperm(shape[1], generator=random)[: config.target_frames]
        drawn = draw_reconstruction(autoencoder, shape, observed, targets, random)
        return [part.to(fabric.device) for part in clip_parts(parts, frames, observed, drawn)]

    def step(number: int, made: list[ClipPart]) -> object:
        return reconstruction_step(
            fabric, setup.processes, autoencoder, optimizer, made, l1=config.l1,
            l2=config.l2, lpips=0.0, perceptual=None,
        )  # fmt: skip

    stateful = {"autoencoder": autoencoder, "optimizer": optimizer.optimizer}
    return Work(setup.ahead(batch), step, config.batch_size, stateful)


def finetuning(setup: Setup) -> Work:
    """Steps of adversarial fine-tuning, both sides; validations are not among them."""
    own = setup.config.autoencoders[setup.predictor.autoencoder]
    config, clips, fabric = own.finetune, setup.clips, setup.fabric
    context, autoencoder = ObservedFrames(first=clips.context_frames), setup.autoencoder()
    discriminators = Discriminators(config.discriminator_width).to(fabric.device)
    optimizer, other = (torch.optim.Adam(x.parameters()) for x in (autoencoder, discriminators))
    average = WeightAverage(autoencoder, config.ema_decay)
    setup.compiled(autoencoder, discriminators)
    parts = setup.processes.own(config.batch_size)
    batches = ClipBatches(clips, SEED, parts, clips.augment, "finetune")

    def batch(number: int) -> list[ClipPart]:
        frames, random = batches[number], generator(SEED, number, "finetune")
        shape = (config.batch_size, *frames[0].shape[1:])
        drawn = draw_consecutive(autoencoder, shape, context, config.target_frames, random)
        return [part.to(fabric.device) for part in clip_parts(parts, frames, context.first, drawn)]

    def step(number: int, made: list[ClipPart]) -> object:
        fakes, reals, losses = generator_step(
            fabric, setup.processes, autoencoder, discriminators, optimizer, made,
            SEED, number, l1=own.pretrain.l1, l2=own.pretrain.l2, lpips=0.0,
            perceptual=None, patches=config.sliced_wasserstein, adversarial=config.adversarial,
            adaptive=config.adaptive_weight,
            feature_matching=config.feature_matching,
        )  # fmt: skip
        losses |= discriminator_step(
            fabric, setup.processes, discriminators, other, made, fakes, reals
        )
        average.update(autoencoder)
        return losses

    stateful = {"autoencoder": autoencoder, "discriminators": discriminators, "average": average}
    stateful |= {"optimizer": optimizer, "other": other}
    return Work(setup.ahead(batch), step, config.batch_size, stateful)


def caching(setup: Setup) -> Work:
    """Encoding of whole clips as the cache does, without writing."""
    autoencoder = setup.autoencoder()
    setup.compiled(autoencoder)

    @torch.no_grad()
    def step(number: int, frames: Tensor) -> object:
        clips = to_float(frames.to(setup.fabric.device)).permute(0, 1, 4, 2, 3)
        with setup.fabric.autocast():
            latents, _ = autoencoder.encode_clip(clips, setup.clips.context_frames)
        return {name: value.float().cpu() for name, value in latents.items()}

    ahead = (torch.stack([setup.clips.frames(i) for i in range(CACHED)]) for _ in repeat(None))
    return Work(ahead, step, CACHED)


def denoising(setup: Setup) -> Work:
    """Steps of the denoiser's training."""
    config, fabric = setup.predictor, setup.fabric
    latents = RandomLatents(setup.autoencoder(), setup.clips)
    batches = LatentBatches(latents, SEED, config.batch_size, config.augment_latents)
    denoiser = LatentDenoiser(**denoiser_arguments(config, batches)).to(fabric.device)
    average = WeightAverage(denoiser, config.ema_decay)
    if setup.config.compute.compile:
        denoiser.compile()
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(denoiser.parameters(), fused=True))
    objective = OBJECTIVES[config.objective]

    def batch(number: int) -> Any:
        chosen = batches[number]
        drawn = draw_noise(
            chosen, objective, generator(SEED, number, "diffusion"),
            uniform=config.times == "uniform", mean=config.time_mean, deviation=config.time_std,
        )  # fmt: skip
        made = divided(chosen, drawn, setup.processes.own(config.batch_size))
        return [part.to(fabric.device) for part in made]

    def step(number: int, made: list[DiffusionPart]) -> object:
        return diffusion_step(
            fabric, setup.processes, denoiser, average, optimizer, made, objective
        )

    stateful = {"denoiser": denoiser, "average": average, "optimizer": optimizer.optimizer}
    return Work(setup.ahead(batch), step, config.batch_size, stateful)


def denoiser_arguments(config: Predictor, batches: LatentBatches) -> dict[str, Any]:
    """Return the arguments of the denoiser's constructor."""
    return batches.batch([0], [0]).shapes() | to_plain(config.denoiser)


def sampling(setup: Setup) -> Work:
    """Prediction of one trajectory of each clip of a batch, as the stage predict does."""
    autoencoder, clips, device = setup.autoencoder(), setup.clips, setup.fabric.device
    latents = RandomLatents(autoencoder, clips)
    drawn = LatentBatches(latents, SEED, PREDICTED)
    arguments = denoiser_arguments(setup.predictor, drawn)
    denoiser = LatentDenoiser(**arguments).to(device).eval()
    setup.compiled(autoencoder)
    if setup.config.compute.compile:
        denoiser.compile()
    packing = Packing(arguments["targets"])
    numbers = list(range(PREDICTED))
    noise = future_noise(packing.shape, SEED, numbers, 1).to(device)
    fresh = partial(step_noise, noise[:, 0], SEED, numbers)
    network = TrainedPredictor(
        autoencoder,
        denoiser,
        latents.statistics,
        drawn.layout,
        packing,
        OBJECTIVES[setup.predictor.objective],
        sampling_of(setup.predictor.sampler, setup.predictor.guidance),
    )

    @torch.no_grad()
    def step(number: int, frames: Tensor) -> object:
        context = to_float(frames.permute(0, 1, 4, 2, 3).to(device))
        with setup.fabric.autocast():
            return torch.stack([*predict(network, context[:, None], noise, fresh)], 1)

    observed = clips.context_frames
    ahead = (torch.stack([clips.frames(i, 0, observed) for i in numbers]) for _ in repeat(None))
    return Work(ahead, step, PREDICTED, {"denoiser": denoiser})


PHASES = {
    "pretrain": pretraining,
    "finetune": finetuning,
    "cache": caching,
    "denoise": denoising,
    "sample": sampling,
}
EXTRA = 2  # steps that are counted or profiled


def times(
    arguments: argparse.Namespace, row: str, size: Size, phase: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Time the steps of a phase; return their operators, too, where profiled."""
    if not arguments.return_memory:
        tune_malloc()
    setup = Setup(arguments, row, size)
    device, precision = setup.fabric.device, str(setup.fabric._precision.precision)
    rate = matmul_rate(device, precision)
    on_gpu, number = device.type == "cuda", 0
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    work = PHASES[phase](setup)

    def one() -> tuple[float, float, float]:
        """Seconds of a step, those of them that it waited for data, and those of processors."""
        nonlocal number
        started, worked = time.perf_counter(), time.process_time()
        batch = next(work.ahead)
        waited = time.perf_counter() - started
        work.step(number, batch)
        finish(device)
        number += 1
        return time.perf_counter() - started, waited, time.process_time() - worked

    found = [one() for _ in range(WARM_UP + arguments.repeats)][WARM_UP:]
    seconds, waits, worked = (statistics.median(values) for values in zip(*found, strict=True))
    # Reserved: what is lost between tensors must fit into a GPU, too.
    peak = torch.cuda.max_memory_reserved() / 2**20 if on_gpu else peak_memory_mb()
    # Compiled networks run as they are written here, since the counter can't look into the others.
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        one()
    flops = counter.get_total_flops()
    line = {
        "precision": precision,
        "compiled": arguments.compile
        or bool(setup.config.compute.compile and phase in ("denoise", "sample")),
        "keeps_freed_memory": not arguments.return_memory,
        "clips": work.clips,
        "seconds": seconds,
        "seconds_per_clip": seconds / work.clips,
        "processor_seconds": worked,  # which say more on a machine that others use
        "gflop": flops / GIGA,
        "gflop_per_second": flops / seconds / GIGA,
        "matmul_gflop_per_second": rate / GIGA,
        "share_of_matmul": flops / seconds / rate,
        "data_wait": waits / seconds,
        "peak_memory_mb": peak,
    }
    return line, operators_of(one, on_gpu) if arguments.profile else []


def operators_of(one: Callable[[], object], on_gpu: bool) -> list[dict[str, Any]]:
    """The operators of `EXTRA` calls: share of their summed time, and how often each is called."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as profiled:
        for _ in range(EXTRA):
            one()
    spent = {
        event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total, event)
        for event in profiled.key_averages()
    }
    total = sum(time for time, _ in spent.values())
    return [
        {
            "operator": name,
            "calls": event.count / EXTRA,
            "seconds": time / EXTRA / 1e6,
            "share": time / total,
        }
        for name, (time, event) in sorted(spent.items(), key=lambda item: -item[1][0])
        if time > 0
    ]


def operations(config: Config, row: str) -> dict[str, Any]:
    """GFLOP of a clip through the autoencoder and of one evaluation of the denoiser; NFE.

    In tensors without values: nothing is computed, whatever the size.
    """
    predictor = config.predictors[row]
    with FakeTensorMode():
        clips = RandomClips(config, predictor.autoencoder)
        own = config.autoencoders[predictor.autoencoder]
        autoencoder = make_autoencoder(**autoencoder_arguments(own)).eval()
        latents = RandomLatents(autoencoder, clips)
        shape = denoiser_arguments(predictor, LatentBatches(latents, SEED, PREDICTED))
        denoiser = LatentDenoiser(**shape).eval()
        noisy, observed = (
            {name: torch.zeros(1, *size) for name, size in shape[part].items()}
            for part in ("targets", "observed")
        )
        forward = forward_flops(lambda: denoiser(noisy, torch.zeros(1), observed))
        autoencoding = autoencoder_flops(autoencoder, clips)
    sampling = sampling_of(predictor.sampler, predictor.guidance)
    objective = OBJECTIVES[predictor.objective]
    return {
        "autoencoder_gflop": autoencoding / GIGA,
        "autoencoder_parameters": sum(p.numel() for p in autoencoder.parameters()),
        "denoiser_gflop": forward / GIGA,
        "denoiser_parameters": sum(p.numel() for p in denoiser.parameters()),
        "network_evaluations": sampling.network_evaluations(objective),
    }


def speed_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Format the timed phases for people, without those that failed."""
    if "error" in table:
        if table["error"].notna().all():
            return table[["row", "resolution", "phase", "error"]]
        table = table[table["error"].isna()]
    shown = table[["row", "resolution", "frames", "phase", "precision"]].rename(
        columns={"resolution": "px"}
    )
    shown["clips per step"] = table["clips"]
    shown["ms per step"] = (1000 * table["seconds"]).round(1)
    shown["ms per clip"] = (1000 * table["seconds_per_clip"]).round(1)
    shown["GFLOP/s"] = table["gflop_per_second"].round(1)
    shown["matmul, GFLOP/s"] = table["matmul_gflop_per_second"].round(1)
    shown["of matmul"] = percent(table["share_of_matmul"])
    shown["data wait"] = percent(table["data_wait"])
    shown["peak memory, MB"] = table["peak_memory_mb"].round()
    return shown


def operation_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Format the counts for people."""
    shown = table[["row", "resolution", "frames"]].rename(columns={"resolution": "px"})
    shown["autoencoder, GFLOP per clip"] = table["autoencoder_gflop"].round(2)
    shown["denoiser, GFLOP per evaluation"] = table["denoiser_gflop"].round(3)
    shown["NFE"] = table["network_evaluations"]
    whole = table["denoiser_gflop"] * table["network_evaluations"]
    shown["denoiser, GFLOP per sample"] = whole.round(2)
    # Latents are cached: a step is the denoiser's alone. A sample is decoded, too.
    step, sample = 3 * table["denoiser_gflop"], whole + table["autoencoder_gflop"]
    large = table["resolution"] == 256
    shown["step, of PVDM's"] = percent(step / PVDM_STEP).where(large, "")
    shown["sample, of PVDM's"] = percent(sample / PVDM_SAMPLE).where(large, "")
    for part in ("autoencoder", "denoiser"):
        shown[f"{part}, million parameters"] = (table[f"{part}_parameters"] / 1e6).round(2)
    return shown


def operator_lines(table: pd.DataFrame) -> pd.DataFrame:
    """The dearest operators of each phase, for people."""
    lines = table[table["share"] >= 0.02]
    shown = lines[["row", "resolution", "phase", "operator", "calls"]].copy()
    shown["ms"] = (1000 * lines["seconds"]).round(1)
    shown["share"] = percent(lines["share"])
    return shown


def over_limits(table: pd.DataFrame) -> list[str]:
    """A sentence for each row that costs more at 256 px than it may."""
    large = table[table["resolution"] == 256]
    found = [
        f"{line['row']}: the {part} takes {line[f'{part}_gflop']:.1f} GFLOP at 256 px,"
        f" more than {limit:g}."
        for _, line in large.iterrows()
        for part, limit in LIMITS.items()
        if line[f"{part}_gflop"] > limit
    ]
    limits = " and ".join(f"{limit:g} GFLOP ({part})" for part, limit in LIMITS.items())
    return found or [f"Every row keeps to the limits at 256 px: {limits}."]


def missed_floors(table: pd.DataFrame, on_gpu: bool) -> list[str]:
    """A sentence for each floor that a phase misses, and for each phase that failed."""
    said = []
    for _, line in table.iterrows():
        failed = ["failed"] if pd.notna(line.get("error")) else None
        where = f"{line['row']}, {line['resolution']} px, {line['phase']}"
        said += [f"{where}: {text}." for text in failed or missed(line, on_gpu)]
    return said or ["Every timed phase keeps to its floors."]


def missed(line: pd.Series, on_gpu: bool) -> Iterator[str]:
    """The floors that one phase misses, in words."""
    if line["phase"] not in TRAINING:
        return
    share, least = line["share_of_matmul"], GPU_SHARE if on_gpu else CPU_SHARE
    if share < least and (line["phase"] == "denoise" or not on_gpu):
        yield f"{share:.1%} of the rate of matrix products, less than {least:.0%}"
    if line["data_wait"] > DATA_WAIT:
        yield f"{line['data_wait']:.1%} of a step waits for data, more than {DATA_WAIT:.0%}"
    if on_gpu and line["peak_memory_mb"] > MEMORY_MB:
        yield f"{line['peak_memory_mb']:.0f} MB of memory, more than {MEMORY_MB}"


def percent(shares: pd.Series) -> pd.Series:
    """Shares as text."""
    return shares.map(lambda share: f"{100 * share:.1f} %")


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns)]
    lines += [list(map(str, line)) for line in table.itertuples(index=False, name=None)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
