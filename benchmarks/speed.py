"""How fast each method trains and samples, against what this machine could do at best.

For every row of configs/methods.yaml: the steps of pretraining and of the denoiser's training
(median time, operations of forward and backward per second as a share of this machine's rate of
matrix products, wait for data), sampling (seconds per clip, network evaluations), peak memory; and
the operations of one clip forward and of one evaluation of the denoiser at 64, 128 and 256 pixels,
counted without computing them. Networks are fresh and data are seeded noise: nothing is read or
kept. What is timed runs in a process of its own, so that its memory is its own.

    python benchmarks/speed.py --csv speed.csv

A clip has 16 frames, 4 observed. On a GPU steps run in bfloat16 at all three resolutions, on a CPU
in 32 bit at 64 pixels.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from lightning_fabric import Fabric
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from rsvp.config import Augment, Config, load, read_settings, stage_settings
from rsvp.data.clips import Clips
from rsvp.data.contexts import PREFIX
from rsvp.data.latents import Latents, LatentStatistics
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.diffusion.packing import Packing
from rsvp.diffusion.samplers import Drawing
from rsvp.models.autoencoders import autoencoder_arguments, make_autoencoder
from rsvp.models.clip_autoencoder import ClipAutoencoder
from rsvp.models.denoiser import LatentDenoiser
from rsvp.predict import BATCH, TrainedPredictor, future_noise, predict, step_noise
from rsvp.stage import peak_memory_mb, processor
from rsvp.training.batches import LatentBatches, to_float
from rsvp.training.compute import device_name, make_fabric
from rsvp.training.cost import autoencoder_flops, forward_flops
from rsvp.training.denoising import Denoising, denoiser_arguments
from rsvp.training.pretraining import Pretraining

METHODS = Path(__file__).parents[1] / "configs/methods.yaml"
COUNTED = (64, 128, 256)  # pixels at which operations are counted
CLIPS = 64  # different random clips
WARM_UP = 2  # steps and samplings that are not timed
SEED = 0
# Limits at 256 px, in GFLOP: of one clip forward, and of one evaluation of the denoiser.
LIMITS = {"autoencoder": 260.0, "denoiser": 40.0}
OTHERS = (
    "For comparison at 256 px, the originals: PVDM's autoencoder 2602 GFLOP per clip, its U-Net "
    "243 GFLOP x 400 evaluations; RSVP-M's U-Net 313 GFLOP x 100 evaluations."
)
GIGA = 1e9


def main() -> None:
    """Print two tables, speed and operations, and write one CSV with a line per row and size."""
    arguments = parse()
    fabric = make_fabric(compute(arguments))
    rates = matmul_rates(fabric.device)
    machine = device_name(fabric) if fabric.device.type == "cuda" else processor()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}.")
    print("Matrix products: " + ", ".join(f"{k} {v / GIGA:.1f} GFLOP/s" for k, v in rates.items()))
    sizes = arguments.resolutions or (COUNTED if fabric.device.type == "cuda" else COUNTED[:1])
    lines = []
    for row in arguments.rows or config_at(COUNTED[0]).report.predictors:
        for size in COUNTED:
            line = {"device": machine, "row": row, "resolution": size}
            line |= operations(config_at(size), row)
            if size in sizes:
                # A fresh process, so that the peak of memory is this row's alone.
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    line |= pool.apply(times, (arguments, row, size, rates))
            lines.append(line)
            print(f"{row}, {size} px: done", flush=True)
    table = pd.DataFrame(lines)
    print("\n" + markdown(speed_lines(table)))
    print("\n" + markdown(operation_lines(table)))
    print("\n" + "\n".join([*over_limits(table), OTHERS]))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="+", help="rows of configs/methods.yaml; all by default")
    parser.add_argument("--resolutions", type=int, nargs="+", choices=COUNTED,
                        help="that are timed; by default 64, and all of them on a GPU")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=10, help="steps that are timed")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--compile", action="store_true", help="compile networks (torch.compile)")
    parser.add_argument("--csv", type=Path, help="where to keep the table")
    return parser.parse_args()


def compute(arguments: argparse.Namespace) -> Any:
    """The section `compute` of the config."""
    return read_settings({
        "compute": {"device": arguments.device, "threads": arguments.threads}
    }).compute  # fmt: skip


def config_at(size: int) -> Config:
    """The methods' config at another resolution."""
    values = yaml.safe_load(METHODS.read_text(encoding="utf-8"))
    for dataset in values["datasets"].values():
        dataset["resolution"] = dataset["generated"]["size"] = size
    return load(values)


