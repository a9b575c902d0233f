"""Contexts other than the prefix: the order of frames, and the places of latents."""

import itertools

import pytest
import torch
from stored import write_latents

from rsvp.config.schema import ObservedFrames as Context
from rsvp.data.contexts import clip_order, contexts_of, observed_frames, predicted_frames, task_of
from rsvp.data.latents import split_latents
from rsvp.data.layout import Layout, joined
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.models.autoencoders.kinds import make_autoencoder
from rsvp.models.denoiser import LatentDenoiser
from rsvp.runtime.random import generator
from rsvp.training.batches import LatentBatches, in_context
from rsvp.training.denoising import diffusion_loss, draw_noise

FRAMES = 7
CONTEXTS = {
    "prefix": Context(first=3), "short": Context(first=1), "ends": Context(first=2, last=1),
    "back": Context(last=2),
    "none": Context(),
}  # fmt: skip
PLAIN = {"kind": "tanh"}
KINDS = {
    "rsvp": {"kind": "rsvp", "width": 16, "scene_channels": 3, "object_channels": 4,
             "motion_channels": 4},
    "joint": {"kind": "joint", "width": 16, "scene_channels": 3, "object_channels": 4,
              "motion_channels": 4},
    "triplane": {"kind": "triplane", "width": 16, "channels": 4, "regulariser": PLAIN},
    "frames": {"kind": "frames", "width": 16, "channels": 4, "regulariser": PLAIN},
}  # fmt: skip


def able(kind):
    """The contexts that a kind can work from."""
    return [name for name in CONTEXTS if name != "none" or kind in ("triplane", "frames")]


def made(kind):
    torch.manual_seed(0)
    return make_autoencoder(**KINDS[kind]).eval()


def plain(names):
    return {name: {"first": CONTEXTS[name].first, "last": CONTEXTS[name].last} for name in names}


def encoded(autoencoder, clips, name):
    """Latents of clips in a context, and what the decoder looks at."""
    order = clip_order(CONTEXTS[name], clips.shape[1])
    return autoencoder.encode_clip(clips[:, order], CONTEXTS[name].first + CONTEXTS[name].last)


def layout(autoencoder, names, clips, hidden=()):
    latents, _ = encoded(autoencoder, clips, "prefix")
    cells = {name: list(value.shape[-3:]) for name, value in latents.items()}
    scopes = {name: scope.value for name, scope in autoencoder.scopes.items()}
    return Layout(scopes, autoencoder.over_time, plain(names), FRAMES, cells, hidden)


def clips(count=2):
    random = torch.Generator().manual_seed(1)
    return 2 * torch.rand(count, FRAMES, 3, 32, 32, generator=random) - 1


def test_the_reference_is_the_last_observed_frame():
    """It stands just before what is predicted, or just after where nothing does."""
    orders = {name: clip_order(context, FRAMES) for name, context in CONTEXTS.items()}
    assert orders == {
        "prefix": [0, 1, 2, 3, 4, 5, 6],
        "short": [0, 1, 2, 3, 4, 5, 6],
        "ends": [6, 0, 1, 2, 3, 4, 5],
        "back": [6, 5, 0, 1, 2, 3, 4],
        "none": [0, 1, 2, 3, 4, 5, 6],
    }
    for context in CONTEXTS.values():
        seen, asked = observed_frames(context, FRAMES), predicted_frames(context, FRAMES)
        assert len(seen) == context.first + context.last
        assert sorted(seen + asked) == list(range(FRAMES)) and asked == sorted(asked)


