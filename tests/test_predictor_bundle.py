"""A predictor as one folder: written, moved, loaded, and used on frames of any size."""

import argparse
import json
import shutil
import subprocess
import sys
import types
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from tiny import write_lossless

from rsvp import Predictor
from rsvp.commands.predict import run as run_predict
from rsvp.config.schema import Dataset, Fit, Guidance, ObservedFrames, Resize, Sampler
from rsvp.data.contexts import clip_order
from rsvp.data.decoding import Decoding
from rsvp.data.fitting import FrameShape, fit_frames, paste_frames
from rsvp.data.images import write_image
from rsvp.data.layout import Layout
from rsvp.data.sources import sources_at
from rsvp.diffusion.bundle import save_predictor
from rsvp.models.autoencoders.kinds import make_autoencoder
from rsvp.models.bundle import save_bundle
from rsvp.models.denoiser import LatentDenoiser
from rsvp.runtime.errors import UserError

SIDE, FRAMES = 32, 7
RSVP = {"kind": "rsvp", "width": 16, "scene_channels": 3, "object_channels": 4,
        "motion_channels": 2}  # fmt: skip
IMAGES = {"kind": "frames", "width": 16, "channels": 2, "regulariser": {"kind": "tanh"}}
PREFIX = {"prefix": ObservedFrames(first=3)}
MORE = PREFIX | {"ends": ObservedFrames(first=2, last=1), "none": ObservedFrames()}


