"""Each method through the stages that learn and predict, on a small dataset, in one process."""

from argparse import Namespace

import pytest
import torch
from safetensors.torch import load_file

from rsvp.config.load import load
from rsvp.config.stages import read_settings, stage_settings
from rsvp.data.latents import Latents
from rsvp.models.autoencoders.rsvp import ContextEncoder
from rsvp.models.denoiser import LatentDenoiser
from rsvp.models.layers import FrameEncoder
from rsvp.runtime.files import read_json
from rsvp.runtime.journal import SAVE_SECONDS
from rsvp.stages import (
    cache_latents,
    finetune_autoencoder,
    predict,
    pretrain_autoencoder,
    reconstruct,
    train_diffusion,
)
from rsvp.training.run import TrainingRun
from tests import squares

CONTEXT, FUTURE, SIZE = 2, 6, 32
SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
TRAINING = {"steps": 2, "batch_size": 2, "target_frames": 3}
METHODS = {
    "rsvp-m": {},
    "rsvp-m, one layer": {"ablation": "one_layer"},
    "rsvp-m, random mask": {"ablation": "random_mask"},
    "rsvp-s": {"kind": "joint"},
    "pvdm": {"kind": "triplane"},
    "frame-ldm": {"kind": "frames", "regulariser": {"kind": "kl"}},
    "frame-ldm, vq": {"kind": "frames", "regulariser": {"kind": "vq", "codes": 16}},
    "frame-ldm, fsq": {"kind": "frames", "regulariser": {"kind": "fsq"}},
}


def config(method, contexts=None, context=None, **evaluation):
    dataset = {"path": "videos", "resolution": SIZE, "clip_frames": CONTEXT + FUTURE}
    dataset["contexts"] = {
        "short": {"first": 1}, "ends": {"first": 2, "last": 1}, "back": {"last": 2}, "none": {}
    }  # fmt: skip
    finetune = TRAINING | {"validate_every": 1, "discriminator_width": 8}
    autoencoder = {"dataset": "d", "width": 16, "pretrain": TRAINING, "finetune": finetune}
    predictor = {"autoencoder": "a", "steps": 2, "batch_size": 2, "drop_context": 0.5}
    predictor |= {"denoiser": {"width": 32, "depth": 1, "heads": 2, "frames_per_token": 2}}
    predictor |= {"augment_latents": True, "sampler": {"steps": 2}, "guidance": {"scale": 1.5}}
    return load({
        "datasets": {"d": dataset | {"context_frames": CONTEXT}},
        "autoencoders": {"a": autoencoder | METHODS[method] | {"contexts": contexts}},
        "predictors": {"p": predictor, "q": {"same_as": "p", "context": context}},
        "compute": {"device": "cpu", "threads": 1},
        "evaluation": {"trajectories": 2, "videos": 0} | evaluation,
        "report": {"predictors": ["p"]},
    })  # fmt: skip


