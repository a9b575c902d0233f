"""Checks that need a GPU: PASS, FAIL or SKIP for each, with its number.

    python -m benchmarks.gpu --json gpu.json --csv gpu.csv

Ten minutes at most. Sections, which can be chosen:

- `agree`: one training step of each kind, the step after it, predictions and metrics, on the GPU
  against the CPU in 32 bit, and in bfloat16 against 32 bit;
- `deterministic`: the state after some steps, twice, bit for bit, and what that costs;
- `resume`: a training that is killed (SIGKILL) and asked to end (SIGTERM) ends with the bits of one
  that was not;
- `processes`: gradients of a batch on two GPUs over NCCL against one, where there are two;
- `speed`: each phase of each method at 64, 128 and 256 px as a share of the measured rate of matrix
  products, with memory and the wait for data (`benchmarks.speed`).

Networks are fresh and data are seeded noise: nothing is read or downloaded. Each check runs in a
process of its own. One that lacks a package, or that the time does not hold, is skipped. On a CPU
the same checks run against another pass on the CPU, which shows that the script works; `--toy`
makes all sizes small.
"""

import argparse
import csv
import gc
import json
import math
import os
import platform
import queue
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

CONFIGS = Path(__file__).parents[1] / "configs"
SECTIONS = ("agree", "deterministic", "resume", "processes", "speed")
ROWS = {"rsvp-m": "rsvp", "rsvp-s": "rsvp-joint", "pvdm": "planes", "frame-ldm": "frames"}
TRAINING = ("pretrain", "finetune", "denoise")
SIZES = (64, 128, 256)  # pixels
LONGEST = 150.0  # seconds of one check
LEAST = 15.0  # seconds that a check is started with
STEPS = 5  # that are compared bit for bit
RESUMED = 40  # steps of the training that is killed
# Largest relative difference of losses: before the first update, after it, and in bfloat16.
FIRST, SECOND, HALF = 1e-3, 3e-2, 5e-2
LEVELS = 0.5  # of 255, mean absolute difference of predictions
METRICS = 1e-4  # largest relative difference of metrics
GRADIENT = 1e-4  # relative difference of gradients over two processes
TOY_STEPS: dict[str, Any] = {"pretrain": {"batch_size": 2, "target_frames": 1}}
# Two frames: of one, PyTorch's convolution of clips is wrong in bfloat16 on a CPU.
TOY_STEPS["finetune"] = {"batch_size": 2, "target_frames": 2, "discriminator_width": 8}
TOY: dict[str, Any] = {
    "autoencoders": {name: {"width": 16} | TOY_STEPS for name in ROWS.values()},
    "predictors": {
        name: {
            "batch_size": 2,
            "denoiser": {"width": 32, "depth": 1, "heads": 2},
            "sampler": {"steps": 2},
        }
        for name in ROWS
    },
}


@dataclass
class Result:
    """One line of the answer."""

    section: str
    check: str
    status: str  # PASS, FAIL or SKIP
    value: float | None = None
    bound: float | None = None  # the value may not be above it
    note: str = ""
    seconds: float = 0.0  # of the process that found it


Found = list[tuple[str, float | None, float | None, str]]  # check, value, bound, note


def main() -> None:
    """Run the checks, print a line for each, and write them all; 1 where one failed."""
    arguments = parse()
    started, results = time.monotonic(), []
    print(f"{machine(arguments)}, torch {torch.__version__}, Python {platform.python_version()}.")
    for section, name, check, given in checks(arguments):
        left = arguments.seconds - (time.monotonic() - started)
        for result in run(section, name, check, (arguments, *given), left):
            results.append(result)
            print(line(result), flush=True)
        write(results, arguments)
    failed = sum(result.status == "FAIL" for result in results)
    skipped = sum(result.status == "SKIP" for result in results)
    print(f"{len(results)} checks: {failed} failed, {skipped} skipped.")
    raise SystemExit(1 if failed else 0)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="of `speed`")
    parser.add_argument("--seconds", type=float, default=570.0, help="of all checks together")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1), help="of a CPU")
    parser.add_argument("--toy", action="store_true", help="small networks, 32 px, few steps")
    parser.add_argument("--compile", action="store_true", help="compile denoisers (a minute each)")
    parser.add_argument("--json", type=Path, help="where to keep the results")
    parser.add_argument("--csv", type=Path, help="where to keep them as a table")
    arguments = parser.parse_args()
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    return arguments


