"""Score one row: frame by frame against the truth, and as a distribution of videos.

Works clip by clip, so memory does not grow with the number of clips. What has no weights is not
computed; the index says so, with the reason and what to do.
"""

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save_file
from tqdm import tqdm

from rsvp.config import Compute, Settings, Weights
from rsvp.data.clips import Clips, evaluation_clips
from rsvp.data.predictions import Predictions
from rsvp.errors import UserError
from rsvp.files import atomic_path, sha256_of_file, write_json
from rsvp.metrics import i3d, motion, perceptual, scoring
from rsvp.metrics.weights import weights_path
from rsvp.stage import run_stage, stage_parser

logger = logging.getLogger("rsvp.evaluate")  # by hand: `python -m` runs this as __main__


def main() -> None:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="index of the dataset")
    parser.add_argument("--predictions", type=Path, required=True, help="index of the predictions")
    parser.add_argument("--scores", type=Path, required=True, help="score table to write (Parquet)")
    parser.add_argument(
        "--features", type=Path, required=True, help="features to write (safetensors)"
    )
    parser.add_argument("--index", type=Path, required=True, help="index to write (JSON)")
    run_stage(parser, run)


@dataclass(frozen=True)
class Pair:
    """A prediction and the real clip that it is compared with.

    In an unpaired row they are different clips: the prediction is a real training clip.
    """

    clip: str  # id of the predicted clip
    group: str
    predicted: torch.Tensor  # uint8 (K, F, H, W, 3)
    predicted_context: torch.Tensor  # uint8 (Tc, H, W, 3)
    real: torch.Tensor  # uint8 (T, H, W, 3), context and future
    mask: torch.Tensor | None  # (F, H, W), not 0 inside the true objects


@dataclass(frozen=True)
class Networks:
    """The pretrained networks that there are, and why the others are not."""

    perceptual: perceptual.PerceptualDistance | None
    perceptual_reason: str
    detector: i3d.I3D | None
    detector_reason: str
    hashes: dict[str, str]  # config key -> SHA-256 of the file


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write scores, features and the index of one row."""
    predictions = Predictions(arguments.predictions)
    facts = predictions.index
    networks = load_networks(settings.weights, facts["resolution"], device_of(settings.compute))
    for reason in filter(None, (networks.perceptual_reason, networks.detector_reason)):
        logger.info("not computed: %s", reason)
    lines: list[tuple] = []
    features: dict[str, list[np.ndarray]] = {}
    groups = set()
    bar = tqdm(pairs(arguments.dataset, predictions), total=len(facts["clips"]), desc="evaluate")
    for pair in bar:
        groups.add(pair.group)
        if facts["paired"]:
            future = pair.real[facts["context_frames"] :]
            scores = scoring.score_clip(pair.predicted, future, pair.mask, networks.perceptual)
            lines += scoring.rows(pair.clip, pair.group, scores)
        for name, values in clip_features(pair, networks.detector).items():
            features.setdefault(name, []).append(values)
    with atomic_path(arguments.scores) as path:
        pd.DataFrame(lines, columns=list(scoring.COLUMNS)).to_parquet(path, index=False)
    with atomic_path(arguments.features) as path:
        save_file({name: np.stack(values) for name, values in features.items()}, path)
    index = row_index(facts, networks, len(groups))
    index["files"] = {
        path.name: sha256_of_file(path) for path in (arguments.scores, arguments.features)
    }
    write_json(arguments.index, index)
    return {"clips": len(facts["clips"]), "device": str(device_of(settings.compute))}


def device_of(compute: Compute) -> torch.device:
    """The GPU where there is one and the config does not forbid it."""
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise UserError("compute.device: 'cuda', but there is no GPU; take auto or cpu")
    on_gpu = compute.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def load_networks(weights: Weights, resolution: int, device: torch.device) -> Networks:
    """LPIPS and I3D where the config names their weights; UserError where these are wrong."""
    hashes: dict[str, str] = {}
    network = detector = None
    lpips_reason = detector_reason = ""
    if weights.lpips_backbone is None:
        lpips_reason = (
            "weights.lpips_backbone is not set: name a safetensors file of torchvision's AlexNet "
            "features there"
        )
    elif resolution < perceptual.MINIMUM_SIZE:
        lpips_reason = f"LPIPS needs {perceptual.MINIMUM_SIZE} pixels per side, not {resolution}"
    else:
        backbone = weights_path(weights.lpips_backbone, None, "weights.lpips_backbone")
        if weights.lpips_linear is None:
            raise UserError("weights.lpips_linear: missing; LPIPS needs its linear heads too")
        linear = weights_path(weights.lpips_linear, None, "weights.lpips_linear")
        hashes["weights.lpips_linear"] = sha256_of_file(linear)
        hashes["weights.lpips_backbone"] = sha256_of_file(backbone)
        network = perceptual.PerceptualDistance(backbone, linear).to(device)
    if weights.i3d is None:
        detector_reason = (
            "weights.i3d is not set: name the I3D weights (Kinetics-400, from scratch) there, "
            "as a path, or a URL with weights.i3d_sha256"
        )
    else:
        path = weights_path(weights.i3d, weights.i3d_sha256, "weights.i3d")
        variables = i3d.load_variables(path)
        i3d.check_manifest(variables, path)
        hashes["weights.i3d"] = sha256_of_file(path)
        detector = i3d.I3D(variables).to(device)
    return Networks(network, lpips_reason, detector, detector_reason, hashes)


def pairs(dataset: Path, predictions: Predictions) -> Iterator[Pair]:
    """Every prediction with the real clip that it is compared with, in the predictions' order."""
    facts = predictions.index
    context = facts["context_frames"]
    test = Clips(dataset, "test")
    own = test if facts["paired"] else Clips(dataset, "train")
    place = {clip: number for number, clip in enumerate(own.table["clip"])}
    unknown = [clip for clip in facts["clips"] if clip not in place]
    if unknown:
        raise UserError(
            f"{facts['row']}: predicts {unknown[0]}, which {dataset} does not hold; predict again"
        )
    if facts["paired"]:
        real_clips = [place[clip] for clip in facts["clips"]]
    else:
        real_clips = evaluation_clips(test, len(facts["clips"]))
    for number, (clip, real) in enumerate(zip(facts["clips"], real_clips, strict=True)):
        truth = own.truth(real) if facts["paired"] else None
        yield Pair(
            clip=clip,
            group=str(own.table["group"].iloc[place[clip]]),
            predicted=predictions.frames(number),
            predicted_context=own.frames(place[clip], 0, context),
            real=test.frames(real),
            mask=None if truth is None else torch.as_tensor(truth["mask"])[context:],
        )