def matmul_rates(device: torch.device) -> dict[str, float]:
    """FLOP/s of large matrix products, the best of a few, by the type that steps compute in."""
    on_gpu = device.type == "cuda"
    size = 8192 if on_gpu else 2048
    torch.backends.cuda.matmul.allow_tf32 = False  # here; steps run in processes of their own
    types = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if on_gpu else {})
    rates = {}
    for name, dtype in types.items():
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds = timed(lambda a=a, b=b: a @ b, 5, device)
        rates[name] = 2.0 * size**3 / min(seconds)
    return rates


def timed(work: Callable[[], object], repeats: int, device: torch.device) -> list[float]:
    """Seconds of each of so many calls, after some that warm up."""
    seconds = []
    for _ in range(WARM_UP + repeats):
        started = time.perf_counter()
        work()
        finish(device)
        seconds.append(time.perf_counter() - started)
    return seconds[WARM_UP:]


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class RandomClips(Clips):
    """Clips of seeded noise in place of a dataset's."""

    def __init__(self, config: Config, autoencoder: str) -> None:
        dataset = config.datasets[config.autoencoders[autoencoder].dataset]
        self.clip_frames, self.context_frames = dataset.clip_frames, dataset.context_frames
        self.resolution, self.augment = dataset.resolution, Augment[dataset.augment.name]
        shape = (CLIPS, self.clip_frames, self.resolution, self.resolution, 3)
        random = torch.Generator().manual_seed(SEED)
        self.stored = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)

    def __len__(self) -> int:
        return CLIPS

    def frames(self, i: int, start: int = 0, stop: int | None = None) -> Tensor:
        return self.stored[i, start:stop].clone()