def run(
    stage, method, folder, dataset, name="a", horizon=None, contexts=None, context=None,
    precision="auto", compiled=None, **files,
):  # fmt: skip
    """Run a stage as its rule does, with its output in a folder of its own; returns its record."""
    home = folder / stage.__name__.removeprefix("rsvp.stages.")
    given = {
        "code": None,
        "state": home / "state",
        "dataset": dataset,
        "index": home / "index.json",
    }
    given |= {"weights": home / "weights.safetensors", "history": home / "history.csv"}
    given |= {"predictions": home / "index.json"} | files
    whole = config(method, contexts, context, horizon=horizon)
    whole.compute.precision, whole.compute.compile = precision, compiled
    settings = read_settings(stage_settings(whole, home.name, name))
    return stage.run(Namespace(**given, shares=[], watched=()), settings)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_goes_through_all_stages_and_sees_no_future(method, tmp_path, monkeypatch):
    first, other = tmp_path / "first", tmp_path / "other"
    dataset = squares.make_dataset(first / "d", SPLITS, CONTEXT, FUTURE, SIZE, augment="all")
    home = {"folder": first, "dataset": dataset}
    stages = [run(pretrain_autoencoder, method, **home)]
    pretrained = first / "pretrain_autoencoder/index.json"
    stages.append(run(finetune_autoencoder, method, **home, pretrained=pretrained))
    trained = {"autoencoder": first / "finetune_autoencoder/index.json"}
    run(cache_latents, method, **home, **trained)
    run(reconstruct, method, **home, **trained)
    latents = first / "cache_latents/index.json"
    moving = ["motion"] if method.startswith("rsvp") else []
    facts = read_json(latents)
    assert facts["augment"] == "all" and facts["displacements"] == moving
    read, turned = Latents.batch, set()

    def batch(self, indices, context="prefix", turns=None):
        turned.add((len(self), turns is not None))
        return read(self, indices, context, turns)

    with monkeypatch.context() as patched:
        patched.setattr(Latents, "batch", batch)
        stages.append(run(train_diffusion, method, **home, name="p", latents=latents))
    # Clips of training are turned, and those that tell how it goes are not.
    sides = [SPLITS.count(split) for split in ("train", "validation")]
    assert (sides[0], True) in turned and (sides[1], True) not in turned
    assert (sides[1], False) in turned
    trained_denoiser = trained | {"denoiser": first / "train_diffusion/index.json"}
    stages.append(run(predict, method, **home, name="p", **trained_denoiser))
    for record in stages:
        assert record["flops_forward"] > record["parameters"] > 0
    # Clips that no training saw once more, with other future frames.
    plain = squares.square

    def inverted(number, frames, size):
        clip, mask = plain(number, frames, size)
        if SPLITS[number] != "train":
            clip[CONTEXT:] = 255 - clip[CONTEXT:]
        return clip, mask

    monkeypatch.setattr(squares, "square", inverted)
    changed = squares.make_dataset(other / "d", SPLITS, CONTEXT, FUTURE, SIZE, augment="all")
    run(cache_latents, method, other, changed, **trained)
    run(predict, method, other, changed, name="p", **trained_denoiser)
    frames = [load_file(f / "predict/frames-00000.safetensors")["frames"] for f in (first, other)]
    assert frames[0].shape == (2, 2, FUTURE, SIZE, SIZE, 3)
    assert torch.equal(*frames)
    before, after = (
        load_file(f / "cache_latents/validation-00000.safetensors") for f in (first, other)
    )
    for name, scope in read_json(latents)["scopes"].items():
        if scope == "frames":
            assert torch.equal(before[name][:, :CONTEXT], after[name][:, :CONTEXT]), name
            assert not torch.equal(before[name][:, CONTEXT:], after[name][:, CONTEXT:]), name
        else:
            assert torch.equal(before[name], after[name]) is (scope == "context"), name


def test_a_mask_is_asked_to_decide_late_in_pretraining(tmp_path, monkeypatch):
    seen, step = [], pretrain_autoencoder.reconstruction_step

    def noted(*parts, decided, **weights):
        seen.append(decided)
        return step(*parts, decided=decided, **weights)

    monkeypatch.setattr(pretrain_autoencoder, "reconstruction_step", noted)
    monkeypatch.setitem(METHODS, "decided", {"pretrain": TRAINING | {"steps": 8, "decided": 0.5}})
    dataset = squares.make_dataset(tmp_path / "d", SPLITS, CONTEXT, FUTURE, SIZE)
    run(pretrain_autoencoder, "decided", tmp_path, dataset)
    assert seen[:3] == [0.0] * 3 and seen[5:] == [0.5] * 3 and 0.0 < seen[3] < seen[4] < 0.5


