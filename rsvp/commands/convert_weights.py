"""Turn published weights into the safetensors that rsvp reads. What they are shows by itself.

From: i3d_torchscript.pt (StyleGAN-V), i3d_pretrained_400.pt (VideoGPT) or TF-Hub's archive of I3D;
a checkpoint of torchvision's AlexNet, SqueezeNet 1.1 or VGG16; the heads of LPIPS v0.1. These hold
pickles, most of them, and TorchScript is a program: take them from where you trust them.
"""

import argparse
from pathlib import Path

from rsvp.metrics.foreign_weights import convert
from rsvp.runtime.errors import UserError
from rsvp.runtime.main import run_command


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the file as it was published")
    parser.add_argument("destination", type=Path, help="the safetensors file to write")
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Convert one file, and say what it is."""
    if arguments.destination.suffix != ".safetensors":
        raise UserError(f"{arguments.destination}: the file to write must end in .safetensors")
    if arguments.destination.exists():
        raise UserError(f"{arguments.destination}: is there already; remove it, or name another")
    print(f"{arguments.destination}: {convert(arguments.source, arguments.destination)}")


if __name__ == "__main__":
    main()
