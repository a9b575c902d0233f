"""Continue videos of yours with a trained predictor; they need not be of its dataset.

Each video is made small and square as the predictor's dataset is. Its last frames are observed, or
those up to a time of it. Trajectories follow: as arrays, and side by side in one video. Nothing is
trained.
"""

import argparse
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from rsvp.config.load import load
from rsvp.config.schema import Config
from rsvp.data.contexts import PREFIX
from rsvp.data.observed import observed
from rsvp.data.sources import named_sources
from rsvp.data.videos import panels_side_by_side, write_video
from rsvp.diffusion.predictor import TrainedPredictor, load_predictor, predict_block
from rsvp.diffusion.samplers import sampling_of
from rsvp.models.rolling import roll
from rsvp.runtime.device import make_fabric
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, atomic_path, read_yaml
from rsvp.runtime.main import run_command


def main() -> None:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "videos",
        type=Path,
        nargs="+",
        help="video, folder of one video's images, or folder of videos",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        help="of the predictor's training; may come again, then later ones count (default:"
        " config.yaml)",
    )
    parser.add_argument("--predictor", help="default: the first of the config's report")
    parser.add_argument("--seed", type=int, default=0, help="of the training and of the noise")
    parser.add_argument(
        "--trajectories", type=int, help="trajectories of each video; default: as the config says"
    )
    parser.add_argument("--frames", type=int, help="of each trajectory; default: as in training")
    parser.add_argument(
        "--at", type=float, metavar="SECONDS", help="where the future begins; default: at the end"
    )
    run_command(parser, run)


@torch.no_grad()
def run(arguments: argparse.Namespace) -> None:
    """Continue each video, and print the path of the video that shows it."""
    for flag in ("trajectories", "frames"):
        given = getattr(arguments, flag)
        if given is not None and given < 1:
            raise UserError(f"--{flag}: {given}; allowed: 1 or more")
    if arguments.at is not None and not 0.0 <= arguments.at < math.inf:
        raise UserError(f"--at: {arguments.at}; allowed: seconds from the video's start")
    config = read_config(arguments.config or [Path("config.yaml")])
    name = arguments.predictor or config.report.predictors[0]
    if name not in config.predictors:
        known = ", ".join(config.predictors)
        raise UserError(f"--predictor: {name}: not in the config; allowed: {known}")
    fabric = make_fabric(config.compute, arguments.seed)
    network = trained(config, name, arguments.seed, fabric.device)
    dataset = config.datasets[config.autoencoders[config.predictors[name].autoencoder].dataset]
    context = network.layout.contexts[network.context]
    if context.last or not context.first:
        raise UserError(
            f"--predictor: {name}: observes other frames than those before ({network.context});"
            " name one whose context is a beginning"
        )
    frames = arguments.frames or network.layout.frames - context.first
    trajectories = arguments.trajectories or config.evaluation.trajectories
    sources = named_sources(arguments.videos)
    predict = partial(predict_block, network, arguments.seed, [0])
    for video, source in tqdm(sources.items(), desc="continue", unit="video", delay=2):
        seen, rate = observed(source, dataset, context.first, arguments.at)
        shown = torch.from_numpy(seen).permute(0, 3, 1, 2)[None].to(fabric.device)
        with fabric.autocast():
            made = roll(predict, shown, trajectories, frames)
        made = made[0].permute(0, 1, 3, 4, 2).cpu().numpy()
        write(arguments.out, video, seen, made, rate)


def read_config(files: list[Path]) -> Config:
    """Merge config files as Snakemake does."""
    merged = OmegaConf.merge(*(OmegaConf.create(dict(read_yaml(file) or {})) for file in files))
    return load(OmegaConf.to_container(merged))  # type: ignore[arg-type]


def trained(config: Config, name: str, seed: int, device: torch.device) -> TrainedPredictor:
    """Load the predictor of a config and seed; UserError where it is not trained yet."""
    own, results = config.predictors[name], Path(config.results).expanduser()
    denoiser = results / "predictors" / (own.same_as or name) / f"seed{seed}" / INDEX
    autoencoder = results / "autoencoders" / own.autoencoder / f"seed{seed}" / "finetuned" / INDEX
    for index in (denoiser, autoencoder):
        if not index.exists():
            raise UserError(f"{index}: no such file; train it first: run snakemake with the config")
    sampling = sampling_of(own.sampler, own.guidance)
    return load_predictor(denoiser, autoencoder, sampling, own.context or PREFIX, device)


def write(out: Path, name: str, context: np.ndarray, trajectories: np.ndarray, rate: float) -> None:
    """Write trajectories (K, F, R, R, 3): `trajectory<k>/<name>.npy`, and a video of all."""
    for number, trajectory in enumerate(trajectories):
        path = out / f"trajectory{number}" / f"{name}.npy"
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.save(stream, trajectory, allow_pickle=False)
    video = out / f"{name}.mp4"
    write_video(video, panels_side_by_side(context, list(trajectories)), rate)
    tqdm.write(str(video))


if __name__ == "__main__":
    main()
