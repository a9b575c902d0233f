"""Autoencoders by the kind that the config names."""

from pathlib import Path
from typing import Any

import torch

from rsvp.config.schema import Autoencoder as Settings
from rsvp.config.schema import own_keys, pick
from rsvp.models.autoencoders.base import ClipAutoencoder
from rsvp.models.autoencoders.frame import FrameAutoencoder
from rsvp.models.autoencoders.rsvp import Autoencoder
from rsvp.models.autoencoders.rsvp_joint import JointAutoencoder
from rsvp.models.autoencoders.triplane import TriplaneAutoencoder
from rsvp.models.bundle import read_bundle

KINDS: dict[str, type[ClipAutoencoder]] = {
    "rsvp": Autoencoder,
    "joint": JointAutoencoder,
    "triplane": TriplaneAutoencoder,
    "frames": FrameAutoencoder,
}


def autoencoder_arguments(settings: Settings) -> dict[str, Any]:
    """The kind and its constructor's arguments, as JSON values."""
    arguments = pick(settings, ("kind", "width", *own_keys(settings)))
    if "regulariser" in arguments:
        arguments["regulariser"] = pick(
            settings.regulariser, ("kind", *own_keys(settings.regulariser))
        )
    return arguments


def make_autoencoder(kind: str, **arguments: Any) -> ClipAutoencoder:
    """A fresh autoencoder from what `autoencoder_arguments` gives."""
    return KINDS[kind](**arguments)


def load_autoencoder(index: Path) -> ClipAutoencoder:
    """The trained autoencoder that an index names, in evaluation mode."""
    tensors, facts = read_bundle(index)
    autoencoder = make_autoencoder(**facts["arguments"])
    autoencoder.load_state_dict(tensors)
    autoencoder = autoencoder.to(memory_format=torch.channels_last)
    return autoencoder.eval().requires_grad_(False)
