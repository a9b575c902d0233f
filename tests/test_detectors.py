"""Detectors of the user's own: a Python file whose features distances between sets compare."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rsvp.config.schema import DetectorProgram, Weights
from rsvp.metrics.detectors import clip_feature, load_program
from rsvp.metrics.features import clip_features, feature_name
from rsvp.metrics.networks import load_networks
from rsvp.runtime.errors import UserError

CPU = torch.device("cpu")
COLOURS = """
from safetensors.torch import load_file


class Detector:
    minimum_frames = 3

    def __init__(self, weights, device):
        self.scale = load_file(weights)["scale"].to(device)

    def features(self, frames):
        return frames.float().mean(dim=(1, 2, 3)) * self.scale

    def protocol(self):
        return {"network": "mean colour", "input": "any size"}
"""


@pytest.fixture
def colours(tmp_path: Path) -> DetectorProgram:
    """A detector of mean colours, twice."""
    (tmp_path / "colours.py").write_text(COLOURS)
    save_file({"scale": torch.tensor([2.0, 2.0, 2.0])}, tmp_path / "colours.safetensors")
    files = {"program": "colours.py", "weights": "colours.safetensors"}
    return DetectorProgram(**{key: str(tmp_path / file) for key, file in files.items()})


def test_features_of_a_program_stand_beside_the_others(colours: DetectorProgram) -> None:
    networks = load_networks(Weights(detectors={"colours": colours}), CPU)
    assert list(networks.detectors) == ["colours"]
    assert set(networks.hashes) == {
        "weights.detectors.colours.program",
        "weights.detectors.colours.weights",
    }
    frames = torch.randint(0, 256, (12, 8, 8, 3), dtype=torch.uint8)
    found = clip_features(frames, 4, [None, 6], networks.detectors)
    future = frames[4:].double().mean(dim=(0, 1, 2)) * 2
    np.testing.assert_allclose(found["colours"], future, rtol=1e-5)
    whole = frames.double().mean(dim=(0, 1, 2)) * 2
    np.testing.assert_allclose(found["colours_context"], whole, rtol=1e-5)
    first = frames[:6].double().mean(dim=(0, 1, 2)) * 2
    np.testing.assert_allclose(found["colours_context_6f"], first, rtol=1e-5)
    assert feature_name("colours", "predicted", 6, 12) not in found  # 2 future frames of 3


def test_the_index_says_what_a_detector_is(colours: DetectorProgram, tmp_path: Path) -> None:
    colours.weights = str(tmp_path / "later.safetensors")
    networks = load_networks(Weights(detectors={"colours": colours}), CPU)
    facts = networks.loaded["colours"].metadata("minimum_frames")
    assert not facts["computed"]
    assert "weights.detectors.colours.weights is not there yet; make weights" in facts["reason"]
    assert networks.detectors == {}


BROKEN = {
    "syntax": ("def (:\n", r"SyntaxError: .*line 1"),
    "import": ("\nimport not_installed\n", r"line 2: ModuleNotFoundError: .*not_installed"),
    "no class": ("x = 1\n", "defines no class Detector"),
    "no protocol": (
        "class Detector:\n    minimum_frames = 1\n    def __init__(self, weights, device): ...\n"
        "    def features(self, frames): ...\n",
        "has no protocol",
    ),
    "arguments": ("class Detector:\n    pass\n", "TypeError"),
    "own attribute": (
        "class Detector:\n    def __init__(self, weights, device):\n        self.absent\n",
        "line 3: AttributeError",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_program_is_one_line(case: str, tmp_path: Path) -> None:
    text, message = BROKEN[case]
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_program(tmp_path / "mine.py", device=CPU)
    assert "mine.py" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "found", [torch.zeros(3), torch.zeros(2, 3), torch.full((1, 3), torch.nan), np.zeros((1, 3))]
)
def test_what_is_no_feature_is_refused(found: object) -> None:
    class Wrong:
        minimum_frames = 1

        def features(self, frames: torch.Tensor) -> object:
            return found

        def protocol(self) -> dict[str, object]:
            return {}

    with pytest.raises(UserError, match="detector: "):
        clip_feature(Wrong(), torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
