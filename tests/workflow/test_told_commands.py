"""`make docs-test`: each command of README and docs runs in a folder with small videos.

Trainings of days are dry runs. What needs a network, a GPU, a cluster or an editor is listed below,
and is run as far as it goes without: by a dry run, by `make -n`, by its shell's parser.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from projects import ROOT, copy_project
from test_docs import PAGES, lines_told
from tiny import write_lossless

pytestmark = pytest.mark.docs
SHRUNK = {  # what makes the tutorial's config run in a minute
    "datasets": {"videos": {"resolution": 32, "clip_stride": 16}},
    "autoencoders": {"rsvp": {
        "width": 16, "latent_copies": 1, "pretrain": {"steps": 3, "batch_size": 2},
        "finetune": {"steps": 2, "batch_size": 2, "validate_every": 1},
    }},
    "predictors": {"rsvp-m": {
        "denoiser": {"width": 32, "depth": 1, "heads": 2}, "steps": 3, "batch_size": 2,
    }},
    "compute": {"device": "cpu", "threads": 1},
    "evaluation": {"trajectories": 2, "bootstrap": 20, "videos": 1, "baselines": ["copy-last"]},
}  # fmt: skip
STAND_INS = [  # pattern of a command, and what is run in its place; the first that fits
    (r"make (demo|test|weights)\b.*", r"\g<0> -n"),  # networks, hours: its recipe is printed
    (r"nano (.*)", r"test -f \1"),
    (r"trap .*|wait|snakemake --cores 32 &", r"bash -n <<'E'\n\g<0>\nE"),
    (r"pip install rsvp-(\S+)-py3-none-any.whl", r"""grep 'version = "\1"' pyproject.toml"""),
    (r"pip install (.*)", r"python -m pip install --dry-run --quiet --no-deps \1"),
    (r"snakemake --workflow-profile slurm.*", r"snakemake -n --configfile mine.yaml"),
    (r"snakemake .*(-lpips|ucf101-three)\.yaml .*",
     r"(\g<0> -n || true) 2>&1 | grep 'make weights CONFIG'"),
    (r"(snakemake .*(configs/|cool.yaml|--forcerun).*)", r"\1 -n"),
    (r"rsvp weights --convert (\S+) .*", r"rsvp weights --help | grep -q convert"),
    (r"RSVP_I3D=\S+ (.*)", r"\1 --collect-only -q"),
    (r"rm -r results/(.*)", r"test -d results/videos/\1"),
    (r"rsvp inspect (.*)", r"rm -f mine.yaml && \g<0>"),
    (r"(\w+ \S+ seed 0: .*)", r"true # what a command printed: \1"),
]  # fmt: skip


def merge(values: dict, more: dict) -> dict:
    """Values with more in their sections."""
    both = {key: merge(values[key], more[key]) for key in values.keys() & more.keys()
            if isinstance(more[key], dict)}  # fmt: skip
    return values | more | both


def clip(seed: int) -> np.ndarray:
    """A bright square that moves over a texture, (20, 48, 64, 3) uint8."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 100, (1, 48, 64, 3), dtype=np.uint8), 20, axis=0)
    for time, frame in enumerate(frames):
        frame[10:24, 4 + 2 * time : 18 + 2 * time] = 150 + 5 * (seed % 20)
    return frames


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A copy of the project with all files that the commands name."""
    folder = copy_project(tmp_path_factory.mktemp("docs") / "rsvp").folder
    for name in ("Makefile", "pyproject.toml", "README.md", "tests", "benchmarks", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    for group in range(12):
        write_lossless(folder / f"videos/moving/v_moving_g{group:02}_c01.avi", clip(group))
    write_lossless(folder / "holiday.mp4.mkv", clip(99))
    (folder / "holiday.mp4.mkv").rename(folder / "holiday.mp4")
    lists = folder / "data/ucfTrainTestlist"
    lists.mkdir(parents=True)
    for name, groups in (("trainlist01.txt", range(6, 12)), ("testlist01.txt", range(6))):
        text = "".join(f"moving/v_moving_g{group:02}_c01.avi 1\n" for group in groups)
        (lists / name).write_text(text)
    shutil.copytree(folder / "videos", folder / "data/UCF-101")
    shutil.copytree(folder / "data/UCF-101", folder / "videos/ucf101-mini")
    shutil.copytree(lists, folder / "videos/ucfTrainTestlist")
    (folder / "cool.yaml").write_text("predictors: {rsvp-m: {sampler: {temperature: 0.3}}}\n")
    return folder


def sh(folder: Path, command: str) -> str:
    """Return what a command prints; it has to end with 0."""
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=folder, text=True, timeout=1800,
        env=os.environ | {"PATH": paths, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def trained(world) -> Path:
    """The same after the README's way from videos to a predictor, and clips to compare."""
    sh(world, "rsvp inspect videos --config mine.yaml")
    values = yaml.safe_load((world / "mine.yaml").read_text())
    (world / "small.yaml").write_text(yaml.safe_dump(merge(values, SHRUNK)))
    sh(world, "cp small.yaml mine.yaml && rsvp run --configfile mine.yaml")
    sh(world, "cp -r results/videos/predictors/rsvp-m/seed0/bundle bundle")
    sh(world, "rsvp export results/videos/datasets/videos/index.json --out real")
    sh(world, "rsvp export results/videos/predictions/rsvp-m/seed0 --out mine")
    for path in world.glob("mine/trajectory*/**/*.npy"):  # with the frames that were observed
        real = world.joinpath("real", *path.relative_to(world / "mine").parts[1:])
        np.save(path, np.concatenate([np.load(real)[:4], np.load(path)]))
    sh(world, "cp -r mine futures && cp -r mine/trajectory0 a && cp -r mine/trajectory1 b")
    for letter, number in (("a", 0), ("b", 1)):  # both trajectories of each clip in one folder
        for path in world.glob(f"{letter}/**/*.npy"):
            own = world / "published" / path.relative_to(world / letter)
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, own.with_name(f"{own.stem}_s{number}.npy"))
    return world


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_of_a_page_runs(trained, page):
    for command in lines_told(page):
        for made in ("continued", "scores"):
            shutil.rmtree(trained / made, ignore_errors=True)
        for pattern, instead in STAND_INS:
            if re.fullmatch(pattern, command):
                command = re.sub(pattern, instead, command, count=1)
                break
        sh(trained, command.replace("/data/", f"{trained}/data/"))
        shutil.copy2(trained / "small.yaml", trained / "mine.yaml")  # which a page copies anew


def test_what_the_predictor_made_is_there(trained):
    sh(trained, "rsvp predict holiday.mp4 --predictor bundle --out continued")
    assert sorted(path.name for path in (trained / "continued").iterdir()) == [
        "holiday.mp4", "trajectory0", "trajectory1", "trajectory2", "trajectory3"
    ]  # fmt: skip
