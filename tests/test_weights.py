"""`make weights`: what a config names by URL becomes files that the measures read."""

import hashlib
import socket
import sys
import time
from argparse import Namespace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from rsvp.commands import weights
from rsvp.config.schema import Weights
from rsvp.metrics.networks import load_perceptual
from rsvp.runtime.errors import UserError

ROOT = Path(__file__).parents[1]


class Published:
    """Files on a server on loopback, and a config that names them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.config = folder.parent / "config.yaml"
        self.requests: list[str] = []

    def name(self, weights: dict) -> None:
        """Write a config with this section `weights`: the demo's otherwise."""
        values = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
        values["weights"] = {"folder": str(self.folder.parent / "weights")} | weights
        self.config.write_text(yaml.safe_dump(values))

    def source(self, key: str, file: str) -> dict[str, str]:
        """The keys that name a served file."""
        digest = hashlib.sha256((self.folder / file).read_bytes()).hexdigest()
        return {key: f"{self.url}/{file}#sha256={digest}"}

    def fetch(self) -> None:
        """Download as `make weights` does."""
        weights.run(Namespace(config=self.config, convert=None))


@pytest.fixture
def published(tmp_path: Path):
    folder = tmp_path / "published"
    folder.mkdir()
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(self.path)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        published = Published(folder, f"http://127.0.0.1:{server.server_port}")
        published.requests = asked
        yield published
        server.shutdown()


def test_checkpoints_become_lpips(published: Published, shared: Path, capsys) -> None:
    """From pickles on a server to the known answer, and nothing is fetched twice."""
    for name, file in {
        "alexnet.pth": "alexnet_features_imagenet1k_v1.safetensors",
        "alex.pth": "lpips_lin_v0.1_alex.safetensors",
    }.items():
        torch.save(load_file(shared / "weights" / file), published.folder / name)
    published.name(
        published.source("lpips_backbone", "alexnet.pth")
        | published.source("lpips_linear", "alex.pth")
    )
    published.fetch()
    first = capsys.readouterr().out
    assert "weights.lpips_backbone: downloaded (LPIPS backbone, alex)" in first
    folder = published.folder.parent / "weights"
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"] * 2
    published.fetch()
    assert capsys.readouterr().out.count("there already") == 2
    assert sorted(published.requests) == ["/alex.pth", "/alexnet.pth"]
    local = {path.name.split("-")[0]: str(path) for path in folder.glob("*.safetensors")}
    network = load_perceptual(Weights(**local), (64, 64), torch.device("cpu")).network
    assert network is not None
    black = torch.full((1, 3, 64, 64), -1.0)
    assert network(black, -black).item() == pytest.approx(0.81404, abs=1e-4)


def test_what_is_published_and_is_another_network_is_refused(published: Published) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, published.folder / "resnet.pth")
    published.name(published.source("i3d", "resnet.pth"))
    with pytest.raises(UserError, match="holds neither I3D") as caught:
        published.fetch()
    assert "\n" not in str(caught.value)
    folder = published.folder.parent / "weights"
    assert list(folder.iterdir()) == []


def test_weights_of_a_program_are_kept_as_they_are(published: Published) -> None:
    save_file({"a": torch.ones(3)}, published.folder / "mine.safetensors")
    program = {"program": "mine.py"} | published.source("weights", "mine.safetensors")
    published.name({"detectors": {"mine": program}})
    published.fetch()
    _, digest = program["weights"].split("#sha256=")
    local = published.folder.parent / "weights" / f"mine-{digest[:8]}.safetensors"
    assert hashlib.sha256(local.read_bytes()).hexdigest() == digest


def test_pickles_are_not_weights_of_a_program(published: Published) -> None:
    torch.save({"a": torch.ones(3)}, published.folder / "mine.pth")
    program = {"program": "mine.py"} | published.source("weights", "mine.pth")
    published.name({"detectors": {"mine": program}})
    with pytest.raises(UserError, match=r"weights\.detectors\.mine\.weights: .*not a safetensors"):
        published.fetch()


def test_a_config_without_urls_needs_no_network(published: Published, capsys) -> None:
    published.name({})
    published.fetch()
    assert "nothing to download" in capsys.readouterr().out
    assert published.requests == []


def test_offline_the_command_ends_with_one_line_and_2(
    published: Published, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    published.name({"i3d": f"http://127.0.0.1:{port}/i3d.pt#sha256={'0' * 64}"})
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    monkeypatch.setattr(sys, "argv", ["weights", "--config", str(published.config)])
    with pytest.raises(SystemExit) as ended:
        weights.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if "could not be downloaded" in line]
    assert line.startswith("rsvp weights: weights.i3d: http://127.0.0.1:")
    assert "connect and run the same command again" in line


def test_a_bad_config_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1\nb: {")
    for name, reason in {"none.yaml": "No such file", "broken.yaml": "not YAML"}.items():
        with pytest.raises(UserError, match=reason) as caught:
            weights.run(Namespace(config=tmp_path / name, convert=None))
        assert "\n" not in str(caught.value)
