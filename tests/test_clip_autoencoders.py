"""Autoencoders of every kind, as the stages use them."""

from types import SimpleNamespace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from rsvp.config.load import structured
from rsvp.config.schema import Autoencoder
from rsvp.data.latents import TemporalScope, split_latents
from rsvp.data.micro_batches import cut
from rsvp.data.pixels import to_bytes
from rsvp.models.autoencoders.kinds import autoencoder_arguments, load_autoencoder, make_autoencoder
from rsvp.models.bundle import save_bundle
from rsvp.models.denoiser import LatentDenoiser
from rsvp.training.cost import autoencoder_flops, forward_flops
from rsvp.training.processes import Processes
from rsvp.training.reconstruction import (
    ClipPart,
    draw_reconstruction,
    reconstruct,
    reconstruct_batch,
    reconstruction_loss,
)

SMALL = {"width": 16, "channels": 4}
KINDS = {
    "rsvp": {"width": 16},
    "joint": {"kind": "joint", "width": 16},
    "triplane": {"kind": "triplane", **SMALL},
    "triplane, kl": {"kind": "triplane", **SMALL, "regulariser": {"kind": "kl"}},
    "triplane, vq": {"kind": "triplane", **SMALL, "regulariser": {"kind": "vq", "codes": 32}},
    "triplane, fsq": {"kind": "triplane", **SMALL, "regulariser": {"kind": "fsq"}},
    "frames": {"kind": "frames", **SMALL},
    "frames, kl": {"kind": "frames", **SMALL, "regulariser": {"kind": "kl"}},
    "frames, vq": {"kind": "frames", **SMALL, "regulariser": {"kind": "vq", "codes": 32}},
    "frames, fsq": {"kind": "frames", **SMALL, "regulariser": {"kind": "fsq"}},
}
ONE_EACH = ("rsvp", "joint", "triplane", "frames")
CONTEXT = 2


def arguments(kind, colours=3):
    return autoencoder_arguments(structured(Autoencoder, KINDS[kind]), colours)


def autoencoder(kind, colours=3):
    torch.manual_seed(0)
    return make_autoencoder(**arguments(kind, colours)).eval()


def noise(*shape, seed=0):
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def smooth(frames=6, size=32):
    """A clip (1, T, 3, H, H) of a bright square that moves over a slope."""
    clip = torch.linspace(-0.8, 0.2, size).expand(1, frames, 3, size, size).clone()
    for t in range(frames):
        clip[:, t, :2, 8:20, 4 + 2 * t : 14 + 2 * t] = 0.9
    return clip


@pytest.mark.parametrize("kind", ONE_EACH)
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 48, 80), (1, 64, 32)])
@pytest.mark.parametrize(("frames", "context"), [(5, 1), (7, 3)])
@torch.no_grad()
def test_any_shape(kind, shape, frames, context):
    model, clips = autoencoder(kind, shape[0]), noise(2, frames, *shape)
    latents, seen = model.encode_clip(clips, context)
    assert latents.keys() == model.scopes.keys()
    observed, future = split_latents(latents, model.scopes, context)
    assert observed and future
    for name, value in (observed | future).items():
        assert value.dim() == 5 and value.isfinite().all(), name
    decoded = model.decode_future(future, seen)
    assert decoded.shape == (2, frames - context, *shape)
    torch.testing.assert_close(model.reconstruct_future(clips, context), decoded)


# Frames of a clip, and how many of them are observed: all ends of 8 to 128, and between.
LENGTHS = [(8, 1), (8, 4), (8, 7), (16, 4), (24, 20), (33, 5), (64, 1)]
LENGTHS += [(128, 1), (128, 64), (128, 127)]


