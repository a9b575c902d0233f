"""Work that dies, or runs into a full disk, at a chosen moment between two changes of the disk.

A process that dies takes no file with it, as a machine does: nothing is synced here.
"""

import errno
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tests.together import forkserver

CHANGES = ("fsync", "replace", "rename", "unlink")  # by which stages change what others see
GROWING = ("fsync", "replace")  # those that need room
DEAD, FULL = 9, 28  # exit codes


def dies_at(call: int, work: Callable[[], Any], full: bool = False) -> bool:
    """Do `work` in a process that dies just before its change of the disk number `call`, from 0.

    With `full`, the disk is full from there on. False: it ended before that.
    """
    child = os.fork()
    if not child:
        # Nothing of the test's own clearing up may run in here.
        code = FULL
        try:
            break_disk(call, full)
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, DEAD, FULL), code
    return code != 0


def stage_dies_at(call: int, name: str, flags: list[str]) -> bool:
    """Run a stage by its command line as `dies_at` does work.

    Not in a fork of this process: threads of OpenCV would be missed there.
    """
    process = forkserver().Process(target=run_dying, args=(call, name, flags), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode in (0, DEAD), process.exitcode
    return process.exitcode == DEAD


def run_dying(call: int, name: str, flags: list[str]) -> None:
    """Run a stage up to its change of the disk number `call`."""
    stage = import_module(name)
    sys.argv = [str(stage.__file__), *flags]
    break_disk(call)
    stage.main()


def break_disk(call: int, full: bool = False) -> None:
    """Let this process die at its change of the disk number `call`, or find no room from there."""
    counted = iter(range(10**9))

    def broken(name: str) -> Callable[..., Any]:
        whole = (lambda descriptor: None) if name == "fsync" else getattr(os, name)

        def change(*arguments: Any, **options: Any) -> Any:
            if next(counted) >= call:
                if not full:
                    os._exit(DEAD)
                if name in GROWING:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return whole(*arguments, **options)

        return change

    for name in CHANGES:
        setattr(os, name, broken(name))
