"""SimVP: its network against closed forms, and its training and prediction as stages."""

import json
from argparse import Namespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from rsvp.config.load import load
from rsvp.config.stages import read_settings, stage_settings
from rsvp.data.clips import Clips
from rsvp.data.predictions import Predictions
from rsvp.models.simvp import SimVP, TranslatorBlock
from rsvp.stages import predict_simvp, train_simvp
from tests import squares
from tests.fake_cuda import Mode, on_gpu

CONTEXT, FUTURE, SIZE = 2, 3, 32
SMALL = {"width": 16, "translator_width": 16, "depth": 1}


def trained_in_part(network):
    """Weights of which the last layer's are not 0 any more."""
    nn.init.normal_(network.to_frame[1][-1].weight, std=0.1)
    return network


def test_an_untrained_network_copies_the_last_frame():
    frames = torch.rand(2, CONTEXT, 3, 32, 48)
    predicted = SimVP(CONTEXT, FUTURE, **SMALL)(frames)
    assert torch.equal(predicted, frames[:, -1:].expand(-1, FUTURE, -1, -1, -1))


def test_every_future_frame_depends_on_every_context_frame():
    network = trained_in_part(SimVP(CONTEXT, FUTURE, **SMALL))
    frames = torch.rand(1, CONTEXT, 3, 32, 32, requires_grad=True)
    for future in network(frames)[0]:
        (gradient,) = torch.autograd.grad(future.sum(), frames, retain_graph=True)
        assert (gradient[0].abs().amax((1, 2, 3)) > 0).all()


def test_a_block_sees_as_far_as_its_largest_kernel():
    x = torch.rand(1, 16, 21, 21, requires_grad=True)
    block = TranslatorBlock(16)
    for kernel in block.kernels:
        kernel[1] = nn.Identity()  # normalisation sees the whole
    (gradient,) = torch.autograd.grad(block(x)[0, :, 10, 10].sum(), x)
    seen = gradient[0].abs().amax(0).nonzero()
    assert seen.amin(0).tolist() == [10 - 5] * 2 and seen.amax(0).tolist() == [10 + 5] * 2


@torch.no_grad()
def test_kernels_work_in_groups_of_channels():
    """The first group of eight reads the first eighth of the channels, and no other."""
    block = TranslatorBlock(16)
    x = torch.rand(1, 8, 9, 9)
    changed = x.clone()
    changed[:, 1:] += 1.0
    for kernel in block.kernels:
        before, after = kernel[0](x), kernel[0](changed)
        assert torch.equal(before[:, :2], after[:, :2])
        assert not torch.isclose(before[:, 2:], after[:, 2:]).any()


@pytest.mark.parametrize("size", [64, 256])
@torch.no_grad()
def test_on_a_pretended_gpu(size):
    with Mode():
        with on_gpu():
            network = SimVP(4, 12, **SMALL)
        frames = torch.zeros(2, 4, 3, size, size).to("cuda")
        with torch.autocast("cuda", torch.bfloat16):
            assert network(frames).device.type == "cuda"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    return squares.make_dataset(tmp_path_factory.mktemp("d"), splits, CONTEXT, FUTURE, SIZE, 3)


def settings(stage, **values):
    own = {"kind": "simvp", "dataset": "d", "simvp": SMALL, "steps": 40, "batch_size": 4,
           "warmup_steps": 4, "learning_rate": 4e-3, "ema_decay": 0.8}  # fmt: skip
    clips = {"clip_frames": CONTEXT + FUTURE, "context_frames": CONTEXT}
    config = load({
        "datasets": {"d": {"path": "videos", "resolution": SIZE, "clip_stride": 1} | clips},
        "predictors": {"p": own | values},
        "compute": {"device": "cpu", "threads": 1},
        "evaluation": {"horizon": 6},
        "report": {"predictors": ["p"]},
    })  # fmt: skip
    return read_settings(stage_settings(config, stage, "p"))


def train(folder, dataset, **values):
    files = {"weights": "weights.safetensors", "index": "index.json", "history": "history.csv",
             "state": "state"}  # fmt: skip
    paths = {name: folder / file for name, file in files.items()}
    folder.mkdir(exist_ok=True)
    arguments = Namespace(code=None, dataset=dataset, **paths)
    return train_simvp.run(arguments, settings("train_simvp", **values))