@pytest.mark.parametrize("kind", ONE_EACH)
@pytest.mark.parametrize(("frames", "context"), LENGTHS)
def test_any_length(kind, frames, context):
    """A step of training, and a denoiser of its latents, whose every target gets a gradient."""
    model, clips = autoencoder(kind), smooth(frames).clamp(-1, 1)
    decoded = model.reconstruct_future(clips, context)
    assert decoded.shape == (1, frames - context, 3, 32, 32) and decoded.isfinite().all()
    decoded.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.no_grad():
        latents, _ = model.encode_clip(clips, context)
    observed, future = split_latents(latents, model.scopes, context)
    shapes = [{k: list(v.shape[1:]) for k, v in part.items()} for part in (observed, future)]
    denoiser = LatentDenoiser(*shapes, width=32, depth=1, heads=2, patch=2, frames_per_token=12)
    for name, value in denoiser(future, torch.rand(1), observed).items():
        assert value.shape == future[name].shape and value.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_what_is_observed_does_not_change_with_the_future(kind):
    """Bit by bit, in the call that fills the cache; nor does it need the future, as in predict."""
    model, clips = autoencoder(kind), noise(2, 6, 3, 32, 32)
    other = clips.clone()
    other[:, CONTEXT:] = noise(2, 4, 3, 32, 32, seed=1)
    parts = []
    for clip in (clips, other, clips[:, :CONTEXT]):
        latents, _ = model.encode_clip(clip, CONTEXT)
        parts.append(split_latents(latents, model.scopes, CONTEXT))
    (observed, future), (same, changed), (alone, nothing) = parts
    assert observed.keys() == alone.keys() and not nothing
    for name, value in observed.items():
        assert torch.equal(value, same[name]), name
        torch.testing.assert_close(value, alone[name], atol=1e-4, rtol=1e-3)
    for name, value in future.items():
        assert not torch.equal(value, changed[name]), name


@pytest.mark.parametrize("kind", ONE_EACH)
@torch.no_grad()
def test_observed_latents_depend_on_every_observed_frame(kind):
    model, clips = autoencoder(kind), noise(1, 3, 3, 32, 32)
    before = split_latents(model.encode_clip(clips, 3)[0], model.scopes, 3)[0]
    for t in range(3):
        other = clips.clone()
        other[:, t] = noise(1, 3, 32, 32, seed=9)
        after = split_latents(model.encode_clip(other, 3)[0], model.scopes, 3)[0]
        for name, value in before.items():
            change = (after[name] - value).abs().amax((0, 2, 3, 4))
            own = model.scopes[name] is TemporalScope.frames
            # Motion is relative to the last frame, which has none, and shows in that of the others.
            place = t if own and (name, t) != ("motion", 2) else 0
            assert change[place].max() > 1e-4, (name, t)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_step_is_of_its_frames_and_seed(kind):
    model, clips = autoencoder(kind), noise(1, 6, 3, 32, 32)

    def run(seed, targets=(4, 1, 5)):
        random = torch.Generator().manual_seed(seed)
        drawn = draw_reconstruction(model, clips.shape, CONTEXT, torch.tensor(targets), random)
        return reconstruct(model, clips, CONTEXT, drawn, cut(1, 1)[0])

    first = run(0)
    assert torch.equal(first.frames, clips[:, [4, 1, 5]])
    assert first.predicted.shape == first.frames.shape
    assert torch.equal(first.predicted, run(0).predicted)
    rounded = kind.endswith(("vq", "fsq"))
    assert torch.equal(first.predicted, run(1).predicted) is rounded
    # Each frame is the one that was named.
    swapped = run(0, (1, 4, 5))
    assert torch.equal(swapped.frames[:, 0], first.frames[:, 1])
    if rounded:
        torch.testing.assert_close(swapped.predicted[:, 0], first.predicted[:, 1])


NOISY = {  # the latents that a step decodes, in its order
    "rsvp": ["motion"],
    "joint": ["motion", "future_scene", "future_object"],
    "triplane": ["context_xy", "context_xt", "context_yt", "xy", "xt", "yt"],
    "frames": ["image"],
}


