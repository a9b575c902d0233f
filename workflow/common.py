"""What the rules ask: the checked config, each stage's settings, inputs that depend on it.

Loads without torch, so that `snakemake -n` answers at once.
"""

import fcntl
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rsvp.config.load import load, resolve_path
from rsvp.config.messages import shorten
from rsvp.config.schema import (
    FETCH,
    LPIPS_KEYS,
    NETWORK_KEYS,
    AutoencoderKind,
    Config,
    Dataset,
    Perceptual,
    SourceKind,
    SplitKind,
    is_url,
    weights_sources,
)
from rsvp.config.stages import measuring_threads, stage_settings
from rsvp.data.contexts import PREFIX, fitting_baselines
from rsvp.data.sources import Source, content_hashes, list_sources, share_of, sources_digest
from rsvp.runtime.code import ROOT, code_digest, short_digests
from rsvp.runtime.errors import BAD_INPUT, UserError
from rsvp.runtime.files import INDEX, read_network_index, sha256_of_file
from rsvp.runtime.journal import SAVE_SECONDS
from rsvp.runtime.lock import no_locks
from rsvp.runtime.main import STARTED, STOPPED

HASHES = ".hashes"  # what content_hashes keeps between calls
ROW_FOLDERS = ("predictions", "evaluation")
TRAINED = {  # where a training stage puts what it makes
    "pretrain_autoencoder": "autoencoders/{name}/seed{seed}/pretrained",
    "finetune_autoencoder": "autoencoders/{name}/seed{seed}/finetuned",
    "train_diffusion": "predictors/{name}/seed{seed}",
}
LOCK = ".snakemake/rsvp.lock"
FAILED_JOB = re.compile(r"^Error in rule (\w+):$((?:\n +.*)*)", re.MULTILINE)
FAILED_LOG = re.compile(r"^ +log: (.*?)(?: \(check log file.*)?$", re.MULTILINE)


