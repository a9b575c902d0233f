"""The machine in a run record."""

import ast
import os
import platform
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import cv2  # noqa: F401  (what is loaded is recorded)
import pytest
import scipy  # noqa: F401
import torch

from rsvp.runtime.record import (
    loaded_packages,
    run_record,
    running_versions,
    save_usage,
    torch_metadata,
    total_usage,
)


def test_packages_that_make_numbers_are_recorded() -> None:
    assert {"torch", "numpy", "scipy", "opencv-python-headless"} <= set(loaded_packages())


@pytest.mark.parametrize(
    ("module", "package"),
    [("lpips", "lpips"), ("vector_quantize_pytorch", "vector-quantize-pytorch"), ("PIL", "pillow")],
)
def test_packages_that_some_stages_load_are_recorded_there(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    assert package not in loaded_packages()
    monkeypatch.setitem(sys.modules, module, SimpleNamespace())
    assert running_versions(loaded_packages())[package] == metadata.version(package)


def test_threads_are_those_that_were_used() -> None:
    assert (
        run_record({}, {"roots": ["rsvp.stages.split"], "code": None})["threads"]
        == torch.get_num_threads()
    )


def test_what_ran_without_torch_has_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert torch_metadata() == {}


@pytest.mark.parametrize("used", [0, 3 * 2**20])
def test_a_gpu_is_recorded_where_it_was_used(monkeypatch: pytest.MonkeyPatch, used: int) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True,
        max_memory_allocated=lambda: used,
        get_device_name=lambda: "NVIDIA H100",
    )
    fake = SimpleNamespace(get_num_threads=lambda: 4, cuda=cuda)
    monkeypatch.setitem(sys.modules, "torch", fake)
    gpu = {"gpu": "NVIDIA H100"} if used else {}
    assert torch_metadata() == {"threads": 4} | gpu
    assert save_usage(None)[0].get("gpu_peak_memory_mb") == (3.0 if used else None)


def test_gpu_memory_is_that_of_the_run_that_took_most() -> None:
    runs = [{"started": "2026-01-01T00:00:00+00:00", "seconds": 1.5} for _ in range(3)]
    for run, peak in zip(runs, (7.0, 3.0), strict=False):
        run["gpu_peak_memory_mb"] = peak
    total = total_usage(runs)
    assert (total["gpu_peak_memory_mb"], total["seconds"], total["processes"]) == (7.0, 4.5, 3)


USAGE = """
    import sys, time
    from pathlib import Path
    from rsvp.runtime.record import save_usage, total_usage
    big = b"1" * int(sys.argv[1])
    time.sleep(0.1)
    print(total_usage(save_usage(Path("state"))))
"""


def test_usage_is_that_of_all_processes_of_a_stage(tmp_path: Path) -> None:
    """A killed run of much memory, then a small one: seconds are summed, the peak stays."""
    (tmp_path / "state").mkdir()
    first, both, anew = (ast.literal_eval(run_usage(tmp_path, size)) for size in (2**28, 1, 1))
    assert first["processes"] == 1 and both["processes"] == 2 and anew["processes"] == 3
    assert both["seconds"] > first["seconds"] > 0
    assert first["peak_memory_mb"] > 256
    assert both["peak_memory_mb"] == first["peak_memory_mb"]
    assert both["started"] == first["started"]


def run_usage(folder: Path, size: int) -> str:
    command = [sys.executable, "-c", textwrap.dedent(USAGE), str(size)]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True).stdout


def test_memory_of_children_counts() -> None:
    code = """
        import subprocess, sys
        from rsvp.runtime.record import peak_memory_mb
        subprocess.run([sys.executable, "-c", "big = b'1' * 2**29"])
        print(peak_memory_mb())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert float(subprocess.run(command, capture_output=True, text=True).stdout) > 512


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's allocator")
def test_freed_memory_is_used_again():
    """A large tensor's pages are not faulted in anew each time that a command makes it."""
    code = """
        import argparse, resource, sys, torch
        from rsvp.runtime.main import run_command
        faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        make = lambda: torch.zeros(16 * 2**20)

        def run(_):
            # The heap grows a few times before it holds all that one tensor needs: until it rests.
            rested = 0
            for _ in range(30):
                before = faults()
                make()
                rested = rested + 1 if faults() - before < 10 else 0
                if rested == 3:
                    break
            before = faults()
            for _ in range(8):
                make()
            print(faults() - before)

        if "keep" in sys.argv:
            sys.argv.remove("keep")
            run_command(argparse.ArgumentParser(), run)
        run(None)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    plain, kept = (
        int(subprocess.run([*command, word], capture_output=True, check=True, text=True).stdout)
        for word in ("", "keep")
    )
    assert kept < 100 < plain


STAGE = """
    import atexit, subprocess, sys
    from pathlib import Path
    from rsvp.runtime.errors import UserError
    from rsvp.runtime.files import write_json
    from rsvp.runtime.main import run_stage, stage_parser

    class Loaded:
        def __del__(self):
            print("taken apart")

    def who_works_here():
        try_it = "from rsvp.runtime.lock import *; lock_folder(Path('.'), 1.0)"
        other = subprocess.run([sys.executable, "-c", try_it], stderr=subprocess.PIPE, text=True)
        print("cleaned up,", "held" if "another run works here" in other.stderr else other)

    def run(parsed, settings):
        print("printed", end=" and ")
        match parsed.how:
            case "fails":
                raise ValueError("broken")
            case "refuses":
                raise UserError("no such video")
            case "is stopped":
                raise SystemExit(143)

    loaded = Loaded()
    atexit.register(who_works_here)
    write_json(Path("settings.json"), {})
    parser = stage_parser(None)
    parser.prog = "rsvp.stages.split"
    parser.add_argument("--how")
    run_stage(parser, run)
"""


@pytest.mark.parametrize(
    ("how", "code"), [("works", 0), ("fails", 1), ("refuses", 2), ("is stopped", 143)]
)
def test_a_stage_keeps_its_folder_to_the_end(tmp_path, how, code):
    """However it ends: what is to be done at the end is done while nobody else can work there,
    what was printed arrives, and no module is taken apart."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    flags = ("--settings", "settings.json", "--record", "run.json", "--how", how)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STAGE), *flags],
        capture_output=True, text=True, env=buffered, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "printed and cleaned up, held\n"), done.stderr
    assert (tmp_path / "run.json").exists() == (how == "works")
