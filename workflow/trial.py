"""A small run of a config's networks, and what it cost: `rsvp plan` counts on from there.

It is a run of the workflow in a folder of its own below the results: so it is kept, and what
changed is made again. Loads without torch.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jobs import JOBS, VIDEOS, Job, Results, code_of
from plan import TRAININGS, Plan, digest_of, seen_from

from rsvp.config.schema import ROW_KEYS, Config
from rsvp.data.manifest import read_shares, usable_videos
from rsvp.data.sources import id_hash
from rsvp.data.splits import Segment, clip_starts
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, RECORD, read_json, write_json
from rsvp.runtime.record import running_versions

TRAINED_CLIPS = 16  # of the trial; as many as the largest batch
HELD_OUT = {"validation": 8, "test": 24}  # clips; what is evaluated on both gives a line
MADE_ONCE = (*TRAININGS, "generate_videos", "decode", "split", "cache_latents")
BRIEFLY = 1e-3  # seconds of training: one step, after those that are timed
SHAPE = ("resolution", "fit", "channels", "clip_frames", "context_frames", "contexts", "augment")
SAMPLE = 8  # videos that are decoded to see how large and how slow they are
HOME = Path(__file__).parents[1]


class Cost(NamedTuple):
    """The cost of a job."""

    seconds: float  # of processors; on a GPU of the clock
    disk: float  # bytes
    memory: float  # MB, at its peak


class Trial:
    """The jobs of a small run, each as long as it has to be to time it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.folder = Path(plan.results, JOBS, "trial")
        self.values = trial_config(plan.config, str(self.folder / "results"))
        self.clock = "seconds" if plan.gpu and os.path.exists("/dev/nvidia0") else "cpu_seconds"

    def run(self) -> None:
        """Make the jobs that are not current, evaluated on two sizes of clips."""
        file, log = self.folder / "config.json", self.folder / "log.txt"
        write_json(file, self.values)
        for side in HELD_OUT:
            command = [sys.executable, "-m", "snakemake", "--snakefile", HOME / "Snakefile"]
            command += ["--configfile", file, "--config", f"evaluation={{split: {side}}}"]
            with open(log, "w", encoding="utf-8") as stream:
                done = subprocess.run(
                    [*map(str, command)], cwd=self.plan.results, stdout=stream, stderr=stream
                )
            if done.returncode:
                said = re.findall(r"^rsvp.*$", log.read_text(encoding="utf-8"), re.MULTILINE)
                reason = said[-1] if said else f"see {log}"
                raise UserError(f"the trial run of this config failed: {reason}")

    @cached_property
    def starts(self) -> dict[bool, float]:
        """Processor seconds in which a stage starts, by whether it loads torch."""
        path, modules = self.folder / "starts.json", ("rsvp.stages.decode", "rsvp.stages.predict")
        key = {"code": [code_of(name) for name in modules], "versions": running_versions()}
        kept = read_json(path) if path.exists() else []
        if kept[:1] != [key]:
            taken = [processor_seconds(["-c", f"import {name}"]) for name in modules]
            write_json(path, kept := [key, *taken])
        return dict(enumerate(kept[1:]))

    def record(self, job: Job, side: str = "test") -> dict[str, Any]:
        """Return the run record of the trial's job that stands for a job."""
        return read_json(self.folder / "results" / self.place(job, side) / RECORD)

    def place(self, job: Job, side: str) -> str:
        """Return the folder of that job, seen from the trial's results."""
        folder = job.folder.removeprefix(self.plan.side)
        folder = re.sub(r"/shares/\d+$", "", re.sub(r"/seed\d+", "/seed0", folder))
        folder = re.sub(r"/frames/\d+$", "/frames/0", folder)
        # Baselines take alike; those of other contexts, too.
        folder = re.sub(r"\.(?!reconstruction|real)[\w-]+/", ".copy-last/", folder)
        folder = re.sub(r"\.real_[\w-]+/", ".real/", folder)
        return f"validation/{folder}" if side == "validation" and side_of(job) else folder

    def cost(self, job: Job, side: str = "test") -> Cost:
        """Return what the trial's job that stands for a job took."""
        record = self.record(job, side)
        folder = self.folder / "results" / self.place(job, side)
        return Cost(record[self.clock], size_of(folder), record["peak_memory_mb"])


def side_of(job: Job) -> bool:
    """Check whether a job is of the clips that are evaluated, so of one side."""
    return job.stage not in MADE_ONCE


def trial_config(config: Config, results: str) -> dict[str, Any]:
    """Return the config of a trial: the same networks, on a few generated clips."""
    values = config.model_dump(mode="json", exclude_unset=True)
    most = TRAINED_CLIPS
    for name, autoencoder in config.autoencoders.items():
        own = values["autoencoders"][name]
        for part in ("pretrain", "finetune"):
            budget(own.setdefault(part, {}))
            most = max(most, getattr(autoencoder, part).batch_size)
        own.pop("init_from", None)
    for name, predictor in config.predictors.items():
        own = values["predictors"][name]
        if predictor.same_as:
            kept = {key: own[key] for key in ("same_as", *ROW_KEYS) if key in own}
            values["predictors"][name] = kept
            continue
        own.pop("init_from", None)
        budget(own)
        most = max(most, predictor.batch_size)
    for name, dataset in config.datasets.items():
        frames = max(dataset.clip_frames, dataset.context_frames + (config.evaluation.horizon or 0))
        counts = {f"{side}_videos": count for side, count in HELD_OUT.items()}
        own = {key: value for key, value in values["datasets"][name].items() if key in SHAPE}
        own |= {"source": "generated", "decode_jobs": 1, "max_clips_per_video": 1}
        own["generated"] = counts | {"train_videos": most, "frames": frames,
                                     "held_out_frames": frames}  # fmt: skip
        values["datasets"][name] = own
    values.setdefault("evaluation", {}).update(baselines=["copy-last"], max_clips=None)
    values.setdefault("report", {})["seeds"] = [0]
    compute = values.setdefault("compute", {})
    for key in ("shares", "processes"):
        compute.pop(key, None)
    values.pop("scratch", None)
    return values | {"results": results}


