"""The pretrained networks of the metrics, or the reason where their weights are missing."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from rsvp.config.schema import FETCH, LPIPS_KEYS, Compute, Weights
from rsvp.metrics import i3d, perceptual
from rsvp.metrics.detectors import Detector, load_program
from rsvp.runtime.device import device_of
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import sha256_of_file

Network = TypeVar("Network")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded(Generic[Network]):
    """A network, or None and the reason with the way out."""

    network: Network | None
    reason: str = ""
    hashes: dict[str, str] = field(default_factory=dict)  # config key -> SHA-256 of the file

    def metadata(self, attribute: str) -> dict[str, Any]:
        """Return whether it is there, the reason if not, and an attribute of it."""
        found = getattr(self.network, attribute, None)
        return {"computed": self.network is not None, "reason": self.reason, attribute: found}


@dataclass(frozen=True)
class Networks:
    """LPIPS, and the detectors that the config names, by name."""

    perceptual: Loaded[perceptual.PerceptualDistance]
    loaded: Mapping[str, Loaded[Detector]]

    @property
    def detectors(self) -> dict[str, Detector]:
        """The detectors whose files are there."""
        return {
            name: item.network for name, item in self.loaded.items() if item.network is not None
        }

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of the detectors' files, by config key."""
        return {key: value for item in self.loaded.values() for key, value in item.hashes.items()}


def start_measuring(compute: Compute) -> torch.device:
    """Set the threads that the config fixes, and return the device.

    Every stage that measures takes as many, so that both sides of a distance are rounded alike.
    """
    torch.set_num_threads(compute.threads)
    return device_of(compute)


def load_networks(
    weights: Weights, device: torch.device, size: tuple[int, int] | None = None
) -> Networks:
    """Load LPIPS and the detectors; log the reason for each that is missing.

    weights: its values are local paths, as `config.stage_settings` gives them. UserError where a
    file is not the network that it should be. size: as for `load_perceptual`; None: no LPIPS.
    """
    distance = load_perceptual(weights, size, device) if size else Loaded(None)
    loaded = {"i3d": load({"weights.i3d": weights.i3d}, lambda path: i3d.load_i3d(path).to(device))}
    for name, detector in weights.detectors.items():
        key = f"weights.detectors.{name}"
        if not Path(detector.program).is_file():
            raise UserError(f"{key}.program: {detector.program}: no such file; correct the path")
        files = {f"{key}.program": detector.program}
        files |= {f"{key}.weights": detector.weights} if detector.weights else {}
        loaded[name] = load(files, partial(load_program, device=device))
    return Networks(distance, loaded)


def load_perceptual(
    weights: Weights, size: tuple[int, int], device: torch.device
) -> Loaded[perceptual.PerceptualDistance]:
    """Load LPIPS for frames of a size (height, width); UserError for wrong weights."""
    if min(size) < (least := perceptual.MINIMUM_SIZE):
        return not_computed(f"LPIPS needs {least} pixels per side, not {min(size)}")
    files = {f"weights.{key}": getattr(weights, key) for key in LPIPS_KEYS}

    def make(*paths: Path) -> perceptual.PerceptualDistance:
        network = perceptual.PerceptualDistance(*paths)
        return network.to(device, memory_format=torch.channels_last)  # as stored frames lie

    return load(files, make)


def load(files: Mapping[str, str | None], make: Callable[..., Network]) -> Loaded[Network]:
    """Make a network of the paths of its files, by config key, where all are there."""
    for key, path in files.items():
        if not path:
            return not_computed(f"{key} is not set; docs/weights.md says where to get it")
        if not Path(path).is_file():
            return not_computed(f"{key} is not there yet; {FETCH}")
    paths = {key: Path(path) for key, path in files.items() if path}
    hashes = {key: sha256_of_file(path) for key, path in paths.items()}
    return Loaded(make(*paths.values()), "", hashes)


def not_computed(reason: str) -> Loaded:
    """Log the reason why there is no network, and return it."""
    logger.info("not computed: %s", reason)
    return Loaded(None, reason)