def test_only_a_beginning_rolls_forward():
    lengths = {n: len(task_of(c, FRAMES, 12).predicted) for n, c in CONTEXTS.items()}
    assert lengths == {"prefix": 9, "short": 11, "ends": 4, "back": 5, "none": 7}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_frames_that_are_not_observed_change_nothing_observed(kind):
    """Bit for bit, in each context; and each observed frame does change something."""
    autoencoder, before = made(kind), clips()
    places = layout(autoencoder, able(kind), before)
    for name in able(kind):
        seen = observed_frames(CONTEXTS[name], FRAMES)
        for changed in [[f for f in range(FRAMES) if f not in seen], *[[f] for f in seen]]:
            after = before.clone()
            after[:, changed] = after[:, changed].flip(-1).neg()
            shown = [
                places.arrange(encoded(autoencoder, frames, name)[0], name, 2).observed
                for frames in (before, after)
            ]
            same = all(torch.equal(shown[0][key], shown[1][key]) for key in shown[0])
            assert same == (not set(changed) & set(seen)), (name, changed)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_one_context_is_laid_out_as_it_was_before_there_were_several(kind):
    autoencoder, frames = made(kind), clips()
    latents, _ = autoencoder.encode_clip(frames, 3)
    observed, future, wanted = layout(autoencoder, ["prefix"], frames).arrange(latents, "prefix", 2)
    expected = split_latents(latents, autoencoder.scopes, 3)
    assert wanted is None
    for found, part in zip((observed, future), expected, strict=True):
        assert list(found) == list(part)
        assert all(torch.equal(found[name], part[name]) for name in part)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_each_context_has_its_latents_at_their_frames_and_zeros_elsewhere(kind):
    autoencoder, frames = made(kind), clips()
    places = layout(autoencoder, able(kind), frames)
    shapes = []
    for name in able(kind):
        context = CONTEXTS[name]
        latents, seen = encoded(autoencoder, frames, name)
        observed, targets, wanted = parts = places.arrange(latents, name, 2)
        shapes.append(parts.shapes())
        compact, future = split_latents(latents, autoencoder.scopes, context.first + context.last)
        for key, value in observed.items():
            mask, rest = value[:, :, -1:], value[:, :, :-1]
            assert set(mask.unique().tolist()) <= {0.0, 1.0}
            assert not rest[(mask == 0).expand_as(rest)].any()
            there = mask[0, :, 0, 0, 0].bool()
            if places.timed(key):
                told = [place in places.observed[name] for place in places.observed_places]
                assert there.tolist() == told
                order = sorted(
                    range(len(places.observed[name])), key=places.observed[name].__getitem__
                )
                if order:
                    assert torch.equal(rest[:, there], compact[key][:, order])
            else:
                assert there.tolist() == [name != "none"]
        for key, value in targets.items():
            assert not value[~wanted[key]].any()
            assert wanted[key].shape == value.shape
        taken = places.take(targets, name)
        assert all(torch.equal(taken[key], future[key]) for key in future)
        decoded = autoencoder.decode_future(taken, seen)
        assert decoded.shape[1] == len(predicted_frames(context, FRAMES))
    assert all(shape == shapes[0] for shape in shapes)  # one network for all


def network(parts):
    torch.manual_seed(0)
    made = LatentDenoiser(**parts.shapes(), width=32, depth=1, heads=2, patch=2, frames_per_token=4)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


@pytest.mark.parametrize("objective", ["flow", "edm"])
@pytest.mark.parametrize("kind", ["joint", "triplane"])
def test_the_loss_is_of_what_is_predicted_alone(kind, objective):
    """Observed frames' places in the targets neither count nor are seen, whatever stands there."""
    with torch.no_grad():
        autoencoder, frames = made(kind), clips()
        places = layout(autoencoder, able(kind), frames)
        each = [
            places.arrange(encoded(autoencoder, frames, name)[0], name, 2)
            for name in ("prefix", "ends")
        ]
    parts = joined(each)
    denoiser, asked = network(parts), OBJECTIVES[objective]

    def loss(parts):
        random = generator(0, 0, "diffusion")
        drawn = draw_noise(parts, asked, random, uniform=False, mean=-0.7, deviation=1.0)
        return diffusion_loss(denoiser, parts, asked, drawn)

    filled = {k: v + 5.0 * ~parts.wanted[k] for k, v in parts.targets.items()}
    assert torch.equal(loss(parts), loss(parts._replace(targets=filled)))
    other = {k: v + 0.5 * parts.wanted[k] for k, v in parts.targets.items()}
    assert not torch.equal(loss(parts), loss(parts._replace(targets=other)))


def cache(folder, contexts=("short", "ends")):
    """A cache of motion and scene in three contexts, whose values tell clip and context."""
    metadata = {"scopes": {"scene": "context", "motion": "frames"}, "context_frames": 3,
             "clip_frames": FRAMES, "contexts": plain(contexts), "augment": "all",
             "displacements": ["motion"]}  # fmt: skip
    latents = {}
    for number, name in enumerate(("", *(f"{context}/" for context in contexts))):
        base = 10.0 * torch.arange(6.0) + number
        latents[f"{name}scene"] = base.view(6, 1, 1, 1).expand(6, 2, 4, 4)
        latents[f"{name}motion"] = base.view(6, 1, 1, 1, 1).expand(6, FRAMES, 2, 4, 4)
    return write_latents(folder, metadata, list("abcdef"), latents)


