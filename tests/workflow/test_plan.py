"""What snakemake plans, and what it refuses before any job starts."""

import fcntl

import pytest

DEMO = {
    "settings": 12,
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
    "evaluate": 9,  # one predictor, six baselines, ceiling, floor
    "report": 1,
}


def test_demo_plans_every_stage_once(project):
    answer = project.snakemake("-n")
    assert answer.code == 0, answer.text
    assert answer.rules == DEMO


def test_predictors_share_what_they_stand_on(project):
    more = "predictors={wide: {autoencoder: rsvp, denoiser: {width: 384}}}"
    answer = project.snakemake(
        "-n", "--config", more, "report={predictors: [rsvp-m, wide], seeds: [0, 1]}"
    )
    assert answer.code == 0, answer.text
    assert answer.rules["pretrain_autoencoder"] == 2
    assert answer.rules["cache_latents"] == 2
    assert answer.rules["train_diffusion"] == 4
    assert answer.rules["predict_baseline"] == 7
    assert answer.rules["evaluate"] == 4 + 2 + 7
    assert answer.rules["decode"] == 2


def test_named_config_replaces_the_demo(project):
    """Snakemake would merge the two, and the demo's keys would survive."""
    (project.folder / "other.yaml").write_text(
        "datasets: {other: {source: generated, decode_jobs: 3, split: {kind: folders}}}\n"
        "autoencoders: {small: {dataset: other}}\n"
        "predictors: {mine: {autoencoder: small}}\n"
        "report: {predictors: [mine]}\n"
    )
    answer = project.snakemake("-n", "--configfile", "other.yaml")
    assert answer.code == 0, answer.text
    assert answer.rules["decode"] == 3
    assert "shapes" not in answer.text


def test_relative_paths_work_before_there_are_results(project):
    """The results folder, two levels down, does not exist yet when paths are first looked at."""
    (project.folder / "lpips").mkdir()
    for name in ("backbone", "linear"):
        (project.folder / "lpips" / f"{name}.safetensors").write_bytes(b"not looked into yet")
    files = "{lpips_backbone: lpips/backbone.safetensors, lpips_linear: lpips/linear.safetensors}"
    answer = project.snakemake("-n", "--config", f"weights={files}", "results=deep/down")
    assert answer.code == 0, answer.text
    assert answer.rules == DEMO


UCF = ["--configfile", "configs/ucf101-mini.yaml", "--config"]
FOLDER = "datasets={ucf101-mini: {path: nowhere, split: {kind: groups}}}"
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
        [*UCF, FOLDER],
        "nowhere: no folder; see 'path' of the dataset in the config",
    ),
    "empty folder": (
        [
            "--configfile",
            "configs/ucf101-mini.yaml",
            "--config",
            FOLDER.replace("nowhere", "empty"),
        ],
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
}


@pytest.mark.parametrize("dry", [True, False], ids=["dry", "run"])
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_before_any_job(project, case, dry):
    (project.folder / "empty").mkdir()
    arguments, line = REFUSED[case]
    answer = project.snakemake(*(["-n"] if dry else []), *arguments)
    assert answer.code == 2
    assert len(answer.errors) == 1, answer.text
    assert line in answer.errors[0]
    assert "Traceback" not in answer.text
    assert "Building DAG" not in answer.text


def test_broken_yaml_gives_no_traceback(project):
    (project.folder / "config.yaml").write_text("datasets: [shapes\n")
    answer = project.snakemake("-n")
    assert answer.code != 0
    assert "not valid JSON or YAML" in answer.text
    assert "Traceback" not in answer.text


def test_results_folder_is_held_by_one_run(project):
    lock = project.folder / "results/.snakemake/rsvp.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as stream:
        stream.write("4321\n")
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        answer = project.snakemake("settings/report/report.json")
        assert answer.code == 2
        assert "another snakemake (process 4321)" in answer.errors[0]
        assert "Traceback" not in answer.text
        assert project.snakemake("-n", "settings/report/report.json").code == 0
    answer = project.snakemake("settings/report/report.json")
    assert answer.code == 0, answer.text
    assert (project.folder / "results/settings/report/report.json").exists()
