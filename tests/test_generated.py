"""Generated videos: the same for the same seed, and true to what they say of themselves."""

import itertools

import numpy as np
import pytest

from rsvp.config.schema import Generated
from rsvp.data.clips import object_mask
from rsvp.data.generated import SPIN, TURN, generate_video, paint_object, trajectory

SETTINGS = Generated()
FRAMES = 24
SEEDS = range(12)


@pytest.fixture(scope="module")
def videos():
    return [generate_video(SETTINGS, (64, 64), seed, FRAMES) for seed in SEEDS]


def test_shapes_and_types(videos):
    for video in videos:
        assert video.frames.shape == (FRAMES, 64, 64, 3) and video.frames.dtype == np.uint8
        count = video.positions.shape[1]
        assert video.alpha.shape == (FRAMES, count, 64, 64) and video.alpha.dtype == np.uint8
        assert video.alpha.min() == 0 and video.alpha.max() == 255
        assert video.background.shape == (64, 64, 3) and video.background.dtype == np.uint8
        assert video.positions.shape[0] == FRAMES and video.positions.shape[2] == 3
        assert 1 <= video.positions.shape[1] <= SETTINGS.objects
    assert {video.positions.shape[1] for video in videos} == {1, 2}


def test_objects_of_a_rectangle_reach_its_ends_and_stay_inside():
    assert generate_video(SETTINGS, (48, 96), 0, 3).frames.shape == (3, 48, 96, 3)
    seeds = map(np.random.default_rng, range(50))
    paths = [trajectory(random, SETTINGS, (48, 96), 10.0, 48) for random in seeds]
    places, margin = np.concatenate(paths)[:, :2], 7.0  # 0.7 of the radius
    first, last = places.min(axis=0), places.max(axis=0)
    assert (first >= margin - 1e-3).all() and (first < margin + 1).all()
    assert (last <= np.subtract((96, 48), margin - 1e-3)).all()
    assert (last > np.subtract((96, 48), margin + 1)).all()


def test_is_a_function_of_the_seed(videos):
    np.random.seed(5)  # which must not matter
    for seed in (0, 7):
        again = generate_video(SETTINGS, (64, 64), seed, FRAMES)
        for name, value in vars(again).items():
            assert np.array_equal(value, getattr(videos[seed], name)), name


def test_seeds_give_other_textures(videos):
    """So that what is held out was not seen: no two backgrounds are near each other."""
    backgrounds = [video.background.astype(float) for video in videos]
    for one, other in itertools.combinations(backgrounds, 2):
        assert np.abs(one - other).mean() > 10


def test_outside_of_objects_frames_are_the_background(videos):
    for video in videos:
        away = ~widened(
            object_mask(video.alpha).astype(bool), 2
        )  # antialiasing reaches beyond the half
        assert 0.3 < away.mean() < 0.99
        background = np.broadcast_to(video.background, video.frames.shape)
        assert np.array_equal(video.frames[away], background[away])


def test_inside_of_objects_frames_differ_from_the_background(videos):
    for video in videos:
        inside = object_mask(video.alpha).astype(bool)
        difference = np.abs(video.frames.astype(float) - video.background).max(-1)
        assert difference[inside].mean() > 20
        assert (difference[inside] > 2).mean() > 0.9


def test_objects_cover_what_is_behind_by_their_alpha():
    """Over black and over white, what differs is what shows through (Porter and Duff 1984)."""
    y, x = np.mgrid[0:64, 0:64].astype(np.float32) + 0.5
    positions = np.array([[20.0, 30.0, 0.3], [44.0, 25.0, 1.2], [60.0, 5.0, 1.9]], np.float32)
    black, white = np.zeros((3, 64, 64, 3)), np.ones((3, 64, 64, 3))
    for video in (black, white):
        alpha = paint_object(np.random.default_rng(3), video, positions, 11.0, (x, y))
    assert 100 < ((alpha > 0) & (alpha < 255)).sum() < (alpha == 255).sum()
    through = np.broadcast_to(1.0 - alpha[..., None] / 255.0, white.shape)
    assert np.allclose(white - black, through, atol=0.5 / 255.0 + 1e-6)


