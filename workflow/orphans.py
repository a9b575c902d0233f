"""List results that no row of the config needs, with their sizes.

Only files that rsvp makes are looked at: what else lies in the results folder stays, and so do
links and what they point to.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from common import stop_in_one_line
from planned import Job, planned_jobs

from rsvp.runtime.errors import UserError

REPORT = "report/report.html"
ROOTS = ("datasets", "autoencoders", "predictors", "predictions", "evaluation",
         "real_features", "semantics", "memorisation", "settings")  # fmt: skip
# The folder of a stage, deepest first.
STAGE = re.compile(
    r"(datasets/[^/]+/videos|datasets/[^/]+/frames/\d+|datasets/[^/]+"
    r"|autoencoders/[^/]+/seed\d+/(pretrained|finetuned|latents)"
    r"|(predictors|predictions|evaluation|semantics)/[^/]+/seed\d+"
    r"|(real_features|memorisation)/[^/]+|settings)/(?P<name>.*)"
)
# What stages leave in their folders.
MADE = re.compile(
    r"(index|run|truth)\.json|log\.txt|benchmark\.\w+|(history|clips|videos|rejected)\.csv"
    r"|(weights|features|truth|(frames|train|validation|test)-\d+)\.safetensors|scores\.parquet"
    r"|state/(\w+/)?(old-)?((aside|broken)-.*)?state-\d+\.safetensors"
    r"|state/((row|real|colours|features[\w-]*)-\d+\.safetensors|(usage|[\w-]+\.journal)\.json)"
    r"|state/calibration-\w+\.json"
    r"|state/tensorboard/events\..*|(videos|(train|validation|test)/shapes)/\d+\.mp4"
    r"|views/(legend|\d+-\w+)\.png|pictures/[\w.-]+\.png"
    r"|(.*/)?(\.?lock|\.[^/]+\.tmp)"
)
SETTINGS = re.compile(r"\w+/[\w-]+(/seed\d+)?\.(json|log)")
LEFTOVER = re.compile(r"state/(aside|broken|old)-.*\.safetensors")


def main() -> None:
    """List orphans; flags go to snakemake."""
    with stop_in_one_line():
        results, jobs = planned_jobs(["--forceall", *sys.argv[1:]])
        needed = needed_files(jobs)
        os.chdir(results)
    groups, others = look_through(needed)
    print("\n".join(listing(groups, others)))


def needed_files(jobs: Sequence[Job]) -> set[str]:
    """The outputs of all jobs that lead to the report; UserError where the flags name less."""
    needed = {path for job in jobs for path in job.outputs}
    if REPORT not in needed:
        raise UserError(f"the flags plan less than {REPORT}; name no targets for orphans")
    return needed


def look_through(needed: set[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Files that no stage needs by their stage's folder, and what else lies in such folders.

    Of stages that are needed, states that were set aside, put away or found broken.
    """
    folders = {os.path.dirname(path) for path in needed}
    groups: dict[str, list[str]] = {}
    others = []
    for path, real in files_below(ROOTS):
        stage = STAGE.fullmatch(path)
        if stage is None:
            continue
        folder, name = stage[1], stage["name"]
        if folder == "settings":
            wanted = os.path.splitext(path)[0] + ".json" in needed
        else:
            wanted = folder in folders and not LEFTOVER.fullmatch(name)
        if wanted:
            continue
        if real and (SETTINGS if folder == "settings" else MADE).fullmatch(name):
            groups.setdefault(folder, []).append(path)
        elif folder not in folders:
            others.append(path)
    return groups, others


def files_below(roots: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Every file and link below the folders, and whether it is a file of its own."""
    for root in roots:
        if os.path.islink(root):
            yield root, False
            continue
        for folder, folders, files in os.walk(root):
            for name in sorted([*files, *folders]):
                path = os.path.join(folder, name)
                if os.path.islink(path):
                    yield path, False
                elif name in files:
                    yield path, os.path.isfile(path)


def listing(groups: dict[str, list[str]], others: Sequence[str]) -> list[str]:
    """What is found, by folder, with sizes."""
    if not groups:
        return ["Nothing is orphaned: this config needs all results that are there."]
    sizes = {folder: sum(map(os.path.getsize, paths)) for folder, paths in groups.items()}
    lines = ["Orphaned as seen from this config (another one may use the same results folder):"]
    for folder, size in sorted(sizes.items()):
        leftover = any(LEFTOVER.search(path) for path in groups[folder])
        whole = any(path == f"{folder}/run.json" for path in groups[folder])
        what = "  (states set aside, put away or broken)" if leftover and not whole else ""
        lines.append(f"{human(size):>9}  {folder}{what}")
    lines.append(f"{human(sum(sizes.values())):>9}  in all")
    lines += [f"     stays  {path}: rsvp did not make it, or it is a link" for path in others]
    return lines


def human(size: float) -> str:
    """A number of bytes as people say it: 34.0 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


if __name__ == "__main__":
    main()