class Plan:
    """The checked config, and what the rules ask of it.

    Stages run in the results folder. Paths that the config gives relative to `base`, the folder
    where snakemake was started, become relative to the results folder: so a project that moves
    with its results and videos stays as fresh as it was.
    """

    def __init__(self, values: Mapping[str, Any], base: str) -> None:
        self.config = config = load(values)
        self.results = resolve_path(config.results, base)
        self.predictors = unique(config.report.predictors)
        self.trained = unique(config.predictors[p].same_as or p for p in self.predictors)
        self.autoencoders = unique(config.predictors[p].autoencoder for p in self.predictors)
        self.datasets = unique(config.autoencoders[a].dataset for a in self.autoencoders)
        self.seeds = config.report.seeds
        self.threads = config.compute.threads
        self.measuring_threads = measuring_threads(config.compute)
        self.gpu = 0 if config.compute.device == "cpu" else 1
        localise_paths(config, base, self.results)
        for name in self.datasets:
            check_apart(self.results, config.datasets[name].path, name)
        make_results(self.results)
        self.weights = weights_hashes(config, self.results)
        self.lpips = {key: self.weights[key] for key in LPIPS_KEYS if key in self.weights}
        self.i3d = {key: self.weights[key] for key in ("i3d",) if key in self.weights}
        self.detector = {key: self.weights[key] for key in self.weights if key not in LPIPS_KEYS}
        self.starts = self.start_hashes()
        self.check_trained_with_weights()
        self.sources = {name: self.share_digests(name) for name in self.datasets}

    def share_digests(self, name: str) -> list[str]:
        """A digest of ids and contents for each decode job's share; none for a generated set."""
        dataset = self.config.datasets[name]
        for path in split_lists(dataset):
            check_file(f"datasets.{name}.split.lists", seen_from(self.results, path))
        if not dataset.path or dataset.source is SourceKind.generated:
            return []
        folder = seen_from(self.results, dataset.path)
        sources = list_sources(folder, dataset.source, dataset.max_videos)
        hashes = content_hashes(sources, Path(self.results, HASHES, f"{name}.json"))
        shares: list[list[Source]] = [[] for _ in range(dataset.decode_jobs)]
        for source in sources:
            shares[share_of(source.id, dataset.decode_jobs)].append(source)
        return [sources_digest(share, hashes) for share in shares]

    def start_hashes(self) -> dict[str, str]:
        """Content hashes of the bundles that trainings start from, by config key.

        UserError where one is no trained network, or what the same training makes.
        """
        sections = {
            f"autoencoders.{name}": self.config.autoencoders[name] for name in self.autoencoders
        }
        sections |= {f"predictors.{name}": self.config.predictors[name] for name in self.trained}
        hashes = {}
        for name, section in sections.items():
            if section.init_from:
                index = seen_from(self.results, f"{section.init_from}/{INDEX}")
                check_start(f"{name}.init_from", index, Path(self.results, *name.split(".")))
                # The index holds the hash of the weights.
                hashes[name] = sha256_of_file(index)
        return hashes

    def start(self, wildcards: Any) -> str:
        """The hash of what the autoencoder or predictor of a rule starts from; "" for nothing."""
        name = wildcards.get("autoencoder")
        key = f"autoencoders.{name}" if name else f"predictors.{wildcards.predictor}"
        return self.starts.get(key, "")

    def check_trained_with_weights(self) -> None:
        """UserError where an autoencoder is to be trained with LPIPS that is not downloaded."""
        for name in self.autoencoders:
            missing = [key for key in LPIPS_KEYS if key not in self.weights]
            if missing and self.config.autoencoders[name].perceptual is Perceptual.lpips:
                raise UserError(
                    f"config: autoencoders.{name}.perceptual: lpips needs weights.{missing[0]}, "
                    f"which is not there yet; {FETCH}"
                )

    def training_weights(self, wildcards: Any) -> dict[str, str]:
        """Content hashes of the weights that an autoencoder is trained with."""
        if self.config.autoencoders[wildcards.autoencoder].perceptual is not Perceptual.lpips:
            return {}
        return {key: self.weights[key] for key in LPIPS_KEYS}

    @property
    def rows(self) -> list[str]:
        """The report's rows as "row/seedN"; no chance is in baselines and floor: seed 0."""
        sampled = [*self.predictors, *(f"{name}.reconstruction" for name in self.autoencoders)]
        fixed = [
            f"{dataset}.{baseline}/seed0"
            for dataset in self.datasets
            for baseline in unique([*self.config.evaluation.baselines, "real"])
        ]
        fixed += [f"{dataset}.{baseline}_{context}/seed0" for dataset, context in self.contexts
                  for baseline in (*self.baselines(dataset, context), "real")]  # fmt: skip
        return [f"{row}/seed{seed}" for row in sampled for seed in self.seeds] + fixed

    @property
    def contexts(self) -> list[tuple[str, str]]:
        """The datasets and contexts beside the prefix that the report has rows of."""
        rows = [self.config.predictors[name] for name in self.predictors]
        of = self.config.autoencoders
        return unique((of[row.autoencoder].dataset, row.context) for row in rows
                      if row.context not in (None, PREFIX))  # fmt: skip

    def baselines(self, dataset: str, context: str) -> list[str]:
        """The baselines of a context beside the prefix."""
        observed = self.config.datasets[dataset].contexts[context]
        return fitting_baselines(observed, unique(self.config.evaluation.baselines))

    @property
    def report_inputs(self) -> dict[str, list[str]]:
        """The files that the report reads, by kind."""
        return {
            "evaluations": [f"evaluation/{row}/{INDEX}" for row in self.rows],
            "predictions": [f"predictions/{row}/{INDEX}" for row in self.rows],
            "semantics": [f"{folder}/{INDEX}" for folder in self.semantics_folders],
            "copies": [f"memorisation/{dataset}/{INDEX}" for dataset in self.datasets],
            "datasets": [f"datasets/{dataset}/{INDEX}" for dataset in self.datasets],
            "histories": [f"{folder}/history.csv" for folder in self.trained_folders],
            "records": [f"{folder}/run.json" for folder in self.all_folders],
        }

    @property
    def trainings(self) -> list[tuple[str, str, int]]:
        """What is trained: the stage, the autoencoder or predictor, and the seed."""
        stages = {stage: self.autoencoders for stage in TRAINED} | {"train_diffusion": self.trained}
        return [(stage, n, s) for stage, names in stages.items() for n in names for s in self.seeds]

    @property
    def trained_folders(self) -> list[str]:
        """The folders of what is trained, which hold a history."""
        return [TRAINED[stage].format(name=n, seed=s) for stage, n, s in self.trainings]

    @property
    def semantics_folders(self) -> list[str]:
        """The folders of what scene, object and motion mean, of the autoencoders that have them."""
        named = self.config.autoencoders
        kinds = (AutoencoderKind.rsvp, AutoencoderKind.joint)
        having = [a for a in self.autoencoders if named[a].kind in kinds]
        return [f"semantics/{a}/seed{s}" for a in having for s in self.seeds]

    def predicted(self, wildcards: Any) -> list[str]:
        """The indexes of what all predictors predict on a dataset, and their autoencoders."""
        of = self.config.predictors
        mine = [a for a in self.autoencoders
                if self.config.autoencoders[a].dataset == wildcards.dataset]  # fmt: skip
        names = [p for p in self.predictors
                 if of[p].autoencoder in mine and of[p].context in (None, PREFIX)]  # fmt: skip
        names += [f"{autoencoder}.reconstruction" for autoencoder in mine]
        return [f"predictions/{p}/seed{s}/index.json" for p in names for s in self.seeds]

    @property
    def all_folders(self) -> list[str]:
        """The folders of all stages before the report, which hold a run record."""
        folders = []
        for name in self.datasets:
            dataset = self.config.datasets[name]
            if dataset.source is SourceKind.generated:
                folders.append(f"datasets/{name}/videos")
            folders += [f"datasets/{name}/frames/{job}" for job in range(dataset.decode_jobs)]
            folders.append(f"datasets/{name}")
        folders += [f"real_features/{name}" for name in self.datasets]
        folders += self.trained_folders
        folders += [f"autoencoders/{a}/seed{s}/latents" for a in self.autoencoders
                    for s in self.seeds]  # fmt: skip
        folders += self.semantics_folders
        folders += [f"memorisation/{dataset}" for dataset in self.datasets]
        return folders + [f"{made}/{row}" for row in self.rows for made in ROW_FOLDERS]

    def settings(self, wildcards: Any) -> str:
        """The JSON of one stage's settings; {name} may end in /seedN."""
        name, _, seed = wildcards.name.partition("/seed")
        return json.dumps(stage_settings(self.config, wildcards.stage, name, int(seed or 0)))

    def videos_index(self, wildcards: Any) -> list[str]:
        """The index of a generated set's videos; nothing for a folder of videos."""
        generated = self.config.datasets[wildcards.dataset].source is SourceKind.generated
        return [f"datasets/{wildcards.dataset}/videos/index.json"] if generated else []

    def videos_flag(self, wildcards: Any) -> str:
        """The flag that names the index of a generated set, if it is one."""
        return " ".join(f"--videos-index {index}" for index in self.videos_index(wildcards))

    def sources_flag(self, wildcards: Any) -> str:
        """The flag that says which videos a decode job reads."""
        digests = self.sources.get(wildcards.dataset)
        if digests:
            return f"--sources-digest {digests[int(wildcards.share)]}"
        return self.videos_flag(wildcards)

    def shares(self, wildcards: Any) -> list[str]:
        """The frame indexes of all decode jobs of a dataset."""
        jobs = self.config.datasets[wildcards.dataset].decode_jobs
        return [f"datasets/{wildcards.dataset}/frames/{job}/index.json" for job in range(jobs)]

    def lists(self, wildcards: Any) -> list[str]:
        """The official split lists of a dataset that is split by them."""
        return split_lists(self.config.datasets[wildcards.dataset])

    def dataset(self, wildcards: Any) -> str:
        """The index of the dataset that an autoencoder, a predictor or a row works on."""
        return f"datasets/{self.dataset_name(wildcards)}/index.json"

    def dataset_name(self, wildcards: Any) -> str:
        """The name of that dataset; rows are "predictor", "autoencoder.reconstruction" or
        "dataset.baseline"."""
        name, _, kind = wildcards.get("row", "").partition(".")
        if kind and kind != "reconstruction":
            return name
        if kind:
            return self.config.autoencoders[name].dataset
        autoencoder = wildcards.get("autoencoder")
        if not autoencoder:
            autoencoder = self.config.predictors[name or wildcards.predictor].autoencoder
        return self.config.autoencoders[autoencoder].dataset

    def evaluate_settings(self, wildcards: Any) -> str:
        """The settings of a row's evaluation, one file for all rows on a dataset."""
        return f"settings/evaluate/{self.dataset_name(wildcards)}.json"

    def real_features(self, wildcards: Any) -> str:
        """The features of the real clips that a row is compared with."""
        return f"real_features/{self.dataset_name(wildcards)}/index.json"

    def latents(self, wildcards: Any) -> str:
        """The latents that a predictor learns, under the same seed."""
        name = self.config.predictors[wildcards.predictor].autoencoder
        return f"autoencoders/{name}/seed{wildcards.seed}/latents/index.json"

    def denoiser(self, wildcards: Any) -> str:
        """The index of the trained denoiser that a predictor draws with, under the same seed."""
        name = self.config.predictors[wildcards.predictor].same_as or wildcards.predictor
        return f"predictors/{name}/seed{wildcards.seed}/index.json"

    def denoiser_weights(self, wildcards: Any) -> str:
        """That denoiser's weights."""
        return self.denoiser(wildcards).replace("index.json", "weights.safetensors")

    def autoencoder(self, wildcards: Any) -> str:
        """The index of the autoencoder below a predictor, under the same seed."""
        name = self.config.predictors[wildcards.predictor].autoencoder
        return f"autoencoders/{name}/seed{wildcards.seed}/finetuned/index.json"

    def autoencoder_weights(self, wildcards: Any) -> str:
        """That autoencoder's weights."""
        return self.autoencoder(wildcards).replace("index.json", "weights.safetensors")


