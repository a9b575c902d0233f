"""Stages by their command lines in this process: one of their own would import all anew."""

import io
import logging
import sys
from contextlib import redirect_stderr
from types import ModuleType

import pytest
import torch

from rsvp.runtime import main
from rsvp.runtime.progress import Bar


def run_here(stage: ModuleType, *flags: object) -> tuple[int, str]:
    """Run a stage by its `main`; return its exit code, and what it wrote to the terminal."""
    loggers = [logging.getLogger(name) for name in ("rsvp", "__main__")]
    before, threads = [list(logger.handlers) for logger in loggers], torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as terminal:
        patch.setattr(sys, "argv", [stage.__file__, *map(str, flags)])
        patch.setattr(main, "leave", sys.exit)
        # What would stay with the process.
        patch.setattr(main, "tune_malloc", lambda: None)
        patch.setattr(main, "watch_the_time", lambda: None)
        patch.setattr(Bar, "folder", None)
        patch.setattr(logging, "raiseExceptions", False)
        try:
            stage.main()
        except SystemExit as end:
            code = end.code
        finally:
            torch.set_num_threads(threads)
            for logger, kept in zip(loggers, before, strict=True):
                for handler in set(logger.handlers) - set(kept):
                    logger.removeHandler(handler)
                    handler.close()
    return code, terminal.getvalue()