def test_latents_of_all_contexts_are_normalised_alike(tmp_path):
    read = cache(tmp_path)
    assert set(read.statistics) == {"scene", "motion"}
    values = torch.tensor([10.0 * clip + number for clip in range(6) for number in range(3)])
    assert read.statistics["motion"].mean == pytest.approx([float(values.mean())] * 2)
    for number, name in enumerate(("prefix", "short", "ends")):
        restored = read.statistics["motion"].restore(read.batch([4], name)["motion"])
        torch.testing.assert_close(restored, torch.full_like(restored, 40.0 + number))


def test_contexts_of_a_batch_are_of_seed_and_step_alone(tmp_path):
    read = cache(tmp_path)
    batches = LatentBatches(read, 0, 16)
    parts = batches[5]
    again = LatentBatches(read, 0, 16)[5]
    for one, other in zip(parts, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)

    def drawn(step):
        """Return the frames that each clip of a batch observes."""
        masks = batches[step].observed["motion"][:, :, -1, 0, 0]
        return [tuple(mask.tolist()) for mask in masks]

    assert len(set(drawn(5))) == 3 and drawn(5) != drawn(6)
    shares = [drawn(step).count(mask) for step in range(30) for mask in set(drawn(5))]
    assert sum(shares) == 30 * 16
    # Clip and context of a sample are the same in all of its latents.
    scenes = parts.observed["scene"][:, 0, 0, 0, 0]
    motions = parts.observed["motion"][:, 0, 0, 0, 0]  # frame 0 is observed in all three
    torch.testing.assert_close(scenes, motions)


def test_each_clip_turns_by_itself_in_its_own_context(tmp_path):
    """Motion mirrored left and right changes its sign along x, and what is there stays there."""
    batches = LatentBatches(cache(tmp_path), 0, 2)
    plain, turned = (
        batches.batch([4, 4, 5], [0, 2, 1], turns) for turns in (None, torch.tensor([1, 0, 2]))
    )
    restore = batches.latents.statistics["motion"].restore
    signs = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]).view(3, 1, 2, 1, 1)
    for one, other in ((plain.targets, turned.targets), (plain.observed, turned.observed)):
        there = plain.wanted["motion"] if one is plain.targets else one["motion"][:, :, -1:] > 0
        before, after = (restore(part["motion"][:, :, :2]) for part in (one, other))
        torch.testing.assert_close((there * after), there * signs * before)
    shown = (part.observed["motion"][:, :, -1] for part in (plain, turned))
    assert torch.equal(*shown)
    assert torch.equal(plain.wanted["motion"], turned.wanted["motion"])


def test_stage_one_draws_a_context_by_seed_and_step():
    contexts = contexts_of(3, {name: CONTEXTS[name] for name in ("ends", "none")})
    frames = torch.arange(FRAMES).view(1, -1)
    drawn = [in_context([frames], contexts, 0, step, "pretrain") for step in range(40)]
    assert len({tuple(order[0][0].tolist()) for order, _ in drawn}) == 2
    assert {(c.first, c.last) for _, c in drawn} == {(3, 0), (2, 1), (0, 0)}
    for (order, context), step in zip(drawn, itertools.count()):
        assert order[0][0].tolist() == clip_order(context, FRAMES)
        assert in_context([frames], contexts, 0, step, "pretrain")[1] == context
    alone = in_context([frames], contexts_of(3, None), 0, 0, "pretrain")
    assert alone[0][0] is frames and alone[1] == Context(first=3)


@pytest.mark.parametrize("names", [["prefix"], ["prefix", "ends"]])
def test_hidden_latents_are_not_observed_and_are_predicted_as_before(names):
    autoencoder, shown = made("joint"), clips()
    latents, _ = encoded(autoencoder, shown, names[-1])
    whole, blind = (layout(autoencoder, names, shown, hidden) for hidden in ((), ["scene"]))
    before, after = (each.arrange(latents, names[-1], 2) for each in (whole, blind))
    assert before.observed.keys() - after.observed.keys() == {"scene"}
    assert after.targets.keys() == before.targets.keys() == {
        "motion", "future_scene", "future_object"
    }  # fmt: skip
    again = Layout(**blind.metadata)  # as a trained predictor's index holds it
    assert again.arrange(latents, names[-1], 2).observed.keys() == after.observed.keys()
