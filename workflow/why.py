"""Say why each stage would run, in words, from the config and the results; no Snakemake is started.

Takes --configfile and --config as snakemake does.
"""

import sys

from session import plan_of, stop_in_one_line


def main() -> None:
    """Print a line for each stage that would run."""
    with stop_in_one_line():
        plan = plan_of(sys.argv[1:], __doc__)
        stale = plan.state.stale(plan.jobs)
    for job, words in stale.items():
        print(f"{job}: {'; '.join(words)}")
    if not stale:
        print("Nothing to be done: all results are current.")


if __name__ == "__main__":
    main()
