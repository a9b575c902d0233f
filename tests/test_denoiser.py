"""The denoiser of latents: shapes, where it starts, and what its output depends on."""

import pytest
import torch

from rsvp.models.denoiser import LatentDenoiser, from_patches, patches, sinusoids

CONTEXT, FUTURE, CELLS = 3, 6, 4
GRID = (CELLS, CELLS)
MOTION = (  # as of scene, object and motion
    {"scene": (1, 3, *GRID), "object": (1, 2, *GRID), "motion": (CONTEXT, 4, *GRID)},
    {"motion": (FUTURE, 4, *GRID)},
)
JOINT = (MOTION[0], MOTION[1] | {"future_scene": (1, 3, *GRID)})
PLANES = (  # two of a triplane
    {"past_xy": (1, 2, *GRID), "past_xt": (CONTEXT, 3, 1, CELLS)},
    {"xy": (1, 2, *GRID), "xt": (FUTURE, 3, 1, CELLS)},
)
ALL = {"motion": MOTION, "joint": JOINT, "planes": PLANES}


def denoiser(shapes=MOTION, awake=True, **changes):
    """A small denoiser; awake: no longer at its start, where all outputs are zero."""
    torch.manual_seed(0)
    own = {"width": 32, "depth": 2, "heads": 2, "patch": 2, "frames_per_token": 4}
    network = LatentDenoiser(*shapes, **own | changes)
    if awake:
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def inputs(shapes=MOTION, count=2, seed=1):
    random = torch.Generator().manual_seed(seed)

    def draw(shapes):
        return {k: torch.randn(count, *shape, generator=random) for k, shape in shapes.items()}

    return draw(shapes[1]), torch.rand(count, generator=random), draw(shapes[0])


def flat(latents):
    return torch.cat([value.flatten(1) for value in latents.values()], 1)


