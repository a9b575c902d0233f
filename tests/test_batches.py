"""Batches of training: what a step sees is a function of (seed, step) alone."""

import itertools
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from stored import write_latents

from rsvp.data.clips import Clips
from rsvp.data.micro_batches import cut
from rsvp.data.pixels import to_bytes, to_float
from rsvp.data.symmetries import turned, turned_latents
from rsvp.runtime.errors import UserError
from rsvp.training.batches import AHEAD, ClipBatches, LatentBatches, read_ahead
from rsvp.training.run import STOP_SIGNALS

ROOT = Path(__file__).parents[1]


class SomeClips:
    """Clips of noise in memory; the first pixel tells which."""

    def __init__(self, count=9):
        random = torch.Generator().manual_seed(0)
        self.stored = torch.randint(
            0, 256, (count, 4, 6, 6, 3), dtype=torch.uint8, generator=random
        )

    def __len__(self):
        return len(self.stored)

    def frames(self, i, start=0, stop=None):
        return self.stored[i, start:stop].clone()

    batch = Clips.batch


CLIPS = SomeClips()


class Whole(ClipBatches):
    """Batches of one part."""

    def __getitem__(self, step):
        (part,) = super().__getitem__(step)
        return part


def batches(seed=3, augment="all", purpose="pretrain", size=8):
    return Whole(CLIPS, seed, cut(size, 1), augment, purpose)


def test_shape_and_type():
    batch = batches()[0]
    assert batch.shape == (8, 4, 3, 6, 6) and batch.dtype == torch.uint8


def test_is_a_function_of_seed_and_step():
    steps = (0, 1, 17, 4)
    first = {step: batches()[step] for step in steps}
    torch.manual_seed(5)
    again = batches()
    for step in reversed(steps):
        assert torch.equal(again[step], first[step])
    for one, other in itertools.combinations(first.values(), 2):
        assert not torch.equal(one, other)
    assert not torch.equal(batches(seed=4)[0], first[0])
    assert not torch.equal(batches(purpose="finetune")[0], first[0])


@pytest.mark.parametrize("count", [2, 3, 8])
def test_parts_of_a_batch_are_the_batch(count):
    parts = cut(8, count)
    shared = ClipBatches(CLIPS, 3, parts, "all", "pretrain")[4]
    assert torch.equal(torch.cat(shared), batches()[4])
    some = ClipBatches(CLIPS, 3, parts[1:], "all", "pretrain")[4]
    assert torch.equal(torch.cat(some), torch.cat(shared[1:]))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("last", [5, 6, 9, 20])
def test_reading_ahead_from_any_step_gives_the_same(device, last):
    items = batches()
    read = list(read_ahead(items.__getitem__, 5, last, torch.device(device)))
    assert len(read) == last - 5
    for step, batch in zip(range(5, last), read, strict=True):
        assert torch.equal(batch, items[step])


def test_a_thread_reads_a_few_batches_ahead_for_a_gpu():
    made, others = queue.Queue(), set(threading.enumerate())
    ahead = read_ahead(lambda step: made.put(step) or step, 0, 100, torch.device("cuda"))
    assert made.empty()  # nothing before the first is asked for
    assert next(ahead) == 0
    assert [made.get(timeout=30) for _ in range(AHEAD + 1)] == list(range(AHEAD + 1))
    assert next(ahead) == 1 and made.get(timeout=30) == AHEAD + 1
    ahead.close()
    assert made.empty() and not set(threading.enumerate()) - others


def test_an_error_of_a_batch_reaches_its_step():
    def batch(step):
        if step == 2:
            raise UserError("broken shard")
        return step

    ahead = read_ahead(batch, 0, 9, torch.device("cuda"))
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(UserError, match="broken shard"):
        next(ahead)


ENDING = """
import math, os, signal, sys
from pathlib import Path
import torch
from rsvp.runtime.journal import StateKey
from rsvp.training.batches import read_ahead
from rsvp.training.run import TrainingRun

run = TrainingRun(Path(sys.argv[1]), StateKey("code", "work"), 10**6, {})
ahead = read_ahead(lambda step: torch.full((64, 64), step), 0, 10**6, torch.device("cuda"))
for step in run.steps("test"):
    assert int(next(ahead)[0, 0]) == step
    if step == 20 and sys.argv[2] != "nan":
        os.killpg(os.getpgid(0), int(sys.argv[2]))  # reaches the whole group, as Ctrl-C does
    run.log(step, loss=math.nan if sys.argv[2] == "nan" and step == 20 else 1.0)
"""


