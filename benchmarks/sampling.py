"""Quality against network evaluations: samplers and step counts on validation clips.

Every setting starts from the same noise, clip by clip, so differences are paired; videos of one
group are resampled together. The reference is Heun's method with 199 evaluations. Guidance, context
and, where no other is asked for, temperature are those of the run. Needs the results of a finished
run; trains nothing.

    python -m benchmarks.sampling results --csv benchmarks/tables/sampling.csv \\
        --lpips BACKBONE LINEAR

LPIPS is measured where its two weight files are named.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from rsvp.config.schema import Compute
from rsvp.config.stages import read_settings
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.contexts import PREFIX, task_of
from rsvp.data.pixels import to_float
from rsvp.diffusion.predictor import load_predictor, predict_block
from rsvp.diffusion.samplers import Sampling, sampling_of
from rsvp.metrics.frame import psnr, ssim
from rsvp.metrics.intervals import paired_interval
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.runtime.device import make_fabric
from rsvp.runtime.files import INDEX, read_json
from rsvp.stages.predict import BATCH

FRAME_METRICS = {"psnr": psnr, "ssim": ssim}
REFERENCE = Sampling("heun", 100)
SETTINGS = [
    *(Sampling(name, n) for name in ("euler", "dpm-solver") for n in (5, 11, 25, 199)),
    *(Sampling("heun", n) for n in (3, 4, 6, 13)),
    *(Sampling("ddim", n, eta=1.0) for n in (11, 25, 199)),
]


def main() -> None:
    """Print, and keep, one line per sampler and number of steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_run(parser)
    parser.add_argument("--lpips", type=Path, nargs=2, metavar=("BACKBONE", "LINEAR"))
    parser.add_argument("--csv", type=Path, help="where to keep the table")
    arguments = parser.parse_args()
    setup = Setup(arguments, arguments.lpips)
    reference, lines = setup.scores(REFERENCE), []
    for setting in (REFERENCE, *SETTINGS):
        scores = reference if setting is REFERENCE else setup.scores(setting)
        lines.append(setup.line(setting, scores, reference))
        print(" ".join(f"{key} {value}" for key, value in lines[-1].items()), flush=True)
    if arguments.csv:
        pd.DataFrame(lines).to_csv(arguments.csv, index=False)


def add_run(parser: argparse.ArgumentParser) -> None:
    """The arguments that `Setup` takes."""
    parser.add_argument("results", type=Path, help="results folder")
    parser.add_argument("--dataset", default="shapes")
    parser.add_argument("--autoencoder", default="rsvp")
    parser.add_argument("--predictor", default="rsvp-m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=64, help="validation clips, at most")
    parser.add_argument("--temperature", type=float, help="by default that of the run")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")


def print_table(description: str | None, measure: Callable[["Setup"], pd.DataFrame]) -> None:
    """Read the command line of a script that measures a run; print its table, and keep it."""
    parser = argparse.ArgumentParser(description=description)
    add_run(parser)
    parser.add_argument("--csv", type=Path, help="where to keep the table")
    arguments = parser.parse_args()
    table = measure(Setup(arguments))
    print(table.round(3).to_string(index=False))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


class Setup:
    """A trained predictor and the validation clips that it is asked to continue."""

    def __init__(self, arguments: argparse.Namespace, lpips: list[Path] | None = None) -> None:
        results, seed = arguments.results, f"seed{arguments.seed}"
        self.fabric = make_fabric(Compute(device=arguments.device, threads=arguments.threads))
        handed = read_settings(
            read_json(results / f"predictions/{arguments.predictor}/{seed}/run.json")["settings"]
        )
        folder = results / "autoencoders" / arguments.autoencoder / seed
        self.network = load_predictor(
            results / "predictors" / arguments.predictor / seed / INDEX,
            folder / "finetuned" / INDEX,
            sampling_of(handed.predictor.sampler, handed.predictor.guidance),
            handed.predictor.context or PREFIX,
            self.fabric.device,
        )
        self.seed, self.temperature = arguments.seed, arguments.temperature
        if self.temperature is None:
            self.temperature = handed.predictor.sampler.temperature
        clips = Clips(results / "datasets" / arguments.dataset / INDEX, "validation")
        self.indices = evaluation_clips(clips, arguments.clips)
        self.groups = [clips.table["group"].iloc[i] for i in self.indices]
        frames = torch.stack([clips.frames(i) for i in self.indices])
        layout = self.network.layout
        task = task_of(layout.contexts[self.network.context], layout.frames, clips.clip_frames)
        self.context = frames[:, task.observed].permute(0, 1, 4, 2, 3)
        self.real = frames[:, task.predicted]
        self.perceptual = None
        if lpips:
            self.perceptual = PerceptualDistance(*lpips).to(self.fabric.device)

    @torch.no_grad()
    def scores(self, setting: Sampling) -> dict[str, torch.Tensor]:
        """PSNR, SSIM and perhaps LPIPS of each clip, mean over its future frames."""
        network, found = replace(self.network, sampling=self.sampling(setting)), []
        for first in range(0, len(self.indices), BATCH):
            numbers = self.indices[first : first + BATCH]
            context = self.context[first : first + BATCH].to(self.fabric.device)
            with self.fabric.autocast():
                trajectories = predict_block(network, self.seed, numbers, context, 0, [0])[:, 0]
            found += [self.compared(future, first + i) for i, future in enumerate(trajectories)]
        return {name: torch.stack([each[name] for each in found]) for name in found[0]}

    def compared(self, future: torch.Tensor, place: int) -> dict[str, torch.Tensor]:
        """The scores of one clip, whose predicted frames are uint8 (T, 3, H, H)."""
        real = self.real[place].to(future.device)
        predicted = future.permute(0, 2, 3, 1)
        found = {name: metric(predicted, real).mean() for name, metric in FRAME_METRICS.items()}
        if self.perceptual is not None:
            found["lpips"] = self.perceptual(
                to_float(future), to_float(real.permute(0, 3, 1, 2))
            ).mean()
        return {name: value.cpu() for name, value in found.items()}

    def sampling(self, setting: Sampling) -> Sampling:
        """A setting's sampler and steps, with the guidance of the run and the asked temperature."""
        return replace(
            self.network.sampling,
            sampler=setting.sampler,
            steps=setting.steps,
            eta=setting.eta,
            temperature=self.temperature,
        )

    def line(
        self,
        setting: Sampling,
        found: dict[str, torch.Tensor],
        reference: dict[str, torch.Tensor],
    ) -> dict[str, object]:
        """Return the evaluations of one setting, and its distance from the reference."""
        line: dict[str, object] = {
            "temperature": self.temperature,
            "sampler": setting.sampler,
            "eta": setting.eta,
            "steps": setting.steps,
            "network_evaluations": self.sampling(setting).network_evaluations(
                self.network.objective
            ),
            "clips": len(self.indices),
            "groups": len(set(self.groups)),
        }
        for name in found:
            mean = float(reference[name].mean())
            gap = paired_interval(found[name].tolist(), reference[name].tolist(), self.groups)
            line |= {
                name: round(float(found[name].mean()), 4),
                f"{name}_difference": round(gap.mean, 4),
                f"{name}_low": round(gap.low, 4),
                f"{name}_high": round(gap.high, 4),
                f"{name}_percent": round(100.0 * gap.mean / mean, 2),
            }
        return line


if __name__ == "__main__":
    main()
