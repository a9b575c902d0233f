"""The loss of stage two."""

import pytest
import torch

from rsvp.config.schema import Compute
from rsvp.data.layout import LatentBatch
from rsvp.data.micro_batches import cut
from rsvp.diffusion.noise import coloured, noise_roots
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.models.denoiser import STILL, LatentDenoiser
from rsvp.runtime.device import make_fabric
from rsvp.runtime.random import generator
from rsvp.training.denoising import diffusion_loss, diffusion_step, divided, draw_noise
from rsvp.training.ema import WeightAverage
from rsvp.training.processes import Processes

CONTEXT = 3
FLOW = OBJECTIVES["flow"]


def draw(clips, random):
    """Noise and times by the defaults of the config."""
    return draw_noise(clips, FLOW, random, uniform=False, mean=-0.7, deviation=1.0)


def network(depth=1, awake=True):
    torch.manual_seed(0)
    observed = {"scene": [1, 3, 4, 4], "object": [1, 2, 4, 4], "motion": [CONTEXT, 4, 4, 4]}
    targets = {"motion": [4, 4, 4, 4]}
    made = LatentDenoiser(
        observed, targets, width=32, depth=depth, heads=2, patch=2, frames_per_token=4
    )
    if not awake:
        return made
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def batch(count=4, frames=7):
    """Return the observed part, and the future."""
    random = torch.Generator().manual_seed(1)
    shapes = {"scene": (1, 3), "object": (1, 2), "motion": (frames, 4)}
    latents = {k: torch.randn(count, *s, 4, 4, generator=random) for k, s in shapes.items()}
    future = {"motion": latents["motion"][:, CONTEXT:]}
    return LatentBatch(latents | {"motion": latents["motion"][:, :CONTEXT]}, future, None)


def test_training_goes_as_it_went_when_motion_was_all_there_was():
    """Losses of six steps, and the weights then, as the motion denoiser had them before latents
    were generic; and before what is observed went straight to its output, which is taken out, and
    scene and object were scaled, which is undone."""
    denoiser, parts = network(depth=2, awake=False), batch()
    still = {name: parts.observed[name] / STILL for name in ("scene", "object")}
    parts = parts._replace(observed=parts.observed | still)
    denoiser.skip.clear()
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=1e-2)
    losses = []
    for step in range(6):
        drawn = draw(parts, generator(0, step, "diffusion"))
        loss = diffusion_loss(denoiser, parts, FLOW, drawn)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    known = [2.0410285, 1.9885027, 1.9136533, 1.8176036, 1.7912440, 1.7888819]
    assert losses == pytest.approx(known, abs=1e-5)
    weights = sum(p.double().abs().sum().item() for p in denoiser.parameters())
    assert weights == pytest.approx(2905.83612, rel=1e-6)


def test_noise_of_training_has_the_correlations_that_are_asked_for():
    clips = batch()
    roots = noise_roots(clips.targets)
    white = draw(clips, generator(5, 7, "diffusion"))
    drawn = draw_noise(
        clips, FLOW, generator(5, 7, "diffusion"),
        uniform=False, mean=-0.7, deviation=1.0, roots=roots,
    )  # fmt: skip
    assert torch.equal(drawn.times, white.times)
    assert torch.equal(drawn.noise, coloured({"motion": white.noise}, roots)["motion"])
    assert not torch.equal(drawn.noise, white.noise)


def test_default_is_flow_matching_at_logit_normal_times():
    """Bit for bit what it was before there were other objectives."""
    denoiser, clips = network(), batch()
    drawn = draw(clips, generator(5, 7, "diffusion"))
    found = diffusion_loss(denoiser, clips, FLOW, drawn)
    random = generator(5, 7, "diffusion")
    observed, future = clips[0], clips[1]["motion"]
    noise = torch.randn(future.shape, generator=random)
    times = torch.sigmoid(-0.7 + 1.0 * torch.randn(4, generator=random))
    t = times.view(-1, 1, 1, 1, 1)
    output = denoiser({"motion": (1.0 - t) * noise + t * future}, times, observed)["motion"]
    assert torch.equal(found, (output - (future - noise)).square().mean())
    # Nothing dropped is nothing changed.
    none = torch.zeros(4, dtype=torch.bool)
    again = diffusion_loss(denoiser, clips, FLOW, drawn._replace(dropped=none))
    assert torch.equal(found, again)


@pytest.mark.parametrize("dropped", [[True] * 4, [False, True, True, True]])
def test_clips_without_context_are_trained_on_their_future_alone(dropped):
    denoiser, mask = network(), torch.tensor(dropped)

    def loss(clips):
        drawn = draw(clips, generator(0, 0, "diffusion"))
        return diffusion_loss(denoiser, clips, FLOW, drawn._replace(dropped=mask))

    clips, others = batch(), batch()
    for value in others[0].values():
        value[mask] += 1.0
    assert torch.equal(loss(others), loss(clips))
    others[0]["scene"] += 1.0  # now of all clips
    assert torch.equal(loss(others), loss(clips)) == all(dropped)


def test_noise_is_coloured_in_32_bits_where_networks_run_in_bfloat16():
    noise = {"motion": torch.randn(2, 3, 4, 5, 6)}
    roots = noise_roots({"motion": torch.randn(40, 3, 4, 5, 6)})
    expected = coloured(noise, roots)["motion"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(coloured(noise, roots)["motion"], expected)


def test_a_step_holds_one_micro_batch_at_a_time():
    fabric, clips = make_fabric(Compute(device="cpu", threads=1)), batch(count=8)
    drawn = draw(clips, generator(0, 0, "diffusion"))

    def kept_before_the_first_gradient(count):
        denoiser, kept, done = network(), [], []
        optimizer = fabric.setup_optimizers(torch.optim.SGD(denoiser.parameters(), lr=0.1))
        made = divided(clips, drawn, cut(8, count))

        def keep(tensor):
            if not done:
                kept.append(tensor.numel())
            return tensor

        def give(tensor):
            done.append(True)
            return tensor

        average = WeightAverage(denoiser, 0.9)
        with torch.autograd.graph.saved_tensors_hooks(keep, give):
            diffusion_step(
                fabric, Processes(count), denoiser, average, optimizer, made, FLOW
            )  # fmt: skip
        return sum(kept)

    assert kept_before_the_first_gradient(4) < 0.7 * kept_before_the_first_gradient(1)