def machine(arguments: argparse.Namespace) -> str:
    """Name the device."""
    if arguments.device == "cpu":
        return platform.processor() or platform.machine()
    return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}"


def checks(arguments: argparse.Namespace) -> Iterator[tuple[str, str, Callable[..., Found], Any]]:
    """Yield section, name, function and its arguments, the dearest last."""
    small = 32 if arguments.toy else 64
    row = arguments.rows[0]
    table: dict[str, list[tuple[str, Callable[..., Found], Any]]] = {
        "agree": [(name, agreement, (name, small)) for name in arguments.rows]
        + [("metrics", metrics, (small,))],
        "deterministic": [(f"{row}, {p}", determinism, (row, small, p)) for p in TRAINING],
        "resume": [(f"{row}, {p}", resumption, (row, small, p)) for p in ("denoise", "finetune")],
        "processes": [("two", two_processes, (row, small))],
        "speed": [
            (f"{name}, {size} px", speed, (name, size))
            for size in ([32] if arguments.toy else arguments.sizes)
            for name in arguments.rows
        ],
    }
    for section in SECTIONS:
        if section in arguments.sections:
            for name, check, given in table[section]:
                yield section, name, check, given


def run(
    section: str, name: str, check: Callable[..., Found], given: tuple[Any, ...], left: float
) -> list[Result]:
    """Run one check in a process of its own, and judge what it finds."""
    if left < LEAST:
        return [Result(section, name, "SKIP", note="no time left")]
    started = time.monotonic()
    kind, answer = in_time(check, given, min(left, LONGEST))
    seconds = round(time.monotonic() - started, 1)
    if kind == "found":
        return [
            Result(section, f"{name}: {what}", judged(value, bound), value, bound, note, seconds)
            for what, value, bound, note in answer
        ]
    status = "SKIP" if kind == "missing" or (kind == "late" and left < LONGEST) else "FAIL"
    return [Result(section, name, status, note=answer, seconds=seconds)]


def judged(value: float | None, bound: float | None) -> str:
    """PASS within the bound; without a bound the value is for information, without both SKIP."""
    if value is None:
        return "SKIP"
    return "PASS" if math.isfinite(value) and (bound is None or value <= bound) else "FAIL"


def in_time(check: Callable[..., Found], given: tuple[Any, ...], seconds: float) -> tuple[str, Any]:
    """Return ("found", what a check finds in a fresh process), or why it found nothing."""
    context = get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=answer, args=(answers, check, given))
    process.start()
    ends = time.monotonic() + seconds
    found = ("late", f"took longer than {seconds:.0f} s")
    while time.monotonic() < ends:
        with suppress(queue.Empty):
            found = answers.get(timeout=0.2)
            break
        if not process.is_alive() and answers.empty():
            found = ("failed", f"ended with exit code {process.exitcode}")
            break
    with suppress(ProcessLookupError, PermissionError):  # with all that it started
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # where it leads no group yet
    process.join()
    return found


def answer(answers: Any, check: Callable[..., Found], given: tuple[Any, ...]) -> None:
    """Put what a check finds into the queue, or why it found nothing."""
    os.setsid()
    try:
        answers.put(("found", check(*given)))
    except ModuleNotFoundError as error:
        answers.put(("missing", f"needs the package {error.name}"))
    except Exception as error:  # of any kind: the other checks are still worth their time
        first = (str(error).splitlines() or [""])[0]
        answers.put(("failed", f"{type(error).__name__}: {first}"))


def line(result: Result) -> str:
    """One line for people."""
    bound = "" if result.bound is None else f" (at most {result.bound:.3g})"
    value = "" if result.value is None else f"{result.value:.3g}{bound}"
    said = "; ".join(filter(None, (value, result.note)))
    return f"{result.status} {result.section}, {result.check}: {said}"