@pytest.mark.parametrize("frames", [1, 3, 4, 6, 12])
@pytest.mark.parametrize("cells", [4, 8])
def test_returns_the_shape_of_any_number_of_frames(frames, cells):
    shapes = ({"motion": (2, 4, cells, cells)}, {"motion": (frames, 4, cells, cells)})
    noisy, time, observed = inputs(shapes)
    velocity = denoiser(shapes)(noisy, time, observed)["motion"]
    assert velocity.shape == noisy["motion"].shape
    # No frame is lost in padding: each has an answer of its own.
    assert (velocity.abs().amax((0, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize("kind", ALL)
def test_returns_every_latent_in_its_shape(kind):
    noisy, time, observed = inputs(ALL[kind])
    answer = denoiser(ALL[kind])(noisy, time, observed)
    assert {k: v.shape for k, v in answer.items()} == {k: v.shape for k, v in noisy.items()}
    assert all((value != 0).all() for value in answer.values())


@pytest.mark.parametrize("kind", ALL)
def test_starts_at_zero(kind):
    answer = denoiser(ALL[kind], awake=False)(*inputs(ALL[kind]))
    assert not flat(answer).any()


@pytest.mark.parametrize("kind", ALL)
@torch.no_grad()
def test_every_answer_depends_on_everything_that_it_may_look_at(kind):
    network = denoiser(ALL[kind])
    noisy, time, observed = inputs(ALL[kind])
    start = network(noisy, time, observed)

    def reaches_all(noisy=noisy, time=time, observed=observed):
        answer = network(noisy, time, observed)
        return all((answer[name] - start[name]).abs().amax() > 1e-5 for name in start)

    assert not reaches_all()
    assert reaches_all(time=time * 0.5)
    for name in noisy:
        assert reaches_all(noisy=noisy | {name: noisy[name] + 0.5}), name
    for name, value in observed.items():
        for frame in range(value.shape[1]):
            other = value.clone()
            other[:, frame] += 0.5
            assert reaches_all(observed=observed | {name: other}), (name, frame)


def test_what_is_observed_on_a_grid_of_its_own_is_refused():
    """Else it would be left out in silence."""
    with pytest.raises(ValueError, match="no target has the grid of what is observed"):
        denoiser((PLANES[0], {"xy": PLANES[1]["xy"]}))


@torch.no_grad()
def test_every_token_sees_every_other():
    """A change in the last cell of the last frame reaches the first cell of the first."""
    network = denoiser()
    noisy, time, observed = inputs()
    other = {"motion": noisy["motion"].clone()}
    other["motion"][:, -1, :, -1, -1] += 3.0
    change = flat(network(other, time, observed)) - flat(network(noisy, time, observed))
    change = change.abs().view_as(noisy["motion"])
    assert (change.amax((1, 2, 3, 4)) > 0).all()
    assert (change[:, 0, :, 0, 0] > 1e-5).any()


@pytest.mark.parametrize("kind", ALL)
@torch.no_grad()
def test_clips_of_a_batch_do_not_mix(kind):
    network = denoiser(ALL[kind])
    noisy, time, observed = inputs(ALL[kind], count=3)
    together = flat(network(noisy, time, observed))
    for i in range(3):
        own = [{k: v[i : i + 1] for k, v in part.items()} for part in (noisy, observed)]
        alone = flat(network(own[0], time[i : i + 1], own[1]))
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_equal_content_at_other_places_gives_other_answers():
    """Without positions, all tokens of a constant input would get one answer."""
    shapes = (MOTION[0], {"motion": (8, 4, *GRID)})
    noisy, time, observed = inputs(shapes)
    for value in (*noisy.values(), *observed.values()):
        value[:] = 0.3
    velocity = denoiser(shapes)(noisy, time, observed)["motion"]
    first = velocity[:, :4, :, :2, :2]
    for other in (
        velocity[:, 4:, :, :2, :2],
        velocity[:, :4, :, 2:, :2],
        velocity[:, :4, :, :2, 2:],
    ):
        assert (other - first).abs().max() > 1e-3


@pytest.mark.parametrize("cut", [(4, 2, 2), (2, 1, 4), (5, 4, 1)])
def test_patches_hold_each_value_once_and_lead_back(cut):
    latents = torch.arange(2 * 5 * 3 * 16.0).view(2, 5, 3, 4, 4) + 1
    cells = patches(latents, cut)
    frames, rows, columns = cut
    assert cells.shape == (2, -(-5 // frames), 4 // rows, 4 // columns, 3 * frames * rows * columns)
    assert torch.equal(cells[cells > 0].sort().values, latents.flatten())
    assert torch.equal(from_patches(cells.flatten(1, 3), cut, latents.shape), latents)


def test_sinusoids_tell_times_apart():
    times = torch.linspace(0, 1, 51)
    features = sinusoids(100 * times, 64, longest=1000.0)
    distance = torch.cdist(features, features) + 9 * torch.eye(51)
    assert features.shape == (51, 64)
    assert distance.min() > 0.1


@pytest.mark.parametrize("kind", ALL)
def test_learns_a_velocity(kind):
    """A few steps towards a target that needs noisy, time and observed."""
    network = denoiser(ALL[kind], awake=False, depth=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    noisy, time, observed = inputs(ALL[kind], count=8)
    targets = {
        name: value * time.view(-1, 1, 1, 1, 1) + past[:, -1:].mean(2, keepdim=True)
        for name, value in noisy.items()
        for past in observed.values()  # the last on the same grid counts
        if past.shape[-2:] == value.shape[-2:]
    }
    losses = []
    for _ in range(60):
        answer = network(noisy, time, observed)
        loss = sum((answer[name] - value).square().mean() for name, value in targets.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_what_is_observed_goes_straight_to_the_output():
    """A linear map of the observed latents at a place is what its future starts from."""
    observed, targets = {"motion": [2, 2, 4, 4]}, {"motion": [3, 2, 4, 4]}
    network = LatentDenoiser(observed, targets, 16, 1, 2, 2, 3)
    torch.nn.init.normal_(network.skip["motion"].weight)
    seen = torch.randn(2, 2, 2, 4, 4)
    noisy = torch.randn(2, 3, 2, 4, 4)
    outputs = [
        network({"motion": noisy}, torch.rand(2), {"motion": scale * seen})["motion"]
        for scale in (1.0, 3.0)
    ]
    torch.testing.assert_close(outputs[1], 3.0 * outputs[0])
    moved = network({"motion": noisy}, torch.rand(2), {"motion": seen.roll(2, -1)})["motion"]
    torch.testing.assert_close(moved, outputs[0].roll(2, -1))


def test_latents_of_one_frame_count_less_beside_those_of_several():
    network, (_, _, observed) = denoiser(), inputs()
    moved = network.still("motion", {**observed, "scene": 0 * observed["scene"],
                                     "object": 0 * observed["object"]})  # fmt: skip
    still = network.still("motion", {**observed, "motion": 0 * observed["motion"]})
    assert moved.square().sum() == pytest.approx(observed["motion"].square().sum().item())
    size = sum(observed[name].square().sum().item() for name in ("scene", "object"))
    assert still.square().sum() == pytest.approx(size / 16)
    # Alone they count in full.
    network, (_, _, observed) = denoiser(PLANES), inputs(PLANES)
    alone = network.still("xy", observed)
    assert alone.square().sum() == pytest.approx(observed["past_xy"].square().sum().item())