def widened(mask, pixels):
    """A mask grown by some pixels (with rectangles)."""
    padded = np.pad(mask, ((0, 0), (pixels, pixels), (pixels, pixels)))
    shifts = itertools.product(range(2 * pixels + 1), repeat=2)
    views = [padded[:, y : y + 64, x : x + 64] for y, x in shifts]
    return np.logical_or.reduce(views)


def test_masks_lie_where_positions_say(videos):
    """The centre of a lone object's mask follows its position while it is wholly inside."""
    y, x = np.mgrid[0:64, 0:64] + 0.5
    checked = 0
    for video in videos:
        if video.positions.shape[1] != 1:
            continue
        for mask, (px, py, _) in zip(object_mask(video.alpha), video.positions[:, 0], strict=True):
            assert mask.any()
            if mask[[0, -1]].any() or mask[:, [0, -1]].any():
                continue
            centre = x[mask == 1].mean(), y[mask == 1].mean()
            assert np.hypot(centre[0] - px, centre[1] - py) < 5
            checked += 1
    assert checked > 30


def paths(count=50, size=64):
    radius = 10.0 * size / 64
    square = size, size
    seeds = map(np.random.default_rng, range(count))
    return [trajectory(random, SETTINGS, square, radius, 48) for random in seeds]


def test_objects_stay_mostly_inside():
    for path in paths():
        assert path[:, :2].min() >= 7 - 1e-4 and path[:, :2].max() <= 57 + 1e-4


def test_speed_and_spin_are_kept_between_bounces():
    """A step that touches no edge is as long as any other, and objects rotate by as much."""
    bounces = 0
    for path in paths():
        steps = np.diff(path[:, :2].astype(float), axis=0)
        lengths = np.hypot(*steps.T)
        speed = lengths.max()
        assert 0.5 * SETTINGS.speed < speed < SETTINGS.speed + 1e-3
        free = np.abs(lengths - speed) < 1e-3
        # Any step that is shorter starts or ends within one step of an edge.
        near = np.minimum(path[:, :2], 64 - path[:, :2]).min(1) < 7 + speed
        assert (free | (near[:-1] & near[1:])).all()
        bounces += (~free).sum()
        spins = np.abs(np.diff(path[:, 2].astype(float)))
        assert spins == pytest.approx(spins[0], abs=1e-4)
        assert 0 < spins[0] <= SPIN * TURN + 1e-4
    assert bounces > 50


def test_three_frames_of_free_flight_give_the_next():
    """The future is predictable: the bend between two steps is the bend of the next."""
    checked = 0
    for path in paths():
        steps = np.diff(path[:, 0] + 1j * path[:, 1].astype(float))
        inside = np.minimum(path[:, :2], 64 - path[:, :2]).min(1) > 7 + SETTINGS.speed
        for t in range(len(steps) - 2):
            if inside[t : t + 4].all():
                guess = steps[t + 1] * (steps[t + 1] / steps[t])
                assert abs(guess - steps[t + 2]) < 0.02
                checked += 1
    assert checked > 100


def test_longer_videos_begin_as_shorter_ones():
    long, short = (
        generate_video(SETTINGS, (64, 64), 3, 40),
        generate_video(SETTINGS, (64, 64), 3, 16),
    )
    assert np.array_equal(long.frames[:16], short.frames)
    assert np.array_equal(long.alpha[:16], short.alpha)


def test_objects_move_by_a_share_of_the_size():
    """Twice the size is the same scene, drawn finer."""
    small, large = paths(5)[3], paths(5, size=128)[3]
    np.testing.assert_allclose(large[:, :2], 2 * small[:, :2], atol=1e-3)
