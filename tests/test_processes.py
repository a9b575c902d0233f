"""One training over several processes: the bits of one, and an end for all."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from rsvp.config.load import load
from rsvp.config.stages import read_settings, stage_settings
from rsvp.runtime import followers
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import read_json, write_json
from rsvp.runtime.followers import CALLED_ON, NODES, PROCESSES
from rsvp.runtime.journal import SAVE_SECONDS
from rsvp.runtime.lock import STARTER
from rsvp.training.processes import Processes, launch
from tests import squares
from tests.together import KILLED, run_calibrated, run_killed, run_stages, together

CONTEXT, FUTURE, SIZE = 2, 4, 32
SPLITS = ["train"] * 6 + ["validation"] * 2
STEPS, PARTS = 4, 4
ADVERSARIAL = {
    "adaptive_weight": True, "augment": "ada", "ada_target": 0.001, "ada_clips": 8,
    "regularisation": "r1", "r1_every": 2, "sliced_wasserstein": 1.0,
}  # fmt: skip
KINDS = {
    "joint": {"kind": "joint", "finetune": ADVERSARIAL},
    "kl": {"kind": "triplane", "regulariser": {"kind": "kl"}},
    "vq": {"kind": "frames", "regulariser": {"kind": "vq", "codes": 16},
           "contexts": ["back", "none"], "finetune": ADVERSARIAL},
}  # fmt: skip


def config(kind, steps=STEPS):
    """A small autoencoder and its predictor, in batches that four parts cannot share evenly."""
    training = {"steps": steps, "batch_size": 5, "target_frames": 2}
    own = {"dataset": "d", "width": 16, "pretrain": training | {"ema_decay": 0.9}} | KINDS[kind]
    own["finetune"] = (
        training | {"validate_every": 2, "discriminator_width": 8} | own.get("finetune", {})
    )
    dataset = {"path": "videos", "resolution": SIZE, "clip_frames": CONTEXT + FUTURE}
    dataset |= {"context_frames": CONTEXT, "contexts": {"back": {"last": 3}, "none": {}}}
    denoiser = {"width": 32, "depth": 1, "heads": 2, "frames_per_token": 2}
    predictor = {"autoencoder": "a", "steps": steps, "batch_size": 6, "drop_context": 0.3}
    return load({
        "datasets": {"d": dataset},
        "autoencoders": {"a": own},
        "predictors": {
            "p": predictor | {"denoiser": denoiser, "augment_latents": True},
            "simvp": {"kind": "simvp", "dataset": "d", "steps": steps, "batch_size": 5,
                      "simvp": {"width": 16, "translator_width": 16, "depth": 1}},
        },
        "compute": {"device": "cpu", "threads": 1, "micro_batches": PARTS},
        "report": {"predictors": ["p"]},
    })  # fmt: skip


def job(kind, stage, home, files, steps=STEPS):
    name = {"train_diffusion": "p", "train_simvp": "simvp"}.get(stage, "a")
    return stage, home / stage, stage_settings(config(kind, steps), stage, name), files


def jobs(kind, home, dataset, whole):
    """All stages of a kind, on what those in the folder `whole` made."""
    pretrained, finetuned, cached = (
        whole / stage / "index.json"
        for stage in ("pretrain_autoencoder", "finetune_autoencoder", "cache_latents")
    )
    return [
        job(kind, "pretrain_autoencoder", home, {"dataset": dataset}),
        job(kind, "finetune_autoencoder", home, {"dataset": dataset, "pretrained": pretrained}),
        job(kind, "cache_latents", home, {"dataset": dataset, "autoencoder": finetuned}),
        job(kind, "train_diffusion", home, {"latents": cached}),
        *([job(kind, "train_simvp", home, {"dataset": dataset})] if kind == "kl" else []),
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return squares.make_dataset(tmp_path_factory.mktemp("d"), SPLITS, CONTEXT, FUTURE, SIZE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, dataset):
    """The folder of each kind's stages, run by one process."""
    homes = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, home in homes.items():
        assert together(1, run_stages, jobs(kind, home, dataset, home)) == [0]
    return homes


@pytest.fixture(autouse=True)
def save_always(monkeypatch):
    monkeypatch.setenv(SAVE_SECONDS, "0")