def smooth(count, height, width, seed=0):
    """Random clips without detail that resizing would lose, uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (count, height // 8, width // 8, 3))
    return small.astype(np.uint8).repeat(8, 1).repeat(8, 2)


def write_predictor(folder, arguments=RSVP, contexts=PREFIX, context="prefix"):
    """Write random networks as the two stages do, and the predictor's folder of them."""
    torch.manual_seed(0)
    autoencoder = make_autoencoder(**arguments).eval()
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    clips = torch.rand(1, FRAMES, 3, SIDE, SIDE)
    latents, _ = autoencoder.encode_clip(clips[:, clip_order(contexts["prefix"], FRAMES)], 3)
    layout = Layout(
        {name: scope.value for name, scope in autoencoder.scopes.items()},
        autoencoder.over_time,
        {name: {"first": c.first, "last": c.last} for name, c in contexts.items()},
        FRAMES,
        {name: list(value.shape[-3:]) for name, value in latents.items()},
    )
    shapes = layout.arrange(latents, "prefix", 1).shapes()
    constructor = shapes | {"width": 16, "depth": 1, "heads": 2, "patch": 2, "frames_per_token": 4}
    denoiser = LatentDenoiser(**constructor)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    statistics = {
        name: {"mean": [0.0] * value.shape[-3], "deviation": [1.0] * value.shape[-3]}
        for name, value in latents.items()
    }
    indexes = [folder / f"{name}/index.json" for name in ("first", "second")]
    for index, network, metadata in (
        (indexes[0], autoencoder, {"arguments": arguments}),
        (indexes[1], denoiser, {"arguments": constructor, "statistics": statistics,
                                "layout": layout.metadata, "objective": "flow"}),
    ):  # fmt: skip
        save_bundle(index.with_name("weights.safetensors"), index, network, metadata)
    save_predictor(
        folder / "bundle", *indexes, name="tiny", seed=0, dataset=Dataset(resolution=SIDE),
        sampler=Sampler(steps=2), guidance=Guidance(), context=context,
    )  # fmt: skip
    return folder / "bundle"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_predictor(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def predictor(bundle):
    return Predictor.from_pretrained(bundle, device="cpu")


def test_a_folder_that_moved_predicts_the_same_in_another_process(bundle, predictor, tmp_path):
    moved = shutil.copytree(bundle, tmp_path / "a copy")
    frames = smooth(5, 48, 64)
    np.save(tmp_path / "frames.npy", frames)
    program = (
        "import sys, numpy as np; from rsvp import Predictor;"
        "p = Predictor.from_pretrained(sys.argv[1], device='cpu');"
        "np.save(sys.argv[3], p.predict(np.load(sys.argv[2]), trajectories=2, seed=3))"
    )
    subprocess.run(
        [sys.executable, "-c", program, moved, tmp_path / "frames.npy", tmp_path / "made.npy"],
        check=True,
    )
    expected = predictor.predict(frames, trajectories=2, seed=3)
    assert expected.shape == (2, 4, SIDE, SIDE, 3) and expected.dtype == np.uint8
    assert np.array_equal(np.load(tmp_path / "made.npy"), expected)


def test_the_folder_has_no_path_no_pickle_and_no_code(bundle):
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    networks = {f"{n}/{f}" for n in ("autoencoder", "denoiser")
                for f in ("config.json", "model.safetensors")}  # fmt: skip
    assert files == networks | {"config.json"}
    for path in bundle.rglob("*.json"):
        assert str(bundle.parent) not in path.read_text()


def test_a_prediction_depends_on_seed_clip_and_trajectory_alone(predictor):
    clips = np.stack([smooth(4, 32, 32, seed) for seed in range(10)])
    all_of_them = predictor.predict(clips, trajectories=3)
    assert all_of_them.shape == (10, 3, 4, SIDE, SIDE, 3)
    # Convolutions of another number of clips may sum in another order: a value in thousands then
    # rounds to the next grey level.
    alone = predictor.predict(clips[0], trajectories=1).astype(int)
    away = np.abs(alone - all_of_them[0, :1])
    assert away.max() <= 1 and (away > 0).mean() < 1e-3
    assert not np.array_equal(predictor.predict(clips, trajectories=3, seed=1), all_of_them)
    assert not np.array_equal(all_of_them[0, 0], all_of_them[0, 1])


def test_only_the_last_observed_frames_count(predictor):
    frames = smooth(6, 32, 32)
    changed = frames.copy()
    changed[:3] = 255 - changed[:3]
    assert np.array_equal(predictor.predict(frames), predictor.predict(changed))
    changed[3] = 255 - changed[3]
    assert not np.array_equal(predictor.predict(frames), predictor.predict(changed))


def test_longer_futures_roll_forward(predictor):
    frames = smooth(3, 32, 32)
    longer = predictor.predict(frames, future_frames=9)
    assert longer.shape == (1, 9, SIDE, SIDE, 3)
    assert np.array_equal(longer[:, :4], predictor.predict(frames))


def test_latents_decode_to_the_clip_that_they_are_of(predictor):
    clip, other = smooth(FRAMES, 32, 32), smooth(FRAMES, 32, 32, 1)
    latents = predictor.encode(clip)
    assert {name: tuple(value.shape) for name, value in latents.items()} == {
        "scene": (3, 4, 4), "object": (4, 4, 4), "motion": (FRAMES, 2, 4, 4)
    }  # fmt: skip
    decoded = predictor.decode(latents, clip)
    assert decoded.shape == (4, SIDE, SIDE, 3)
    # The same as the autoencoder's own way there and back.
    x = torch.from_numpy(clip).permute(0, 3, 1, 2)[None].float() / 127.5 - 1.0
    with torch.no_grad():
        expected = predictor.network.autoencoder.reconstruct_future(x, 3)[0]
    expected = ((expected.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(decoded - expected).max() <= 1
    # Each latent has its effect, and the frames that give the detail have theirs.
    of_other = predictor.encode(other)
    for name in ("object", "motion"):
        mixed = predictor.decode(latents | {name: of_other[name]}, clip)
        assert not np.array_equal(mixed, decoded)
    assert not np.array_equal(predictor.decode(latents, other), decoded)
    both = predictor.encode(np.stack([other, clip]))
    torch.testing.assert_close(both["motion"][1], latents["motion"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("context", "observed"), [("ends", 3), ("none", 0)])
def test_between_frames_and_from_nothing(tmp_path, context, observed):
    predictor = Predictor.from_pretrained(write_predictor(tmp_path, IMAGES, MORE, context))
    frames = smooth(observed, 32, 32) if observed else None
    made = predictor.predict(frames, trajectories=2)
    assert made.shape == (2, FRAMES - observed, SIDE, SIDE, 3)
    assert not np.array_equal(made[0], made[1])
    if observed:
        changed = frames.copy()
        changed[-1] = 255 - changed[-1]
        assert not np.array_equal(predictor.predict(changed, trajectories=2), made)
    with pytest.raises(UserError, match=r"only a predictor from a\s+beginning rolls forward"):
        predictor.predict(frames, future_frames=20)


@pytest.mark.parametrize(
    "size", [(48, 64), (64, 48), (77, 131), (131, 77), (48, 50), (33, 100), (129, 128), (256, 338)]
)
@pytest.mark.parametrize("resize", get_args(Resize))
def test_frames_in_memory_are_fitted_as_files_are(tmp_path, size, resize):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    decoded = []
    shape = FrameShape(SIDE, SIDE, resize=resize)
    with Decoding(sources_at(tmp_path)[0], shape, 25.0) as decoding:
        decoding.read(lambda chunk, _: decoded.append(chunk.copy()))
    assert np.array_equal(fit_frames(frames, shape), np.concatenate(decoded))


@pytest.mark.parametrize("fit", get_args(Fit))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(48, 64), (77, 131), (131, 77), (48, 86), (20, 300)])
def test_frames_in_memory_become_rectangles_as_files_do(tmp_path, size, channels, fit):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    decoded = []
    shape = FrameShape(48, 80, channels, fit)
    with Decoding(sources_at(tmp_path)[0], shape, 25.0) as decoding:
        decoding.read(lambda chunk, _: decoded.append(chunk.copy()))
    assert np.array_equal(fit_frames(frames, shape), np.concatenate(decoded))


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (64, 64)])
def test_predictions_are_pasted_where_the_square_was_taken_from(predictor, size):
    last = smooth(1, *size)[0]
    square = FrameShape(min(size), min(size))
    there = fit_frames(last[None], square)
    assert np.array_equal(paste_frames(there, last, square)[0], last)
    frames = np.repeat(last[None], 3, axis=0)
    made = predictor.predict(frames, trajectories=2, size="original")
    assert made.shape == (2, 4, *size, 3)
    side, (top, left) = min(size), [(length - min(size)) // 2 for length in size]
    outside = np.ones(size, bool)
    outside[top : top + side, left : left + side] = False
    assert (made[:, :, outside] == last[outside]).all()
    inside = made[:, :, top : top + side, left : left + side]
    small = np.stack([fit_frames(each, FrameShape(SIDE, SIDE)) for each in inside])
    # Enlarged and made small again: the prediction, but for what the filters blur.
    expected = predictor.predict(frames, trajectories=2).astype(float)
    assert np.abs(small - expected).mean() < 0.5 * np.abs(small - np.roll(expected, 3, 2)).mean()


def test_a_path_is_predicted_as_its_frames_are(predictor, tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (8, 40, 60, 3), np.uint8)
    video, images = tmp_path / "a.mkv", tmp_path / "images"
    write_lossless(video, clip)
    for place, frame in enumerate(clip):
        write_image(images / f"{place}.png", frame)
    for path, at, seen in [(video, 0.2, clip[:5]), (str(images), None, clip)]:
        made = predictor.predict(path, at=at, trajectories=2, seed=3, size="original")
        assert np.array_equal(
            made, predictor.predict(seen, trajectories=2, seed=3, size="original")
        )
    with pytest.raises(UserError, match="2 videos; name one"):
        write_lossless(tmp_path / "b.mkv", clip)
        predictor.predict(tmp_path)
    with pytest.raises(UserError, match="at: allowed with the path"):
        predictor.predict(clip, at=1.0)


def test_the_command_writes_trajectories_in_the_size_of_the_video(bundle, predictor, tmp_path):
    clip, out = smooth(5, 40, 64), tmp_path / "out"
    write_lossless(tmp_path / "a.mkv", clip)
    run_predict(argparse.Namespace(
        videos=[tmp_path / "a.mkv"], predictor=bundle, out=out, format=["mp4", "npy", "webp"],
        size="original", trajectories=2, frames=None, seed=0, at=None, device="cpu",
    ))  # fmt: skip
    expected = predictor.predict(clip, trajectories=2, size="original")
    for k in range(2):
        assert np.array_equal(np.load(out / f"trajectory{k}/a.npy"), expected[k])
        with Image.open(out / f"trajectory{k}/a.webp") as shown:
            frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(shown)]
        whole = np.stack(frames)[:, :40]  # above the bar
        assert np.array_equal(whole, np.concatenate([clip[2:], expected[k]]))
        assert (out / f"trajectory{k}/a.mp4").is_file()
    assert sorted(path.name for path in out.iterdir()) == ["trajectory0", "trajectory1"]


