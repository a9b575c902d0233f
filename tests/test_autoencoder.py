"""The scene/object/motion autoencoder: what each latent may depend on, and that it learns."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from rsvp.config.schema import Generated
from rsvp.data.generated import generate_video
from rsvp.models.autoencoders.kinds import load_autoencoder
from rsvp.models.autoencoders.rsvp import Context, RsvpAutoencoder
from rsvp.models.bundle import save_bundle
from rsvp.models.warping import compressed

SHAPE = {"width": 16, "scene_channels": 3, "object_channels": 4, "motion_channels": 5}


def autoencoder(ablation=None):
    torch.manual_seed(0)
    return RsvpAutoencoder(**SHAPE, ablation=ablation)


def noise(*shape, seed=0):
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.mark.parametrize(("size", "context"), [(32, 1), (64, 4), (96, 2)])
@torch.no_grad()
def test_shapes(size, context):
    model, clips = autoencoder(), noise(2, context + 3, 3, size, size)
    seen = model.encode_context(clips[:, :context])
    motion = model.encode_motion(clips, seen)
    decoded = model.decode(motion[:, context:], seen)
    cells = size // 8
    assert seen.scene.shape == (2, 3, cells, cells)
    assert seen.object.shape == (2, 4, cells, cells)
    assert motion.shape == (2, context + 3, 5, cells, cells)
    assert decoded.frames.shape == decoded.scene.shape == (2, 3, 3, size, size)
    assert decoded.mask.shape == (2, 3, 1, size, size)
    assert decoded.displacement.shape == (2, 3, 2, size // 2, size // 2)
    assert decoded.frames.isfinite().all()
    assert decoded.mask.min() >= 0 and decoded.mask.max() <= 1


@torch.no_grad()
def test_observed_latents_do_not_change_with_the_future():
    """Bit by bit, in the call that fills the latent cache: all frames of a clip at once."""
    model, clips, context = autoencoder(), noise(2, 7, 3, 32, 32), 3
    other = clips.clone()
    other[:, context:] = noise(2, 4, 3, 32, 32, seed=1)

    def encode(clips):
        latents, seen = model.encode_clip(clips, context)
        assert torch.equal(latents["scene"], seen.scene)
        assert torch.equal(latents["object"], seen.object)
        return seen, latents["motion"]

    (seen, motion), (seen_other, motion_other) = encode(clips), encode(other)
    for name, value in vars(seen).items():
        assert torch.equal(value, getattr(seen_other, name)), name
    assert torch.equal(motion[:, :context], motion_other[:, :context])
    assert not torch.equal(motion[:, context:], motion_other[:, context:])
    # So do the frames that are decoded from what was observed.
    frames = model.decode(motion[:, :context], seen).frames
    assert torch.equal(frames, model.decode(motion_other[:, :context], seen_other).frames)


@torch.no_grad()
def test_motion_of_a_frame_is_of_that_frame_alone():
    model, clips = autoencoder(), noise(2, 6, 3, 32, 32)
    seen = model.encode_context(clips[:, :2])
    motion = model.encode_motion(clips, seen)
    for t in range(6):
        others = noise(2, 6, 3, 32, 32, seed=t + 1)
        others[:, t] = clips[:, t]
        found = model.encode_motion(others, seen)
        assert torch.equal(found[:, t], motion[:, t])
        assert not torch.equal(found[:, (t + 1) % 6], motion[:, (t + 1) % 6])


@torch.no_grad()
def test_latents_depend_on_every_context_frame():
    model, frames = autoencoder(), noise(1, 3, 3, 32, 32)
    seen = model.encode_context(frames)
    for t in range(3):
        other = frames.clone()
        other[:, t] = noise(1, 3, 32, 32, seed=9)
        changed = model.encode_context(other)
        for kind in ("scene", "object", "background"):
            change = getattr(changed, kind) - getattr(seen, kind)
            assert change.abs().max() > 1e-4, (t, kind)


@torch.no_grad()
def test_clips_of_a_batch_do_not_mix():
    model, clips = autoencoder(), noise(3, 4, 3, 32, 32)

    def run(clips):
        seen = model.encode_context(clips[:, :2])
        motion = model.encode_motion(clips, seen)
        return seen.scene, seen.object, motion, model.decode(motion, seen).frames

    together = run(clips)
    for i in range(3):
        for whole, own in zip(together, run(clips[i : i + 1]), strict=True):
            torch.testing.assert_close(own[0], whole[i], atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_each_decoded_frame_is_made_of_its_own_motion():
    model, clips = autoencoder(), noise(2, 4, 3, 32, 32)
    seen = model.encode_context(clips[:, :2])
    motion = noise(2, 5, 5, 4, 4, seed=2)
    frames = model.decode(motion, seen).frames
    for t in range(5):
        alone = model.decode(motion[:, t : t + 1], seen).frames
        torch.testing.assert_close(alone[:, 0], frames[:, t], atol=1e-4, rtol=1e-3)
    assert (frames[:, 0] - frames[:, 1]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("x", "y"), [(0, 0), (2, 0), (-1, 3)])
def test_matching_finds_where_content_went(x, y):
    """Features that are moved by whole cells are found there."""
    motion = autoencoder().motion
    motion.log_sharpness.fill_(7.0)  # beyond any confusion of random features
    own = torch.randn(2, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    there = torch.roll(own, (y, x), dims=(-2, -1))
    inside = motion.find(own, there)[..., 3:-3, 3:-3]
    expected = torch.tensor([x, y]).view(1, 2, 1, 1).expand_as(inside)
    torch.testing.assert_close(inside, expected.float(), atol=1e-2, rtol=0)


@torch.no_grad()
def test_matching_keeps_no_matrix_of_all_pairs():
    """A fused kernel takes it; of 256 pixels the matrix would have 67 MB per frame."""
    motion, own = autoencoder().motion, torch.randn(2, 16, 8, 8)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        found = motion.find(own, own)
    with sdpa_kernel(SDPBackend.MATH):
        torch.testing.assert_close(found, motion.find(own, own), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_matching_within_autocast_finds_the_same_places():
    motion, random = autoencoder().motion, torch.Generator().manual_seed(0)
    motion.log_sharpness.fill_(7.0)
    own = torch.randn(1, 16, 8, 8, generator=random)
    there = torch.roll(own, (3, -2), dims=(-2, -1))
    expected = motion.find(own, there)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = motion.find(own, there)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)


@torch.no_grad()
def test_matching_prefers_what_is_near_among_equals():
    """Content is taken to have stayed, where everything looks alike."""
    motion = autoencoder().motion
    motion.log_nearness.fill_(3.0)
    same = torch.ones(1, 16, 8, 8)
    assert motion.find(same, same)[..., 1:-1, 1:-1].abs().max() < 1e-3


@torch.no_grad()
def test_object_layer_moves_the_object_image_and_its_mask():
    """A block that is known to move 4 pixels right and 2 up: seen there, and nowhere else."""
    reference, mask = noise(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1.0
    no, depth = torch.zeros(1, 1), torch.zeros(1, 1, 16, 16)
    context = Context(no, mask * reference, mask, reference[:, None], no, no, no, depth)
    displacement = torch.tensor([4.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 16, 16)
    layer, moved = autoencoder().decoder.object_layer(displacement, context, 1)
    there = (..., slice(8, 20), slice(14, 26))
    expected = torch.roll(reference, (-2, 4), dims=(-2, -1))
    torch.testing.assert_close(layer[there], expected[there], atol=0.02, rtol=0)
    assert moved[there].min() > 0.99
    away = moved.clone()
    away[..., 2:27, 8:32] = 0.0  # the blur that closes holes widens the mask a little
    assert away.max() == 0.0


def test_learns_to_move_what_moves():
    """On one generated video, soon far better than holding the last observed frame."""
    video = generate_video(Generated(objects=1, speed=4.0), (32, 32), 5, 8).frames
    clip = torch.from_numpy(video).permute(0, 3, 1, 2)[None].float() / 127.5 - 1.0
    model = autoencoder().requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def reconstruct():
        seen = model.encode_context(clip[:, :3])
        return model.decode(model.encode_motion(clip[:, 3:], seen), seen).frames

    for _ in range(80):
        loss = F.l1_loss(reconstruct(), clip[:, 3:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = F.mse_loss(reconstruct(), clip[:, 3:])
    held = F.mse_loss(clip[:, 2:3].expand(-1, 5, -1, -1, -1), clip[:, 3:])
    assert error < 0.2 * held


@torch.no_grad()
def test_what_stands_still_has_no_motion():
    model, clips = autoencoder(), noise(2, 3, 3, 32, 32)
    for parameter in model.motion.motion.parameters():
        parameter.normal_()
    seen = model.encode_context(clips)
    motion = model.encode_motion(torch.cat([clips, seen.reference[:, None]], 1), seen)
    assert motion[:, -2:].abs().max() < 1e-5
    for kind in (slice(0, 2), slice(2, None)):
        assert motion[:, 0, kind].abs().mean() > 1e-2


@torch.no_grad()
def test_the_camera_moves_the_whole_scene_alike():
    """A ramp that moves stays a ramp: it is higher or lower by the same everywhere."""
    model, clips = autoencoder(), noise(2, 3, 3, 32, 32)
    model.decoder.camera.weight.normal_()
    seen = model.encode_context(clips)
    ramp = torch.linspace(-1.0, 1.0, 32).expand_as(seen.background)
    moved = model.decode(
        noise(2, 5, SHAPE["motion_channels"], 4, 4), replace(seen, background=ramp)
    )
    inside = (moved.scene - ramp[:, None])[..., 8:-8, 8:-8]
    assert inside.abs().amax((2, 3, 4)).min() > 1e-3
    assert (inside - inside.mean((2, 3, 4), keepdim=True)).abs().max() < 1e-5


@torch.no_grad()
def test_without_motion_frames_are_the_reference():
    """Whatever the mask is: the object image takes the share that it leaves the scene."""
    model, clips = autoencoder(), noise(2, 3, 3, 32, 32)
    for weights in (model.decoder.move, model.decoder.camera, model.decoder.residual):
        for parameter in weights.parameters():
            parameter.normal_()
    seen = model.encode_context(clips)
    assert (seen.background - seen.reference).abs().mean() > 0.01
    still = torch.zeros(2, 2, SHAPE["motion_channels"], 4, 4)
    decoded = model.decode(still, seen)
    assert decoded.displacement.abs().max() == 0.0
    # But where the mask is so faint that nothing is splatted.
    error = (decoded.frames - seen.reference[:, None]).abs()
    assert error.mean() < 1e-3 and error.max() < 0.05
    decoded = model.decode(noise(*still.shape), seen)
    assert (decoded.frames - decoded.layers).abs().mean() > 1e-3


@torch.no_grad()
def test_scene_takes_nothing_of_the_reference_up_to_a_pixel_around_the_mask():
    """There the outline of what moves is blended into the reference; beyond, it is the scene."""
    clips = noise(1, 3, 3, 32, 32)

    def scene(mask):
        model = autoencoder()
        model.context.mask = Given(F.pixel_unshuffle(100.0 * (2.0 * mask - 1.0), 2))
        return model.encode_context(clips).background

    everywhere, block, near = torch.ones(1, 1, 32, 32), *torch.zeros(2, 1, 1, 32, 32)
    block[..., 10:20, 12:22] = near[..., 9:21, 11:23] = 1.0
    expected = torch.where(near > 0, scene(everywhere), clips[:, -1])
    torch.testing.assert_close(scene(block), expected)


class Given(torch.nn.Module):
    """Gives the same, whatever it is asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, _):
        return self.answer