@pytest.fixture(scope="module")
def network(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("trained")
    train(folder, dataset)
    return folder


def test_training_learns_a_motion_that_copying_misses(network, dataset):
    history = (network / "history.csv").read_text()
    assert "validation_loss" in history
    made = json.loads((network / "index.json").read_text())
    net = SimVP(**made["arguments"])
    net.load_state_dict(load_file(network / "weights.safetensors"))
    clips = Clips(dataset, "train")
    frames = clips.batch(range(len(clips))) / 127.5 - 1.0
    future, last = frames[:, CONTEXT:], frames[:, CONTEXT - 1 : CONTEXT]
    with torch.no_grad():
        error = (net(frames[:, :CONTEXT]) - future).square().mean()
    assert error < 0.7 * (last - future).square().mean()


def test_a_training_that_was_asked_to_end_goes_on_where_it_ended(
    tmp_path, network, dataset, monkeypatch
):
    after_step = train_simvp.TrainingRun.after_step

    def end(run):
        if run.done == 17:
            run.stop_signal = 15
        after_step(run)

    monkeypatch.setattr(train_simvp.TrainingRun, "after_step", end)
    with pytest.raises(SystemExit):
        train(tmp_path, dataset)
    monkeypatch.undo()
    assert train(tmp_path, dataset)["steps"] == 40
    for name, value in load_file(network / "weights.safetensors").items():
        assert torch.equal(load_file(tmp_path / "weights.safetensors")[name], value), name


@pytest.mark.parametrize("killed_at", [None, 20])
def test_the_best_weights_are_kept_and_training_stops(tmp_path, dataset, monkeypatch, killed_at):
    """Also where the training was killed between the best validation and the stop."""
    losses = dict(zip(range(8, 48, 8), (3.0, 1.0, 2.0, 1.5, 0.5), strict=True))
    run, seen = train_simvp.TrainingRun, {}
    validated, after_step = run.validated, run.after_step

    def scripted(self, step, loss, best):
        seen[step] = {k: v.clone() for k, v in self.stateful["average"].module.state_dict().items()}
        validated(self, step, losses[step], best)

    def end(self):
        if self.done == killed_at and self.resumed_at == 0:
            self.stop_signal = 15
        after_step(self)

    monkeypatch.setattr(train_simvp, "VALIDATE_EVERY", 8)
    monkeypatch.setattr(run, "validated", scripted)
    monkeypatch.setattr(run, "after_step", end)
    if killed_at:
        with pytest.raises(SystemExit):
            train(tmp_path, dataset, patience=2)
    record = train(tmp_path, dataset, patience=2)
    assert (record["steps"], record["kept_step"], record["stopped_by"]) == (32, 16, "patience")
    assert json.loads((tmp_path / "index.json").read_text())["step"] == 16
    kept = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in seen[16].items())
    assert not all(torch.equal(kept[name], value) for name, value in seen[32].items())


def test_predictions_are_one_forecast_that_rolls_forward(tmp_path, network, dataset):
    """The second block continues the first one's frames as they are stored."""
    arguments = Namespace(
        code=None, dataset=dataset, network=network / "index.json", state=tmp_path / "state",
        predictions=tmp_path / "index.json",
    )  # fmt: skip
    predict_simvp.run(arguments, settings("predict_simvp"))
    made = Predictions(tmp_path / "index.json")
    assert made.index["point_forecast"] and made.index["trajectories"] == 1
    predicted = made.frames(0)[0]
    assert predicted.shape == (6, SIZE, SIZE, 3)
    net = SimVP(**json.loads((network / "index.json").read_text())["arguments"])
    net.load_state_dict(load_file(network / "weights.safetensors"))
    context = predicted[1:3].permute(0, 3, 1, 2)[None] / 127.5 - 1.0
    with torch.no_grad():
        expected = ((net(context)[0].clamp(-1, 1) + 1) * 127.5).round()
    assert (predicted[3:].permute(0, 3, 1, 2) - expected).abs().max() <= 1
