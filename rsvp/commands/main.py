"""rsvp: from a folder of videos to a trained video predictor and a report that can be trusted."""

import argparse
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from rsvp.runtime.code import ROOT

COMMANDS = {  # modules beside this one
    "inspect": "look at videos: what they are, what is wrong with them, a config to start from",
    "predict": "continue videos with a trained predictor",
    "compare": "score predictions made elsewhere",
    "export": "write clips or predictions as arrays, images or videos for other programs",
    "weights": "download the networks of LPIPS and FVD that a config names",
    "doctor": "say what works on this machine, and what to do about what does not",
}
WORKFLOW = {  # arguments of Python in the workflow's folder
    "run": (("-m", "snakemake", "--snakefile", "Snakefile"),
            "make all that config.yaml, or --configfile FILE, names, up to the report"),
    "why": (("workflow/why.py",), "say why each stage would run"),
    "plan": (("workflow/estimate.py",), "say what each stage takes: jobs, time, memory and disk"),
    "status": (("workflow/status.py",), "say how far each stage is, and how long it still takes"),
    "orphans": (("workflow/orphans.py",), "list folders of results that no row of a config needs"),
}  # fmt: skip


def main() -> None:
    """Read the command's name, and run the command with the other arguments."""
    told = {name: words for name, (_, words) in WORKFLOW.items()} | COMMANDS
    parser = argparse.ArgumentParser(
        prog="rsvp",
        description=__doc__,
        epilog="commands:\n"
        + "\n".join(f"  {name:9} {words}" for name, words in told.items())
        + "\n\n`rsvp COMMAND --help` says more; run takes the flags of snakemake.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rsvp {version('rsvp')}")
    parser.add_argument("command", choices=told, metavar="COMMAND")
    command = parser.parse_args(sys.argv[1:2]).command
    if command in WORKFLOW:
        run_workflow(WORKFLOW[command][0], sys.argv[2:])
    sys.argv = [f"rsvp {command}", *sys.argv[2:]]
    import_module(f"{__package__}.{command}").main()


def run_workflow(program: tuple[str, ...], arguments: list[str]) -> None:
    """Become Python running a program of the workflow, with the caller's working folder."""
    home = workflow_home()
    words = [str(home / word) if (home / word).is_file() else word for word in program]
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *words, *arguments])


def workflow_home() -> Path:
    """Return the folder of the Snakefile: this clone, or its copy in an installed package."""
    packaged = ROOT / "rsvp" / "pipeline"
    return packaged if packaged.is_dir() else ROOT


if __name__ == "__main__":
    main()
