"""The frame of every stage: arguments, logging, errors, exit codes."""

import argparse
import atexit
import ctypes
import errno
import logging
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rsvp.config.stages import Settings, read_settings
from rsvp.runtime.code import TRAININGS, code_digest
from rsvp.runtime.errors import BAD_INPUT, FAILED, UserError, one_line
from rsvp.runtime.files import read_json, sha256_of_file, write_json
from rsvp.runtime.followers import (
    PATIENCE,
    follow,
    is_follower,
    is_task,
    join,
    local_count,
    node_count,
    spread,
)
from rsvp.runtime.gpus import hold_gpus
from rsvp.runtime.lock import lock_folder, put_back, watch_the_time
from rsvp.runtime.progress import PROGRESS, Bar
from rsvp.runtime.record import run_record, save_usage, total_usage

# Options of mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
STARTED = "started"  # begins what each run appends to the log
STOPPED = "stopped"  # before the reason why it ended
FILES = {  # that stages read and write, by their flag
    "dataset": "index.json of a dataset",
    "frames": "folder of the decode jobs' folders: 0, 1, …",
    "pretrained": "index.json of a pretrained autoencoder",
    "autoencoder": "index.json of a fine-tuned autoencoder",
    "latents": "index.json of cached latents",
    "denoiser": "index.json of a trained predictor",
    "network": "index.json of a trained network of the kind simvp",
    "predictions": "index.json of predictions",
    "real": "index.json of the features of real clips",
    "state": "folder of what resumes this",
    "lock": "folder of the lock, where that of the record is handed on",
    "index": "index to write (JSON); all else is beside it",
    "weights": "weights to write (safetensors)",
    "history": "losses to write (CSV)",
    "scores": "scores to write (Parquet)",
    "features": "features to write (safetensors)",
    "clips": "clips to write (CSV)",
    "videos": "manifest to write (CSV)",
    "rejected": "rejected videos to write (CSV)",
}
TRAINING = ("state", "weights", "index", "history")  # files of all trainings
logger = logging.getLogger(__name__)


def stage_parser(description: str | None, *files: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that all stages share, and one for each of the files."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--settings",
        type=Path,
        required=True,
        help="JSON: the part of the config that this stage depends on; in `job` the workflow adds"
        " digests of the code and of files, which go into the run record",
    )
    for name in files:
        parser.add_argument(f"--{name}", type=Path, required=True, help=FILES[name])
    parser.add_argument("--record", type=Path, required=True, help="run record to write (JSON)")
    parser.add_argument("--log", type=Path, help="log file to append to")
    return parser


def shared_parser(description: str | None, *files: str) -> argparse.ArgumentParser:
    """Return the parser of a stage whose clips several jobs may share."""
    parser = stage_parser(description, *files)
    words = "indexes of the shares that other jobs made; what they hold is taken over"
    parser.add_argument("--shares", type=Path, nargs="*", default=[], help=words)
    return parser


def run_stage(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace, Settings], dict[str, Any] | None],
) -> NoReturn:
    """Run a stage and exit: 0 done, 2 bad input (one line on stderr), 1 anything else.

    `run` gets the parsed arguments and the settings; what it returns goes into the run record.
    """
    parsed = parser.parse_args()
    module = parser.prog if parser.prog.startswith("rsvp.") else f"rsvp.stages.{stage_name()}"
    if is_task():
        join()
    elif module in TRAININGS and node_count() > 1:
        with clean_exit():
            spread()
    if is_follower():
        follow_stage(parsed, run)
    state = getattr(parsed, "state", None)
    tune_malloc()
    watch_the_time()
    try:
        with clean_exit():
            start_logging(parsed.log)
            # To the end of the process: who takes the folder over finds nobody who works in it.
            place = getattr(parsed, "lock", None) or parsed.record.parent
            held = lock_folder(place)
            Bar.folder = place
            values = read_json(parsed.settings)
            job = {"roots": [module], "code": None} | values.pop("job", {})
            settings = read_settings(values)
            check_code(job["roots"], job["code"])
            # A stage that runs a network is handed its device.
            on_gpu = values.get("compute", {}).get("device", "cpu") != "cpu"
            count = local_count() if module in TRAININGS else 1
            _gpus = hold_gpus(count) if on_gpu else []
            # A record of before must not stand beside outputs that are about to change.
            parsed.record.unlink(missing_ok=True)
            parsed.code = job["code"]
            inputs = input_hashes(job)
            try:
                results = run(parsed, settings) or {}
            finally:
                usage = total_usage(save_usage(state))
            files = {"inputs": inputs, "outputs": output_names(parsed, inputs)}
            write_json(parsed.record, run_record(values, job) | files | usage | results)
            held.truncate(0)
            (Bar.folder / PROGRESS).unlink(missing_ok=True)
    except SystemExit as end:
        put_back(end.code)
        leave(end.code)
    leave(0)


def follow_stage(
    parsed: argparse.Namespace, run: Callable[[argparse.Namespace, Settings], Any]
) -> NoReturn:
    """Run a stage as one more process of its training, and exit."""
    follow()
    tune_malloc()
    code = 0
    try:
        values = read_json(parsed.settings)
        parsed.code = values.pop("job", {}).get("code")
        run(parsed, read_settings(values))
    except SystemExit as end:
        code = end.code
    except BaseException:
        # When the first process ends, so does this one; only else is the error one of its own.
        time.sleep(PATIENCE)
        traceback.print_exc()
        code = FAILED
    leave(code)