@pytest.mark.parametrize("method", ["rsvp-m", "rsvp-s", "pvdm", "frame-ldm"])
def test_bfloat16_rounds_nothing_on_its_way_into_a_network(method, tmp_path, monkeypatch):
    """Times have to be told apart, and places; training sees what prediction sees."""
    seen = {"denoiser": set(), "encoder": set()}
    forward, kind = LatentDenoiser.forward, METHODS[method].get("kind", "rsvp")
    encoder = {"rsvp": ContextEncoder, "joint": ContextEncoder}.get(kind, FrameEncoder)
    encode = encoder.forward

    def noted_forward(self, noisy, time, observed):
        seen["denoiser"] |= {x.dtype for x in (time, *noisy.values(), *observed.values())}
        return forward(self, noisy, time, observed)

    def noted_encode(self, frames, *latents):
        seen["encoder"].add(frames.dtype)
        return encode(self, frames, *latents)

    monkeypatch.setattr(LatentDenoiser, "forward", noted_forward)
    monkeypatch.setattr(encoder, "forward", noted_encode)
    home = {"folder": tmp_path, "precision": "bf16-mixed"}
    home["dataset"] = squares.make_dataset(tmp_path / "d", SPLITS, CONTEXT, FUTURE, SIZE)
    run(pretrain_autoencoder, method, **home)
    trained = {"autoencoder": tmp_path / "pretrain_autoencoder/index.json"}
    run(cache_latents, method, **home, **trained)
    assert seen["encoder"] == {torch.float32}
    latents = tmp_path / "cache_latents/index.json"
    run(train_diffusion, method, **home, name="p", latents=latents)
    assert seen["denoiser"] == {torch.float32}
    stored = load_file(tmp_path / "cache_latents/validation-00000.safetensors")
    assert all(value.isfinite().all() and value.dtype == torch.float32 for value in stored.values())
    trained["denoiser"] = tmp_path / "train_diffusion/index.json"
    seen["denoiser"].clear()
    run(predict, method, **home, name="p", **trained)
    assert seen["denoiser"] == {torch.float32}
    assert frames_of(tmp_path, "predict").shape == (2, 2, FUTURE, SIZE, SIZE, 3)


def test_a_compiled_denoiser_trains_and_predicts_the_same(tmp_path, monkeypatch):
    """Traced as for a GPU, with PyTorch's own kernels: no compiler is needed here."""
    compiled = []

    def traced(network):
        compiled.append(type(network))
        torch.nn.Module.compile(network, backend="eager")

    monkeypatch.setattr(LatentDenoiser, "compile", traced)
    dataset = squares.make_dataset(tmp_path / "d", SPLITS, CONTEXT, FUTURE, SIZE)
    home = {"method": "rsvp-m", "dataset": dataset}
    run(pretrain_autoencoder, folder=tmp_path, **home)
    trained = {"autoencoder": tmp_path / "pretrain_autoencoder/index.json"}
    run(cache_latents, folder=tmp_path, **home, **trained)
    latents = tmp_path / "cache_latents/index.json"
    for name, asked in (("eager", None), ("compiled", True)):
        where = home | {"folder": tmp_path / name, "name": "p", "compiled": asked}
        run(train_diffusion, **where, latents=latents)
        denoiser = tmp_path / name / "train_diffusion/index.json"
        run(predict, **where, **trained, denoiser=denoiser)
        assert compiled == ([LatentDenoiser] * 2 if asked else [])
    weights = [
        load_file(tmp_path / name / "train_diffusion/weights.safetensors")
        for name in ("eager", "compiled")
    ]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-5, rtol=1e-4)
    frames = [frames_of(tmp_path / name, "predict").int() for name in ("eager", "compiled")]
    assert (frames[0] - frames[1]).abs().max() <= 1