def budget(section: dict[str, Any]) -> None:
    """Let a training end after the steps that are timed."""
    section.pop("steps", None)
    section["seconds"] = BRIEFLY


class Size(NamedTuple):
    """The size of a dataset: videos, their frames, and clips by split."""

    videos: int
    frames: float
    clips: Mapping[str, float]


@cache
def size_of_dataset(plan: Plan, name: str) -> tuple[Size, Cost | None]:
    """Return the size of a dataset, and what decoding one of its videos costs.

    From its index where that is current, else from a sample of its videos; a generated set has no
    cost of its own, it is the trial's.
    """
    dataset = plan.config.datasets[name]
    if dataset.source == "generated":
        made = dataset.generated
        lengths = {"train": made.frames, "validation": made.held_out_frames,
                   "test": made.held_out_frames}  # fmt: skip
        counts = {side: getattr(made, f"{side}_videos") for side in lengths}
        strides = dict.fromkeys(lengths, dataset.clip_stride)
        strides["train"] = dataset.training_stride or dataset.clip_stride
        clips = {
            side: count * clips_of(lengths[side], dataset.clip_frames, strides[side])
            for side, count in counts.items()
        }
        frames = sum(counts[side] * lengths[side] for side in counts)
        return Size(sum(counts.values()), frames, clips), None
    rows, cost = sample(plan, name)
    listed = [source.id for share in plan.videos[name] for source in share]
    videos = usable_videos(rows, dataset, [])
    frames = len(listed) * sum(row["frames"] for row in rows.values()) / len(rows)
    clips = {}
    for side, share in side_shares(plan, name, listed).items():
        cut = sum(len(clip_starts(Segment(v, side, 0, v.frames), dataset)) for v in videos)
        clips[side] = share * len(listed) * cut / len(rows)
    split = plan.job("split", dataset=name)
    if split not in plan.stale:
        clips = read_json(plan.state.folder / split.result)["clips"]
    return Size(len(listed), frames, clips), cost


def clips_of(frames: int, clip_frames: int, stride: int) -> int:
    """Return the number of clips of a video."""
    return max(0, (frames - clip_frames) // stride + 1)


def side_shares(plan: Plan, name: str, listed: list[str]) -> dict[str, float]:
    """Return about how many of a dataset's videos are on each side."""
    split = plan.config.datasets[name].split
    test = split.test_fraction
    if split.kind == "folders":
        tests = [video for video in listed if video.partition("/")[0].startswith("test")]
        test = len(tests) / len(listed)
    if split.kind == "official" and split.lists:
        path = Path(plan.results, split.lists)
        counts = [len((path / f"{which}list{split.number:02d}.txt").read_text().split("\n"))
                  for which in ("train", "test")]  # fmt: skip
        test = counts[1] / sum(counts)
    validation = (1 - test) * split.validation_fraction
    return {"train": 1 - test - validation, "validation": validation, "test": test}


def sample(plan: Plan, name: str) -> tuple[dict[str, dict[str, Any]], Cost]:
    """Decode a few videos of a dataset; return their rows, and the cost of a video.

    The job of a share, on other videos: it is kept as long as that one's result would be.
    """
    state = Results(Path(plan.results, JOBS, "trial", "sample"))
    known = {source: c for share in plan.videos[name] for source, c in share.items()}
    chosen = sorted(known, key=lambda source: id_hash(source.id))[:SAMPLE]
    videos = {source: known[source] for source in chosen}
    job = plan.job("decode", dataset=name, share="0")
    contents = job.contents | {VIDEOS: digest_of(videos)}
    job = replace(job, contents=contents, lists=plan.sources_of(name, videos))
    folder = state.folder / job.folder
    if state.reasons(job):
        shutil.rmtree(folder, ignore_errors=True)  # all videos are timed, not what changed alone
        state = Results(state.folder)
        state.hand_over(job)
        flags = {"settings": state.folder / state.file(job), "share": 0,
                 "sources": state.folder / state.list_file(job), "state": folder / "state",
                 "index": folder / INDEX, "record": folder / RECORD,
                 "log": folder / "log.txt"}  # fmt: skip
        command = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
        processor_seconds(["-m", "rsvp.stages.decode", *command], plan.state.folder)
    rows, rejected = read_shares([folder / INDEX])
    if not rows:
        path = seen_from(plan.results, plan.config.datasets[name].path)
        raise UserError(f"{path}: none of {len(rejected)} videos could be decoded")
    record = read_json(folder / RECORD)
    frames = sum(row["frames"] for row in rows.values())
    cost = Cost(record["cpu_seconds"] / len(rows), size_of(folder) / frames,
                record["peak_memory_mb"])  # fmt: skip
    return rows, cost


def processor_seconds(arguments: list[str], folder: Path | None = None) -> float:
    """Run Python; return the processor seconds that it took. UserError where it failed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise UserError(f"{' '.join(arguments[:2])}: failed")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size_of(folder: Path) -> int:
    """Return the bytes of a stage's files; not of those of stages whose folders lie within."""
    return sum(
        path.stat().st_size
        for top in (folder, folder / "state", folder / "videos", folder / "tables")
        if (top / RECORD).exists() == (top == folder)
        for path in top.glob("*")
        if path.is_file()
    )