@torch.no_grad()
def test_what_moves_away_leaves_the_scene_behind():
    """Also at the mask's soft edge, whose pixels show something of both."""
    model = autoencoder()
    scene, thing = torch.full((1, 3, 32, 32), -0.5), torch.full((1, 3, 32, 32), 0.7)
    share = torch.zeros(1, 1, 32, 32)
    share[..., 10:14, 10:14] = 1.0
    share = F.avg_pool2d(share, 3, 1, 1)
    reference = scene + share * (thing - scene)
    image = reference - (1.0 - share) * scene
    no, depth = torch.zeros(1, 1), torch.full((1, 1, 16, 16), 2.0)
    context = Context(scene, image, share, reference[:, None], no, no, no, depth)
    displacement = torch.tensor([12.0, 8.0]).view(1, 2, 1, 1).expand(1, 2, 16, 16)
    layer, moved = model.decoder.object_layer(displacement, context, 1)
    frame = (1.0 - moved) * scene + layer
    expected = torch.roll(reference, (8, 12), dims=(-2, -1))
    torch.testing.assert_close(frame, expected, atol=2e-3, rtol=0)


@torch.no_grad()
def test_one_layer_is_the_whole_reference_and_moves_as_a_whole():
    model, clips = autoencoder("one_layer"), noise(1, 4, 3, 32, 32)
    context = model.encode_context(clips)
    assert torch.equal(context.mask, torch.ones_like(context.mask))
    assert torch.equal(context.object_image, clips[:, -1])
    shifted = torch.zeros(1, 2, 16, 16)
    shifted[:, 0] = 3.0  # pixels to the right
    image, mask = model.decoder.object_layer(shifted, context, 1)
    torch.testing.assert_close(image[..., 5:-4], clips[:, -1][..., 2:-7])
    torch.testing.assert_close(mask[..., 5:-4], torch.ones(1, 1, 32, 23))


