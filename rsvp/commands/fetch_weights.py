"""Download the pretrained networks that a config names by URL: `make weights`.

What is there already is left alone, what was broken off is continued. Files in other formats (a
pickled checkpoint, TF-Hub's archive) are turned into safetensors here, once, so that nothing else
has to read them.
"""

import argparse
import fcntl
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from rsvp.config.load import load_measuring
from rsvp.config.schema import WeightsSource, is_url, weights_sources
from rsvp.metrics.download import download
from rsvp.metrics.foreign_weights import convert
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_yaml
from rsvp.runtime.main import run_command


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=Path, default=Path("config.yaml"), help="default: config.yaml"
    )
    run_command(parser, run)


def run(arguments: argparse.Namespace) -> None:
    """Fetch what is missing, and say what is where. Two that run at once wait for each other."""
    weights = load_measuring(read_yaml(arguments.config)).weights
    sources = {
        f"weights.{key}": source
        for key, source in weights_sources(weights).items()
        if is_url(source.source)
    }
    if not sources:
        print(f"{arguments.config}: `weights` names no URL, so there is nothing to download")
        return
    folder = Path(weights.folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for key, source in sources.items():
            print(f"{key}: {fetch(key, source)}: {source.local}", flush=True)


def fetch(key: str, source: WeightsSource) -> str:
    """Make `source.local` out of what its URL holds; the answer is what was done."""
    local = Path(source.local).expanduser()
    if local.exists():
        return "there already"
    assert source.sha256 is not None  # the config's check
    original = local.with_suffix(".download")
    download(source.source, original, source.sha256, key)
    try:
        if key.startswith("weights.detectors."):  # what is in it, its program knows
            check_safetensors(original, key)
            os.replace(original, local)
            return "downloaded"
        return f"downloaded ({convert(original, local)})"
    finally:
        original.unlink(missing_ok=True)


def check_safetensors(path: Path, key: str) -> None:
    """UserError where a file is not safetensors."""
    try:
        with safe_open(path, "np"):
            pass
    except SafetensorError as error:
        raise UserError(
            f"{key}: not safetensors ({error}); convert it, and name the path"
        ) from None


if __name__ == "__main__":
    main()
