"""Compare every number of two results folders, bit for bit: a redesign must not change one.

    snakemake --configfile tests/every_method.yaml       # before and after, on one machine
    python benchmarks/same_numbers.py BEFORE AFTER

Tensors (frames, weights, latents, predictions, features) are compared by content; those of one
folder that are cut into files are joined first, so that other file boundaries do not count. Of
histories and tables the columns that both have are compared; columns of time and memory are left
out. Exits with 1 where a number differs or is missing.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

MEASURED = ("seconds", "memory", "per_second", "bytes")  # in names of columns that never repeat
TABLES = ("results", "horizon", "comparisons", "curves", "decomposition", "memorisation")


def tensors(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, array) of a folder's safetensors files, joined along the first axis."""
    files = sorted(folder.glob("*.safetensors"))
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(file.stem.rstrip("0123456789").rstrip("-"), []).append(file)
    for group, members in groups.items():
        contents = [load_file(file) for file in members]
        for name in contents[0]:
            parts = [content[name] for content in contents]
            yield f"{group}:{name}", parts[0] if len(parts) == 1 else np.concatenate(parts)


def equal_arrays(before: np.ndarray, after: np.ndarray) -> bool:
    """Check that two arrays have the same shape and bytes."""
    return before.shape == after.shape and before.tobytes() == after.tobytes()


def compare_tensors(before: Path, after: Path) -> Iterator[tuple[str, bool]]:
    """Yield (name, equal) of the tensors of two folders; other names count by content."""
    old, new = dict(tensors(before)), dict(tensors(after))
    if set(old) != set(new):
        contents = sorted(value.tobytes() for value in new.values())
        yield "names differ, contents", sorted(v.tobytes() for v in old.values()) == contents
        return
    for name, value in old.items():
        yield name, equal_arrays(value, new[name])


def compare_frames(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[tuple[str, bool]]:
    """Yield (column, equal) of the columns that both tables have and that repeat."""
    if len(before) != len(after):
        yield f"{len(before)} rows became {len(after)}, row count", False
        return
    for column in before.columns.intersection(after.columns):
        if not any(word in column for word in MEASURED):
            yield column, before[column].equals(after[column])


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file."""
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def compare(before: Path, after: Path) -> Iterator[tuple[str, bool]]:
    """Yield (what, equal) of all numbers in two results folders."""
    folders = sorted({path.parent for path in before.rglob("*.safetensors")})
    for folder in (f for f in folders if f.name != "state" and f.name != "memorisation"):
        relative = folder.relative_to(before)
        for name, same in compare_tensors(folder, after / relative):
            yield f"{relative}: {name}", same
    tables = [*before.rglob("history.csv"), *before.rglob("scores.parquet")]
    tables += [before / f"report/tables/{name}.parquet" for name in TABLES]
    for path in sorted(tables):
        relative = path.relative_to(before)
        if not (after / relative).exists():
            yield f"{relative}: exists", False
            continue
        for name, same in compare_frames(read_table(path), read_table(after / relative)):
            yield f"{relative}: {name}", same


def main() -> None:
    """Print what differs and how many numbers were compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    arguments = parser.parse_args()
    results = list(compare(arguments.before, arguments.after))
    different = [what for what, same in results if not same]
    for what in different:
        print(f"differs: {what}")
    print(f"{len(results) - len(different)} of {len(results)} tensors and columns are equal")
    sys.exit(bool(different) or not results)


if __name__ == "__main__":
    main()