def assert_same(home, other):
    """Compare weights, states and histories of a training, bit for bit."""
    states = [max((folder / "state").glob("state-*.safetensors")) for folder in (home, other)]
    assert states[0].name == states[1].name
    for paths in (states, [folder / "weights.safetensors" for folder in (home, other)]):
        found, expected = (load_file(path) for path in paths)
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert torch.equal(tensor, expected[name]), name
    tables = [pd.read_csv(f / "history.csv").drop(columns="seconds") for f in (home, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


TRAININGS = ("pretrain_autoencoder", "finetune_autoencoder", "train_diffusion")


@pytest.mark.parametrize(("kind", "count"), [("joint", 2), ("kl", 4), ("vq", 2), ("vq", 4)])
def test_several_processes_end_with_the_bits_of_one(tmp_path, dataset, whole, kind, count):
    """With R1, adaptive weight and augmentation, KL, codes, and several contexts among them."""
    trainings = [
        job for job in jobs(kind, tmp_path, dataset, whole[kind]) if job[0] != "cache_latents"
    ]
    assert together(count, run_stages, trainings) == [0] * count
    for stage, *_ in trainings:
        assert_same(tmp_path / stage, whole[kind] / stage)


@pytest.mark.parametrize("stage", TRAININGS)
def test_killed_processes_are_continued_by_another_number_of_them(tmp_path, dataset, whole, stage):
    """Also by as many parts as processes cannot share evenly."""
    (own,) = (job for job in jobs("vq", tmp_path, dataset, whole["vq"]) if job[0] == stage)
    for count, last in ((2, 1), (1, 2), (3, 3)):
        assert together(count, run_killed, [own], last) == [KILLED] * count
        saved = max((tmp_path / stage / "state").glob("state-*.safetensors"))
        assert int(saved.stem.rpartition("-")[2]) == last, "the next one goes on from here"
    assert together(1, run_stages, [own]) == [0]
    assert_same(tmp_path / stage, whole["vq"] / stage)


def test_a_calibration_is_of_all_processes(tmp_path, dataset):
    """The first one times and counts, and the others train as many steps."""
    stage, home, values, files = job("kl", "pretrain_autoencoder", tmp_path, {"dataset": dataset})
    budget = values["autoencoder"]["pretrain"]
    budget["seconds"] = 0.1 * budget.pop("steps")
    assert together(2, run_calibrated, [(stage, home, values, files)]) == [0, 0]
    (found,) = (read_json(path) for path in (home / "state").glob("calibration-*.json"))
    assert pd.read_csv(home / "history.csv")["step"].iloc[-1] == found["steps"]


def test_each_process_has_its_micro_batches():
    for count, parts in ((1, 1), (2, 5), (3, 4), (4, 4)):
        members = [Processes(parts, rank, count) for rank in range(count)]
        owned = [part for member in members for part in member.own(11)]
        assert owned == Processes(parts).own(11)
        assert [len(member.own(11)) for member in members] == members[0].shares


def test_more_processes_than_micro_batches_are_refused(monkeypatch):
    monkeypatch.setenv(PROCESSES, "5")
    settings = read_settings(stage_settings(config("kl"), "train_diffusion", "p"))
    with pytest.raises(UserError, match=r"5 processes .* cannot share 4 micro-batches"):
        launch(settings.compute, 0)


SLURM = {"SLURM_JOB_ID": "5", "SLURM_JOB_NAME": "rsvp", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}


@pytest.fixture
def started(tmp_path, dataset):
    """A pretraining of two processes that has saved a state, in an allocation of SLURM's."""
    _, _, values, _ = job("kl", "pretrain_autoencoder", tmp_path, {}, steps=10**6)
    write_json(tmp_path / "settings.json", values)
    names = {"record": "run.json", "weights": "w.safetensors", "index": "i.json"}
    names |= {"history": "h.csv", "state": "state", "log": "log.txt", "settings": "settings.json"}
    command = [sys.executable, "-m", "rsvp.stages.pretrain_autoencoder", "--dataset", str(dataset)]
    command += [text for name, value in names.items() for text in (f"--{name}", value)]
    srun = tmp_path / "bin/srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\nexit 1\n")
    srun.chmod(0o755)
    environment = os.environ | SLURM | {PROCESSES: "2", SAVE_SECONDS: "0"}
    environment |= {"PATH": f"{srun.parent}:{os.environ['PATH']}", "PYTHONPATH": os.getcwd()}
    with open(tmp_path / "stderr", "w") as stderr:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stderr=stderr, start_new_session=True
        )
    wait_for(lambda: list((tmp_path / "state").glob("state-*")) or process.poll() is not None)
    assert process.poll() is None, (tmp_path / "stderr").read_text()
    yield process
    for number in session(process.pid):
        os.kill(number, signal.SIGKILL)
    process.wait()


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def session(first):
    """Numbers of the running processes of a session."""
    command = ["ps", "-A", "-o", "pid=,sess=,stat="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split() for line in lines]
    return [int(pid) for pid, own, state in rows if own == str(first) and state[0] != "Z"]


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["the first", "all"])
def test_a_signal_to_the_first_or_to_all_saves_and_ends_all(tmp_path, started, kill):
    assert len(session(started.pid)) == 2
    kill(started.pid, signal.SIGTERM)
    assert started.wait(60) == 128 + signal.SIGTERM
    wait_for(lambda: not session(started.pid))
    log = (tmp_path / "log.txt").read_text()
    assert "asked to end (SIGTERM): saved after" in log
    # Nothing is said by the other process, nor by Lightning about SLURM.
    stderr = (tmp_path / "stderr").read_text()
    assert stderr.count("asked to end") == 1
    assert not any(word in stderr for word in ("srun", "SLURM", "Traceback", "HINT", "distributed"))
    assert read_json(tmp_path / "state/usage.json")


