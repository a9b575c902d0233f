"""Adaptive augmentation: what a transformation does, that frames share it, and how often it is."""

import pytest
import torch

from rsvp.data.micro_batches import MicroBatch, cut
from rsvp.training.augmentation import (
    MOST,
    AdaptiveAugmentation,
    Transformation,
    draw_transformation,
    overfitting,
    reflected,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def video(seed=0, clips=3, frames=4, size=16):
    return 2 * torch.rand(clips, frames, 3, size, size, generator=generator(seed)) - 1


def augmentation(p, target=0.6, clips=100):
    made = AdaptiveAugmentation(target, clips)
    made.p.fill_(p)
    return made


def test_nothing_is_done_by_default_and_at_probability_zero():
    clip = video()
    assert torch.equal(Transformation()(clip[0]), clip[0])
    fake, real = augmentation(0.0)(clip, video(1), generator(), cut(3, 1)[0])
    assert fake is clip and torch.equal(real, video(1))
    assert all(
        draw_transformation(0.0, 16, 16, generator(s)) == Transformation() for s in range(50)
    )


def test_transformations_in_closed_form():
    clip = video()[0]
    reds = clip[:, 0]
    assert torch.equal(Transformation(mirrored=True)(clip)[..., 0], clip[..., -1])
    # A quarter turn puts the right edge on top.
    assert torch.equal(Transformation(turns=1)(clip)[..., 0, :], clip[..., :, -1])
    moved = Transformation(shift=(2, -3))(clip)
    assert torch.equal(moved[..., 2:, :-3], clip[..., :-2, 3:])
    assert torch.equal(moved[..., 1, :-3], clip[..., 1, 3:])  # row -1 is row 1
    bright = Transformation(brightness=0.25, contrast=2.0)(clip)
    torch.testing.assert_close(bright, 2 * (clip + 0.25))
    gray = Transformation(saturation=0.0)(clip)
    torch.testing.assert_close(gray[:, 0], gray[:, 2])
    torch.testing.assert_close(gray.mean(1), clip.mean(1))
    vivid = Transformation(saturation=3.0)(clip)[:, 0]
    torch.testing.assert_close(vivid - clip.mean(1), 3 * (reds - clip.mean(1)))
    hole = Transformation(hole=(8, 3))(clip)
    assert (hole[..., 4:12, :7] == 0).all()
    kept = torch.ones(16, 16, dtype=torch.bool)
    kept[4:12, :7] = False
    assert torch.equal(hole[..., kept], clip[..., kept])


def test_rectangles_are_transformed_along_their_own_sides():
    clip = torch.rand(2, 3, 16, 24, generator=generator())
    moved = Transformation(shift=(2, -3))(clip)
    assert torch.equal(moved[..., 2:, :-3], clip[..., :-2, 3:])
    hidden = (Transformation(hole=(8, 12))(clip) == 0).all((0, 1))
    assert hidden.sum() == 8 * 12 and hidden[4:12, 6:18].all()
    drawn = [draw_transformation(0.5, 32, 64, generator(seed)) for seed in range(500)]
    assert {t.turns for t in drawn} == {0, 2}
    assert [max(abs(t.shift[side]) for t in drawn) for side in (0, 1)] == [4, 8]
    assert (
        max(t.hole[1] for t in drawn if t.hole) > 48 > 32 > max(t.hole[0] for t in drawn if t.hole)
    )


@pytest.mark.parametrize("shift", [-2, 0, 3])
def test_reflection_is_that_of_padding(shift):
    line = torch.rand(1, 1, 9, generator=generator())
    padded = torch.nn.functional.pad(line, (4, 4), mode="reflect")
    expected = padded[..., 4 - shift : 13 - shift]
    assert torch.equal(line[..., reflected(9, shift, line.device)], expected)


@pytest.mark.parametrize("seed", range(5))
def test_frames_of_a_clip_share_the_transformation(seed):
    """A still clip stays still; a clip and its reconstruction are transformed alike."""
    still = video(clips=4, frames=1).expand(-1, 5, -1, -1, -1)
    fake, real = augmentation(MOST)(
        still.clone(), still.clone(), generator(seed), cut(len(still), 1)[0]
    )
    assert torch.equal(fake, fake[:, :1].expand_as(fake))
    assert torch.equal(fake, real)
    changed = [not torch.equal(a, b) for a, b in zip(real, still, strict=True)]
    assert any(changed)
    # Other clips of a batch are transformed in other ways.
    same = video(clips=1).expand(6, -1, -1, -1, -1)
    shown, _ = augmentation(MOST)(same, same, generator(seed), cut(6, 1)[0])
    assert not torch.equal(shown[0], shown[1]) or not torch.equal(shown[1], shown[2])


def test_each_transformation_is_as_frequent_as_p():
    drawn = [draw_transformation(0.5, 64, 64, generator(seed)) for seed in range(2000)]
    default = Transformation()
    # Half of the mirrorings and a quarter of the turns that are done are the identity; a shift of
    # 17 x 17 places seldom is.
    expected = {"mirrored": 0.25, "turns": 0.375, "shift": 0.5, "brightness": 0.5}
    expected |= {"contrast": 0.5, "saturation": 0.5, "hole": 0.5}
    for name, share in expected.items():
        found = [getattr(t, name) != getattr(default, name) for t in drawn]
        assert sum(found) / 2000 == pytest.approx(share, abs=0.05), name
    assert max(abs(s) for t in drawn for s in t.shift) == 8
    assert {t.turns for t in drawn} == {0, 1, 2, 3}


def test_what_is_drawn_is_a_function_of_the_generator():
    clip = video()
    first, again, other = (
        augmentation(0.7)(clip, clip, generator(s), cut(3, 1)[0])[0] for s in (5, 5, 6)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    places = []
    for p in (0.1, 0.9):
        random = generator()
        draw_transformation(p, 16, 16, random)
        places.append(random.get_state())
    assert torch.equal(*places)


def test_clips_are_transformed_alike_whichever_part_of_a_batch_they_are_in():
    clip, other = video(), video(1)
    whole = augmentation(0.7)(clip, other, generator(5), cut(3, 1)[0])
    for first, last in ((0, 1), (1, 3)):
        part = MicroBatch(first, last, 3)
        some = augmentation(0.7)(part.rows(clip), part.rows(other), generator(5), part)
        assert all(torch.equal(a, part.rows(b)) for a, b in zip(some, whole, strict=True))


def test_gradients_flow_through_what_is_left_visible():
    """By numbers against differences, in every transformation at once."""
    change = Transformation(True, 3, (1, -2), 0.1, 1.5, 0.5, (1, 6))
    clip = video(clips=1, frames=2, size=8)[0].double().requires_grad_()
    assert torch.autograd.gradcheck(change, clip)
    fake = video().requires_grad_()
    shown, _ = augmentation(MOST)(fake, video(1), generator(), cut(3, 1)[0])
    shown.sum().backward()
    assert fake.grad.isfinite().all() and (fake.grad != 0).float().mean() > 0.3


def logits(*shares):
    """Logits of two discriminators for 10 clips, of which those shares are above zero."""
    return [torch.cat([torch.ones(round(10 * s)), -torch.ones(10 - round(10 * s))]) for s in shares]


def test_probability_rises_while_discriminators_overfit_and_falls_otherwise():
    made = augmentation(0.0, target=0.6, clips=100)
    found = [made.adapt(overfitting(logits(1.0, 0.9)), 10).item() for _ in range(3)]
    assert found == pytest.approx([0.1, 0.2, 0.3])  # 10 clips of 100; mean sign 0.9
    # Mean sign (1 + 0) / 2 = 0.5, below the target.
    overfit = overfitting(logits(1.0, 0.5))
    assert overfit.item() == pytest.approx(0.5)
    made.adapt(overfit, 10)
    assert made.p.item() == pytest.approx(0.2)


def test_probability_stays_in_its_range():
    made = augmentation(0.0, clips=20)
    made.adapt(overfitting(logits(0.1, 0.1)), 10)
    assert made.p == 0.0
    for _ in range(5):
        made.adapt(overfitting(logits(1.0, 1.0)), 10)
    assert made.p.item() == pytest.approx(MOST)