def write(results: list[Result], arguments: argparse.Namespace) -> None:
    """Write all results so far, should a later check take the machine down."""
    lines = [asdict(result) for result in results]
    for entry in lines:  # JSON knows no infinity
        if entry["value"] is not None and not math.isfinite(entry["value"]):
            entry["value"] = None
    if arguments.json:
        where = {"machine": machine(arguments), "torch": torch.__version__}
        where |= {"cuda": torch.version.cuda, "command": sys.argv[1:], "results": lines}
        arguments.json.write_text(json.dumps(where, indent=2) + "\n", encoding="utf-8")
    if arguments.csv and lines:
        with arguments.csv.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, list(lines[0]))
            table.writeheader()
            table.writerows(lines)


def as_speed(
    arguments: argparse.Namespace, size: int, large: bool = False, **changes: Any
) -> argparse.Namespace:
    """Return the arguments of `benchmarks.speed`; `large`: with a GPU's networks and batches."""
    files = ["methods.yaml"]
    if large and arguments.device == "cuda" and not arguments.toy:
        files += ["methods-gpu.yaml"] + ["methods-256px.yaml"] * (size == 256)
    given = {
        "configs": [CONFIGS / file for file in files],
        "changes": (TOY if arguments.toy else {}) | {"compute": {"compile": False}},
        "device": arguments.device, "precision": "auto", "threads": arguments.threads,
        "repeats": 1 if arguments.toy else 8, "compile": arguments.compile,
        "return_memory": True, "profile": None,
    }  # fmt: skip
    return argparse.Namespace(**given | changes)


def without_tf32() -> None:
    """Compute products and convolutions in float32, where trainings allow TF32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def agreement(arguments: argparse.Namespace, row: str, size: int) -> Found:
    """Compare losses and predictions of a row on the device with those on the CPU."""
    device = arguments.device
    here = outcomes(as_speed(arguments, size, device="cpu", precision="32-true"), row, size)
    there = outcomes(as_speed(arguments, size, device=device, precision="32-true"), row, size)
    half = outcomes(as_speed(arguments, size, device=device, precision="bf16-mixed"), row, size)
    found: Found = []
    for phase in TRAINING:
        for step, bound in enumerate((FIRST, SECOND)):
            off = difference(there[phase][step], here[phase][step])
            found.append((f"{phase}, losses of step {step + 1}", off, bound, "relative"))
        off = difference(half[phase][0], there[phase][0])
        found.append((f"{phase}, losses in bfloat16", off, HALF, "relative to 32 bit"))
    off = float((there["sample"] - here["sample"]).abs().mean()) * 127.5
    found.append(("predictions", off, LEVELS, "mean difference in levels of 255"))
    off = float((half["sample"] - there["sample"]).abs().mean()) * 127.5
    found.append(("predictions in bfloat16", off, None, "mean difference in levels of 255"))
    return found


def outcomes(given: argparse.Namespace, row: str, size: int) -> dict[str, Any]:
    """Return the losses of two steps of each training, and predictions, of fresh networks."""
    from benchmarks.speed import PHASES, Setup

    found: dict[str, Any] = {}
    for phase in (*TRAINING, "sample"):
        setup = Setup(given, row, size)
        without_tf32()
        work = PHASES[phase](setup)
        if phase == "sample":
            stir(work.stateful["denoiser"])
            found[phase] = work.step(0, next(work.ahead)).float().cpu()
            continue
        losses: list[Any] = [work.step(number, next(work.ahead)) for number in range(2)]
        found[phase] = [{name: float(value) for name, value in made.items()} for made in losses]
    return found


def stir(network: torch.nn.Module) -> None:
    """Move weights by seeded noise: a fresh denoiser answers 0, whatever it is asked."""
    random = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=random).to(parameter.device)
        parameter.data.add_(noise, alpha=0.02)


def difference(found: dict[str, float], expected: dict[str, float]) -> float:
    """Return the largest difference of losses, relative where they are above 0.01."""
    return max(abs(found[n] - value) / max(abs(value), 0.01) for n, value in expected.items())


def metrics(arguments: argparse.Namespace, size: int) -> Found:
    """Compare metrics of noise on the device with those on the CPU."""
    from rsvp.metrics import ensemble, frame
    from rsvp.metrics.sliced_wasserstein import sliced_wasserstein

    without_tf32()
    random = torch.Generator().manual_seed(0)
    shape = (3, 10, size, size, 3)
    *pair, real = torch.randint(256, shape, dtype=torch.uint8, generator=random)
    stored = torch.stack(pair)
    clips = stored.permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0
    measures: dict[str, Callable[[torch.device], torch.Tensor]] = {
        "psnr": lambda at: frame.psnr(stored[0].to(at), stored[1].to(at)),
        "ssim": lambda at: frame.ssim(stored[0].to(at), stored[1].to(at)),
        "crps": lambda at: ensemble.crps(stored.to(at), real.to(at)),
        "energy score": lambda at: ensemble.energy_score(stored.to(at), real.to(at)),
        "sliced Wasserstein": lambda at: sliced_wasserstein(
            0.5 * clips[:, :4].to(at), clips[:, :4].to(at)
        ),
    }
    found = [(name, off_by(measure, arguments), METRICS, "relative")
             for name, measure in measures.items()]  # fmt: skip
    for name, network in (("LPIPS", lpips_of_noise), ("I3D", i3d_of_noise)):
        try:
            found.append((name, off_by(network(clips), arguments), METRICS, "random weights"))
        except ModuleNotFoundError as error:
            found.append((name, None, None, f"needs the package {error.name}"))
    return found


@torch.no_grad()
def off_by(measure: Callable[[torch.device], torch.Tensor], arguments: argparse.Namespace) -> float:
    """Return the largest difference of the device from the CPU, by the largest value."""
    here = measure(torch.device("cpu")).double()
    there = measure(torch.device(arguments.device)).double().cpu()
    return float((there - here).abs().max() / here.abs().max())


def lpips_of_noise(clips: torch.Tensor) -> Callable[[torch.device], torch.Tensor]:
    """Return LPIPS with random weights, of frames of two clips."""
    from rsvp.metrics.perceptual import _empty_network

    network = filled(_empty_network("alex"))
    return lambda at: network.to(at)(clips[0, :2].to(at), clips[1, :2].to(at))


def i3d_of_noise(clips: torch.Tensor) -> Callable[[torch.device], torch.Tensor]:
    """Return I3D's features with random weights, of one clip."""
    from rsvp.metrics.i3d import I3D, manifest

    random = torch.Generator().manual_seed(0)
    variables = {
        name: scaled(torch.rand(tensor["shape"], generator=random), name).numpy()
        for name, tensor in manifest().items()
    }
    frames = torch.nn.functional.interpolate(clips[0, :9], (224, 224)).transpose(0, 1)[None]
    network = I3D(variables)
    return lambda at: network.to(at)(frames.to(at))