def code_files(module: str) -> list[str]:
    """A param for each file of a stage's code, "path digest": a reason names those that changed."""
    return [f"{path} {digest}" for path, digest in short_digests(module).items()]


def planned_code(module: str) -> Callable[..., str]:
    """The digest that a stage compares with its own before it runs.

    Snakemake does not compare params that are made from `output`, which would be said twice.
    """
    digest = code_digest(module)

    def planned(wildcards: Any, output: Any) -> str:
        return digest

    return planned


def unique(names: Iterable[Any]) -> list[Any]:
    """The names in their order, each once."""
    return list(dict.fromkeys(names))


def localise_paths(config: Config, base: str, results: str) -> None:
    """Rewrite the config's relative paths, given from `base`, as seen from `results`."""

    def localise(path: str) -> str:
        path = os.path.expanduser(path)
        return path if os.path.isabs(path) else os.path.relpath(os.path.join(base, path), results)

    for dataset in config.datasets.values():
        if dataset.path:
            dataset.path = localise(dataset.path)
        if dataset.split.lists:
            dataset.split.lists = localise(dataset.split.lists)
        if dataset.ffmpeg and os.sep in dataset.ffmpeg:
            dataset.ffmpeg = localise(dataset.ffmpeg)
    for trained in (*config.autoencoders.values(), *config.predictors.values()):
        if trained.init_from:
            trained.init_from = localise(trained.init_from)
    weights = config.weights
    weights.folder = localise(weights.folder)
    for key in NETWORK_KEYS:
        path = getattr(weights, key)
        if path and not is_url(path):
            setattr(weights, key, localise(path))
    for detector in weights.detectors.values():
        detector.program = localise(detector.program)
        if detector.weights and not is_url(detector.weights):
            detector.weights = localise(detector.weights)


