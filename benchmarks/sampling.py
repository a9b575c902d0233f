"""Quality against network evaluations: samplers and step counts on validation clips.

Every setting starts from the same noise, clip by clip, so differences are paired; videos of one
group are resampled together. The reference is Heun's method with 199 evaluations. Needs the results
of a finished run; trains nothing.

    python benchmarks/sampling.py results --csv benchmarks/tables/sampling.csv \\
        --lpips BACKBONE LINEAR

LPIPS is measured where its two weight files are named.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from rsvp.config import Predictor, Sampler
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.colours import to_bytes, to_float
from rsvp.diffusion.predictor import future_noise, load_predictor, predict, step_noise
from rsvp.diffusion.samplers import Drawing
from rsvp.files import INDEX, read_json
from rsvp.metrics.frame import psnr, ssim
from rsvp.metrics.intervals import paired_interval
from rsvp.metrics.perceptual import PerceptualDistance

REFERENCE = Sampler(name="heun", steps=100)
SETTINGS = [
    *(Sampler(name=name, steps=n) for name in ("euler", "dpm-solver") for n in (5, 11, 25, 199)),
    *(Sampler(name="heun", steps=n) for n in (3, 6, 13)),
    *(Sampler(name="ddim", steps=n, eta=1.0) for n in (11, 25, 199)),
]


def main() -> None:
    """Print, and keep, one line per sampler and number of steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results folder")
    parser.add_argument("--dataset", default="shapes")
    parser.add_argument("--autoencoder", default="rsvp")
    parser.add_argument("--predictor", default="rsvp-m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=64, help="validation clips, at most")
    parser.add_argument("--temperature", type=float, help="by default that of the run")
    parser.add_argument("--lpips", type=Path, nargs=2, metavar=("BACKBONE", "LINEAR"))
    parser.add_argument("--csv", type=Path, help="where to keep the table")
    arguments = parser.parse_args()
    setup = Setup(arguments)
    reference, lines = setup.scores(REFERENCE), []
    for sampler in (REFERENCE, *SETTINGS):
        scores = reference if sampler is REFERENCE else setup.scores(sampler)
        lines.append(setup.line(sampler, scores, reference))
        print(" ".join(f"{key} {value}" for key, value in lines[-1].items()), flush=True)
    if arguments.csv:
        pd.DataFrame(lines).to_csv(arguments.csv, index=False)


class Setup:
    """A trained predictor and the validation clips that it is asked to continue."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        results, seed = arguments.results, f"seed{arguments.seed}"
        folder = results / "autoencoders" / arguments.autoencoder / seed
        self.network = load_predictor(
            results / "predictors" / arguments.predictor / seed / INDEX,
            folder / "finetuned" / INDEX,
            Predictor(),
            torch.device("cpu"),
        )
        self.seed, self.temperature = arguments.seed, arguments.temperature
        if self.temperature is None:
            handed = read_json(results / f"settings/predict/{arguments.predictor}/{seed}.json")
            self.temperature = handed["predictor"]["sampler"]["temperature"]
        clips = Clips(results / "datasets" / arguments.dataset / INDEX, "validation")
        self.indices = evaluation_clips(clips, arguments.clips)
        self.groups = [clips.table["group"].iloc[i] for i in self.indices]
        frames = torch.stack([clips.frames(i) for i in self.indices])
        self.context = to_float(frames[:, : clips.context_frames].permute(0, 1, 4, 2, 3))
        self.real = frames[:, clips.context_frames :]
        self.perceptual = PerceptualDistance(*arguments.lpips) if arguments.lpips else None

    @torch.no_grad()
    def scores(self, sampler: Sampler) -> dict[str, torch.Tensor]:
        """PSNR, SSIM and perhaps LPIPS of each clip, mean over its future frames."""
        network = replace(self.network, drawing=self.drawing(sampler))
        noise = future_noise(network.packing.shape, self.seed, self.indices, 1)
        fresh = partial(step_noise, noise[:, 0], self.seed, self.indices)
        futures = predict(network, self.context, noise, fresh)
        predicted = to_bytes(futures[:, 0]).permute(0, 1, 3, 4, 2)
        found = {}
        for name, metric in (("psnr", psnr), ("ssim", ssim)):
            values = metric(predicted.flatten(0, 1), self.real.flatten(0, 1))
            found[name] = values.view(len(self.indices), -1).mean(1)
        if self.perceptual is not None:
            real = to_float(self.real.permute(0, 1, 4, 2, 3))
            pairs = zip(futures[:, 0].clamp(-1.0, 1.0), real, strict=True)
            found["lpips"] = torch.stack([self.perceptual(*pair).mean() for pair in pairs])
        return found

    def drawing(self, sampler: Sampler) -> Drawing:
        """The sampler at the temperature that was asked for."""
        sampler = replace(sampler, temperature=self.temperature)
        return replace(self.network.drawing, sampler=sampler)

    def line(
        self,
        sampler: Sampler,
        found: dict[str, torch.Tensor],
        reference: dict[str, torch.Tensor],
    ) -> dict[str, object]:
        """What one setting costs in evaluations, and how far it is from the reference."""
        line: dict[str, object] = {
            "temperature": self.temperature,
            "sampler": sampler.name,
            "eta": sampler.eta,
            "steps": sampler.steps,
            "network_evaluations": self.drawing(sampler).network_evaluations(),
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