def test_a_killed_process_ends_the_others(tmp_path, started):
    (other,) = set(session(started.pid)) - {started.pid}
    os.kill(other, signal.SIGKILL)
    assert started.wait(30) != 0
    assert not (tmp_path / "run.json").exists()


def test_processes_end_with_the_first(started):
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    wait_for(lambda: not session(started.pid), 30)


def program(folder, name, text):
    """Put a program into a folder of programs; return the path to look in."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return f"{path.parent}:{os.environ['PATH']}"


@pytest.mark.parametrize(("number", "code"), [("5", 0), ("", 2)], ids=["a job", "none"])
def test_a_training_over_nodes_becomes_a_call_of_srun(tmp_path, number, code):
    """In a job of SLURM alone; elsewhere it says what it needs."""
    path = program(tmp_path, "srun", 'echo "$RSVP_CALLED_ON"; printf "%s\\n" "$@"')
    own = [sys.executable, "-m", "rsvp.stages.train_diffusion"]
    names = ("settings", "latents", "state", "weights", "index", "history", "record")
    own += [text for name in names for text in (f"--{name}", f"a {name}")]
    nodes = {PROCESSES: "4", NODES: "2", "PATH": path, "PYTHONPATH": os.getcwd()}
    environment = os.environ | nodes | {"SLURM_JOB_ID": number}
    done = subprocess.run(own, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    if code:
        (line,) = done.stderr.splitlines()
        assert "compute.nodes: 2 needs a job of SLURM" in line
        return
    machine, *arguments = done.stdout.splitlines()
    assert machine == os.uname().nodename
    assert {"--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--kill-on-bad-exit=1"} < {*arguments}
    assert arguments[-len(own) :] == own


@pytest.mark.parametrize("rank", [0, 1])
def test_a_task_takes_its_place(tmp_path, monkeypatch, rank):
    """The node of the first one is found by its address; a starter of another machine is none."""
    asked = (
        'case "$*" in *hostnames*) echo b; echo c;; *) echo "NodeName=b NodeAddr=10.0.0.7";; esac'
    )
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ |= {"PATH": program(tmp_path, "scontrol", asked), CALLED_ON: "elsewhere"}
    os.environ |= {STARTER: "1", "SLURM_JOB_ID": "70", "SLURM_STEP_NODELIST": "[b-c]"}
    os.environ |= {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_LOCALID": "0"}
    followers.join()
    assert os.environ["MASTER_ADDR"] == "10.0.0.7"
    assert (os.environ["NODE_RANK"], os.environ["LOCAL_RANK"]) == (str(rank), "0")
    assert followers.is_follower() == bool(rank)
    assert STARTER not in os.environ
