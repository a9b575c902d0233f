"""Generated videos: textured shapes that move and turn over a textured background.

A video is a function of its seed. Background, shapes and textures are drawn anew for each video,
so those of the test split are unseen in training. Objects keep their speed and the bend of their
path, rotate as it bends, and bounce off the frame's edges: a few frames determine the future, but
not two alone. Loads without torch.
"""

from dataclasses import dataclass

import numpy as np

from rsvp.config.schema import Generated

TURN = 0.3  # radians per frame that a path bends, at most
SPIN = 0.4  # rotation of an object, as a share of its path's bend
OUTLINE_TERMS = range(2, 6)  # Fourier terms of an outline's radius


@dataclass
class GeneratedVideo:
    """Frames and the truth behind them: T frames of H by W pixels, N objects.

    Objects lie over the background in their order: the last is the topmost.
    """

    frames: np.ndarray  # uint8 (T, H, W, 3)
    alpha: np.ndarray  # uint8 (T, N, H, W), how much of a pixel each object covers, of 255
    background: np.ndarray  # uint8 (H, W, 3)
    positions: np.ndarray  # float32 (T, N, 3): x, y in pixels and the angle in radians


def generate_video(
    settings: Generated, size: tuple[int, int], seed: int, frames: int
) -> GeneratedVideo:
    """Return a video of `frames` frames of a size (height, width), determined by `seed`.

    The shorter side sets the scale of what it shows.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32) + 0.5
    background = background_texture(random, x, y, min(size))
    count = int(random.integers(1, settings.objects + 1))
    video = np.repeat(background[None], frames, axis=0)
    alpha = np.zeros((frames, count, *size), np.uint8)
    positions = np.zeros((frames, count, 3), np.float32)
    for index in range(count):
        radius = min(size) * random.uniform(0.13, 0.19)
        positions[:, index] = trajectory(random, settings, size, radius, frames)
        alpha[:, index] = paint_object(random, video, positions[:, index], radius, (x, y))
    return GeneratedVideo(to_bytes(video), alpha, to_bytes(background), positions)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Return colours or alpha in [0, 1] as uint8."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def background_texture(
    random: np.random.Generator, x: np.ndarray, y: np.ndarray, size: int
) -> np.ndarray:
    """Draw a smooth texture, (H, W, 3) in [0, 1]: coloured waves of a few cycles per `size`."""
    image = np.broadcast_to(random.uniform(0.25, 0.75, 3), (*x.shape, 3)).copy()
    for cycles, strength in ((0.7, 0.16), (1.2, 0.12), (2.0, 0.08), (3.0, 0.05), (5.0, 0.03)):
        for _ in range(2):
            image += wave(random, x, y, cycles * random.uniform(0.7, 1.3) / size, strength)
    return np.clip(image, 0.0, 1.0)


def wave(
    random: np.random.Generator, x: np.ndarray, y: np.ndarray, frequency: float, strength: float
) -> np.ndarray:
    """Return a coloured plane wave of random direction and phase, shape (*x.shape, 3)."""
    direction, phase = random.uniform(0.0, 2.0 * np.pi, 2)
    along = np.cos(direction) * x + np.sin(direction) * y
    colour = random.uniform(-1.0, 1.0, 3) * strength
    return np.sin(2.0 * np.pi * frequency * along + phase)[..., None] * colour


def trajectory(
    random: np.random.Generator,
    settings: Generated,
    size: tuple[int, int],
    radius: float,
    frames: int,
) -> np.ndarray:
    """Return x, y (pixels) and angle (radians) per frame, (T, 3).

    The object keeps its speed and the bend of its path, which is an arc, and rotates with it, by a
    share of the bend. At the frame's edges all is mirrored, so that it then bends and rotates the
    other way round. A margin keeps most of the object in the frame.
    """
    margin = 0.7 * radius
    speed = settings.speed * min(size) / 64 * random.uniform(0.7, 1.0)
    farthest = np.array(size[::-1]) - margin
    turn = TURN * random.uniform(0.3, 1.0) * random.choice((-1.0, 1.0))
    place = random.uniform(margin, farthest)
    heading, angle = random.uniform(0.0, 2.0 * np.pi, 2)
    path = []
    for _ in range(frames):
        path.append((*place, angle))
        heading, angle = heading + turn, angle + SPIN * turn
        place = place + speed * np.array([np.cos(heading), np.sin(heading)])
        for axis in (0, 1):
            inside = np.clip(place[axis], margin, farthest[axis])
            if place[axis] != inside:
                place[axis] = 2.0 * inside - place[axis]
                heading = np.pi - heading if axis == 0 else -heading
                turn = -turn
    return np.array(path, np.float32)


def paint_object(
    random: np.random.Generator,
    video: np.ndarray,
    positions: np.ndarray,
    radius: float,
    grid: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Paint one object over `video` (T, H, W, 3), in place; its alpha, uint8 (T, H, W).

    Only where it can be: an object covers about a twelfth of a frame.
    """
    x, y = grid
    dx = x[None] - positions[:, 0, None, None]
    dy = y[None] - positions[:, 1, None, None]
    cos, sin = (f(positions[:, 2, None, None]) for f in (np.cos, np.sin))
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    distance = np.hypot(u, v)
    lobes = [
        (term, random.uniform(0.0, 0.5 / term), random.uniform(0.0, 2.0 * np.pi))
        for term in OUTLINE_TERMS
    ]
    near = distance < radius * (1.0 + sum(strength for _, strength, _ in lobes)) + 0.5
    angle = np.arctan2(v[near], u[near])
    outline = np.ones_like(angle)
    for term, strength, phase in lobes:
        outline += strength * np.cos(term * angle + phase)
    alpha = np.zeros_like(distance)
    # One pixel of antialiasing across the outline.
    alpha[near] = np.clip(radius * outline - distance[near] + 0.5, 0.0, 1.0)
    covered = alpha > 0.0
    u, v = u[covered], v[covered]
    colour = np.broadcast_to(random.choice((0.05, 0.95), 3), (*u.shape, 3)).copy()
    for cycles in (0.5, 0.8, 1.2):
        colour += wave(random, u, v, cycles / (2.0 * radius), 0.5)
    colour = np.clip(colour, 0.0, 1.0)
    behind = video[covered]
    video[covered] = behind + alpha[covered][:, None] * (colour - behind)
    return to_bytes(alpha)