@pytest.mark.parametrize("end", ["nan", *sorted(map(int, set(STOP_SIGNALS) - {signal.SIGTERM}))])
def test_a_trainer_that_reads_ahead_ends_by_itself(tmp_path, end):
    """By Python's own way out, which waits for threads and processes that are still at work.

    Upon SIGTERM those of `test_processes` end.
    """
    command = [sys.executable, "-c", ENDING, str(tmp_path), str(end)]
    found = subprocess.run(
        command, timeout=60, capture_output=True, text=True, cwd=ROOT, start_new_session=True
    )
    assert found.returncode == (1 if end == "nan" else 128 + end), found.stderr
    saved = [int(path.stem.split("-")[1]) for path in tmp_path.glob("state-*")]
    assert saved == ([] if end == "nan" else [21])


def test_every_clip_and_symmetry_is_drawn():
    """Over many steps about equally often, and independently of each other."""
    counts = torch.zeros(len(CLIPS), 8)
    stored = CLIPS.stored.permute(0, 1, 4, 2, 3)
    views = {
        turned(clip, k, "all").numpy().tobytes(): (i, k)
        for i, clip in enumerate(stored)
        for k in range(8)
    }
    items = batches(size=32)
    for step in range(45):
        for clip in items[step]:
            counts[views[clip.contiguous().numpy().tobytes()]] += 1
    expected = 45 * 32 / counts.numel()
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    # 71 degrees of freedom: mean 71, deviation 12.
    assert 71 - 4 * 12 < chi_squared < 71 + 4 * 12


def test_without_augmentation_clips_are_as_stored():
    stored = CLIPS.stored.permute(0, 1, 4, 2, 3)
    for clip in batches(augment="none")[0]:
        assert (clip == stored).flatten(1).all(1).any()


def test_bytes_survive_floats():
    values = torch.arange(256, dtype=torch.uint8)
    floats = to_float(values)
    assert floats.min() == -1.0 and floats.max() == 1.0
    assert torch.equal(to_bytes(floats), values)
    assert to_bytes(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]
    assert torch.equal(to_bytes(floats + 0.49 / 127.5)[:-1], values[:-1])


def test_latent_batches(tmp_path):
    kinds = ("scene", "object", "motion")
    metadata = {"scopes": dict.fromkeys(kinds, "context"), "context_frames": 2, "clip_frames": 5}
    raw = {kind: torch.randn(6, 2, 4, 4) for kind in kinds}
    items = LatentBatches(write_latents(tmp_path, metadata, list("abcdef"), raw), 0, 5)
    assert {kind: value.shape for kind, value in items[3].observed.items()} == {
        kind: (5, 1, 2, 4, 4) for kind in kinds
    }
    ahead = [items[step].observed for step in (3, 4)]
    third = items[3].observed
    for kind in kinds:
        assert torch.equal(ahead[0][kind], third[kind])
        assert not torch.equal(ahead[0][kind], ahead[1][kind])
    # All kinds are of the same clips.
    everything = items.latents.batch(range(6))
    which = [
        [int((everything[kind] == row).flatten(1).all(1).nonzero()) for row in third[kind]]
        for kind in kinds
    ]
    assert which[0] == which[1] == which[2]


@pytest.mark.parametrize("augment", ["all", "horizontal"])
def test_latents_are_turned_by_seed_and_step(tmp_path, augment):
    """Each clip under a symmetry of the dataset's, all of them drawn, all kinds alike; the clips
    are those that are drawn without."""
    metadata = {"scopes": {"scene": "context", "motion": "frames"}, "context_frames": 2,
             "clip_frames": 5, "augment": augment, "displacements": ["motion"]}  # fmt: skip
    raw = {"scene": torch.randn(6, 3, 4, 4), "motion": torch.randn(6, 5, 2, 4, 4)}
    latents = write_latents(tmp_path, metadata, list("abcdef"), raw)
    plain, turning = LatentBatches(latents, 0, 16), LatentBatches(latents, 0, 16, augment=True)
    symmetries = range({"all": 8, "horizontal": 2}[augment])
    seen = set()
    for step in range(12):
        own, parts = plain[step].observed, turning[step]
        raw_scene = latents.statistics["scene"].restore(own["scene"][:, 0])
        views = [
            turned_latents({"scene": raw_scene}, torch.tensor([k]), augment, ())["scene"]
            for k in symmetries
        ]
        found = latents.statistics["scene"].restore(parts.observed["scene"][:, 0])
        drawn = [
            next(k for k in symmetries if torch.allclose(views[k][row], found[row], atol=1e-5))
            for row in range(16)
        ]
        seen |= set(drawn)
        motion = torch.cat([plain[step].observed["motion"], plain[step].targets["motion"]], 1)
        motion = latents.statistics["motion"].restore(motion)
        expected = turned_latents({"motion": motion}, torch.tensor(drawn), augment, ["motion"])
        both = torch.cat([parts.observed["motion"], parts.targets["motion"]], 1)
        torch.testing.assert_close(
            latents.statistics["motion"].restore(both), expected["motion"], atol=1e-5, rtol=0
        )
    assert seen == set(symmetries)
    again = LatentBatches(latents, 0, 16, augment=True)[11]
    assert torch.equal(again.targets["motion"], parts.targets["motion"])
