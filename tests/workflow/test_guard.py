"""No stage reaches the network, and none loads a pickle: run under a guard, and read as source.

The command that people give by hand, `make weights`, is the exception: it may download what the
config names, and read the checkpoints of others, once.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from projects import GUARD, GUARD_LOG, ROOT, STAGES

from rsvp.runtime.code import import_closure

COMMAND = "rsvp.commands.weights"
# What only this command may import.
RESERVED = {"rsvp.metrics.download", "rsvp.metrics.foreign_weights"}
SOURCES = [*sorted((ROOT / "rsvp").rglob("*.py")), *sorted((ROOT / "workflow").glob("*.py"))]
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
NETWORK = {"socket", "urllib.request", "http", "http.client", "requests", "ssl", "ftplib", "pooch"}
CALLS = {
    "torch.load", "torch.jit.load", "torch.hub", "torch.save", "pd.read_pickle", "os.system",
    "os.popen", "np.lib.format", "eval", "exec", "yaml.load",
}  # fmt: skip


def suspicious(tree: ast.AST) -> Iterator[str]:
    """Yield the names in a source of what loads pickles, reaches the network or runs a shell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in PICKLES | NETWORK)
        elif isinstance(node, ast.ImportFrom):
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            yield from names & (PICKLES | NETWORK | CALLS)
        elif isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in CALLS:
            yield ast.unparse(node)
        elif isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
            yield from [f"{node.arg}="] if ast.unparse(node.value) != "False" else []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_names_nothing_suspicious(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = sorted(set(suspicious(ast.parse(path.read_text(encoding="utf-8")))))
    assert bool(found) == (module in RESERVED), found


def test_suspicious_things_are_found():
    lines = [
        "import pickle", "from joblib import load", "import http.client", "torch.load(f)",
        "from urllib import request", "np.load(f, allow_pickle=True)", "f(shell=True)",
        "os.system(x)", "from torch.jit import load", "from os import system", "eval(x)",
    ]  # fmt: skip
    assert all(list(suspicious(ast.parse(line))) for line in lines)


def test_only_the_command_for_weights_may_download_or_convert():
    assert len(STAGES) > 10
    for stage in sorted(STAGES):
        assert not import_closure(stage) & RESERVED, stage
    assert import_closure(COMMAND) >= RESERVED


ATTEMPTS = """
import multiprocessing, os, pickle, socket, urllib.request
import numpy as np, pandas as pd, torch

def unix():
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.listen()
    socket.socket(socket.AF_UNIX).connect("socket")

def pool():
    with multiprocessing.Pool(1) as processes:
        assert processes.map(os.path.basename, ["a/b"]) == ["b"]

pickle.dump(os.getcwd, open("a.pickle", "wb"))
np.save("a.npy", np.array([print], dtype=object), allow_pickle=True)
pd.DataFrame({"a": [1]}).to_pickle("b.pickle")
torch.save(torch.zeros(1), "a.pt")
attempts = {
    "connect": lambda: socket.socket().connect_ex(("127.0.0.1", 9)),
    "resolve": lambda: socket.create_connection(("localhost", 9)),
    "old resolve": lambda: socket.gethostbyname("localhost"),
    "datagram": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("127.0.0.1", 9)),
    "url": lambda: urllib.request.urlopen("http://localhost:9"),
    "pickle": lambda: pickle.load(open("a.pickle", "rb")),
    "numpy": lambda: np.load("a.npy", allow_pickle=True),
    "pandas": lambda: pd.read_pickle("b.pickle"),
    "torch": lambda: torch.load("a.pt", weights_only=True),
    "unix socket": unix,
    "own processes": pool,
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name)
    except (OSError, urllib.error.URLError) as error:
        assert "refused by the guard" in str(error), error
"""


def test_guard_refuses_network_and_pickles_and_lets_own_processes_speak(tmp_path):
    log = tmp_path / GUARD_LOG
    env = os.environ | {"PYTHONPATH": str(GUARD), "RSVP_GUARD_LOG": str(log)}
    (tmp_path / "attempts.py").write_text(ATTEMPTS)
    command = [sys.executable, "attempts.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["unix socket", "own processes"]
    assert refusals(log) == ["attempts.py"] * 9


def refusals(log: Path) -> list[str]:
    """Return the refused in order: the beginning of each process's command line."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return [line.rpartition(" by ")[2] for line in lines if line.startswith("refused ")]


GENERATED = {
    "datasets": {
        "tiny": {
            "source": "generated",
            "resolution": 32,
            "generated": {
                "train_videos": 1,
                "validation_videos": 1,
                "test_videos": 1,
                "frames": 16,
            },
        }
    },
    "autoencoders": {"a": {"dataset": "tiny"}},
    "predictors": {"a": {"autoencoder": "a"}},
    "report": {"predictors": ["a"]},
}
INJECTED = {
    "nothing": "",
    "a connection": "import socket; socket.create_connection(('127.0.0.1', 9))",
    "a pickle": "import os, pickle; pickle.loads(pickle.dumps(os.getcwd))",
}


@pytest.mark.parametrize("what", INJECTED)
def test_stage_is_stopped_that_tries(project, what):
    (project.folder / "config.yaml").write_text(yaml.safe_dump(GENERATED))
    first = "    generated = settings.dataset.generated\n"
    project.edit("rsvp/stages/generate_videos.py", first, f"{first}    {INJECTED[what]}\n")
    log = project.folder / GUARD_LOG
    answer = project.snakemake("datasets/tiny/videos/index.json", guard_log=log)
    assert (answer.code == 0) == (what == "nothing"), answer.text
    assert "watched by -m rsvp.stages.generate_videos" in log.read_text().splitlines()
    assert refusals(log) == ([] if what == "nothing" else ["-m rsvp.stages.generate_videos"])
