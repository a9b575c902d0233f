"""Words to a user who is not root, and owns nothing of ours."""

import os

import pytest

from rsvp.data.sources import Rejected
from rsvp.runtime.errors import UserError

NOBODY = 65534


def said_to_another_user(work):
    """Return the error that `work` raises for a user who may read and write nothing of ours."""
    if os.geteuid():
        return said(work)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(write, said(work).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read, encoding="utf-8") as stream:
        return stream.read()


def said(work):
    with pytest.raises((Rejected, UserError)) as error:
        work()
    return str(error.value)
