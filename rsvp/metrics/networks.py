"""The pretrained networks of the metrics, or the reason where their weights are missing."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from rsvp.config.schema import FETCH, LPIPS_KEYS, Compute, Weights
from rsvp.metrics import i3d, perceptual
from rsvp.metrics.detectors import Detector, load_program
from rsvp.runtime.device import device_of
from rsvp.runtime.files import sha256_of_file

Network = TypeVar("Network")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded(Generic[Network]):
    """A network, or None and the reason with the way out."""

    network: Network | None
    reason: str = ""
    hashes: dict[str, str] = field(default_factory=dict)  # config key -> SHA-256 of the file


@dataclass(frozen=True)
class Detectors:
    """The detectors that the config names."""

    loaded: Mapping[str, Loaded[Detector]]  # by name

    @property
    def present(self) -> dict[str, Detector]:
        """The detectors whose files are there, by name."""
        return {
            name: item.network for name, item in self.loaded.items() if item.network is not None
        }

    @property
    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of all their files, by config key."""
        return {key: value for item in self.loaded.values() for key, value in item.hashes.items()}

    def metadata(self) -> dict[str, dict[str, Any]]:
        """Return, by name, whether it is there, the reason if not, and the frames it needs."""
        return {
            name: {
                "computed": item.network is not None,
                "reason": item.reason,
                "minimum_frames": item.network.minimum_frames if item.network else None,
            }
            for name, item in self.loaded.items()
        }


@dataclass(frozen=True)
class Networks:
    """All pretrained networks that measure."""

    perceptual: Loaded[perceptual.PerceptualDistance]
    detectors: Detectors


def load_networks(weights: Weights, resolution: int, device: torch.device) -> Networks:
    """Load LPIPS and the detectors; log the reason for each that is missing.

    weights: its values are local paths, as `config.stage_settings` gives them.
    """
    distance = load_perceptual(weights, resolution, device)
    return Networks(distance, load_detectors(weights, device))


def start_measuring(compute: Compute) -> torch.device:
    """Set the threads that the config fixes, and return the device.

    Every stage that measures takes as many, so that both sides of a distance are rounded alike.
    """
    torch.set_num_threads(compute.threads)
    return device_of(compute)


def load_perceptual(
    weights: Weights, resolution: int, device: torch.device
) -> Loaded[perceptual.PerceptualDistance]:
    """Load LPIPS for frames of `resolution` pixels per side; UserError for wrong weights."""
    if reason := missing(weights, *LPIPS_KEYS):
        return _not_computed(reason)
    if resolution < perceptual.MINIMUM_SIZE:
        least = perceptual.MINIMUM_SIZE
        return _not_computed(f"LPIPS needs {least} pixels per side, not {resolution}")
    paths = {key: Path(getattr(weights, key)) for key in LPIPS_KEYS}
    network = perceptual.PerceptualDistance(paths["lpips_backbone"], paths["lpips_linear"])
    hashes = {f"weights.{key}": sha256_of_file(path) for key, path in paths.items()}
    return Loaded(network.to(device), "", hashes)


def load_detectors(weights: Weights, device: torch.device) -> Detectors:
    """Load I3D and the config's own detectors; UserError where one does not work."""
    loaded = {"i3d": load_i3d(weights, device)}
    for name, detector in weights.detectors.items():
        key = f"weights.detectors.{name}"
        if detector.weights and not Path(detector.weights).is_file():
            loaded[name] = _not_computed(f"{key}.weights is not there yet; {FETCH}")
            continue
        files = {"program": Path(detector.program)}
        if detector.weights:
            files["weights"] = Path(detector.weights)
        network = load_program(files["program"], files.get("weights"), device)
        hashes = {f"{key}.{part}": sha256_of_file(path) for part, path in files.items()}
        loaded[name] = Loaded(network, "", hashes)
    return Detectors(loaded)


def load_i3d(weights: Weights, device: torch.device) -> Loaded[Detector]:
    """Load I3D; UserError where the file is not the network of the FVD literature."""
    if reason := missing(weights, "i3d"):
        return _not_computed(reason)
    path = Path(weights.i3d)
    variables = i3d.load_variables(path)
    i3d.check_manifest(variables, path)
    return Loaded(i3d.I3D(variables).to(device), "", {"weights.i3d": sha256_of_file(path)})


def missing(weights: Weights, *keys: str) -> str:
    """Return the reason why a network has no file; empty where all of `keys` are there."""
    for key in keys:
        path = getattr(weights, key)
        if not path:
            return f"weights.{key} is not set; docs/weights.md says where to get it"
        if not Path(path).is_file():
            return f"weights.{key} is not there yet; {FETCH}"
    return ""


def _not_computed(reason: str) -> Loaded[Any]:
    """Log the reason why there is no network, and return it."""
    logger.info("not computed: %s", reason)
    return Loaded(None, reason)