def seen_from(results: str, path: str) -> Path:
    """A path of the localised config, also before the results folder exists."""
    return Path(os.path.normpath(os.path.join(results, path)))


def weights_hashes(config: Config, results: str) -> dict[str, str]:
    """Content hashes of the files that measure, by config key below `weights`.

    Their paths stand in the settings; a file replaced under the same path has to count as well.
    What is not downloaded yet is left out. UserError where a named path is missing, has another
    SHA-256 than the config says, or where `weights.required` wants what is not there.
    """
    named = weights_sources(config.weights)
    files = {key: source.local for key, source in named.items()}
    files |= {
        f"detectors.{name}.program": detector.program
        for name, detector in config.weights.detectors.items()
    }
    present = []
    for key, path in files.items():
        file = seen_from(results, path)
        if file.is_file():
            present.append(Source(key, str(file)))
        elif key not in named or not is_url(named[key].source):
            check_file(f"weights.{key}", file)
        elif config.weights.required:
            raise UserError(f"config: weights.{key}: not there yet, but required; {FETCH}")
    if not present:
        return {}
    hashes = content_hashes(present, Path(results, HASHES, "weights.json"))
    for key, source in named.items():
        expected = source.sha256
        if expected and not is_url(source.source) and hashes[key] != expected:
            raise UserError(
                f"config: weights.{key}: the SHA-256 of {source.source} is {hashes[key]}, not "
                f"{expected}; name the right file, or correct the sum behind it or leave it out"
            )
    return hashes