def scaled(values: torch.Tensor, name: str) -> torch.Tensor:
    """Scale uniform numbers, so that features keep their size from layer to layer."""
    if name.endswith("conv_3d/w"):
        return (2.0 * values - 1.0) * (6.0 / values[..., 0].numel()) ** 0.5
    return values + 0.5 if name.endswith("moving_variance") else 0.1 * values


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """Give random values to a network that has none."""
    constants = {name: value for name, value in network.named_buffers() if not value.is_meta}
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    random = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        size = parameter[0].numel() if parameter.dim() > 1 else len(parameter)
        values = torch.rand(parameter.shape, generator=random)
        parameter.data.copy_((2.0 * values - 1.0) * (6.0 / size) ** 0.5)
    for name, value in constants.items():
        network.get_buffer(name).copy_(value)
    return network


def determinism(arguments: argparse.Namespace, row: str, size: int, phase: str) -> Found:
    """Compare the states after some steps of two deterministic trainings, and their time."""
    first, second = (some_steps(arguments, row, size, phase, True) for _ in range(2))
    _, faster = some_steps(arguments, row, size, phase, False)
    differing = sum(not torch.equal(first[0][name], value) for name, value in second[0].items())
    cost = second[1] / faster
    return [
        ("tensors that differ", float(differing), 0.0, f"of {len(first[0])}, {STEPS} steps"),
        ("time of a step", cost, None, "times that of one that is not deterministic"),
    ]