@pytest.mark.parametrize("ablation", [None, "random_mask"])
def test_a_random_mask_is_not_learnt_and_all_else_is(ablation):
    """Nor does what the mask's network reads learn for the mask's sake."""
    model, clips = autoencoder(ablation), noise(2, 6, 3, 32, 32)
    assert model.encode_context(clips[:, :4]).mask.requires_grad is (ablation is None)
    model.reconstruct_future(clips, 4).square().mean().backward()
    learnt = {n for n, weight in model.named_parameters() if weight.grad is not None}
    assert any(name.startswith("context.mask.") for name in learnt) is (ablation is None)
    assert {"context.choice.2.weight", "context.layers.2.weight", "motion.match.weight"} <= learnt


def test_comes_back_from_its_bundle(tmp_path):
    model, clips = autoencoder(), noise(1, 4, 3, 32, 32)
    model = model.to(memory_format=torch.channels_last)  # as in training
    save_bundle(
        tmp_path / "w.safetensors",
        tmp_path / "index.json",
        model,
        {"arguments": SHAPE | {"kind": "rsvp"}},
    )
    loaded = load_autoencoder(tmp_path / "index.json")
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    seen, again = model.encode_context(clips[:, :2]), loaded.encode_context(clips[:, :2])
    motion = model.encode_motion(clips, seen)
    assert torch.equal(motion, loaded.encode_motion(clips, again))
    assert torch.equal(model.decode(motion, seen).frames, loaded.decode(motion, again).frames)


