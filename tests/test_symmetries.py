"""The symmetries of clips, and of their latents."""

import itertools
from typing import get_args

import pytest
import torch

from rsvp.config.checks import SYMMETRIES
from rsvp.config.schema import Augment
from rsvp.data.symmetries import turned, turned_latents
from rsvp.models.warping import sample

SQUARE = torch.arange(9).view(1, 3, 3)


def symmetries(augment):
    return [turned(SQUARE, k, augment) for k in range(8)]


def test_eight_symmetries_are_distinct_and_a_group():
    found = {tuple(s.flatten().tolist()) for s in symmetries("all")}
    expected = set()
    for view in (SQUARE, SQUARE.flip(-1)):
        expected |= {tuple(view.rot90(n, (-2, -1)).flatten().tolist()) for n in range(4)}
    assert found == expected and len(found) == 8
    # Turned again, a turned clip is one of the eight.
    for one, other in itertools.product(range(8), repeat=2):
        twice = turned(turned(SQUARE, one, "all"), other, "all")
        assert tuple(twice.flatten().tolist()) in found


def test_as_many_symmetries_as_the_config_counts():
    for augment in get_args(Augment):
        found = {tuple(s.flatten().tolist()) for s in symmetries(augment)}
        assert len(found) == SYMMETRIES[augment]


def test_zero_is_the_identity():
    for augment in get_args(Augment):
        assert torch.equal(turned(SQUARE, 0, augment), SQUARE)


def test_none_and_horizontal_do_no_more_than_they_say():
    assert all(torch.equal(s, SQUARE) for s in symmetries("none"))
    for k, found in enumerate(symmetries("horizontal")):
        assert torch.equal(found, SQUARE.flip(-1) if k % 2 else SQUARE)


def test_all_frames_and_colours_turn_alike():
    clip = torch.arange(2 * 3 * 16).view(2, 3, 4, 4)
    for k in range(8):
        whole = turned(clip, k, "all")
        for t, c in itertools.product(range(2), range(3)):
            assert torch.equal(whole[t, c], turned(clip[t, c], k, "all"))


@pytest.mark.parametrize("symmetry", range(8))
def test_turned_displacements_lead_to_the_turned_places(symmetry):
    """A turned displacement reads, in a turned image, the turned image of what it read."""
    random = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 8, 8, generator=random)
    displacement = 4.0 * torch.rand(2, 2, 8, 8, generator=random) - 2.0
    latents = {"image": image, "motion": torch.cat([displacement, image[:, :1]], 1)}
    which = torch.tensor([symmetry, 0])
    found = turned_latents(latents, which, "all", ["motion"])
    read = sample(found["image"], found["motion"][:, :2])
    expected = sample(image, displacement)
    torch.testing.assert_close(read[0], turned(expected[0], symmetry, "all"))
    torch.testing.assert_close(read[1], expected[1])
    # Other channels of it turn as images do.
    assert torch.equal(found["motion"][0, 2], turned(image[0, 0], symmetry, "all"))


def test_latents_turn_as_clips_do_and_by_no_more_than_allowed():
    latents = torch.randn(8, 5, 3, 4, 4)
    for augment in get_args(Augment):
        found = turned_latents({"image": latents}, torch.arange(8), augment, ())["image"]
        for k in range(8):
            assert torch.equal(found[k], turned(latents[k], k, augment))


def test_planes_over_time_are_mirrored_and_not_transposed():
    planes = {
        "xy": torch.randn(8, 1, 3, 4, 4),
        "xt": torch.randn(8, 6, 3, 1, 4),
        "yt": torch.randn(8, 6, 3, 4, 1),
    }
    found = turned_latents(planes, torch.arange(8), "all", ())
    for k, (name, plane) in itertools.product(range(8), planes.items()):
        expected = plane[k].flip(-1) if k & 1 else plane[k]
        expected = expected.flip(-2) if k & 2 else expected
        assert torch.equal(found[name][k], expected)
