"""Batches of training: what a step sees is a function of (seed, step) alone."""

import itertools
import os
import time

import pytest
import torch
from stored import write_latents
from torch.utils.data import Dataset

from rsvp.config.schema import Augment
from rsvp.data.pixels import to_bytes, to_float
from rsvp.data.symmetries import turned, turned_latents
from rsvp.runtime.journal import StateKey
from rsvp.training.batches import ClipBatches, LatentBatches, StepBatches
from rsvp.training.run import STOP_SIGNALS, TrainingRun


class SomeClips(Dataset):
    """Clips of noise in memory; the first pixel tells which."""

    def __init__(self, count=9):
        random = torch.Generator().manual_seed(0)
        self.stored = torch.randint(
            0, 256, (count, 4, 6, 6, 3), dtype=torch.uint8, generator=random
        )

    def __len__(self):
        return len(self.stored)

    def frames(self, i):
        return self.stored[i].clone()


CLIPS = SomeClips()


def batches(seed=3, augment=Augment.all, purpose="pretrain", size=8):
    return ClipBatches(CLIPS, seed, size, augment, purpose)


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


@pytest.mark.filterwarnings("ignore:'pin_memory'")
@pytest.mark.parametrize("workers", [0, 2])
def test_reading_ahead_from_any_step_gives_the_same(workers):
    items = batches()
    read = list(items.batches(5, 9, workers))
    assert len(read) == 4
    for step, batch in zip(range(5, 9), read, strict=True):
        assert torch.equal(batch, items[step])


class Numbers(StepBatches):
    """The batch of a step is its number."""

    def __getitem__(self, step):
        return torch.tensor(step)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signals_to_the_whole_group_leave_workers_to_the_trainer(tmp_path, number):
    """Ctrl-C reaches the processes that read ahead too; the trainer finishes its step and saves."""
    reached, tell = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setsid()
            run = TrainingRun(tmp_path, StateKey("code", "work"), 10**6, {})
            ahead = Numbers().batches(0, 10**6, 2)
            for step in run.steps("test"):
                assert int(next(ahead)) == step
                time.sleep(0.05)
                os.write(tell, b".")
        except SystemExit as end:
            code = end.code
        finally:
            os._exit(code)
    for _ in range(4):  # both workers have answered
        os.read(reached, 1)
    os.killpg(child, number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for end in (reached, tell):
        os.close(end)
    assert code == 128 + number
    assert max(int(path.stem.split("-")[1]) for path in tmp_path.glob("state-*")) >= 4


def test_every_clip_and_symmetry_is_drawn():
    """Over many steps about equally often, and independently of each other."""
    counts = torch.zeros(len(CLIPS), 8)
    stored = CLIPS.stored.permute(0, 1, 4, 2, 3)
    views = {
        turned(clip, k, Augment.all).numpy().tobytes(): (i, k)
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
    for clip in batches(augment=Augment.none)[0]:
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
    ahead = [parts.observed for parts in items.batches(3, 5, 0)]
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


@pytest.mark.parametrize("augment", [Augment.all, Augment.horizontal])
def test_latents_are_turned_by_seed_and_step(tmp_path, augment):
    """Each clip under a symmetry of the dataset's, all of them drawn, all kinds alike; the clips
    are those that are drawn without."""
    metadata = {"scopes": {"scene": "context", "motion": "frames"}, "context_frames": 2,
             "clip_frames": 5, "augment": augment.value, "displacements": ["motion"]}  # fmt: skip
    raw = {"scene": torch.randn(6, 3, 4, 4), "motion": torch.randn(6, 5, 2, 4, 4)}
    latents = write_latents(tmp_path, metadata, list("abcdef"), raw)
    plain, turning = LatentBatches(latents, 0, 16), LatentBatches(latents, 0, 16, augment=True)
    symmetries = range({Augment.all: 8, Augment.horizontal: 2}[augment])
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
    again = next(LatentBatches(latents, 0, 16, augment=True).batches(11, 12, 0))
    assert torch.equal(again.targets["motion"], parts.targets["motion"])
