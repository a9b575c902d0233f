"""SIGKILL at random moments: the same command ends with the same bits."""

import random
import shutil

import pytest
import yaml
from kills import Kill, compare, progress, run_and_kill
from projects import Project, copy_project
from tiny import CONFIG, write_config, write_videos

INTERVAL = 0.4  # seconds of work that a kill may cost
SLACK = 3.0  # seconds that an item, a save and the look at the files take on a busy machine
PREDICTIONS = "predictions/rsvp-m/seed0/index.json"
SOME = [("decode", True), ("pretrain_autoencoder", False), ("train_diffusion", True)]
ALL = [
    *[("decode", group) for group in (True, False)],
    *[("pretrain_autoencoder", group) for group in (True, False, True, False)],
    *[("finetune_autoencoder", group) for group in (True, False, True, False)],
    *[("cache_latents", group) for group in (True, False)],
    *[("train_diffusion", group) for group in (True, False, True, False)],
    *[("predict", group) for group in (True, False)],
    *[("evaluate", group) for group in (True, False)],
]


def config() -> dict:
    """The small pipeline's config with more steps, and states in between."""
    values = yaml.safe_load(yaml.safe_dump(CONFIG))
    values["datasets"]["tiny"]["decode_jobs"] = 1
    autoencoder = values["autoencoders"]["rsvp"]
    autoencoder["pretrain"]["steps"] = 30
    autoencoder["finetune"] |= {"steps": 20, "validate_every": 5, "patience": 1000}
    values["predictors"]["rsvp-m"]["steps"] = 60
    values["compute"]["save_seconds"] = INTERVAL
    return values


def kill_and_compare(tmp_path, kills, seconds, videos, seed, targets=()) -> list[Kill]:
    """One run that is killed again and again, against one that is not."""
    whole = copy_project(tmp_path / "whole")
    write_config(whole, config())
    write_videos(whole, videos)
    shutil.copytree(whole.folder, tmp_path / "killed")
    killed = Project(tmp_path / "killed")
    chance = random.Random(seed)
    done = [run_and_kill(killed, stage, group, chance, seconds, targets) for stage, group in kills]
    texts = [kill.text for kill in done]
    for project in (whole, killed):
        answer = project.snakemake(*targets)
        assert answer.code == 0, answer.text
        assert "Traceback" not in answer.text
    texts.append(answer.text)
    count = compare(killed.folder / "results", whole.folder / "results")
    print(f"{count} files are equal after:", *done, sep="\n")
    for kill, after in zip(done, texts[1:], strict=True):
        # Nothing is drawn where all was done but to give the files their names.
        if bars := progress(after, kill.stage):
            assert (bars[0][0] > 0) == (kill.left > 0), (kill, bars)
            assert_little_is_repeated(kill, seconds, bars[0][0])
    return done


def assert_little_is_repeated(kill: Kill, seconds: float, resumed: int) -> None:
    """After a kill no more than the interval's work is done again, from `resumed` on.

    In steps or batches, which no busy machine can make more of: in slow motion each takes at least
    `seconds / total`.
    """
    one = seconds / kill.total
    if kill.stage == "evaluate":  # rows side by side, whose bars cannot be told apart
        assert kill.seconds_lost <= INTERVAL + one + SLACK, kill
    else:
        # Two more: one that ends the interval, and one that is done while that is written down.
        assert kill.reached - resumed <= INTERVAL / one + 2, (kill, resumed)


@pytest.mark.soak
def test_some_kills(tmp_path):
    done = kill_and_compare(tmp_path, SOME, seconds=2.0, videos=24, seed=0, targets=(PREDICTIONS,))
    # A kill within the first interval would leave nothing to go on from.
    assert all(kill.left > 0 for kill in done), done


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_many_kills(tmp_path, seed):
    """`make soak`: twenty kills over all stages; most of them continue what was done before."""
    done = kill_and_compare(tmp_path, ALL, seconds=6.0, videos=100, seed=seed)
    assert len(done) >= 20
    assert sum(kill.left > 0 for kill in done) >= 12, done
