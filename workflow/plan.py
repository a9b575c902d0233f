"""The plan: the checked config, and every job that it needs, with its inputs and resources.

Loads without torch, so that `snakemake -n` answers at once.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from jobs import JOBS, VIDEOS, Job, Results

from rsvp.config.load import load, resolve_path
from rsvp.config.messages import shorten
from rsvp.config.schema import (
    FETCH,
    LPIPS_KEYS,
    NETWORK_KEYS,
    Compute,
    Config,
    Dataset,
    is_url,
    percentiles_of,
    pick,
    weights_sources,
)
from rsvp.config.stages import measuring_threads, stage_settings
from rsvp.data.contexts import PREFIX, fitting_baselines
from rsvp.data.formats.detect import detect
from rsvp.data.hashing import Content, content_hashes, sources_digest
from rsvp.data.sources import (
    FORMATS,
    Options,
    Source,
    absolute,
    format_module,
    list_sources,
    share_of,
    unused_files,
)
from rsvp.models.autoencoders.kinds import KINDS, kind_module
from rsvp.runtime.code import import_closure
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import INDEX, RECORD, read_network_index, sha256_of_file, sha256_of_text

HASHES = f"{JOBS}/hashes"  # what content_hashes keeps between calls
closure_of = cache(import_closure)
KINDS_MODULE = "rsvp.models.autoencoders.kinds"
# Of what each stage makes. `side` is "validation/" where that split is evaluated, "" for test.
# `part` is "/shares/3" for the job of a share, "" for the one that has them all.
FOLDERS = {
    "generate_videos": "datasets/{dataset}/videos",
    "decode": "datasets/{dataset}/frames/{share}",
    "split": "datasets/{dataset}",
    "pretrain_autoencoder": "autoencoders/{autoencoder}/seed{seed}/pretrained",
    "finetune_autoencoder": "autoencoders/{autoencoder}/seed{seed}/finetuned",
    "cache_latents": "autoencoders/{autoencoder}/seed{seed}/latents{part}",
    "train_diffusion": "predictors/{predictor}/seed{seed}",
    "train_simvp": "predictors/{predictor}/seed{seed}",
    "predict": "{side}predictions/{predictor}/seed{seed}{part}",
    "predict_simvp": "{side}predictions/{predictor}/seed{seed}",
    "reconstruct": "{side}predictions/{autoencoder}.reconstruction/seed{seed}",
    "predict_baseline": "{side}predictions/{dataset}.{baseline}/seed0",
    "real_features": "{side}real_features/{dataset}",
    "evaluate": "{side}evaluation/{row}/seed{seed}{part}",
    "measure_semantics": "{side}semantics/{autoencoder}/seed{seed}",
    "check_memorisation": "{side}memorisation/{dataset}",
    "bundle": "{side}predictors/{predictor}/seed{seed}/bundle",
    "report": "{side}report",
}
READS = {  # the stages whose indexes a stage reads; `Plan.inputs` adds what depends on the config
    "generate_videos": (),
    "decode": (),
    "split": (),
    "pretrain_autoencoder": ("split",),
    "finetune_autoencoder": ("split", "pretrain_autoencoder"),
    "cache_latents": ("split", "finetune_autoencoder"),
    "train_diffusion": ("cache_latents",),
    "train_simvp": ("split",),
    "predict": ("split", "finetune_autoencoder", "train_diffusion"),
    "predict_simvp": ("split", "train_simvp"),
    "reconstruct": ("split", "finetune_autoencoder"),
    "predict_baseline": ("split",),
    "real_features": ("split",),
    "evaluate": ("split", "real_features"),
    "measure_semantics": ("split", "finetune_autoencoder", "cache_latents"),
    "check_memorisation": ("split",),
    "bundle": ("split", "finetune_autoencoder", "train_diffusion"),
}
FLAGS = {  # by which a stage is handed another one's index
    "split": "dataset",
    "pretrain_autoencoder": "pretrained",
    "finetune_autoencoder": "autoencoder",
    "cache_latents": "latents",
    "train_diffusion": "denoiser",
    "train_simvp": "network",
    "real_features": "real",
}
SHARED = ("cache_latents", "predict", "evaluate")
TRAININGS = ("pretrain_autoencoder", "finetune_autoencoder", "train_diffusion", "train_simvp")
Names = Mapping[str, str]  # wildcards: dataset, autoencoder, predictor, row, seed and so on


class Plan:
    """The checked config, and what the rules ask of it.

    Stages run in the results folder. Paths that the config gives relative to `base`, the folder
    where snakemake was started, become relative to the results folder: so a project that moves
    with its results and videos stays as fresh as it was.

    Only a process that `looks` lists videos, reads what no job makes, and writes what jobs are
    handed. On a cluster those of jobs find it written.
    """

    def __init__(self, values: Mapping[str, Any], base: str, looks: bool = True) -> None:
        self.config = config = load(values)
        self.results = resolve_path(config.results, base)
        self.scratch = scratch_of(config, base, self.results)
        self.predictors = unique(config.report.predictors)
        self.trained = unique(config.predictors[p].same_as or p for p in self.predictors)
        self.sampled = self.of_kind("diffusion")
        self.autoencoders = unique(config.predictors[p].autoencoder for p in self.sampled)
        self.datasets = unique(map(config.dataset_of, self.predictors))
        self.seeds = config.report.seeds
        # Tables of the validation split, by which to choose, stand beside those of test.
        self.side = "" if config.evaluation.split == "test" else f"{config.evaluation.split}/"
        self.shares = config.compute.shares or 1
        self.parts = [f"/shares/{number}" for number in range(self.shares)]
        self.threads = config.compute.threads
        self.measuring_threads = measuring_threads(config.compute)
        self.gpu = 0 if config.compute.device == "cpu" else 1
        # Of a training, for all processes that share it.
        self.training_threads = config.compute.processes * self.threads
        self.training_resources = training_resources(config.compute, self.gpu)
        self.looks = looks
        self.known: dict[str, Job] = {}
        self.found: dict[str, str] = {}  # the kind of source that a dataset does not name, in words
        self.unused: dict[str, list[dict[str, Any]]] = {}  # see `unused_files`
        self.state = Results(self.results)
        localise_paths(config, base, self.results)
        if looks:
            self.look()

    def look(self) -> None:
        """Check the files that the config names and no job makes, and read their contents."""
        for name in self.datasets:
            check_apart(self.results, self.config.datasets[name].path, name)
        check_results(self.results)
        self.weights = weights_hashes(self.config, self.results)
        self.starts = self.start_hashes()
        self.check_trained_with_weights()
        self.videos = {name: self.video_contents(name) for name in self.datasets}
        self.samples = {name: self.sample(name) for name in self.datasets
                        if percentiles_of(self.config.datasets[name].range)}  # fmt: skip

    def video_contents(self, name: str) -> list[dict[Source, Content]]:
        """The contents of the videos of each decode job; none for a generated set."""
        dataset = self.config.datasets[name]
        for path in split_lists(dataset):
            check_file(f"datasets.{name}.split.lists", seen_from(self.results, path))
        if not dataset.path or dataset.source == "generated":
            return []
        folder = seen_from(self.results, dataset.path)
        if dataset.source is None:
            dataset.source, found = detect(str(folder))
            self.found[name] = f"{found}; source: {dataset.source}"
        options = Options(**pick(dataset, Options._fields))
        sources = list_sources(folder, dataset.source, dataset.max_videos, options)
        if dataset.max_videos is None:  # else most files may be left out on purpose
            self.unused[name] = unused_files(folder, dataset.source, sources)
        contents = content_hashes(sources, Path(self.results, HASHES, f"{name}.json"))
        shares: list[dict[Source, Content]] = [{} for _ in range(dataset.decode_jobs)]
        for source in sources:
            shares[share_of(source.id, dataset.decode_jobs)][source] = contents[source.id]
        return shares

    def sample(self, name: str) -> dict[Source, Content]:
        """The training videos that say which values are black and white, with their contents."""
        from rsvp.data.splits import training_sample  # it loads numpy: half a second

        contents = {source: content for share in self.videos[name]
                    for source, content in share.items()}  # fmt: skip
        hashes = {source.id: content.sha256 for source, content in contents.items()}
        split = self.config.datasets[name].split
        if split.lists:
            lists = str(seen_from(self.results, split.lists))
            split = split.model_copy(update={"lists": lists})
        return {source: contents[source]
                for source in training_sample(contents, hashes, split)}  # fmt: skip

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

    def check_trained_with_weights(self) -> None:
        """UserError where an autoencoder is to be trained with LPIPS that is not downloaded."""
        for name in self.autoencoders:
            missing = [key for key in LPIPS_KEYS if key not in self.weights]
            if missing and self.trains_with_lpips(name):
                raise UserError(
                    f"config: autoencoders.{name}.perceptual: lpips needs weights.{missing[0]}, "
                    f"which is not there yet; {FETCH}"
                )

    def trains_with_lpips(self, autoencoder: str) -> bool:
        """Check whether an autoencoder's loss is LPIPS."""
        return self.config.autoencoders[autoencoder].perceptual == "lpips"

    @property
    def contexts(self) -> list[tuple[str, str]]:
        """The datasets and contexts beside the prefix that the report has rows of."""
        contexts = {name: self.config.predictors[name].context for name in self.predictors}
        return unique((self.config.dataset_of(name), context) for name, context in contexts.items()
                      if context not in (None, PREFIX))  # fmt: skip

    def of_kind(self, kind: str) -> list[str]:
        """The report's predictors of a kind."""
        return [name for name in self.predictors if self.config.predictors[name].kind == kind]

    def names_of_kind(self, kind: str) -> str:
        """A pattern of the names of the config's predictors of a kind, for a rule's wildcard."""
        of = self.config.predictors
        return "|".join(name for name in of if of[name].kind == kind) or "(?!)"

    def baselines(self, dataset: str) -> list[str]:
        """The baselines on a dataset and its floors, for the prefix and for other contexts."""
        every = unique(self.config.evaluation.baselines)
        names = [*every, "real"]
        for of, context in self.contexts:
            if of == dataset:
                observed = self.config.datasets[dataset].contexts[context]
                fitting = (*fitting_baselines(observed, every), "real")
                names += [f"{baseline}_{context}" for baseline in fitting]
        return names

    @property
    def rows(self) -> list[str]:
        """The report's rows as "row/seedN"; baselines and floor draw nothing: seed 0."""
        sampled = [*self.predictors, *(f"{name}.reconstruction" for name in self.autoencoders)]
        fixed = [
            f"{dataset}.{baseline}/seed0"
            for dataset in self.datasets
            for baseline in self.baselines(dataset)
        ]
        return [f"{row}/seed{seed}" for row in sampled for seed in self.seeds] + fixed

    @cached_property
    def jobs(self) -> list[Job]:
        """All jobs up to the report, each after those whose files it reads."""
        bundles = [self.job("bundle", predictor=name, seed=str(seed))
                   for name in self.sampled for seed in self.seeds]  # fmt: skip
        return [*self.before_report, *bundles, self.job("report")]

    @cached_property
    def before_report(self) -> list[Job]:
        """The same without the report."""
        found = [job for name in self.datasets for job in self.jobs_of_dataset(name)]
        of_autoencoders = ("pretrain_autoencoder", "finetune_autoencoder", "cache_latents",
                           "reconstruct", "measure_semantics")  # fmt: skip
        for stage in of_autoencoders:
            for name in self.autoencoders:
                if stage != "measure_semantics" or self.has_semantics(name):
                    for seed in self.seeds:
                        found += self.with_shares(stage, autoencoder=name, seed=str(seed))
        regressions = self.of_kind("simvp")
        diffusions = [name for name in self.trained if name not in regressions]
        of_predictors = {
            "train_diffusion": diffusions, "train_simvp": regressions,
            "predict": self.sampled, "predict_simvp": regressions,
        }  # fmt: skip
        for stage, names in of_predictors.items():
            for name in names:
                for seed in self.seeds:
                    found += self.with_shares(stage, predictor=name, seed=str(seed))
        found += [self.job("check_memorisation", dataset=name) for name in self.datasets]
        for row in self.rows:
            name, _, seed = row.rpartition("/seed")
            found += self.with_shares("evaluate", row=name, seed=seed)
        return found

    def with_shares(self, stage: str, **names: str) -> list[Job]:
        """The job of a stage after those of its shares, if there are any."""
        parts = self.parts if stage in SHARED and self.shares > 1 else []
        return [self.job(stage, **names, part=part) for part in [*parts, ""]]

    def jobs_of_dataset(self, name: str) -> list[Job]:
        """The jobs that no seed and no network has a part in."""
        dataset = self.config.datasets[name]
        generated = dataset.source == "generated"
        found = [self.job("generate_videos", dataset=name)] if generated else []
        for share in range(dataset.decode_jobs):
            found.append(self.job("decode", dataset=name, share=str(share)))
        found += [self.job(stage, dataset=name) for stage in ("split", "real_features")]
        for baseline in self.baselines(name):
            found.append(self.job("predict_baseline", dataset=name, baseline=baseline))
        return found

    def job(self, stage: str, **names: str) -> Job:
        """The job of a stage under a rule's wildcards."""
        names.pop("side", None)  # is the plan's
        folder = self.folder(stage, **names)
        if folder not in self.known:
            part = names.pop("part", "")
            words = [f"{key} {n}" if key in ("seed", "share") else n for key, n in names.items()]
            words += [part.strip("/").replace("shares/", "share ")] if part else []
            of_dataset = stage in ("evaluate", "predict_baseline") or "dataset" in names
            named = self.dataset_name(names) if of_dataset else self.network_name(names)
            self.known[folder] = Job(
                stage=stage,
                name=" ".join(words),
                folder=folder,
                settings=self.settings(stage, named, names, part),
                roots=self.roots(stage, names) if self.looks else (),
                inputs=self.inputs(stage, names) | self.share_inputs(stage, names, part),
                contents=self.contents(stage, names) if self.looks else {},
                videos=self.videos_of(names) if self.looks and stage == "decode" else None,
                lists=self.lists(stage, names),
            )
        return self.known[folder]

    def folder(self, stage: str, **names: Any) -> str:
        """The folder that a stage makes under some names."""
        return FOLDERS[stage].format(**{"side": self.side, "part": "", **names})

    def index_of(self, stage: str, **names: Any) -> str:
        """The index that a stage makes under some names."""
        return f"{self.folder(stage, **names)}/{INDEX}"

    def settings(self, stage: str, named: str, names: Names, part: str) -> dict[str, Any]:
        """The part of the config that a job depends on, and its share, if it is the job of one."""
        found = stage_settings(self.config, stage, named, int(names.get("seed", 0)))
        return found | ({"share": [int(part.rpartition("/")[2]), self.shares]} if part else {})

    def share_inputs(self, stage: str, names: Names, part: str) -> dict[str, list[str]]:
        """The indexes of the shares that a job has made elsewhere."""
        if stage not in SHARED:
            return {}
        found = [] if part or self.shares == 1 else self.parts
        return {"shares": [self.index_of(stage, **names, part=part) for part in found]}

    def why(self, stage: str, names: Names) -> str:
        """Say why a job runs, as things stood when this call began; "" where it need not."""
        return "; ".join(self.stale.get(self.job(stage, **names), []))

    @cached_property
    def stale(self) -> dict[Job, list[str]]:
        """The jobs that are to run, each with its reasons."""
        return self.state.stale(self.jobs)

    def handed(self, stage: str) -> Callable[[Any], dict[str, Any]]:
        """Return the function of a rule's inputs: the job's file, written then, and the others."""

        def found(wildcards: Any) -> dict[str, Any]:
            job = self.job(stage, **dict(wildcards.items()))
            if self.looks:
                self.state.hand_over(job)
            return {"settings": self.state.file(job), **job.inputs}

        return found

    def roots(self, stage: str, names: Names) -> tuple[str, ...]:
        """The modules that a job's code starts from: its stage's, and what it loads by name."""
        module = f"rsvp.stages.{stage}"
        if stage == "decode":
            kind = self.config.datasets[names["dataset"]].source
            return (module, format_module(kind if kind in FORMATS else "zip"))
        if KINDS_MODULE not in closure_of(module):
            return (module,)
        name = self.autoencoder_name(names)
        kinds = [self.config.autoencoders[name].kind] if name else list(KINDS)
        return (module, *map(kind_module, kinds))

    def inputs(self, stage: str, names: Names) -> dict[str, list[str]]:
        """The files that a job reads and other jobs make, by the name of their flag."""
        if stage == "report":
            return {kind: paths for kind, paths in self.report_inputs.items() if kind != "records"}
        below = dict(names)
        if READS[stage] and stage != "train_diffusion":
            below["dataset"] = self.dataset_name(names)
        if autoencoder := self.autoencoder_name(names):
            below["autoencoder"] = autoencoder
        if predictor := names.get("predictor"):
            below["predictor"] = self.config.predictors[predictor].same_as or predictor
        found = {FLAGS[before]: [self.index_of(before, **below)] for before in READS[stage]}
        if stage == "bundle":
            found["predictions"] = [self.index_of("predict", **names)]
            found["evaluations"] = self.card_rows(names)
        if stage == "evaluate":
            found["predictions"] = [self.predictions_of(names["row"], names["seed"])]
        if stage == "check_memorisation":
            found["predictions"] = self.predicted(names["dataset"])
        if stage in ("decode", "split"):
            dataset = self.config.datasets[names["dataset"]]
            if stage == "split":
                found["shares"] = [
                    self.index_of("decode", **names, share=share)
                    for share in range(dataset.decode_jobs)
                ]
            if dataset.source == "generated":
                found["videos_index"] = [self.index_of("generate_videos", **names)]
        return found

    def contents(self, stage: str, names: Names) -> dict[str, str]:
        """Digests of the files that a job reads and no job makes."""
        weights = {
            "real_features": [key for key in self.weights if key not in LPIPS_KEYS],
            "evaluate": list(self.weights),
            "measure_semantics": LPIPS_KEYS,
            "check_memorisation": ["i3d"],
        }.get(stage, [])
        found = {}
        trained = stage in ("pretrain_autoencoder", "finetune_autoencoder")
        if trained and self.trains_with_lpips(names["autoencoder"]):
            weights = LPIPS_KEYS
        if stage in ("pretrain_autoencoder", "train_diffusion", "train_simvp"):
            name = f"predictors.{names['predictor']}" if "predictor" in names else (
                f"autoencoders.{names['autoencoder']}")  # fmt: skip
            if name in self.starts:
                found[f"{name}.init_from"] = self.starts[name]
        if stage == "decode" and self.videos_of(names) is not None:
            found[VIDEOS] = digest_of(self.videos[names["dataset"]][int(names["share"])])
            if names["dataset"] in self.samples:
                found["measured videos"] = digest_of(self.samples[names["dataset"]])
        if stage == "split":
            for path in split_lists(self.config.datasets[names["dataset"]]):
                found[path] = sha256_of_file(seen_from(self.results, path))
        return found | {f"weights.{k}": self.weights[k] for k in weights if k in self.weights}

    def lists(self, stage: str, names: Names) -> dict[str, Any]:
        """The files of a job that are too many for a command line, by kind."""
        if stage == "report":
            return self.report_inputs
        if stage == "check_memorisation":
            return {"predictions": self.predicted(names["dataset"])}
        if stage != "decode" or not self.looks or not self.videos.get(names["dataset"]):
            return {}
        name, share = names["dataset"], int(names["share"])
        unused = [] if share else self.unused.get(name)
        listed = self.sources_of(name, self.videos[name][share])
        return listed | ({"unused": unused} if unused else {})

    def videos_of(self, names: Names) -> dict[str, str] | None:
        """Content hashes of the videos that a decode job reads; None for a generated set."""
        shares = self.videos.get(names["dataset"])
        if not shares:
            return None
        return {
            source.id: content.sha256 for source, content in shares[int(names["share"])].items()
        }

    def sources_of(self, name: str, videos: Mapping[Source, Content]) -> dict[str, Any]:
        """The list of the videos that a decode job reads, as seen from their folder.

        With their contents as the plan saw them: the job hashes no file that nobody wrote to since.
        """
        sample = {"measured": self.listed(name, self.samples[name])} if name in self.samples else {}
        return self.listed(name, videos) | sample

    def listed(self, name: str, videos: Mapping[Source, Content]) -> dict[str, Any]:
        """The rows of some videos of a dataset, and the digest of their contents."""
        root = str(seen_from(self.results, self.config.datasets[name].path))
        rows = [[*source.row(root), *content] for source, content in videos.items()]
        return {"digest": digest_of(videos), "videos": rows}

    def sources_flag(self, wildcards: Any) -> str:
        """The flag that says which videos a decode job reads."""
        job = self.job("decode", **dict(wildcards.items()))
        if "videos_index" in job.inputs:
            return self.videos_flag(wildcards)
        return f"--sources {self.state.list_file(job)}"

    def videos_flag(self, wildcards: Any) -> str:
        """The flag that names the index of a generated set, if it is one."""
        generated = self.config.datasets[wildcards.dataset].source == "generated"
        index = self.index_of("generate_videos", dataset=wildcards.dataset)
        return f"--videos-index {index}" if generated else ""

    def weights_below(self, wildcards: Any) -> list[str]:
        """The weights of a predictor's denoiser and autoencoder, beside their indexes."""
        inputs = self.job("predict", **dict(wildcards.items())).inputs
        indexes = [*inputs["autoencoder"], *inputs["denoiser"]]
        return [index.replace(INDEX, "weights.safetensors") for index in indexes]

    def watched(self, wildcards: Any) -> str:
        """The dataset and the autoencoder that show what a predictor's training makes of clips."""
        inputs = self.job("predict", **dict(wildcards.items())).inputs
        return f"{inputs['dataset'][0]} {inputs['autoencoder'][0]}"

    def records(self, wildcards: Any) -> list[str]:
        """The run records of all stages before the report, beside their results."""
        return self.report_inputs["records"]

    def has_semantics(self, autoencoder: str) -> bool:
        """Check whether an autoencoder has scene, object and motion."""
        kind = self.config.autoencoders[autoencoder].kind
        return kind in ("rsvp", "joint")

    def predicted(self, dataset: str) -> list[str]:
        """The indexes of what all predictors on a dataset, and their autoencoders, give."""
        of, config = self.config.predictors, self.config
        mine = [a for a in self.autoencoders if config.autoencoders[a].dataset == dataset]
        rows = [p for p in self.predictors
                if config.dataset_of(p) == dataset and of[p].context in (None, PREFIX)]  # fmt: skip
        rows += [f"{autoencoder}.reconstruction" for autoencoder in mine]
        return [self.predictions_of(row, seed) for row in rows for seed in self.seeds]

    def predictions_of(self, row: str, seed: int | str) -> str:
        """The index of a row's predictions, of whatever stage."""
        return f"{self.side}predictions/{row}/seed{seed}/{INDEX}"

    def card_rows(self, names: Names) -> list[str]:
        """The evaluations that a predictor's card shows: its own, baselines, ceiling and floor."""
        predictor, autoencoder = names["predictor"], self.autoencoder_name(names)
        dataset = self.config.autoencoders[autoencoder].dataset
        context = self.config.predictors[predictor].context
        rows = [predictor, f"{autoencoder}.reconstruction"]
        if context not in (None, PREFIX):
            rows = [predictor]
        ending = "" if context in (None, PREFIX) else f"_{context}"
        fixed = [n for n in self.baselines(dataset) if n.partition("_")[2] == ending[1:]]
        return [self.index_of("evaluate", row=row, seed=names["seed"]) for row in rows] + [
            self.index_of("evaluate", row=f"{dataset}.{name}", seed=0) for name in fixed
        ]

    @property
    def bundles(self) -> list[str]:
        """The finished predictors' folders, one for each predictor of the report and seed."""
        return [job.result for job in self.jobs if job.stage == "bundle"]

    @cached_property
    def report_inputs(self) -> dict[str, list[str]]:
        """The files that the report reads, by kind."""
        jobs = self.before_report

        def results(*stages: str) -> list[str]:
            return [j.result for j in jobs if j.stage in stages and "share" not in j.settings]

        return {
            "evaluations": results("evaluate"),
            "predictions": results("predict", "predict_simvp", "reconstruct", "predict_baseline"),
            "semantics": results("measure_semantics"),
            "copies": results("check_memorisation"),
            "datasets": results("split"),
            "histories": [f"{job.folder}/history.csv" for job in jobs if job.stage in TRAININGS],
            "records": [f"{job.folder}/{RECORD}" for job in jobs],
        }

    def network_name(self, names: Names) -> str:
        """The predictor or autoencoder that a job works for; the report's own name."""
        return names.get("predictor") or names.get("autoencoder") or "report"

    def autoencoder_name(self, names: Names) -> str | None:
        """The autoencoder of a job, or of its predictor."""
        if "predictor" in names:
            return self.config.predictors[names["predictor"]].autoencoder or None
        return names.get("autoencoder")

    def dataset_name(self, names: Names) -> str:
        """The dataset that a job works on.

        Rows are "predictor", "autoencoder.reconstruction" or "dataset.baseline".
        """
        if "dataset" in names:
            return names["dataset"]
        name, _, kind = names.get("row", names.get("predictor", "")).partition(".")
        if kind and kind != "reconstruction":
            return name
        if name and not kind:
            return self.config.dataset_of(name)
        return self.config.autoencoders[name or names["autoencoder"]].dataset