def clip_features(pair: Pair, detector: i3d.I3D | None) -> dict[str, np.ndarray]:
    """Features of the first trajectory and of the real clip, of which there are enough frames.

    "motion" and "i3d" are of future frames only, "i3d_context" of context and future.
    """
    future = len(pair.real) - len(pair.predicted_context)
    sides = {
        "predicted": torch.cat([pair.predicted_context, pair.predicted[0]]),
        "real": pair.real,
    }
    features = {}
    for side, frames in sides.items():
        if future >= motion.MINIMUM_FRAMES:
            features[f"motion_{side}"] = motion.motion_features(frames[-future:]).numpy()
        for name, scored in {"i3d": frames[-future:], "i3d_context": frames}.items():
            if detector is not None and len(scored) >= i3d.MINIMUM_FRAMES:
                features[f"{name}_{side}"] = detector.features(scored[None])[0].cpu().numpy()
    return features


def row_index(facts: dict[str, Any], networks: Networks, groups: int) -> dict[str, Any]:
    """The row's index, less the hashes of its files."""
    copied = ("row", "kind", "seed", "dataset", "paired", "trajectories")
    shape = ("context_frames", "future_frames", "resolution")
    frames = facts["future_frames"]
    short = ""
    if frames < i3d.MINIMUM_FRAMES:
        short = f"I3D needs {i3d.MINIMUM_FRAMES} frames, and there are {frames} future frames"
    backbone = networks.perceptual.backbone if networks.perceptual else None
    detected = networks.detector is not None
    return {
        **{key: facts[key] for key in copied},
        "clips": len(facts["clips"]),
        "groups": groups,
        **{key: facts[key] for key in shape},
        "lpips": {
            "computed": backbone is not None,
            "reason": networks.perceptual_reason,
            "backbone": backbone or "",
        },
        "detector": {
            "computed": detected,
            "reason": short if detected else networks.detector_reason,
            "name": "i3d",
        },
        "protocol": {
            "name": "prediction",
            "split": facts["split"],
            "clips": len(facts["clips"]),
            "trajectories": facts["trajectories"],
            **{key: facts[key] for key in shape},
            **scoring.protocol(backbone),
            "features_of": "the first trajectory",
            "motion": motion.protocol(),
            "detector": i3d.protocol() if detected else None,
            "weights": networks.hashes,
            "seed": facts["seed"],
        },
    }


if __name__ == "__main__":
    main()