def some_steps(
    arguments: argparse.Namespace, row: str, size: int, phase: str, deterministic: bool
) -> tuple[dict[str, torch.Tensor], float]:
    """Make some steps; return the state after them, and the median seconds of one."""
    from benchmarks.speed import PHASES, Setup, finish
    from rsvp.training.state import save_part

    torch.use_deterministic_algorithms(False)
    setup = Setup(as_speed(arguments, size, True, deterministic=deterministic), row, size)
    work, seconds = PHASES[phase](setup), []
    for number in range(STEPS):
        started = time.perf_counter()
        work.step(number, next(work.ahead))
        finish(setup.fabric.device)
        seconds.append(time.perf_counter() - started)
    tensors: dict[str, torch.Tensor] = {}
    for name, item in work.stateful.items():
        save_part(item, name, tensors)
    return {n: value.detach().cpu().clone() for n, value in tensors.items()}, statistics.median(
        seconds[1:]
    )


def resumption(arguments: argparse.Namespace, row: str, size: int, phase: str) -> Found:
    """Kill a training, ask it to end, let it end; compare it with one that was not stopped."""
    from rsvp.training.state import read_state

    steps = 12 if arguments.toy else RESUMED
    with tempfile.TemporaryDirectory() as folder:
        states, codes = [], []
        for name, signals in (("whole", ()), ("killed", (signal.SIGKILL, signal.SIGTERM))):
            home = Path(folder, name)
            for number in (*signals, None):
                given = (arguments, row, size, phase, home, steps)
                codes.append(stopped(given, home, number))
            newest = max(home.glob("state-*.safetensors"))
            states.append(read_state(newest)[0])
    whole, killed = states
    differing = sum(not torch.equal(whole[name], value) for name, value in killed.items())
    said = f"exit codes {codes}; of {len(whole)} tensors after {steps} steps"
    wrong = codes != [0, -signal.SIGKILL, 128 + signal.SIGTERM, 0]
    return [
        ("tensors that differ", float(differing), 0.0, said),
        ("exit codes that are wrong", float(wrong), 0.0, said),
    ]


def stopped(given: tuple[Any, ...], home: Path, number: int | None) -> int | None:
    """Run a trainer; send it a signal after its next state. Return its exit code."""
    process = get_context("spawn").Process(target=trainer, args=given)
    before = set(home.glob("state-*.safetensors"))
    process.start()
    while number is not None and process.is_alive():
        if set(home.glob("state-*.safetensors")) - before:
            assert process.pid is not None
            os.kill(process.pid, number)
            break
        time.sleep(0.005)
    process.join()
    return process.exitcode


def trainer(
    arguments: argparse.Namespace, row: str, size: int, phase: str, home: Path, steps: int
) -> None:
    """Train as a stage does, deterministically; save often."""
    from benchmarks.speed import PHASES, Setup
    from rsvp.runtime.journal import SAVE_SECONDS, StateKey
    from rsvp.training.run import TrainingRun

    os.environ[SAVE_SECONDS] = "0.05"
    changes = {"deterministic": True, "repeats": steps}
    given = as_speed(arguments, size, **changes)
    work = PHASES[phase](Setup(given, row, size))
    training = TrainingRun(home, StateKey("code", "work"), steps, work.stateful)
    work.ahead.close()  # those of a new training
    ahead = PHASES[phase](Setup(given, row, size, first=training.done)).ahead
    for step in training.steps(phase):
        training.log(step, **work.step(step, next(ahead)))


def two_processes(arguments: argparse.Namespace, row: str, size: int) -> Found:
    """Compare the gradient of a batch that two processes share with that of one."""
    if arguments.device == "cuda" and torch.cuda.device_count() < 2:
        return [("gradient", None, None, "needs two GPUs")]
    backend = "nccl" if arguments.device == "cuda" else "gloo"
    context = get_context("spawn")
    answers = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        given = (f"file://{folder}/meet", backend, arguments, row, size)
        pair = [context.Process(target=member, args=(answers, rank, *given)) for rank in range(2)]
        for process in pair:
            process.start()
        off, seconds = answers.get(timeout=LONGEST)
        for process in pair:
            process.join()
    return [("gradient", off, GRADIENT, f"relative; {backend}"),
            ("milliseconds of a sum", 1000 * seconds, None, "of all gradients")]  # fmt: skip


