"""The oldest versions that rsvp works with: installs the lower bounds of pyproject.toml, and tests.

Each try is an environment of its own, in which all direct dependencies have their oldest allowed
version, and torch the one that is tried. The tests are those of networks, trainings and metrics,
and a tiny pipeline from the wheel. Versions are tried in the order given, until one fails:

    python -m benchmarks.oldest                         # the bounds as they are (`make soak`)
    python -m benchmarks.oldest --torch 2.8 2.6 2.4     # the oldest that passes

An environment with a torch for CUDA takes 6 GB for as long as it is tried.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TESTS = [
    f"tests/test_{name}.py"
    for name in ("autoencoder", "clip_autoencoders", "denoiser", "regularisers", "warping",
                 "adversarial", "run", "state", "samplers", "objectives", "predictor_bundle",
                 "watching", "perceptual", "i3d", "frame", "distribution", "observed", "decoding")
] + ["tests/workflow/test_wheel.py"]  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Try the versions, and exit with 1 where the first one fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", nargs="+", help="versions; default: that of pyproject.toml")
    parser.add_argument("--pins", nargs="*", default=[], metavar="NAME==VERSION",
                        help="of other packages, in place of their lower bounds")  # fmt: skip
    parser.add_argument("--tests", nargs="+", default=TESTS, help="files of pytest")
    parser.add_argument("--scratch", type=Path, help="folder for environments; default: temporary")
    arguments = parser.parse_args(words)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = lower_bounds(project["dependencies"])
    tools = project["optional-dependencies"]["dev"]  # of which any version will do
    bounds |= dict(pin.split("==") for pin in arguments.pins)
    passed = None
    for version in arguments.torch or [bounds["torch"]]:
        pins = bounds | {"torch": version}
        if arguments.torch:
            del pins["torchvision"]  # each names its torch
        begun = time.monotonic()
        failure = tried(pins, tools, arguments.tests, arguments.scratch)
        minutes = (time.monotonic() - begun) / 60
        print(f"torch {version}: {failure or 'passes'} ({minutes:.1f} min)", flush=True)
        if failure:
            break
        passed = version
    print(f"oldest that passes: torch {passed}")
    if passed is None:
        sys.exit(1)


def lower_bounds(requirements: Sequence[str]) -> dict[str, str]:
    """Return the oldest allowed version of each package."""
    parsed = map(Requirement, requirements)
    return {r.name: next(s.version for s in r.specifier if s.operator == ">=") for r in parsed}


def tried(
    pins: dict[str, str], tools: Sequence[str], tests: Sequence[str], scratch: Path | None
) -> str:
    """Install a set of versions and run the tests; return the line that says why not, or ""."""
    with tempfile.TemporaryDirectory(prefix="rsvp-oldest-", dir=scratch) as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = f"{folder}/bin/python"
        words = [*(f"{name}=={version}" for name, version in pins.items()), *tools]
        for command in (
            [python, "-m", "pip", "install", "--quiet", *words],
            [python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", str(ROOT)],
            [python, "-m", "pytest", "-n", "0", "-x", "-q", *tests],
        ):  # fmt: skip
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                lines = (done.stdout + done.stderr).strip().splitlines()
                said = [line for line in lines if line.startswith(("ERROR", "E  ", "FAILED"))]
                return " | ".join([*said[:3], *lines[-1:]])
    return ""


if __name__ == "__main__":
    main()