def test_wrong_frames_and_folders_are_refused_in_one_line(bundle, predictor, tmp_path):
    frames = smooth(3, 32, 32)
    for wrong, said in [
        ({"frames": frames[:2]}, "2 frames to observe; 3 are needed"),
        ({"frames": frames.astype(float)}, "type float64; allowed: uint8"),
        ({"frames": frames[..., :2]}, r"shape \(3, 32, 32, 2\)"),
        ({"frames": frames, "trajectories": 0}, "allowed: 1 or more"),
        ({"frames": frames, "size": "large"}, "allowed: None, 'original'"),
    ]:
        with pytest.raises(UserError, match=said):
            predictor.predict(**wrong)
    with pytest.raises(UserError, match=r"lacks config\.json"):
        Predictor.from_pretrained(tmp_path)
    for number in (1, 2, 9):  # older and newer
        other = shutil.copytree(bundle, tmp_path / f"format{number}")
        values = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps(values | {"format": number, "rsvp": "9.0"}))
        with pytest.raises(UserError, match=rf"format {number}; .* reads format 3: .*9\.0"):
            Predictor.from_pretrained(other)
    damaged = shutil.copytree(bundle, tmp_path / "damaged")
    with open(damaged / "denoiser/model.safetensors", "r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"abcd")
    with pytest.raises(UserError, match="not the weights that"):
        Predictor.from_pretrained(damaged)
    swapped = shutil.copytree(bundle, tmp_path / "swapped")
    for one, other in (("autoencoder", "kept"), ("denoiser", "autoencoder"), ("kept", "denoiser")):
        (swapped / one).rename(swapped / other)
    with pytest.raises(UserError, match="swapped: damaged"):
        Predictor.from_pretrained(swapped)
    (swapped / "config.json").write_text('{"format": 3}')
    with pytest.raises(UserError, match=r"swapped: damaged \(KeyError: 'sampler'\); copy it again"):
        Predictor.from_pretrained(swapped)
    with pytest.raises(UserError, match="2 frames to observe; 3 are needed"):
        predictor.encode(frames[:2])
    with pytest.raises(UserError, match="2 frames to observe; 3 are needed"):
        predictor.decode({}, frames[:2])


def test_a_repository_is_downloaded_by_the_hub_where_it_is_installed(bundle, monkeypatch):
    asked = []

    def snapshot_download(name, revision, allow_patterns):
        asked.append((name, revision))
        return str(bundle)

    hub, errors = types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    hub.snapshot_download = snapshot_download
    errors.HfHubHTTPError, errors.HFValidationError = OSError, ValueError
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    assert Predictor.from_pretrained("somebody/rsvp", revision="v1").future_frames == 4
    assert asked == [("somebody/rsvp", "v1")]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"no such folder; .*pip install 'rsvp\[hub\]'"):
        Predictor.from_pretrained("somebody/rsvp")


def test_the_package_alone_loads_no_torch():
    program = "import sys, rsvp; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
