"""What a run record says of the machine."""

import os
import platform
import subprocess
import sys
import textwrap
from importlib import metadata
from types import SimpleNamespace

import cv2  # noqa: F401  (what is loaded is recorded)
import pytest
import scipy  # noqa: F401
import torch

from rsvp.runtime.record import package_versions, run_record, torch_facts


def test_packages_that_make_numbers_are_recorded() -> None:
    assert {"torch", "numpy", "scipy", "opencv-python-headless"} <= set(package_versions())


@pytest.mark.parametrize(
    ("module", "package"),
    [("lpips", "lpips"), ("vector_quantize_pytorch", "vector-quantize-pytorch"), ("PIL", "pillow")],
)
def test_packages_that_some_stages_load_are_recorded_there(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    assert package not in package_versions()
    monkeypatch.setitem(sys.modules, module, SimpleNamespace())
    assert package_versions()[package] == metadata.version(package)


def test_threads_are_those_that_were_used() -> None:
    assert run_record("rsvp.stages.split", {}, None)["threads"] == torch.get_num_threads()


def test_what_ran_without_torch_has_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert torch_facts() == {}


@pytest.mark.parametrize("used", [0, 3 * 2**20])
def test_a_gpu_is_recorded_where_it_was_used(monkeypatch: pytest.MonkeyPatch, used: int) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True,
        max_memory_allocated=lambda: used,
        get_device_name=lambda: "NVIDIA H100",
    )
    fake = SimpleNamespace(get_num_threads=lambda: 4, cuda=cuda)
    monkeypatch.setitem(sys.modules, "torch", fake)
    gpu = {"gpu": "NVIDIA H100", "gpu_peak_memory_mb": 3.0} if used else {}
    assert torch_facts() == {"threads": 4} | gpu


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's allocator")
def test_freed_memory_is_used_again():
    """A large tensor's pages are not faulted in anew each time that it is made."""
    code = """
        import resource, sys, torch
        from rsvp.stage import keep_freed_memory
        if "keep" in sys.argv:
            keep_freed_memory()
        faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        make = lambda: torch.zeros(16 * 2**20)
        make(), make()
        before = faults()
        for _ in range(8):
            make()
        print(faults() - before)
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
    from rsvp.errors import UserError
    from rsvp.files import write_json
    from rsvp.stage import run_stage, stage_parser

    class Loaded:
        def __del__(self):
            print("taken apart")

    def who_works_here():
        try_it = "from rsvp.resume import hold; from pathlib import Path; hold(Path('.'), 'split')"
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