def training_resources(compute: Compute, gpu: int) -> dict[str, Any]:
    """Return what a training asks of a scheduler: GPUs for all processes, and nodes if several."""
    asked: dict[str, Any] = {"gpu": compute.processes * gpu}
    if compute.nodes > 1:
        # By `mpi` the job starts its tasks itself (`rsvp.runtime.followers.spread`).
        asked |= {"nodes": compute.nodes, "tasks": compute.processes, "mpi": "srun"}
        # Else `tasks` and the threads of all processes would be those of each GPU and each task.
        asked |= {"tasks_per_gpu": 0, "cpus_per_task": compute.threads}
    return asked


def scratch_of(config: Config, base: str, results: str) -> Path | None:
    """The folder that the config's `scratch` holds for one results folder."""
    if config.scratch is None:
        return None
    name = f"{os.path.basename(results)}-{sha256_of_text(results)[:8]}"
    return Path(resolve_path(config.scratch, base), name)


def unique(names: Iterable[Any]) -> list[Any]:
    """The names in their order, each once."""
    return list(dict.fromkeys(names))


def localise_paths(config: Config, base: str, results: str) -> None:
    """Rewrite the config's relative paths, given from `base`, as seen from `results`."""

    def localise(path: str) -> str:
        path = os.path.expanduser(path)
        if os.path.isabs(path):
            return path
        return os.path.relpath(absolute(os.path.join(base, path)), results)

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
    return Path(absolute(os.path.join(results, path)))


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
    contents = content_hashes(present, Path(results, HASHES, "weights.json"))
    hashes = {key: content.sha256 for key, content in contents.items()}
    for key, source in named.items():
        expected = source.sha256
        if expected and not is_url(source.source) and hashes[key] != expected:
            raise UserError(
                f"config: weights.{key}: the SHA-256 of {source.source} is {hashes[key]}, not "
                f"{expected}; name the right file, or correct the sum behind it or leave it out"
            )
    return hashes


def digest_of(videos: Mapping[Source, Content]) -> str:
    """The digest of what videos are called and hold."""
    return sources_digest({source.identity: found.sha256 for source, found in videos.items()})


def split_lists(dataset: Dataset) -> list[str]:
    """The paths of UCF-101's lists that divide a dataset; none where it is split otherwise."""
    if dataset.split.kind != "official" or not dataset.split.lists:
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


def check_results(results: str) -> None:
    """UserError where the results folder cannot be made or written to; nothing is made here."""
    place = results
    try:
        while not exists(place):
            place = os.path.dirname(place)
        folder = os.path.isdir(place)
        reason = None if os.access(place, os.W_OK | os.X_OK) else "not writable"
        if not folder:
            reason = "a file, not a folder" if place == results else "Not a directory"
    except OSError as error:
        reason = error.strerror
    if reason:
        raise UserError(f"config: results: {shorten(results)}: {reason}; name another folder")


def exists(path: str) -> bool:
    """Check whether a path leads somewhere; OSError where it cannot, a link in a circle say."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise
        return False
    return True


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
