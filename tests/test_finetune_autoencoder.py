"""Both stages of an autoencoder with every option: killed runs end as others, and what is kept."""

import shutil
from argparse import Namespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from rsvp.config.load import load
from rsvp.config.stages import read_settings, stage_settings
from rsvp.report.page import CURVES
from rsvp.runtime.files import read_json
from rsvp.runtime.journal import SAVE_SECONDS
from rsvp.stages import finetune_autoencoder, pretrain_autoencoder
from rsvp.training import reconstruction
from rsvp.training.reconstruction import reconstruct
from rsvp.training.run import TrainingRun
from rsvp.training.validation import ReconstructionValidator
from tests import squares

CONTEXT, FUTURE, SIZE = 2, 4, 32
SPLITS = ["train"] * 4 + ["validation"] * 2
STEPS = 8
PRETRAIN = {"l1": 0.5, "ema_decay": 0.9}
ADVERSARIAL = {"adaptive_weight": True, "augment": "ada", "ada_target": 0.001, "ada_clips": 8}
FINETUNE = {
    "r1": ADVERSARIAL | {"regularisation": "r1", "r1_every": 3},
    "patches": ADVERSARIAL | {"ema_decay": 0.5, "sliced_wasserstein": 1.0},
}


class Killed(Exception):
    """Stands for the end of a process in the middle of a step."""


def settings(stage, pretrain=None, finetune=None, contexts=None):
    """A stage's settings, for a small autoencoder of frames."""
    training = {"steps": STEPS, "batch_size": 2, "target_frames": 2}
    finetune = training | {"validate_every": 4, "discriminator_width": 8} | (finetune or {})
    dataset = {"path": "videos", "resolution": SIZE, "clip_frames": CONTEXT + FUTURE}
    dataset |= {"contexts": contexts}
    autoencoder = {"dataset": "d", "kind": "frames", "width": 16, "finetune": finetune}
    autoencoder |= {"contexts": contexts and list(contexts)}
    values = {
        "datasets": {"d": dataset | {"context_frames": CONTEXT}},
        "autoencoders": {"a": autoencoder | {"pretrain": training | (pretrain or {})}},
        "predictors": {"p": {"autoencoder": "a"}},
        "compute": {"device": "cpu", "threads": 1},
        "report": {"predictors": ["p"]},
    }
    return read_settings(stage_settings(load(values), stage, "a"))


def run(stage, home, dataset, own, **files):
    """The state, the weights and the history that a stage ends with."""
    given = {"code": None, "state": home / "state", "dataset": dataset}
    given |= {"weights": home / "weights.safetensors", "history": home / "history.csv"}
    stage.run(Namespace(**given, index=home / "index.json", **files), own)
    state = load_file(max((home / "state").glob("state-*.safetensors")))
    history = pd.read_csv(home / "history.csv").drop(columns="seconds")
    return state, load_file(home / "weights.safetensors"), history


def run_killed(monkeypatch, *arguments, **files):
    """`run`, killed in the middle of two steps and started again each time."""
    log = TrainingRun.log
    for last in (3, 6):

        def kill(run, step, last=last, **losses):
            if step == last:
                raise Killed
            log(run, step, **losses)

        monkeypatch.setattr(TrainingRun, "log", kill)
        with pytest.raises(Killed):
            run(*arguments, **files)
    monkeypatch.setattr(TrainingRun, "log", log)
    return run(*arguments, **files)


def assert_same(found, expected):
    for tensors, others in zip(found[:2], expected[:2], strict=True):
        assert tensors.keys() == others.keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, others[name]), name
    pd.testing.assert_frame_equal(found[2], expected[2])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return squares.make_dataset(tmp_path_factory.mktemp("d"), SPLITS, CONTEXT, FUTURE, SIZE)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, dataset):
    home = tmp_path_factory.mktemp("pretrained")
    own = settings("pretrain_autoencoder", PRETRAIN)
    return home / "index.json", run(pretrain_autoencoder, home, dataset, own)


@pytest.fixture(autouse=True)
def save_always(monkeypatch):
    monkeypatch.setenv(SAVE_SECONDS, "0")


def test_pretraining_keeps_its_average_and_resumes(tmp_path, dataset, pretrained, monkeypatch):
    _, (state, weights, history) = pretrained
    last = 0
    for name, tensor in weights.items():
        assert torch.equal(tensor, state[f"average/module.{name}"]), name
        last += (tensor - state[f"autoencoder/{name}"]).abs().sum().item()
    assert last > 0
    assert set(history) - {"step"} <= set(CURVES)  # the report says what each is
    own = settings("pretrain_autoencoder", PRETRAIN)
    again = run_killed(monkeypatch, pretrain_autoencoder, tmp_path, dataset, own)
    assert_same(again, (state, weights, history))


