"""Download the pretrained networks that a config names by URL, or convert a file that you have.

A file that is there already is left alone. Files in other formats become safetensors here, once, so
that nothing else has to read them: i3d_torchscript.pt (StyleGAN-V), i3d_pretrained_400.pt
(VideoGPT) or TF-Hub's archive of I3D; a checkpoint of torchvision's AlexNet, SqueezeNet 1.1 or
VGG16; the heads of LPIPS v0.1. Most of these hold pickles, and TorchScript is a program: take them
from where you trust them.
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from rsvp.config.load import load_measuring, read_yaml
from rsvp.config.schema import WeightsSource, is_url, weights_sources
from rsvp.metrics.download import download
from rsvp.metrics.files import read_weights
from rsvp.metrics.foreign_weights import convert
from rsvp.runtime.errors import UserError
from rsvp.runtime.main import run_command


def main() -> None:
    """Read the command line and run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=Path, default=Path("config.yaml"), help="default: config.yaml"
    )
    parser.add_argument(
        "--convert", type=Path, nargs=2, metavar=("SOURCE", "DESTINATION"),
        help="convert a published file to a safetensors file, and download nothing",
    )  # fmt: skip
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Convert one file and print its network, or download all that is missing."""
    if arguments.convert:
        source, destination = arguments.convert
        check_destination(destination)
        print(f"{destination}: {convert(source, destination)}")
    else:
        fetch_all(arguments.config)


def check_destination(destination: Path) -> None:
    """UserError unless a safetensors file may be written there."""
    if destination.suffix != ".safetensors":
        raise UserError(f"{destination}: the file to write must end in .safetensors")
    if destination.exists():
        raise UserError(f"{destination}: is there already; remove it, or name another")


def fetch_all(config: Path) -> None:
    """Download all files of a config that are missing, and print where each file is."""
    sources = {
        f"weights.{key}": source
        for key, source in weights_sources(load_measuring(read_yaml(config)).weights).items()
        if is_url(source.source)
    }
    if not sources:
        print(f"{config}: `weights` names no URL, so there is nothing to download")
    for key, source in sources.items():
        print(f"{key}: {fetch(key, source)}: {source.local}", flush=True)


def fetch(key: str, source: WeightsSource) -> str:
    """Make `source.local` from its URL's content; the answer says what was done."""
    local = Path(source.local).expanduser()
    if local.exists():
        return "there already"
    assert source.sha256 is not None  # the config's check
    local.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=local.parent) as folder:
        original = Path(folder, local.stem)
        download(source.source, original, source.sha256, key)
        if key.startswith("weights.detectors."):  # its program knows its content
            read_weights(original, key)
            os.replace(original, local)
            return "downloaded"
        return f"downloaded ({convert(original, local)})"


if __name__ == "__main__":
    main()
