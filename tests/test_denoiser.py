"""The denoiser of motion: shapes, where it starts, and what its output depends on."""

import pytest
import torch

from rsvp.models.denoiser import MotionDenoiser, Observed, sinusoids

SCENE, OBJECT, MOTION, CONTEXT, CELLS = 3, 2, 4, 3, 4
SHAPE = {"scene_channels": SCENE, "object_channels": OBJECT, "motion_channels": MOTION,
         "context_frames": CONTEXT, "width": 32, "depth": 2, "heads": 2, "patch": 2,
         "frames_per_token": 4}  # fmt: skip


def denoiser(awake=True, **changes):
    """A small denoiser; awake: no longer at its start, where all outputs are zero."""
    torch.manual_seed(0)
    network = MotionDenoiser(**SHAPE | changes)
    if awake:
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def inputs(frames=6, count=2, cells=CELLS, seed=1):
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(count, *shape, cells, cells, generator=random)

    observed = Observed(draw(SCENE), draw(OBJECT), draw(CONTEXT, MOTION))
    return draw(frames, MOTION), torch.rand(count, generator=random), observed


@pytest.mark.parametrize("frames", [1, 3, 4, 6, 12])
@pytest.mark.parametrize("cells", [4, 8])
def test_gives_back_the_shape_of_any_number_of_frames(frames, cells):
    arguments = inputs(frames, cells=cells)
    velocity = denoiser()(*arguments)
    assert velocity.shape == arguments[0].shape
    # No frame is lost in padding: each has an answer of its own.
    assert (velocity.abs().amax((0, 2, 3, 4)) > 0).all()


def test_starts_at_zero():
    velocity = denoiser(awake=False)(*inputs())
    assert torch.equal(velocity, torch.zeros_like(velocity))


@torch.no_grad()
def test_depends_on_everything_that_it_may_look_at():
    network = denoiser()
    noisy, time, observed = inputs()
    start = network(noisy, time, observed)

    def change(noisy=noisy, time=time, **kinds):
        return (network(noisy, time, Observed(**vars(observed) | kinds)) - start).abs().amax()

    assert change() == 0
    assert change(noisy=noisy + 0.5) > 1e-3
    assert change(time=time * 0.5) > 1e-3
    assert change(scene=observed.scene + 0.5) > 1e-3
    assert change(object=observed.object + 0.5) > 1e-3
    for frame in range(CONTEXT):
        motion = observed.motion.clone()
        motion[:, frame] += 0.5
        assert change(motion=motion) > 1e-3, frame


@torch.no_grad()
def test_every_token_sees_every_other():
    """A change in the last cell of the last frame reaches the first cell of the first."""
    network = denoiser()
    noisy, time, observed = inputs(frames=8)
    other = noisy.clone()
    other[:, -1, :, -1, -1] += 3.0
    change = (network(other, time, observed) - network(noisy, time, observed)).abs()
    assert (change.amax((1, 2, 3, 4)) > 0).all()
    assert (change[:, 0, :, 0, 0] > 1e-5).any()


@torch.no_grad()
def test_clips_of_a_batch_do_not_mix():
    network = denoiser()
    noisy, time, observed = inputs(count=3)
    together = network(noisy, time, observed)
    for i in range(3):
        own = Observed(**{kind: value[i : i + 1] for kind, value in vars(observed).items()})
        alone = network(noisy[i : i + 1], time[i : i + 1], own)
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_equal_content_at_other_places_gives_other_answers():
    """Without positions, all tokens of a constant input would get one answer."""
    noisy, time, observed = inputs(frames=8)
    for value in (noisy, observed.scene, observed.object, observed.motion):
        value[:] = 0.3
    velocity = denoiser()(noisy, time, observed)
    first = velocity[:, :4, :, :2, :2]
    for other in (
        velocity[:, 4:, :, :2, :2],
        velocity[:, :4, :, 2:, :2],
        velocity[:, :4, :, :2, 2:],
    ):
        assert (other - first).abs().max() > 1e-3


@torch.no_grad()
def test_patches_hold_each_value_once():
    network = denoiser()
    latents = torch.arange(2 * 5 * MOTION * 16.0).view(2, 5, MOTION, 4, 4) + 1
    patches = network.patches(latents, 4)
    assert patches.shape == (2, 2, 2, 2, 4 * MOTION * 4)
    assert torch.equal(patches[patches > 0].sort().values, latents.flatten())


def test_sinusoids_tell_times_apart():
    times = torch.linspace(0, 1, 51)
    features = sinusoids(100 * times, 64, longest=1000.0)
    distance = torch.cdist(features, features) + 9 * torch.eye(51)
    assert features.shape == (51, 64)
    assert distance.min() > 0.1


def test_learns_a_velocity():
    """A few steps towards a target that needs noisy, time and observed."""
    network = denoiser(awake=False, depth=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    noisy, time, observed = inputs(frames=4, count=8)
    target = noisy * time.view(-1, 1, 1, 1, 1) + observed.motion[:, -1:]
    losses = []
    for _ in range(60):
        loss = (network(noisy, time, observed) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
