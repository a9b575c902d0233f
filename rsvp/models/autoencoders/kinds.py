"""Autoencoders by the kind that the config names. A kind's module is loaded when it is used.

So a stage's code holds the kind that its config names, and no other. Loads without torch.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsvp.config.schema import Autoencoder as Settings
from rsvp.config.schema import own_keys, pick

if TYPE_CHECKING:
    from rsvp.models.autoencoders.base import ClipAutoencoder

KINDS = {  # the module beside this one, and its class
    "rsvp": ("rsvp", "RsvpAutoencoder"),
    "joint": ("rsvp_joint", "JointAutoencoder"),
    "triplane": ("triplane", "TriplaneAutoencoder"),
    "frames": ("frame", "FrameAutoencoder"),
}


def kind_module(kind: str) -> str:
    """Return the name of the module that defines a kind."""
    return f"{__package__}.{KINDS[kind][0]}"


def autoencoder_arguments(settings: Settings, colours: int = 3) -> dict[str, Any]:
    """Return the kind and its constructor's arguments for frames of so many channels, as JSON."""
    arguments = pick(settings, ("kind", "width", *own_keys(settings)))
    if "regulariser" in arguments:
        arguments["regulariser"] = pick(
            settings.regulariser, ("kind", *own_keys(settings.regulariser))
        )
    # What goes without saying is left out: autoencoders of earlier versions start others, too.
    if arguments.get("ablation") is None:
        arguments.pop("ablation", None)
    return arguments if colours == 3 else arguments | {"colours": colours}


def make_autoencoder(kind: str, **arguments: Any) -> "ClipAutoencoder":
    """Return a fresh autoencoder from what `autoencoder_arguments` gives."""
    return getattr(import_module(kind_module(kind)), KINDS[kind][1])(**arguments)


def load_autoencoder(index: Path) -> "ClipAutoencoder":
    """Return the trained autoencoder that an index names, in evaluation mode."""
    import torch

    from rsvp.models.bundle import read_bundle

    tensors, metadata = read_bundle(index)
    autoencoder = make_autoencoder(**metadata["arguments"])
    autoencoder.load_state_dict(tensors)
    autoencoder = autoencoder.to(memory_format=torch.channels_last)
    return autoencoder.eval().requires_grad_(False)