class RandomLatents(Latents):
    """Seeded noise of the shapes that an autoencoder gives a clip, in place of a cache."""

    def __init__(self, autoencoder: ClipAutoencoder, clips: RandomClips) -> None:
        self.extents, self.context_frames = autoencoder.extents, clips.context_frames
        self.facts = {
            "extents": {name: extent.value for name, extent in autoencoder.extents.items()},
            "over_time": list(autoencoder.over_time),
            "clip_frames": clips.clip_frames,
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

    def batch(self, indices: Any, context: str = PREFIX) -> dict[str, Tensor]:
        return {name: values[list(indices)] for name, values in self.stored.items()}


@torch.no_grad()
def latent_shapes(autoencoder: ClipAutoencoder, clips: RandomClips) -> dict[str, tuple[int, ...]]:
    """The shape of each latent of one clip."""
    device = next(autoencoder.parameters()).device
    shape = (1, clips.clip_frames, 3, clips.resolution, clips.resolution)
    latents, _ = autoencoder.encode_clip(torch.zeros(shape, device=device), clips.context_frames)
    return {name: tuple(value.shape[1:]) for name, value in latents.items()}


def times(
    arguments: argparse.Namespace, row: str, size: int, rates: dict[str, float]
) -> dict[str, Any]:
    """Times of the row's two trainings and of its sampling, and the peak of memory."""
    config, fabric = config_at(size), make_fabric(compute(arguments), SEED)
    name = config.predictors[row].autoencoder
    steps = WARM_UP + arguments.repeats + 1
    clips = RandomClips(config, name)
    settings = read_settings(stage_settings(config, "pretrain_autoencoder", name, SEED))
    pretraining = Pretraining(settings, clips, fabric, steps)
    if arguments.compile:
        for part in pretraining.autoencoder.children():
            part.compile()
    rate = rates.get("bf16", rates["fp32"])
    line = training_times(pretraining, "pretrain", fabric, rate)
    autoencoder = pretraining.autoencoder.eval()
    latents = RandomLatents(autoencoder, clips)
    settings = read_settings(stage_settings(config, "train_diffusion", row, SEED))
    denoising = Denoising(settings, latents, latents, fabric, steps)
    if arguments.compile:
        denoising.denoiser.compile()
    line |= training_times(denoising, "denoise", fabric, rate)
    settings = read_settings(stage_settings(config, "predict", row, SEED))
    drawing = Drawing(
        OBJECTIVES[config.predictors[row].objective.name],
        settings.predictor.sampler,
        settings.predictor.guidance,
    )
    sample = sampling(autoencoder, denoising, clips, drawing, fabric)
    seconds = statistics.median(timed(sample, max(1, arguments.repeats // 3), fabric.device))
    line |= {"sampling_seconds": seconds / BATCH, "precision": str(fabric._precision.precision)}
    on_gpu = fabric.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_memory_mb()
    return line | {"peak_memory_mb": peak}


def training_times(
    trainer: Pretraining | Denoising, name: str, fabric: Fabric, rate: float
) -> dict[str, float]:
    """Seconds of a step, the share of it that waits for data, and how busy the machine is."""
    ahead: Iterator[Any] = trainer.batches(0)
    steps, waits = [], []
    for step in range(trainer.total - 1):
        started = time.perf_counter()
        batch = next(ahead)
        waits.append(time.perf_counter() - started)
        trainer.step(step, batch)
        finish(fabric.device)
        steps.append(time.perf_counter() - started)
    with FlopCounterMode(display=False) as counter:
        trainer.step(trainer.total - 1, next(ahead))
    seconds, flops = statistics.median(steps[WARM_UP:]), counter.get_total_flops()
    return {
        f"{name}_seconds": seconds,
        f"{name}_gflop": flops / GIGA,
        f"{name}_gflop_per_second": flops / seconds / GIGA,
        f"{name}_share_of_matmul": flops / seconds / rate,
        f"{name}_data_wait": statistics.median(waits[WARM_UP:]) / seconds,
    }


def sampling(
    autoencoder: ClipAutoencoder,
    denoising: Denoising,
    clips: RandomClips,
    drawing: Drawing,
    fabric: Fabric,
) -> Callable[[], object]:
    """What samples a batch of futures once, as the stage predict does."""
    frames = torch.stack([clips.frames(i, 0, clips.context_frames) for i in range(BATCH)])
    context = to_float(frames.permute(0, 1, 4, 2, 3).to(fabric.device))
    packing = Packing(denoising.arguments["targets"])
    noise = future_noise(packing.shape, SEED, list(range(BATCH)), 1).to(fabric.device)
    fresh = partial(step_noise, noise[:, 0], SEED, list(range(BATCH)))
    network = TrainedPredictor(
        autoencoder, denoising.average.module.eval(), denoising.drawn.latents.statistics,
        denoising.layout, packing, drawing,
    )  # fmt: skip

    @torch.no_grad()
    def sample() -> Tensor:
        with fabric.autocast():
            return predict(network, context, noise, fresh)

    return sample


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
        shape = denoiser_arguments(predictor, LatentBatches(latents, SEED, BATCH))
        denoiser = LatentDenoiser(**shape).eval()
        noisy, observed = (
            {name: torch.zeros(1, *size) for name, size in shape[part].items()}
            for part in ("targets", "observed")
        )
        forward = forward_flops(lambda: denoiser(noisy, torch.zeros(1), observed))
        autoencoding = autoencoder_flops(autoencoder, clips)
    drawing = Drawing(OBJECTIVES[predictor.objective.name], predictor.sampler, predictor.guidance)
    return {
        "autoencoder_gflop": autoencoding / GIGA,
        "denoiser_gflop": forward / GIGA,
        "network_evaluations": drawing.network_evaluations(),
    }


def speed_lines(table: pd.DataFrame) -> pd.DataFrame:
    """What was timed, for people."""
    if "pretrain_seconds" not in table:
        return pd.DataFrame()
    lines = table[table["pretrain_seconds"].notna()]
    shown = lines[["row", "resolution", "precision"]].rename(columns={"resolution": "px"})
    for name, title in (("pretrain", "pretrain"), ("denoise", "train diffusion")):
        shown[f"{title}, ms per step"] = (1000 * lines[f"{name}_seconds"]).round(1)
        shown[f"{title}, GFLOP/s"] = lines[f"{name}_gflop_per_second"].round(1)
        shown[f"{title}, of matmul"] = percent(lines[f"{name}_share_of_matmul"])
        shown[f"{title}, data wait"] = percent(lines[f"{name}_data_wait"])
    shown["sampling, ms per clip"] = (1000 * lines["sampling_seconds"]).round(1)
    shown["NFE"] = lines["network_evaluations"]
    shown["peak memory, MB"] = lines["peak_memory_mb"].round()
    return shown


def operation_lines(table: pd.DataFrame) -> pd.DataFrame:
    """What was counted, for people."""
    shown = table[["row", "resolution"]].rename(columns={"resolution": "px"})
    shown["autoencoder, GFLOP per clip"] = table["autoencoder_gflop"].round(2)
    shown["denoiser, GFLOP per evaluation"] = table["denoiser_gflop"].round(3)
    shown["NFE"] = table["network_evaluations"]
    whole = table["denoiser_gflop"] * table["network_evaluations"]
    shown["denoiser, GFLOP per sample"] = whole.round(2)
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
