"""List folders of results that no row of the config needs, with their sizes.

Takes --configfile and --config as snakemake does.
"""

import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from plan import FOLDERS
from session import plan_of, stop_in_one_line


def main() -> None:
    """Print a line for each orphaned folder."""
    with stop_in_one_line():
        plan = plan_of(sys.argv[1:], __doc__)
        sizes = {
            folder: sum(path.lstat().st_size for path in files_below(plan.state.folder / folder))
            for folder in orphans(plan.state.folder, {job.folder for job in plan.jobs})
        }
    if not sizes:
        print("Nothing is orphaned: this config needs all results that are there.")
        return
    print("Orphaned as seen from this config (another one may use the same results folder):")
    for folder, size in sizes.items():
        print(f"{human(size):>9}  {folder}")
    print(f"{human(sum(sizes.values())):>9}  in all")


def orphans(results: Path, needed: Collection[str]) -> list[str]:
    """Return the folders of stages that are not needed, seen from the results folder.

    One within another that is listed is left out.
    """
    patterns = {
        re.sub(r"{\w+}", "*", folder.replace("{side}", side).replace("{part}", part))
        for folder in FOLDERS.values()
        for side in ("", "validation/")
        for part in ("", "/shares/*")
    }
    found = sorted(
        path.relative_to(results).as_posix()
        for pattern in patterns
        for path in results.glob(pattern)
        if path.is_dir() and not path.is_symlink()
    )
    listed: list[str] = []
    for folder in found:
        if folder not in needed and not any(folder.startswith(f"{other}/") for other in listed):
            listed.append(folder)
    return listed


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files and links below a folder."""
    return (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def human(size: float) -> str:
    """Return a number of bytes as people say it: 34.0 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


if __name__ == "__main__":
    main()