def test_the_rate_of_prediction_is_of_all_its_processes(tmp_path, monkeypatch):
    """The first predicts one clip in 1 s and is killed, the second the other clip in 3 s."""
    dataset = squares.make_dataset(tmp_path / "d", SPLITS, CONTEXT, FUTURE, SIZE)
    home = {"method": "frame-ldm", "folder": tmp_path, "dataset": dataset}
    run(pretrain_autoencoder, **home)
    trained = {"autoencoder": tmp_path / "pretrain_autoencoder/index.json"}
    run(cache_latents, **home, **trained)
    run(train_diffusion, **home, name="p", latents=tmp_path / "cache_latents/index.json")
    trained["denoiser"] = tmp_path / "train_diffusion/index.json"
    clock, roll = iter([0, 1, 1, 5, 8]), predict.roll
    monkeypatch.setattr(predict, "time", Namespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(predict, "forward_flops", lambda forward: 1)
    monkeypatch.setattr(predict, "BATCH", 1)
    monkeypatch.setenv(SAVE_SECONDS, "0")
    rolled = []

    def killed(*arguments):
        rolled.append(1)
        if len(rolled) == 2:
            raise KeyboardInterrupt
        return roll(*arguments)

    monkeypatch.setattr(predict, "roll", killed)
    with pytest.raises(KeyboardInterrupt):
        run(predict, **home, name="p", **trained)
    record = run(predict, **home, name="p", **trained)
    assert record["samples_per_second"] == 2 * 2 / (1 + 3)
    assert "seconds" not in read_json(tmp_path / "predict/index.json")


def frames_of(folder, stage):
    return load_file(folder / stage / "frames-00000.safetensors")["frames"]


@pytest.mark.parametrize("method", ["rsvp-m", "rsvp-s", "pvdm", "frame-ldm"])
def test_a_longer_horizon_begins_as_the_trained_one_and_sees_no_future(
    method, tmp_path, monkeypatch
):
    """Two and a half blocks, of what was trained for one; the second block sees the first's end."""
    monkeypatch.setattr(predict, "forward_flops", lambda forward: 1)  # it predicts once more
    far, homes = 15, [tmp_path / name for name in ("near", "far", "other")]
    dataset = squares.make_dataset(homes[0] / "d", SPLITS, CONTEXT, FUTURE, SIZE, far - FUTURE)
    run(pretrain_autoencoder, method, homes[0], dataset)
    autoencoder = homes[0] / "pretrain_autoencoder/index.json"
    run(cache_latents, method, homes[0], dataset, autoencoder=autoencoder)
    latents = homes[0] / "cache_latents/index.json"
    run(train_diffusion, method, homes[0], dataset, name="p", latents=latents)
    trained = {"autoencoder": autoencoder}
    both = trained | {"denoiser": homes[0] / "train_diffusion/index.json"}
    plain = squares.square

    def inverted(number, frames, size):
        clip, mask = plain(number, frames, size)
        clip[CONTEXT:] = 255 - clip[CONTEXT:]
        return clip, mask

    near = run(predict, method, homes[0], dataset, name="p", **both)
    run(reconstruct, method, homes[0], dataset, **trained)
    record = run(predict, method, homes[1], dataset, name="p", horizon=far, **both)
    run(reconstruct, method, homes[1], dataset, horizon=far, **trained)
    assert record["network_evaluations"] == 3 * near["network_evaluations"]
    monkeypatch.setattr(squares, "square", inverted)
    dataset = squares.make_dataset(homes[2] / "d", SPLITS, CONTEXT, FUTURE, SIZE, far - FUTURE)
    run(predict, method, homes[2], dataset, name="p", horizon=far, **both)
    short, long, other = (frames_of(home, "predict") for home in homes)
    assert long.shape == (2, 2, far, SIZE, SIZE, 3)
    assert torch.equal(long[:, :, :FUTURE], short) and torch.equal(long, other)
    assert not torch.equal(long[:, :, FUTURE : 2 * FUTURE], short)
    ceilings = [frames_of(home, "reconstruct") for home in homes[:2]]
    assert torch.equal(ceilings[1][:, :, :FUTURE], ceilings[0]) and ceilings[1].shape[2] == far


@pytest.mark.parametrize("method", ["rsvp-m", "rsvp-s", "pvdm", "frame-ldm"])
def test_one_model_predicts_from_each_context_that_it_was_trained_for(
    method, tmp_path, monkeypatch
):
    """And sees nothing else: other frames than the observed ones leave the prediction as it is."""
    monkeypatch.setattr(predict, "forward_flops", lambda forward: 1)  # it predicts once more
    contexts = ["short", "ends", "back"] + ["none"] * (method in ("pvdm", "frame-ldm"))
    observed = {"prefix": [0, 1], "short": [0], "ends": [7, 0, 1], "back": [7, 6], "none": []}
    first, beyond = tmp_path / "first", 4
    dataset = squares.make_dataset(first / "d", SPLITS, CONTEXT, FUTURE, SIZE, beyond)
    home = {"folder": first, "dataset": dataset, "contexts": contexts}
    run(pretrain_autoencoder, method, **home)
    pretrained = first / "pretrain_autoencoder/index.json"
    run(finetune_autoencoder, method, **home, pretrained=pretrained)
    trained = {"autoencoder": first / "finetune_autoencoder/index.json"}
    run(cache_latents, method, **home, **trained)
    latents = first / "cache_latents/index.json"
    run(train_diffusion, method, **home, name="p", latents=latents)
    trained["denoiser"] = first / "train_diffusion/index.json"
    plain = squares.square
    for context in ("prefix", *contexts):
        places = observed[context]

        def changed(number, frames, size, places=places):
            clip, mask = plain(number, frames, size)
            others = [frame for frame in range(frames) if frame not in places]
            clip[others] = 255 - clip[others]
            return clip, mask

        found, indexes = [], []
        for square, name in ((plain, "own"), (changed, "other")):
            monkeypatch.setattr(squares, "square", square)
            folder = tmp_path / context / name
            data = squares.make_dataset(folder / "d", SPLITS, CONTEXT, FUTURE, SIZE, beyond)
            more = {"contexts": contexts, "context": context, "horizon": FUTURE + beyond}
            run(predict, method, folder, data, name="q", **more, **trained)
            found.append(frames_of(folder, "predict"))
            indexes.append(read_json(folder / "predict/index.json"))
        assert torch.equal(*found), context
        rolls = context in ("prefix", "short")
        last = CONTEXT + FUTURE + beyond * rolls
        predicted = [frame for frame in range(last) if frame not in places]
        assert found[0].shape[2] == indexes[0]["future_frames"] == len(predicted)
        assert indexes[0].get("predicted", predicted) == predicted
        assert indexes[0].get("observed", places) == places


class Killed(Exception):
    """Stands for the end of a process in the middle of a step."""


def die(training, step, **losses):
    if step == 1:
        raise Killed


@pytest.mark.parametrize("method", METHODS)
def test_killed_trainings_of_each_kind_end_as_undisturbed_ones(method, tmp_path, monkeypatch):
    """Each is killed in its second step, with the first one saved."""
    monkeypatch.setenv(SAVE_SECONDS, "0")
    dataset = squares.make_dataset(tmp_path / "d", SPLITS, CONTEXT, FUTURE, SIZE)

    def train(stage, folder, **options):
        if folder.name == "killed":
            with monkeypatch.context() as patch, pytest.raises(Killed):
                patch.setattr(TrainingRun, "log", die)
                run(stage, method, folder, dataset, **options)
            home = folder / stage.__name__.removeprefix("rsvp.stages.")
            assert [path.stem for path in home.glob("state/state-*")] == ["state-000000001"]
        run(stage, method, folder, dataset, **options)

    for folder in (tmp_path / "whole", tmp_path / "killed"):
        train(pretrain_autoencoder, folder)
        train(finetune_autoencoder, folder, pretrained=folder / "pretrain_autoencoder/index.json")
        trained = {"autoencoder": folder / "finetune_autoencoder/index.json"}
        run(cache_latents, method, folder, dataset, **trained)
        train(train_diffusion, folder, name="p", latents=folder / "cache_latents/index.json")
    for stage in ("pretrain_autoencoder", "finetune_autoencoder", "train_diffusion"):
        weights = [
            (tmp_path / name / stage / "weights.safetensors").read_bytes()
            for name in ("whole", "killed")
        ]
        assert weights[0] == weights[1], stage
