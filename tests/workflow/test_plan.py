"""Jobs that are planned, and configs that are refused before any job starts."""

import fcntl
import re
from collections import Counter

import pytest
import yaml
from jobs import Job
from plan import FOLDERS
from projects import ROOT, RULES, Project
from session import plan_of

from rsvp.config.load import load
from rsvp.config.stages import stage_settings
from rsvp.runtime.code import short_digests
from rsvp.runtime.errors import UserError

DEMO = {
    "generate_videos": 1,
    "decode": 2,
    "split": 1,
    "pretrain_autoencoder": 1,
    "finetune_autoencoder": 1,
    "cache_latents": 1,
    "train_diffusion": 1,
    "predict": 1,
    "reconstruct": 1,
    "predict_baseline": 7,  # six baselines and the floor
    "real_features": 1,
    "evaluate": 9,  # one predictor, six baselines, ceiling, floor
    "measure_semantics": 1,
    "check_memorisation": 1,
    "bundle": 1,
    "report": 1,
}


def rules() -> dict[str, str]:
    """The text of each rule."""
    return dict(re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", RULES, re.MULTILINE | re.DOTALL))


def counts(planned: dict[Job, list[str]]) -> Counter:
    """Return the number of jobs that would run by stage."""
    return Counter(job.stage for job in planned)


def test_demo_plans_every_stage_once(project, planned):
    answer = project.snakemake("-n")
    assert answer.code == 0, answer.text
    assert answer.rules == counts(planned(project)) == DEMO


def test_validation_is_evaluated_beside_test(project, planned):
    trained = {"generate_videos", "decode", "split", "cache_latents", "train_diffusion",
               "pretrain_autoencoder", "finetune_autoencoder"}  # fmt: skip
    test = planned(project)
    validation = planned(project, "--config", "evaluation={split: validation}")
    folders = {job.folder: job.settings for job in test}
    for job in validation:
        if job.stage in trained:
            assert folders[job.folder] == job.settings
        else:
            assert job.folder.removeprefix("validation/") in folders
            assert job.folder not in folders
    assert counts(validation) == counts(test)


def test_predictors_share_what_they_stand_on(project, planned):
    more = "predictors={wide: {autoencoder: rsvp, denoiser: {width: 384}}}"
    both = "report={predictors: [rsvp-m, wide], seeds: [0, 1]}"
    rules = counts(planned(project, "--config", more, both))
    assert rules["pretrain_autoencoder"] == 2
    assert rules["cache_latents"] == 2
    assert rules["train_diffusion"] == 4
    assert rules["predict_baseline"] == 7
    assert rules["evaluate"] == 4 + 2 + 7
    assert rules["decode"] == 2


def test_a_row_of_another_context_shares_all_training(project, planned):
    """And has baselines and a floor of its own in the report."""
    more = [
        "datasets={shapes: {contexts: {ends: {first: 2, last: 2}}}}",
        "autoencoders={rsvp: {contexts: [ends]}}",
        "predictors={ends: {same_as: rsvp-m, context: ends}}",
        "report={predictors: [rsvp-m, ends]}",
    ]
    assert counts(planned(project, "--config", *more)) == DEMO | {
        "predict": 2,
        "bundle": 2,
        "predict_baseline": DEMO["predict_baseline"] + 4,
        "evaluate": DEMO["evaluate"] + 5,
    }


def test_named_config_replaces_the_demo(project, planned):
    """Snakemake would merge the two, and the demo's keys would survive."""
    (project.folder / "other.yaml").write_text(
        "datasets: {other: {source: generated, decode_jobs: 3, split: {kind: folders}}}\n"
        "autoencoders: {small: {dataset: other}}\n"
        "predictors: {mine: {autoencoder: small}}\n"
        "report: {predictors: [mine]}\n"
    )
    answer = project.snakemake("-n", "--configfile", "other.yaml")
    assert answer.code == 0, answer.text
    assert answer.rules == counts(planned(project, "--configfile", "other.yaml"))
    assert answer.rules["decode"] == 3
    assert "shapes" not in answer.text


def test_relative_paths_work_before_there_are_results(project, planned):
    """The results folder, two levels down, does not exist yet when paths are first looked at."""
    (project.folder / "lpips").mkdir()
    for name in ("backbone", "linear"):
        (project.folder / "lpips" / f"{name}.safetensors").write_bytes(b"not looked into yet")
    files = ", ".join(f"lpips_{name}: lpips/{name}.safetensors" for name in ("backbone", "linear"))
    flags = ["--config", f"weights={{{files}}}", "results=deep/down"]
    assert counts(planned(project, *flags)) == DEMO


METHODS = ["rsvp-m", "rsvp-s", "pvdm", "frame-ldm"]


def check_methods(planned: dict[Job, list[str]], dataset: str) -> None:
    """Each method is a row through all stages, on one dataset."""
    rules = counts(planned)
    assert rules["measure_semantics"] == 2  # of those that have scene, object and motion
    for rule in ("pretrain_autoencoder", "finetune_autoencoder", "cache_latents",
                 "train_diffusion", "predict", "reconstruct"):  # fmt: skip
        assert rules[rule] == len(METHODS), rule
    jobs = set(map(str, planned))
    assert {f"predict {name} seed 0" for name in METHODS} | {f"split {dataset}"} <= jobs
    assert rules["predict_baseline"] == 7
    assert rules["train_simvp"] == rules["predict_simvp"] == 1
    assert rules["evaluate"] == 2 * len(METHODS) + 1 + 7
    assert rules["split"] == 1


def test_methods_are_rows_of_one_table(project, planned):
    check_methods(planned(project, "--configfile", "configs/methods.yaml"), "shapes")


def test_methods_are_rows_of_one_table_on_real_clips(project, planned, shared):
    paths = f"{{path: {shared}/data/ucf101-mini, split: {{lists: {shared}/data/ucfTrainTestlist}}}}"
    flags = ["--configfile", "configs/methods.yaml", "configs/methods-ucf101-mini.yaml",
             "--config", f"datasets={{ucf101-mini: {paths}}}"]  # fmt: skip
    check_methods(planned(project, *flags), "ucf101-mini")


def test_a_kind_of_autoencoder_counts_for_the_stages_that_use_it(project, planned):
    kinds = {"rsvp": {"rsvp.py", "layer_latents.py"},
             "rsvp-joint": {"rsvp.py", "layer_latents.py", "rsvp_joint.py"},
             "planes": {"triplane.py"}, "frames": {"frame.py"}}  # fmt: skip
    for job in planned(project, "--configfile", "configs/methods.yaml"):
        folder = "rsvp/models/autoencoders/"
        files = {path.removeprefix(folder) for path in short_digests(*job.roots) if folder in path}
        files -= {"__init__.py", "base.py", "kinds.py"}
        if job.stage in ("pretrain_autoencoder", "finetune_autoencoder", "cache_latents"):
            assert files == kinds[job.name.split()[0]], job


def test_commands_of_large_configs_stay_short(project, planned, monkeypatch):
    """14 predictors on each of 14 autoencoders under 10 seeds: Linux takes 128 KiB a word."""
    predictors = {f"p{a}-{p}": {"autoencoder": f"a{a}"} for a in range(14) for p in range(14)}
    values = {
        "datasets": {"shapes": {"source": "generated", "decode_jobs": 1000,
                                "split": {"kind": "folders"}}},
        "autoencoders": {f"a{a}": {"dataset": "shapes"} for a in range(14)},
        "predictors": predictors,
        "report": {"predictors": list(predictors), "seeds": list(range(10))},
    }  # fmt: skip
    (project.folder / "large.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(project.folder)
    large = plan_of(["--configfile", "large.yaml"], None)
    for job in (large.job("report"), large.job("check_memorisation", dataset="shapes"),
                large.job("split", dataset="shapes")):  # fmt: skip
        flags = re.findall(r"{input\.(\w+)}", rules()[job.stage])
        files = [path for key, paths in job.inputs.items() if key in flags for path in paths]
        assert len(" ".join(files)) < 10_000, job
    assert len(" ".join(large.job("report").reads)) > 128 * 1024
    assert len(" ".join(large.job("check_memorisation", dataset="shapes").reads)) > 64 * 1024


def test_real_clips_are_planned_with_lpips(project, planned, shared):
    weights = shared / "weights"
    files = {
        "lpips_backbone": weights / "alexnet_features_imagenet1k_v1.safetensors",
        "lpips_linear": weights / "lpips_lin_v0.1_alex.safetensors",
    }
    values = {
        "datasets": {"ucf101-mini": {
            "path": f"{shared}/data/ucf101-mini",
            "split": {"lists": f"{shared}/data/ucfTrainTestlist"},
        }},
        "weights": {key: str(path) for key, path in files.items()},
    }  # fmt: skip
    (project.folder / "mine.yaml").write_text(yaml.safe_dump(values))
    rules = counts(planned(project, "--configfile", "configs/ucf101-mini.yaml",
                           "configs/ucf101-mini-lpips.yaml", "mine.yaml"))  # fmt: skip
    assert rules["pretrain_autoencoder"] == rules["train_diffusion"] == 1


FOLDER = "datasets={shapes: {source: videos, path: nowhere}}"
REFUSED = {
    "unknown key": (
        ["--config", "datasets={shapes: {resolutoin: 64}}"],
        "rsvp: config: datasets.shapes.resolutoin: unknown key; did you mean 'resolution'?",
    ),
    "wrong type": (
        ["--config", "compute={threads: many}"],
        "rsvp: config: compute.threads: ",
    ),
    "impossible size": (
        ["--config", "datasets={shapes: {context_frames: 16}}"],
        "rsvp: config: datasets.shapes.context_frames: 16 is not possible; allowed: 1 to 15",
    ),
    "undefined name": (
        ["--config", "report={predictors: [rsvp_m]}"],
        "rsvp: config: report.predictors: 'rsvp_m' is not defined; did you mean 'rsvp-m'?",
    ),
    "missing folder": (
        ["--config", FOLDER],
        "nowhere: no folder; see 'path' of the dataset in the config",
    ),
    "empty folder": (
        ["--config", FOLDER.replace("nowhere", "empty")],
        "empty: no video in it; looked for .avi",
    ),
    "missing split lists": (
        ["--configfile", "configs/ucf101-mini.yaml"],
        "rsvp: config: datasets.ucf101-mini.split.lists: no file",
    ),
    "missing weights": (
        ["--config", "weights={i3d: nowhere.safetensors}"],
        "rsvp: config: weights.i3d: no file",
    ),
    "other weights": (
        ["--config", f"weights={{i3d: config.yaml#sha256={'0' * 64}}}"],
        "rsvp: config: weights.i3d: the SHA-256 of ",
    ),
    "a start that is no network": (
        ["--config", "predictors={rsvp-m: {init_from: empty}}"],
        "rsvp: config: predictors.rsvp-m.init_from: no file",
    ),
    "a start that is another stage's": (
        ["--config", "predictors={rsvp-m: {init_from: latents}}"],
        "latents/index.json: not the index of a trained network; name a folder such as",
    ),
    "an autoencoder that starts from itself": (
        ["--config", "autoencoders={rsvp: {init_from: results/autoencoders/rsvp/seed0/finetuned}}"],
        "rsvp: config: autoencoders.rsvp.init_from: ",
    ),
    "a predictor that starts from itself": (
        ["--config", "predictors={rsvp-m: {init_from: results/predictors/rsvp-m/seed0}}"],
        "results/predictors/rsvp-m/seed0 is made by the training that would start from it; copy",
    ),
    "weights to download first": (
        ["--config", "weights={required: true}"],
        "rsvp: config: weights.lpips_backbone: not there yet, but required; make weights downloads",
    ),
    "weights to train with": (
        ["--config", "autoencoders={rsvp: {perceptual: lpips}}"],
        "rsvp: config: autoencoders.rsvp.perceptual: lpips needs weights.lpips_backbone, which is"
        " not there yet; make weights downloads",
    ),
}


@pytest.fixture
def beside(project):
    """The project with the files that some cases name."""
    (project.folder / "empty").mkdir()
    (project.folder / "latents").mkdir()
    (project.folder / "latents/index.json").write_text('{"clips": 3}')
    return project


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line(beside, planned, case):
    arguments, line = REFUSED[case]
    with pytest.raises(UserError) as caught:
        planned(beside, *arguments)
    assert line in f"rsvp: {caught.value}" and "\n" not in str(caught.value)
    assert {path.name for path in beside.folder.glob("results/*")} <= {".snakemake"}


@pytest.mark.parametrize(
    ("case", "flags"), [("unknown key", ["-n"]), ("weights to download first", [])]
)
def test_bad_input_stops_snakemake_before_any_job(beside, case, flags):
    arguments, line = REFUSED[case]
    answer = beside.snakemake(*flags, *arguments)
    assert answer.code == 2
    assert len(answer.errors) == 1, answer.text
    assert line in answer.errors[0]
    assert "Traceback" not in answer.text
    assert "Building DAG" not in answer.text


def test_results_folder_is_held_by_one_run(project):
    lock = project.folder / "results/.snakemake/rsvp.lock"
    lock.parent.mkdir(parents=True)
    target = "datasets/shapes/videos/index.json"
    with lock.open("w") as stream:
        stream.write("process 4321 on another\n")
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        answer = project.snakemake(target)
        assert answer.code == 2
        assert "another snakemake (process 4321 on another) works" in answer.errors[0]
        assert "Traceback" not in answer.text
        assert project.snakemake("-n", target).code == 0


def test_every_rule_runs_the_stage_of_its_name_and_is_handed_its_job():
    assert rules().keys() == FOLDERS.keys()
    for name, text in rules().items():
        assert f'exec "$PYTHON" -m rsvp.stages.{name}\'' in text
        assert f'unpack(PLAN.handed("{name}"))' in text
        assert f'"{FOLDERS[name]}/run.json"' in text


def test_braces_in_the_projects_path(project, tmp_path):
    (tmp_path / "a {share} b").mkdir()
    moved = Project(project.folder.rename(tmp_path / "a {share} b/project"))
    few = "{train_videos: 1, validation_videos: 1, test_videos: 1}"
    flags = ["--config", f"datasets={{shapes: {{generated: {few}}}}}"]
    answer = moved.snakemake("datasets/shapes/videos/index.json", *flags)
    assert answer.code == 0, answer.text


@pytest.mark.parametrize(("threads", "measuring"), [(1, 1), (4, 2), (5, 2)])
def test_rules_ask_for_the_threads_that_their_stages_take(threads, measuring):
    """So the scheduler runs two jobs that measure where one trains."""
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    values["compute"]["threads"] = threads
    values["predictors"]["simvp"] = {"kind": "simvp", "dataset": "shapes"}
    config = load(values)
    names = {"train_diffusion": "rsvp-m", "predict": "rsvp-m"}
    names |= {"train_simvp": "simvp", "predict_simvp": "simvp"}
    seen = {}
    for rule in re.split(r"^rule ", RULES, flags=re.MULTILINE)[1:]:
        stage = rule.split(":")[0]
        if asked := re.search(r"^    threads: PLAN\.(\w+)$", rule, re.MULTILINE):
            settings = stage_settings(config, stage, names.get(stage, "rsvp"))
            seen[stage] = asked[1], settings["compute"]["threads"]
    halved = {"real_features", "evaluate", "measure_semantics", "check_memorisation"}
    assert halved < seen.keys() and len(seen) >= 10
    trainings = {"pretrain_autoencoder", "finetune_autoencoder", "train_diffusion", "train_simvp"}
    for stage, found in seen.items():
        asked = "measuring_threads" if stage in halved else "threads"
        asked = "training_threads" if stage in trainings else asked
        assert found == (asked, measuring if stage in halved else threads), stage