def split_lists(dataset: Dataset) -> list[str]:
    """The paths of UCF-101's lists that divide a dataset; none where it is split otherwise."""
    if dataset.split.kind is not SplitKind.official or not dataset.split.lists:
        return []
    names = ("trainlist", "testlist")
    return [f"{dataset.split.lists}/{name}{dataset.split.number:02d}.txt" for name in names]


def check_apart(results: str, path: str | None, name: str) -> None:
    """UserError where results would be found among the videos of a dataset."""
    videos = os.path.realpath(seen_from(results, path)) if path else None
    if videos and os.path.commonpath([videos, results]) == videos:
        raise UserError(
            f"config: results: {results} lies in the folder of the videos of datasets.{name};"
            " name a folder outside of it"
        )


def make_results(results: str) -> None:
    """Make the results folder; UserError where that cannot be, or nothing can be written to it."""
    try:
        os.makedirs(results, exist_ok=True)
        reason = None if os.access(results, os.W_OK | os.X_OK) else "not writable"
    except OSError as error:
        reason = "a file, not a folder" if os.path.isfile(results) else error.strerror
    if reason:
        raise UserError(f"config: results: {shorten(results)}: {reason}; name another folder")


def check_file(key: str, path: Path) -> None:
    """UserError where a file that the config names is missing."""
    if not path.is_file():
        raise UserError(f"config: {key}: no file {os.path.normpath(path)}; correct the path")


def check_start(key: str, index: Path, own: Path) -> None:
    """UserError where `index` is no trained network's, or lies in `own`, which it would start."""
    if os.path.realpath(index).startswith(f"{os.path.realpath(own)}/"):
        # Each run would change what it starts from, so the next one would start anew.
        raise UserError(
            f"config: {key}: {index.parent} is made by the training that would start from it;"
            " copy that folder to outside of results and name the copy"
        )
    check_file(key, index)
    try:
        read_network_index(index)
    except UserError as error:
        raise UserError(f"config: {key}: {error}") from None


@contextmanager
def stop_in_one_line() -> Iterator[None]:
    """Turn a UserError into one line on the terminal and exit code 2, before any job starts."""
    try:
        yield
    except UserError as error:
        print(f"rsvp: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def run_own_code(config: Config) -> None:
    """Make the rules' "$PYTHON" -m rsvp.… the running interpreter with the code of this clone.

    As environment variables, since Snakemake would count a changed parameter as a reason to rerun.
    """
    found = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join(unique([str(ROOT), *filter(None, found)]))
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ[SAVE_SECONDS] = str(config.compute.save_seconds)
    # How often all bars are drawn: in a log file they should not drown the rest.
    os.environ.setdefault("TQDM_MININTERVAL", "0.5" if sys.stderr.isatty() else "10")


def hold_results() -> None:
    """Take this results folder for as long as the process lives, or say who has it.

    Snakemake's own lock outlives a killed run; one of the operating system does not.
    """
    with stop_in_one_line():
        stream = open(LOCK, "a+", encoding="utf-8")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                raise UserError(no_locks(os.path.abspath(LOCK), error)) from None
            stream.seek(0)
            raise UserError(
                f"{os.getcwd()}: another snakemake (process {stream.read().strip()}) works in this"
                " results folder; wait for it or stop it"
            ) from None
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
    HELD.append(stream)


HELD: list[Any] = []


def print_failures(logs: Iterable[str]) -> None:
    """Repeat at the end, below all that Snakemake prints, why each failed job says it stopped."""
    for log in logs:
        for rule, details in FAILED_JOB.findall(Path(log).read_text(encoding="utf-8")):
            found = FAILED_LOG.search(details)
            path = Path(found[1]) if found else None
            text = path.read_text(encoding="utf-8") if path and path.exists() else ""
            print(f"rsvp {rule}: {why_stopped(text)} (log: {path and path.resolve()})",
                  file=sys.stderr)  # fmt: skip


def why_stopped(log: str) -> str:
    """The reason that the last run in a stage's log gives for its end."""
    if not log:
        return "see what it said above"  # where the disk is full, say
    last = log.rpartition(f": {STARTED}: ")[2]
    reasons = re.findall(rf"^.* rsvp\.runtime\.main: {STOPPED}: (.*)$", last, re.MULTILINE)
    # What is killed says nothing; a line of its work before that is no reason.
    return (
        reasons[-1] if reasons else "killed, or crashed, without a word; the same command goes on"
    )
