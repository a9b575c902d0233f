"""The field's definitions, switch by switch, against the libraries that its code bases call."""

from itertools import product
from pathlib import Path

import lpips
import numpy as np
import pandas as pd
import pytest
import scipy
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from skimage.metrics import structural_similarity
from torchvision import transforms

from rsvp.commands import compare
from rsvp.config.schema import DEFINITION_NAMES, PROTOCOLS
from rsvp.metrics import definitions
from rsvp.metrics.definitions import DEFINITIONS, columns_of
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.report.scores import frame_scores

FRAMES, SIZE = 3, 48


@pytest.fixture(scope="module")
def frames() -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth colours, and a copy with noise at one border, uint8 (F, H, W, 3)."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (FRAMES, 6, 6, 3), dtype=np.uint8)
    real = np.stack(
        [np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), Image.BICUBIC)) for frame in coarse]
    )
    noise = random.normal(0, [[[[8]]], [[[20]]], [[[40]]]], real.shape)
    noise[:, 12:] = 0  # a border: there definitions differ
    predicted = np.clip(real + noise, 0, 255).astype(np.uint8)
    return torch.from_numpy(predicted), torch.from_numpy(real)


@pytest.fixture(scope="module")
def weights(shared: Path) -> tuple[Path, Path]:
    folder = shared / "weights"
    return (
        folder / "alexnet_features_imagenet1k_v1.safetensors",
        folder / "lpips_lin_v0.1_alex.safetensors",
    )


@pytest.fixture(scope="module")
def own(weights: tuple[Path, Path]) -> PerceptualDistance:
    return PerceptualDistance(*weights)


def package(weights: tuple[Path, Path], spatial: bool) -> lpips.LPIPS:
    """The package's network with the same weights, loaded without a line of rsvp."""
    network = lpips.LPIPS(net="alex", pnet_rand=True, pretrained=False, spatial=spatial,
                          verbose=False)  # fmt: skip
    features, heads = map(load_file, weights)
    values = {name: features[f"features.{name.split('.', 1)[1]}"]
              for name in network.net.state_dict()}  # fmt: skip
    network.net.load_state_dict(values)
    network.load_state_dict(heads, strict=False)
    return network.eval()


def planes(frames: torch.Tensor) -> torch.Tensor:
    return frames.permute(0, 3, 1, 2) / 255


def test_mcvd_ssim_is_scikit_image_on_grey(frames) -> None:
    found = definitions.ssim_grey(*frames)
    for place in range(FRAMES):
        images = [np.asarray(Image.fromarray(side[place].numpy()).convert("L")) for side in frames]
        expected = structural_similarity(
            *images, data_range=255, gaussian_weights=True, use_sample_covariance=False
        )
        assert found[place] == pytest.approx(expected, abs=1e-9)


def test_extdm_ssim_is_scikit_image_on_rgb(frames) -> None:
    (column,) = {DEFINITIONS["extdm"].ssim, DEFINITIONS["rsvp"].ssim}
    expected = [
        structural_similarity(
            *(side[place].numpy() for side in frames), data_range=255, channel_axis=2,
            gaussian_weights=True, use_sample_covariance=False,
        )
        for place in range(FRAMES)
    ]  # fmt: skip
    assert column == "ssim"
    np.testing.assert_allclose(definitions.frame.ssim(*frames), expected, atol=1e-9)


def ssim_around_every_pixel(predicted: np.ndarray, real: np.ndarray) -> float:
    """scikit-image's SSIM of two frames (H, W, 3) that are reflected at their borders."""
    half = ((5, 5), (5, 5), (0, 0))  # of a window
    _, windows = structural_similarity(
        *(np.pad(frame, half, mode="reflect") for frame in (predicted, real)),
        data_range=255, channel_axis=2, gaussian_weights=True, use_sample_covariance=False,
        full=True,
    )  # fmt: skip
    return float(windows[5:-5, 5:-5].mean())


def test_far_ssim_is_scikit_image_around_every_pixel(frames) -> None:
    expected = [
        ssim_around_every_pixel(*pair) for pair in zip(*(x.numpy() for x in frames), strict=True)
    ]
    np.testing.assert_allclose(definitions.ssim_reflected(*frames), expected, atol=1e-9)


def test_far_ssim_known_answer_of_torchmetrics(frames) -> None:
    # structural_similarity_index_measure of 1.9.0, in float64 with data_range=1.0. It is not
    # installed for this: Lightning Fabric imports it where it is, 2 s of each training's start.
    expected = [0.972755815319, 0.906732092381, 0.829557869227]
    np.testing.assert_allclose(definitions.ssim_reflected(*frames), expected, atol=1e-9)