@pytest.mark.parametrize("kind", ONE_EACH)
def test_noise_is_drawn_in_the_shapes_of_the_latents_that_a_step_decodes(kind):
    """Noise of another shape could be broadcast."""
    wide = 32 if kind in ("rsvp", "joint") else 48
    model, clips = autoencoder(kind), noise(2, 6, 3, 32, wide)
    latents, _ = model.encode_clip(clips, CONTEXT)
    observed, future = split_latents(latents, model.scopes, CONTEXT)
    expected = [(observed | future)[name].shape for name in NOISY[kind]]
    found = model.noisy_shapes(clips.shape, CONTEXT, clips.shape[1] - CONTEXT)
    # Latents of frames together lack the axis of time.
    assert [shape if len(shape) == 5 else (shape[0], 1, *shape[1:]) for shape in found] == expected
    if kind == "triplane":  # of a clip that is all context, or all future
        for count, names in ((0, NOISY[kind][3:]), (6, NOISY[kind][:3])):
            latents, _ = model.encode_clip(clips, count)
            assert model.noisy_shapes(clips.shape, count, 3) == [latents[n].shape for n in names]


@pytest.mark.parametrize("kind", ONE_EACH)
def test_names_its_last_layer(kind):
    """The last weights of the decoder, three colours of four pixels each."""
    model, clips = autoencoder(kind), noise(1, 6, 3, 32, 32)
    layer = model.last_layer
    assert any(layer is p for p in model.decoder.parameters()) and layer.shape[0] == 12
    random = torch.Generator().manual_seed(0)
    drawn = draw_reconstruction(model, clips.shape, CONTEXT, torch.tensor([4, 5]), random)
    found = reconstruct(model, clips, CONTEXT, drawn, cut(1, 1)[0]).predicted
    assert torch.autograd.grad(found.square().mean(), layer)[0].abs().min() > 0


def part(model, clips, last, seed):
    """A batch of clips, of which the first future frames, to `last`, are reconstructed."""
    random, targets = torch.Generator().manual_seed(seed), torch.arange(CONTEXT, last)
    drawn = draw_reconstruction(model, clips.shape, CONTEXT, targets, random)
    return ClipPart(cut(len(clips), 1)[0], to_bytes(clips), CONTEXT, drawn)


# A regulariser does not know which kind of autoencoder it is in; frames are quicker to train.
@pytest.mark.parametrize("kind", [*ONE_EACH, *(kind for kind in KINDS if "frames, " in kind)])
def test_learns_to_reconstruct_a_clip(kind):
    """Soon far better than the clip's mean; nothing is lost where training ends."""
    model, clip = autoencoder(kind).train(), smooth()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(60):
        (result,) = reconstruct_batch(Processes(), model, [part(model, clip, 6, step)])
        loss, _ = reconstruction_loss(result)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = (model.eval().reconstruct_future(clip, CONTEXT) - clip[:, CONTEXT:]).square().mean()
    spread = clip[:, CONTEXT:].var()
    assert error < 0.1 * spread, (error / spread).item()


def patches(seed):
    """Clips (4, T, 3, H, H) of still patches as large as a latent cell, each colour independent."""
    colours = noise(4, 1, 3, 4, 4, seed=seed)
    return colours.repeat_interleave(8, -1).repeat_interleave(8, -2).expand(-1, 6, -1, -1, -1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["triplane", "frames"])