def leave(code: int) -> NoReturn:
    """End the process, all files of which are written.

    Python would first take apart the modules that torch has loaded: 3 s in place of 0.3 s.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def tune_malloc() -> None:
    """Have glibc's allocator keep freed memory for this process.

    By default it maps each large tensor anew, and each page is a fault on first use: on a CPU that
    can cost as much as the arithmetic (`benchmarks/speed.py` measures it with `--return-memory`).
    Other C libraries are left as they are.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 * 2**20)):
            libc.mallopt(option, value)


def run_command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]
) -> NoReturn:
    """Run a command that is no stage of the workflow, with a stage's errors and exit codes."""
    parsed = parser.parse_args()
    tune_malloc()
    with clean_exit():
        start_logging(None)
        run(parsed)
    sys.exit(0)


@contextmanager
def clean_exit() -> Iterator[None]:
    """Exit with 2 and one line for what the user can mend, and with 1 for anything else."""
    try:
        yield
    except UserError as error:
        print(terminal_line(str(error)), file=sys.stderr)
        logger.debug("%s: %s", STOPPED, error)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print(terminal_line("stopped by Ctrl-C"), file=sys.stderr)
        logger.debug("%s: by Ctrl-C", STOPPED)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:
        logger.debug("%s: exit code %s", STOPPED, end.code)
        raise
    except Exception as error:
        denied = denied_message(error)
        if reason := disk_full_message(error) or denied:
            print(terminal_line(reason), file=sys.stderr)
            logger.debug("%s: %s", STOPPED, reason)
        else:
            logger.exception("rsvp %s failed", stage_name())
            logger.debug("%s: %s: %s", STOPPED, type(error).__name__, one_line(str(error)))
        sys.exit(BAD_INPUT if denied else FAILED)


def disk_full_message(error: Exception) -> str:
    """Return one line for an error that means that the disk is full; "" for others."""
    full = error_numbers(error) & {errno.ENOSPC, errno.EDQUOT}
    if not full:
        return ""
    return (
        f"no room on the disk ({os.strerror(full.pop())}) in {os.getcwd()}; make room and run the"
        " same command again, it goes on from what was saved"
    )


def denied_message(error: Exception) -> str:
    """Return one line for a file that this user may not read or write; "" for other errors."""
    denied = error_numbers(error) & {errno.EACCES, errno.EPERM, errno.EROFS}
    if not denied:
        return ""
    path = one_line(str(getattr(error, "filename", None) or os.getcwd()))
    return (
        f"{path}: {os.strerror(denied.pop())}; it is another user's: have it made readable and"
        " writable for you, or name another results folder"
    )


def error_numbers(error: Exception) -> set[int | None]:
    """Return the system's numbers of an error; safetensors puts them into its text."""
    return {getattr(error, "errno", None), *map(int, re.findall(r"os error (\d+)", str(error)))}


def stage_name() -> str:
    """Return the running stage's or command's name: its file's stem, or as `rsvp` calls it."""
    return Path(sys.argv[0]).stem.removeprefix("rsvp ")


def terminal_line(message: str) -> str:
    """Return `message` as the stage prints it on the terminal, on a line of its own.

    Jobs that run side by side draw their progress bars on one line: the message erases it.
    """
    erase = "\r\033[K" if sys.stderr.isatty() else ""
    return f"{erase}rsvp {stage_name()}: {message}"


def start_logging(log: Path | None) -> None:
    """Send warnings to stderr, where the user sees them, and everything to the log file."""
    # A log that cannot be written (a full disk) should not end a stage, nor print tracebacks.
    logging.raiseExceptions = False
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter(terminal_line("%(message)s")))
    handlers: list[logging.Handler] = [terminal]
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(log, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    # A stage that runs as `python -m` logs under __main__.
    for name in ("rsvp", "__main__"):
        logging.getLogger(name).setLevel(logging.DEBUG)
        for handler in handlers:
            logging.getLogger(name).addHandler(handler)
    logger.debug("%s: process %d", STARTED, os.getpid())


def check_code(roots: Sequence[str], planned: str | None) -> None:
    """Refuse to run when a source file changed since Snakemake planned this job."""
    if planned and planned != code_digest(*roots):
        raise UserError(
            f"the code of {roots[0]} changed after this job was planned; run snakemake again"
        )


def input_hashes(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the content hashes of a job's input files by their paths."""
    paths = [path for paths in job.get("inputs", {}).values() for path in paths]
    return {path: sha256_of_file(path) for path in paths}


def output_names(parsed: argparse.Namespace, inputs: Container[str]) -> list[str]:
    """Return the files in the stage's folder that its flags name, as seen from there.

    All that are below it where a flag names the folder itself.
    """
    folder = parsed.record.parent
    named = {key: value for key, value in vars(parsed).items() if isinstance(value, Path)}
    paths = [path for key, path in named.items() if key not in ("settings", "log", "state")]
    files = [file for path in paths for file in (path.rglob("*") if path == folder else [path])]
    return sorted(
        file.relative_to(folder).as_posix()
        for file in files
        if file.is_file() and folder in file.parents and str(file) not in inputs
        and file != parsed.log and not file.name.startswith(".")
    )  # fmt: skip