def test_mcvd_lpips_is_the_package_on_frames_of_128_pixels(frames, own, weights) -> None:
    prepare = transforms.Compose(
        [transforms.Resize((128, 128)), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    )
    inputs = [torch.stack([prepare(Image.fromarray(frame.numpy())) for frame in side])
              for side in frames]  # fmt: skip
    with torch.no_grad():
        expected = package(weights, spatial=False)(*inputs).flatten()
    found = definitions.lpips_resized(*frames, own)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_extdm_lpips_a_mean_over_an_enlarged_map_is_the_plain_one(frames, own, weights) -> None:
    inputs = [planes(side) * 2 - 1 for side in frames]
    with torch.no_grad():
        expected = package(weights, spatial=True)(*inputs).mean(dim=(1, 2, 3))
    assert DEFINITIONS["extdm"].lpips == DEFINITIONS["rsvp"].lpips == "lpips"
    np.testing.assert_allclose(definitions.lpips(*frames, own), expected, atol=2e-5)


def test_far_lpips_is_the_package_without_scaling(frames, own, weights) -> None:
    with torch.no_grad():
        expected = package(weights, spatial=False)(*map(planes, frames)).flatten()
    found = definitions.lpips_unscaled(*frames, own)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_grey_frames_score_as_equal_channels(frames, own) -> None:
    grey = [definitions.grey(side) for side in frames]
    alike = [side.expand(-1, -1, -1, 3) for side in grey]
    found, expected = (definitions.score(*sides, own, definitions.COLUMNS)
                       for sides in (grey, alike))  # fmt: skip
    for name in definitions.COLUMNS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def table() -> pd.DataFrame:
    """Scores of two clips with two trajectories of two frames, and their means."""
    lines = pd.MultiIndex.from_product(
        [["a", "b"], [0, 1, -1], [1, 2]], names=["clip", "trajectory", "frame"]
    ).to_frame(index=False)
    lines["group"] = "g"
    random = np.random.default_rng(1)
    for name in ("mse", "psnr", "ssim", "lpips", *definitions.COLUMNS):
        lines[name] = random.uniform(1, 900, len(lines))
    return lines


def test_mcvd_takes_the_logarithm_of_a_clips_mean_error() -> None:
    scores = table()
    found = frame_scores(scores).defined(DEFINITIONS["mcvd"]).values("psnr").mean(axis=2)
    for (clip, trajectory), value in zip(product("ab", (0, 1)), found.ravel(), strict=True):
        lines = scores[(scores["clip"] == clip) & (scores["trajectory"] == trajectory)]
        assert value == pytest.approx(10 * np.log10(255**2 / lines["mse"].mean()))
    assert found.size == 4


@pytest.mark.parametrize("name", ["mcvd", "extdm", "far"])
def test_a_definition_replaces_columns_and_drops_the_mean_of_trajectories(name: str) -> None:
    scores, definition = table(), DEFINITIONS[name]
    found = frame_scores(scores).defined(definition)
    kept = scores[scores["trajectory"] >= 0]
    assert found.values("ssim").ravel().tolist() == kept[definition.ssim].tolist()
    assert found.values("lpips").ravel().tolist() == kept[definition.lpips].tolist()
    if name != "mcvd":
        assert found.values("psnr").ravel().tolist() == kept["psnr"].tolist()


def test_names_and_columns_are_those_of_the_config() -> None:
    assert tuple(DEFINITIONS) == DEFINITION_NAMES
    assert columns_of(["mcvd", "rsvp"]) == ["ssim_grey", "lpips_resized"]
    assert columns_of(["rsvp"]) == []


DETECTOR = """
class Detector:
    minimum_frames = 2

    def __init__(self, weights, device):
        pass

    def features(self, clips):
        return clips.double().mean(dim=(2, 3)).flatten(1)[:, ::7].float()

    def protocol(self):
        return {"network": "colours"}
"""
K, CLIPS, OBSERVED, FUTURE = 3, 12, 2, 4


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> tuple[Path, np.ndarray, np.ndarray]:
    """Clips, K trajectories of each that differ, and a config with a protocol per definition."""
    folder, random = tmp_path_factory.mktemp("scored"), np.random.default_rng(3)
    smooth = random.integers(40, 200, (CLIPS, 1, 4, 4, 3)).repeat(8, 2).repeat(8, 3)
    change = random.normal(0, 6, (CLIPS, OBSERVED + FUTURE, 1, 1, 3)).cumsum(axis=1)
    real = np.clip(smooth + change, 0, 255).astype(np.uint8)
    # Errors grow with time, at another rate in each trajectory: orders of averaging differ.
    error = np.linspace(1, 20, FUTURE)[:, None, None, None] ** random.uniform(0.5, 1.5, (
        K, CLIPS, 1, 1, 1, 1))  # fmt: skip
    noise = random.normal(0, error, (K, CLIPS, FUTURE, *real.shape[2:]))
    predicted = np.clip(real[None, :, OBSERVED:] + noise, 0, 255).astype(np.uint8)
    np.save(folder / "real.npy", real)
    for k in range(K):
        np.save(folder / f"mine{k}.npy", predicted[k])
    (folder / "colours.py").write_text(DETECTOR)
    protocols = {
        name: {"scores": "both", "definition": name, "columns": ["context"], "detector": "colours"}
        for name in ("mcvd", "extdm", "far")
    }
    config = {
        "protocols": {f"like-{name}": item for name, item in protocols.items()},
        "weights": {"detectors": {"colours": {"program": str(folder / "colours.py")}}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder, real, predicted


def compared(scored: tuple[Path, np.ndarray, np.ndarray], name: str) -> dict[str, float]:
    """Return the values of the method under the protocol like `name`, by metric."""
    folder = scored[0]
    futures = ",".join(str(folder / f"mine{k}.npy") for k in range(K))
    command = ["compare", "--real", f"{folder}/real.npy", "--predicted", f"mine={futures}",
               "--context", str(OBSERVED), "--future-only", "--protocol", f"like-{name}",
               "--config", f"{folder}/config.yaml", "--device", "cpu",
               "--out", str(folder / name)]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="0"):
        patch.setattr("sys.argv", command)
        compare.main()
    table = pd.read_csv(folder / name / "results.csv")
    table = table[table["row"] == "mine"].dropna(subset="value")
    assert set(table[table["metric"].isin(["psnr", "ssim"])]["sampling"]) == {"best"}
    return dict(zip(table["metric"], table["value"], strict=True))


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    root = scipy.linalg.sqrtm(np.cov(first.T) @ np.cov(second.T)).real
    mean = first.mean(axis=0) - second.mean(axis=0)
    return mean @ mean + np.trace(np.cov(first.T) + np.cov(second.T) - 2 * root)


def colours(clips: np.ndarray) -> np.ndarray:
    return clips.astype(float).mean(axis=(2, 3)).reshape(len(clips), -1)[:, ::7]


def best(values: np.ndarray) -> float:
    """The mean over clips of the best of K: of (K, clips)."""
    return float(values.max(axis=0).mean())


def test_compare_scores_as_mcvd(scored) -> None:
    _, real, predicted = scored
    error = ((predicted.astype(float) - real[:, OBSERVED:]) ** 2).mean(axis=(2, 3, 4, 5))
    found = compared(scored, "mcvd")
    assert found["psnr"] == pytest.approx(best(10 * np.log10(255**2 / error)), abs=1e-9)
    whole = [np.concatenate([real[:, :OBSERVED], each], axis=1) for each in predicted]
    distances = [frechet(colours(each), colours(real)) for each in whole]
    assert found["fvd_context"] == pytest.approx(np.mean(distances), rel=1e-3)
    assert "fvd_best" not in found and "crps" not in found


def test_compare_scores_as_extdm(scored) -> None:
    _, real, predicted = scored
    frames = ((predicted.astype(float) - real[:, OBSERVED:]) ** 2).mean(axis=(3, 4, 5))
    found = compared(scored, "extdm")
    assert found["psnr"] == pytest.approx(best((10 * np.log10(255**2 / frames)).mean(2)), abs=1e-9)
    assert found["psnr"] > compared(scored, "mcvd")["psnr"] + 0.5  # another order of averaging
    whole = [np.concatenate([real[:, :OBSERVED], each], axis=1) for each in predicted]
    away = np.stack([np.abs(colours(each) - colours(real)).sum(axis=1) for each in whole])
    nearest = np.stack([whole[k][clip] for clip, k in enumerate(away.argmin(axis=0))])
    oracle = frechet(colours(nearest), colours(real))
    assert found["fvd_best"] == pytest.approx(oracle, rel=1e-3)
    assert found["fvd_best"] != pytest.approx(found["fvd_context"], rel=0.05)


def test_compare_scores_as_far(scored) -> None:
    _, real, predicted = scored
    found = compared(scored, "far")
    ssims = [
        np.mean([ssim_around_every_pixel(*pair) for pair in zip(clip, truth, strict=True)])
        for each in predicted
        for clip, truth in zip(each, real[:, OBSERVED:], strict=True)
    ]
    assert found["ssim"] == pytest.approx(best(np.array(ssims).reshape(K, CLIPS)), abs=1e-9)


def test_the_fields_protocols_take_their_counts() -> None:
    assert PROTOCOLS["mcvd"].trajectories == PROTOCOLS["far"].trajectories == 100
    assert PROTOCOLS["extdm"].trajectories == 10
    assert {PROTOCOLS[name].clips for name in ("mcvd", "extdm", "far")} == {256}
