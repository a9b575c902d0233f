"""Downloads from a server on loopback: resume, retries, checksums, and being offline."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from rsvp.errors import UserError
from rsvp.metrics import weights
from rsvp.metrics.weights import download, weights_path

CONTENT = np.random.RandomState(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; closes early or answers 503 as often as it is told; may know no ranges."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut, self.unavailable, self.ranges = 0, 0, []
        self.resumes = True
        self.url = f"http://127.0.0.1:{self.server_port}/i3d.safetensors"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if not self.path.endswith("i3d.safetensors"):
            return self.send_error(404)
        if self.server.unavailable:
            self.server.unavailable -= 1
            return self.send_error(503)
        partial = bool(asked) and self.server.resumes
        start = int(asked.removeprefix("bytes=").rstrip("-")) if partial else 0
        body = CONTENT[start:]
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cut:
            self.server.cut -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_path_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("reached the network"))
    path = tmp_path / "w.safetensors"
    path.write_bytes(CONTENT)
    assert weights_path(str(path), None, "weights.i3d") == path
    assert weights_path(str(path), DIGEST.upper(), "weights.i3d") == path
    with pytest.raises(UserError, match="SHA-256"):
        weights_path(str(path), "0" * 64, "weights.i3d")
    with pytest.raises(UserError, match="no such file"):
        weights_path(str(tmp_path / "none"), None, "weights.i3d")


def test_a_url_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    first = weights_path(server.url, DIGEST, "weights.i3d", tmp_path)
    assert first.read_bytes() == CONTENT
    assert weights_path(server.url, DIGEST, "weights.i3d", tmp_path) == first
    assert server.ranges == [None]


def test_broken_connections_are_continued(server: Server, tmp_path: Path) -> None:
    server.cut, server.unavailable = 2, 1
    download(server.url, tmp_path / "w", DIGEST, "weights.i3d", pause=0.01)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert server.ranges == [None, None, "bytes=1500000-", "bytes=2250000-"]


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.cut, server.resumes = 1, False
    download(server.url, tmp_path / "w", DIGEST, "weights.i3d", pause=0.01)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_later_call_continues(server: Server, tmp_path: Path) -> None:
    server.cut = 1
    with pytest.raises(UserError, match="bytes early"):
        download(server.url, tmp_path / "w", DIGEST, "weights.i3d", attempts=1)
    assert not (tmp_path / "w").exists()
    download(server.url, tmp_path / "w", DIGEST, "weights.i3d")
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=1500000-"


def test_a_wrong_sum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="SHA-256 is"):
        weights_path(server.url, "0" * 64, "weights.i3d", tmp_path)
    assert all(path.suffix == ".lock" for path in tmp_path.iterdir())


def test_what_is_not_there_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="HTTP 404"):
        weights_path(server.url + ".none", DIGEST, "weights.i3d", tmp_path)
    assert len(server.ranges) == 1


def test_offline_says_what_to_do_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/i3d.safetensors"
    with pytest.raises(UserError) as caught:
        download(url, tmp_path / "w", DIGEST, "weights.i3d", attempts=2, pause=0.01)
    message = str(caught.value)
    assert "weights.i3d" in message and str(tmp_path / "w") in message and "\n" not in message


def test_a_url_without_a_sum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights\.i3d_sha256"):
        weights_path("https://example.org/w", None, "weights.i3d", tmp_path)


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.default_cache() == tmp_path / "rsvp" / "weights"
