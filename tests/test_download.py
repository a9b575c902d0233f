"""Downloads from a server on loopback that does all that servers do wrong."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from rsvp.metrics import download as module
from rsvp.metrics.download import download
from rsvp.runtime.errors import UserError

CONTENT = np.random.RandomState(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
KEY = "weights.i3d"


class Server(ThreadingHTTPServer):
    """Serves `content`, and misbehaves as often as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut = 0  # answers that end in the middle
        self.stall = 0  # answers that stop in the middle and stay open
        self.refuse = 0  # answers with `status`
        self.status = 503
        self.requests = 0
        self.woken = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/i3d.safetensors"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, body = self.server, self.server.content
        server.requests += 1
        if server.refuse:
            server.refuse -= 1
            return self.send_error(server.status)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.stall:
            server.stall -= 1
            self.wfile.write(body[: len(body) // 2])
            server.woken.wait(20)
            return None
        if server.cut:
            server.cut -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.woken.set()
        server.shutdown()


def fetch(server: Server, folder: Path, digest: str = DIGEST) -> bytes:
    """Return the content of the file after a download."""
    download(server.url, folder / "w", digest, KEY)
    return (folder / "w").read_bytes()


def test_one_answer_is_enough(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, DIGEST.upper()) == CONTENT
    assert server.requests == 1
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_broken_connections_are_tried_again(server: Server, tmp_path: Path) -> None:
    server.cut, server.refuse = 2, 1
    assert fetch(server, tmp_path) == CONTENT
    assert server.requests == 4
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_server_that_stops_sending_is_left(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    server.stall = 1
    assert fetch(server, tmp_path) == CONTENT
    assert server.requests == 2


def test_a_broken_download_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.cut = module.ATTEMPTS
    with pytest.raises(UserError, match="run the same command again"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(server, tmp_path) == CONTENT


def test_wrong_bytes_leave_nothing_and_are_not_tried_again(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(UserError, match=r"weights\.i3d: .*its SHA-256 is") as caught:
        fetch(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert DIGEST in str(caught.value) and hashlib.sha256(server.content).hexdigest() in str(
        caught.value
    )
    assert list(tmp_path.iterdir()) == [] and server.requests == 1


def test_what_is_not_there_says_so(server: Server, tmp_path: Path) -> None:
    server.refuse, server.status = module.ATTEMPTS, 404
    with pytest.raises(UserError, match=r"404.*correct the URL"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_offline_says_what_to_do_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/i3d.safetensors"
    with pytest.raises(UserError, match="refused") as caught:
        download(url, tmp_path / "w", DIGEST, KEY)
    message = str(caught.value)
    assert message.startswith(KEY) and "5 attempts" in message and "local file" in message
    assert "\n" not in message