@torch.no_grad()
def test_given_latents_replace_their_own():
    """Their layers change by what they hold; what the frames give directly stays."""
    model, clips = autoencoder(), noise(2, 3, 3, 32, 32)
    own = model.encode_context(clips)
    again = model.encode_context(clips, own.scene, own.object)
    for name, value in vars(own).items():
        assert torch.equal(value, getattr(again, name)), name
    held = model.decode_layers(own.scene, own.object)
    for name, given, layer in (("scene", "scene", "background"),
                               ("object", "object_", "object_image")):  # fmt: skip
        latent = torch.ones_like(getattr(own, name))
        other = model.encode_context(clips, **{given: latent})
        assert torch.equal(getattr(other, name), latent)
        assert torch.equal(other.skip, own.skip)
        scene, object_ = (latent, own.object) if name == "scene" else (own.scene, latent)
        there = getattr(model.decode_layers(scene, object_), layer)
        torch.testing.assert_close(
            getattr(other, layer) - getattr(own, layer), there - getattr(held, layer)
        )
        assert not torch.equal(there, getattr(held, layer))
        kept = "object_image" if name == "scene" else "background"
        assert torch.equal(getattr(other, kept), getattr(own, kept))


@torch.no_grad()
def test_latents_alone_decode_to_the_scene_where_they_hold_no_object():
    model = autoencoder()
    for parameter in model.context.latents.decode_object.parameters():
        parameter.zero_()
    scene, object_ = noise(2, 3, 4, 4), noise(2, 4, 4, 4, seed=1)
    motion = 0.1 * noise(2, 5, 5, 4, 4, seed=2)
    frames = model.decode_alone(scene, object_, motion)
    expected = model.decode_layers(scene, object_).background
    torch.testing.assert_close(frames, expected[:, None].expand_as(frames))


@torch.no_grad()
def test_latents_alone_move_their_object():
    """An object that the latent holds, as wide as a cell: two cells to the right."""
    model = autoencoder()
    decoder = model.context.latents.decode_object
    for parameter in decoder.parameters():
        parameter.zero_()
    decoder.linear.weight[:, 0] = 1.0  # of the first channel: colours and mask are 1
    scene, object_ = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, 4)
    object_[0, 0, 1, 1] = 1.0
    held = model.decode_layers(scene, object_).frame
    scale = model.decoder.scale
    way = compressed(torch.tensor([2.0, 0.0]).view(1, 2, 1, 1), scale).expand(1, 2, 4, 4)
    motion = torch.cat([way, torch.zeros(1, 3, 4, 4)], 1)[:, None]
    moved = model.decode_alone(scene, object_, motion)[0, 0]
    expected = torch.roll(held[0], 16, dims=-1)
    inside = (..., slice(10, 14), slice(26, 30))
    torch.testing.assert_close(moved[inside], expected[inside], atol=0.05, rtol=0)
    left = model.decode_layers(scene, object_).background[0]
    there = (..., slice(10, 14), slice(10, 14))
    torch.testing.assert_close(moved[there], left[there], atol=0.05, rtol=0)