def member(
    answers: Any, rank: int, meet: str, backend: str, arguments: argparse.Namespace, row: str,
    size: int,
) -> None:  # fmt: skip
    """Compute the gradient of half a batch, add both, and compare with the whole batch's."""
    from benchmarks.speed import PHASES, Setup, finish

    if backend == "nccl":  # each sees its own GPU alone; CUDA has not started yet
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or "0,1"
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[rank]
    torch.distributed.init_process_group(backend, init_method=meet, rank=rank, world_size=2)
    setup = Setup(as_speed(arguments, size, precision="32-true"), row, size)
    without_tf32()
    work = PHASES["denoise"](setup)
    stir(work.stateful["denoiser"])
    work.step(0, next(work.ahead))  # a check that one process alone works here, too
    parameters = list(work.stateful["denoiser"].parameters())
    device = parameters[0].device
    whole = gradient(setup, work, [(0, 1.0)])
    own = gradient(setup, work, [(rank + 1, 0.5)])
    finish(device)
    started = time.perf_counter()
    torch.distributed.all_reduce(own)
    finish(device)
    seconds = time.perf_counter() - started
    if rank == 0:
        answers.put((float((own - whole).norm() / whole.norm()), seconds))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def gradient(setup: Any, work: Any, parts: list[tuple[int, float]]) -> torch.Tensor:
    """Return the flat gradient of a batch (0), of its first half (1) or second (2), by a share."""
    from benchmarks.speed import SEED, RandomLatents
    from rsvp.diffusion.objectives import OBJECTIVES
    from rsvp.training.batches import LatentBatches
    from rsvp.training.denoising import diffusion_loss, draw_noise

    size, denoiser = setup.predictor.batch_size, work.stateful["denoiser"]
    batch = LatentBatches(RandomLatents(setup.autoencoder(), setup.clips), SEED, size)[0]
    objective = OBJECTIVES[setup.predictor.objective]
    random = torch.Generator().manual_seed(SEED)
    drawn = draw_noise(batch, objective, random, uniform=False, mean=0.0, deviation=1.0)
    denoiser.zero_grad()
    for part, share in parts:
        rows = (slice(None), slice(size // 2), slice(size // 2, None))[part]
        own = type(batch)(*(
            half and {name: value[rows] for name, value in half.items()} for half in batch
        ))  # fmt: skip
        noise = type(drawn)(drawn.noise[rows], drawn.times[rows])
        device = setup.fabric.device
        loss = diffusion_loss(denoiser, own.to(device), objective, noise.to(device))
        (share * loss).backward()
    return torch.cat([p.grad.flatten() for p in denoiser.parameters() if p.grad is not None])


def speed(arguments: argparse.Namespace, row: str, size: int) -> Found:
    """Time each phase of a row; on a GPU the floors of `benchmarks.speed` are bounds."""
    from benchmarks.speed import DATA_WAIT, GPU_SHARE, MEMORY_MB, PHASES, times

    found: Found = []
    given, on_gpu = as_speed(arguments, size, True), arguments.device == "cuda"
    for phase in PHASES:
        gc.collect()  # closures hold the networks of the phase before
        try:
            measured, _ = times(given, row, size, phase)
        except RuntimeError as error:  # out of memory, say: the other phases go on
            first = (str(error).splitlines() or [""])[0]
            found.append((phase, math.inf, None, f"{type(error).__name__}: {first}"))
            continue
        share, floored = measured["share_of_matmul"], on_gpu and phase in TRAINING
        said = f"{1000 * measured['seconds']:.1f} ms, {measured['clips']} clips, "
        said += f"{measured['precision']}, {measured['matmul_gflop_per_second'] / 1000:.1f} TFLOP/s"
        short = max(0.0, GPU_SHARE - share) if on_gpu and phase == "denoise" else None
        found.append((f"{phase}, share of matmul", share, None, said))
        if short is not None:
            found.append((f"{phase}, share missing to {GPU_SHARE:.0%}", short, 0.0, said))
        found.append((f"{phase}, memory in MB", measured["peak_memory_mb"],
                      float(MEMORY_MB) if floored else None, ""))  # fmt: skip
        found.append((f"{phase}, data wait", measured["data_wait"],
                      DATA_WAIT if floored else None, "share of a step"))  # fmt: skip
    return found


if __name__ == "__main__":
    main()