def test_soon_reconstructs_every_colour_of_new_clips(kind, seed):
    """None of red, green and blue waits for the others to be learnt."""
    torch.manual_seed(seed)
    model = make_autoencoder(**arguments(kind))
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(60):
        (result,) = reconstruct_batch(Processes(), model, [part(model, patches(step), 4, step)])
        loss, _ = reconstruction_loss(result)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clips = patches(1000)
    with torch.no_grad():
        missing = model.eval().reconstruct_future(clips, CONTEXT) - clips[:, CONTEXT:]
    share = missing.square().mean((0, 1, 3, 4)) / clips.var((0, 1, 3, 4))
    assert share.max() < 0.5, share


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_comes_back_from_its_bundle(kind, tmp_path):
    model, clips = autoencoder(kind), noise(1, 5, 3, 32, 32)
    model = model.to(memory_format=torch.channels_last)  # as in training
    facts = {"arguments": arguments(kind)}
    save_bundle(tmp_path / "w.safetensors", tmp_path / "index.json", model, facts)
    loaded = load_autoencoder(tmp_path / "index.json")
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    expected = model.reconstruct_future(clips, CONTEXT)
    assert torch.equal(loaded.reconstruct_future(clips, CONTEXT), expected)


@pytest.mark.parametrize("kind", ONE_EACH)
@torch.no_grad()
def test_a_denoiser_fits_its_latents(kind):
    """Built from the shapes alone; every latent reaches what is predicted."""
    model = autoencoder(kind)
    latents, _ = model.encode_clip(noise(2, 6, 3, 32, 32), CONTEXT)
    observed, future = split_latents(latents, model.scopes, CONTEXT)
    shapes = [{k: list(v.shape[1:]) for k, v in part.items()} for part in (observed, future)]
    denoiser = LatentDenoiser(*shapes, width=32, depth=1, heads=2, patch=2, frames_per_token=2)
    answer = denoiser(future, torch.rand(2), observed)
    assert {k: v.shape for k, v in answer.items()} == {k: v.shape for k, v in future.items()}


def kept_bytes(model, frames):
    """Bytes that a reconstruction keeps for its gradients."""
    storages = {}

    def pack(value):
        storages[value.untyped_storage().data_ptr()] = value.untyped_storage()
        return value

    with saved_tensors_hooks(pack, lambda value: value):
        model.reconstruct_future(torch.zeros(1, frames, 3, 32, 32), CONTEXT)
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("kind", ONE_EACH)
def test_memory_of_a_step_grows_linearly_with_the_clip(kind):
    """Eight frames more cost the same after 8 as after 24."""
    model = autoencoder(kind)
    kept = [kept_bytes(model, frames) for frames in (8, 16, 24, 32)]
    assert kept[3] - kept[2] == pytest.approx(kept[1] - kept[0], rel=0.02)
    assert kept[1] > 1.2 * kept[0]


@pytest.mark.parametrize("kind", ONE_EACH)
def test_a_rectangle_costs_what_a_square_of_as_many_pixels_does(kind):
    """Within a tenth at 16:9: planes along time have the sides of a frame, not its area."""
    model, costs = autoencoder(kind), []
    for height, width in ((64, 64), (48, 80)):
        clip = SimpleNamespace(shape=(height, width, 3), context_frames=2, clip_frames=4)
        with torch.no_grad():
            latents, _ = model.encode_clip(noise(1, 4, 3, height, width), CONTEXT)
        observed, future = split_latents(latents, model.scopes, CONTEXT)
        shapes = [{k: list(v.shape[1:]) for k, v in part.items()} for part in (observed, future)]
        denoiser = LatentDenoiser(*shapes, width=32, depth=1, heads=2, patch=1, frames_per_token=2)
        denoising = forward_flops(lambda: denoiser(future, torch.rand(1), observed))  # noqa: B023
        pixels = height * width
        costs.append([autoencoder_flops(model, clip) / pixels, denoising / pixels])
    assert costs[1] == pytest.approx(costs[0], rel=0.1)


@pytest.mark.parametrize("kind", ONE_EACH)
def test_cost_grows_with_the_clip(kind):
    shape = {"shape": (32, 32, 3), "context_frames": 2}
    costs = [
        autoencoder_flops(autoencoder(kind), SimpleNamespace(clip_frames=frames, **shape))
        for frames in (4, 6)
    ]
    assert costs[1] > 1.2 * costs[0] > 0
