"""A guard for tests: no process of a run may reach the network or load a pickle.

Python imports this at its start where this folder is on PYTHONPATH. Each process writes that it is
watched, and what it is refused, to the file that RSVP_GUARD_LOG names. Two things are allowed:
sockets in the file system, and the messages that `multiprocessing` passes in memory between a
process and its own children. These are pickles, but no file is read, and nobody else writes them.
"""

import importlib.util
import os
import sys
from types import FrameType, ModuleType
from typing import Any, NoReturn

SENDING = {"socket.connect", "socket.sendto", "socket.sendmsg"}  # arguments: socket, address
ASKING = {
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
    "socket.getnameinfo",
}
UNPICKLING = "pickle.find_class"  # whatever is no plain value
TORCH = "torch.serialization"


def write(line: str) -> None:
    """Add a line to the log."""
    with open(os.environ["RSVP_GUARD_LOG"], "a", encoding="utf-8") as stream:
        stream.write(f"{line} by {' '.join(sys.orig_argv[1:3])}\n")


def refuse(event: str, detail: object) -> NoReturn:
    """Write an attempt down, then stop it."""
    write(f"refused {event} {detail!r}")
    raise PermissionError(f"refused by the guard: {event} {detail!r}")


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Look at one audit event, https://docs.python.org/3/library/audit_events.html."""
    # The address of a socket in the file system is text; there is none where it is connected.
    if event in SENDING and isinstance(arguments[1], tuple):
        refuse(event, arguments[1])
    elif event in ASKING or (event == UNPICKLING and not between_processes(sys._getframe(1))):
        refuse(event, arguments)


def between_processes(frame: FrameType | None) -> bool:
    """Check whether multiprocessing is at work above a frame."""
    while frame:
        if frame.f_globals.get("__name__", "").startswith("multiprocessing."):
            return True
        frame = frame.f_back
    return False


class NoTorchLoad:
    """An import hook that takes `torch.load` away: it reads pickles by code of its own."""

    def find_spec(self, name: str, path: object, target: object = None) -> Any:
        if name != TORCH:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            module.load = lambda *arguments, **options: refuse("torch.load", arguments)

        spec.loader.exec_module = exec_module
        return spec


write("watched")
sys.addaudithook(watch)
sys.meta_path.insert(0, NoTorchLoad())