@pytest.mark.parametrize("penalty", FINETUNE)
def test_finetuning_with_all_options_resumes(penalty, tmp_path, dataset, pretrained, monkeypatch):
    own = settings("finetune_autoencoder", PRETRAIN, FINETUNE[penalty])
    arguments = finetune_autoencoder, dataset, own
    stage, *rest = arguments
    whole = run(stage, tmp_path / "whole", *rest, pretrained=pretrained[0])
    state, _, history = whole
    assert {"adaptive_weight", "overfit", "augmented", penalty} <= set(history)
    assert set(history) - {"step"} <= set(CURVES)
    assert state["discriminators/augmentation.p"] > 0
    killed = run_killed(monkeypatch, stage, tmp_path / "k", *rest, pretrained=pretrained[0])
    assert_same(killed, whole)


def test_both_stages_are_trained_in_each_context(tmp_path, dataset, pretrained, monkeypatch):
    """Frames observed after the predicted ones stand first, and fine-tuning leaves them out."""
    for stage in (pretrain_autoencoder, finetune_autoencoder):
        name, seen = stage.__name__.removeprefix("rsvp.stages."), []

        def spied(network, clips, count, drawn, part, seen=seen):
            seen.append((count, int(drawn.targets.min())))
            return reconstruct(network, clips, count, drawn, part)

        monkeypatch.setattr(reconstruction, "reconstruct", spied)
        long = {"steps": 3 * STEPS}  # each context is drawn
        own = settings(name, long, long, {"back": {"last": 3}, "none": {}})
        given = {"pretrained": pretrained[0]} if stage is finetune_autoencoder else {}
        run(stage, tmp_path / name, dataset, own, **given)
        assert len(seen) == 3 * STEPS and {count for count, _ in seen} == {CONTEXT, 3, 0}
        if stage is finetune_autoencoder:
            assert min(first for count, first in seen if count == 3) >= 3


def test_the_gain_is_measured_on_clips_that_do_not_choose_the_weights(
    tmp_path, dataset, pretrained, monkeypatch, caplog
):
    measure, measured = ReconstructionValidator.measure, []

    def noted(self, autoencoder):
        measured.append(tuple(self.indices))
        return measure(self, autoencoder)

    monkeypatch.setattr(ReconstructionValidator, "measure", noted)
    for watched, others in ((1, (0,)), (2, ())):
        own = settings("finetune_autoencoder", finetune={"validation_clips": watched})
        run(finetune_autoencoder, tmp_path, dataset, own, pretrained=pretrained[0])
        index = read_json(tmp_path / "index.json")
        assert (index["improvement"] or {"clips": 0})["clips"] == len(others)
        assert index["before"]["clips"] == index["validation"]["clips"] == watched
        chosen, compared = {(1,)} if watched == 1 else {(0, 1)}, [others] * 2 * bool(others)
        assert [indices for indices in measured if indices not in chosen] == compared
        missing = "all 2 validation clips choose the weights" in caplog.text
        assert missing == (index["improvement"] is None) == (watched == 2)
        measured.clear()
        shutil.rmtree(tmp_path / "state")


def test_lpips_counts_in_finetuning_where_it_is_there(tmp_path, dataset, pretrained, monkeypatch):
    class Distance(torch.nn.Module):
        def forward(self, predicted, real):
            return (predicted - real).abs().mean((1, 2, 3))

    rows = []
    for weight in (0.0, 0.7):
        monkeypatch.setattr(
            finetune_autoencoder, "load_perceptual", lambda *files_and_device: Distance()
        )
        own = settings("finetune_autoencoder", finetune={"steps": 2})
        own.autoencoder.finetune.lpips = weight  # the config would ask for the network's files
        home = tmp_path / str(weight)
        history = run(finetune_autoencoder, home, dataset, own, pretrained=pretrained[0])[2]
        rows.append(history[history["step"] == 1].iloc[0])
    assert "lpips" not in rows[0]
    assert rows[1]["lpips"] == pytest.approx(rows[1]["l1"], abs=1e-5)
    gain = rows[1]["reconstruction"] - rows[0]["reconstruction"]
    assert gain == pytest.approx(0.7 * rows[1]["lpips"], abs=1e-5)


def test_patches_count_in_finetuning(tmp_path, dataset, pretrained):
    rows = []
    for weight in (0.0, 0.7):
        own = settings("finetune_autoencoder", finetune={"sliced_wasserstein": weight})
        home = tmp_path / str(weight)
        history = run(finetune_autoencoder, home, dataset, own, pretrained=pretrained[0])[2]
        rows.append(history[history["step"] == 1].iloc[0])
    assert "patches" not in rows[0] and rows[1]["patches"] > 0
    gain = rows[1]["reconstruction"] - rows[0]["reconstruction"]
    assert gain == pytest.approx(0.7 * rows[1]["patches"], abs=1e-5)
