"""Scene, object and motion: on clips whose truth is known, by oracles that know it."""

import dataclasses
import json
from argparse import Namespace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from generated_dataset import CONTEXT, FUTURE, SIZE, make_dataset

from rsvp.config.load import structured
from rsvp.config.schema import Autoencoder, Generated
from rsvp.config.stages import Settings
from rsvp.data import generated
from rsvp.data.clips import object_mask
from rsvp.data.generated import GeneratedVideo, generate_video
from rsvp.data.images import colours_of_motion, motion_legend
from rsvp.data.pixels import to_float
from rsvp.metrics import semantics
from rsvp.metrics.intervals import group_interval, verdict
from rsvp.models.autoencoders.kinds import autoencoder_arguments, make_autoencoder
from rsvp.models.autoencoders.rsvp import Context, DecodedFrames, Layers
from rsvp.runtime.errors import UserError
from rsvp.runtime.files import sha256_of_file, write_json
from rsvp.stages import measure_semantics

SETTINGS = Generated()
LAST = CONTEXT - 1


def as_clip(frames: np.ndarray) -> torch.Tensor:
    """uint8 (T, H, W, 3) as float (T, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1.0


class Oracle:
    """Encodes and decodes by looking up the truth: latents are numbers of videos and of frames."""

    scopes: ClassVar = dict.fromkeys(semantics.LATENTS)

    def __init__(self, videos: list[GeneratedVideo]) -> None:
        self.videos = videos

    def to(self, device: torch.device) -> "Oracle":
        return self

    def number(self, frames: torch.Tensor, frame: int) -> int:
        """Return the video that shows a float frame (3, H, W) as its frame number `frame`."""
        distances = [(as_clip(v.frames[frame : frame + 1])[0] - frames).abs().sum()
                     for v in self.videos]  # fmt: skip
        return int(torch.stack(distances).argmin())

    def encode_context(self, frames, scene=None, object_=None) -> Context:
        found = torch.tensor([self.number(f[LAST], LAST) for f in frames]).view(-1, 1, 1, 1)
        scene = found.float() if scene is None else scene
        object_ = found.float() if object_ is None else object_
        scenes = [self.videos[int(i)].background for i in scene.flatten()]
        masks = [object_mask(self.videos[int(i)].alpha)[LAST] for i in object_.flatten()]
        empty = torch.zeros(len(frames), 1, 1, 1)
        return Context(
            frames=frames, scene=scene, object=object_, skip=empty, object_image=empty, depth=empty,
            background=as_clip(np.stack(scenes)),
            mask=torch.from_numpy(np.stack(masks)).float()[:, None],
        )  # fmt: skip

    def encode_motion(self, frames, context) -> torch.Tensor:
        times = [
            [
                next(t for t in range(CONTEXT + FUTURE)
                     if torch.equal(as_clip(self.videos[int(i)].frames)[t], shown))
                for shown in clip
            ]
            for clip, i in zip(frames, context.object.flatten(), strict=True)
        ]  # fmt: skip
        return torch.tensor(times).float()[:, :, None, None, None]

    def decode(self, motion, context) -> DecodedFrames:
        clips = zip(motion.flatten(1).int(), context.object.flatten(), context.background,
                    strict=True)  # fmt: skip
        drawn, masks, displacements = zip(
            *(self.draw(self.videos[int(i)], times.tolist(), scene) for times, i, scene in clips),
            strict=True,
        )
        frames = torch.stack(drawn)
        return DecodedFrames(frames, frames, torch.stack(masks), frames, torch.stack(displacements))

    def decode_layers(self, scene, object_) -> Layers:
        scenes = as_clip(np.stack([self.videos[int(i)].background for i in scene.flatten()]))
        pairs = zip(object_.flatten(), scenes, strict=True)
        drawn = [self.draw(self.videos[int(i)], [LAST], shown) for i, shown in pairs]
        frames, masks = (torch.cat(shown) for shown in list(zip(*drawn, strict=True))[:2])
        return Layers(scenes, frames - (1.0 - masks) * scenes, masks)

    def decode_alone(self, scene, object_, motion) -> torch.Tensor:
        frames = torch.zeros(len(scene), CONTEXT, 3, SIZE, SIZE)
        context = Oracle.encode_context(self, frames, scene, object_)
        return self.decode(motion, context).frames

    def draw(self, video: GeneratedVideo, times: list[int], scene: torch.Tensor):
        """Frames, masks and displacements of a video's objects at `times` over a scene."""
        alpha = torch.from_numpy(video.alpha[times]) / 255.0
        shows = (1.0 - alpha).prod(1, keepdim=True)
        own = as_clip(video.background[None])
        frames = as_clip(video.frames[times]) + shows * (scene - own)
        mask = torch.from_numpy(object_mask(video.alpha)[times]).float()[:, None]
        labels = semantics.object_labels(video.alpha[LAST])
        moved = semantics.rigid_displacement(labels, video.positions[[LAST, *times]])
        half = moved.reshape(len(times), 2, SIZE // 2, 2, SIZE // 2, 2).mean((3, 5))
        return frames, mask, torch.from_numpy(half).float()


class Eraser(Oracle):
    """An autoencoder that has learned the background and nothing else."""

    def decode_layers(self, scene, object_) -> Layers:
        whole = super().decode_layers(scene, object_)
        empty = torch.zeros_like(whole.object_image)
        return Layers(whole.background, empty, empty[:, :1])

    def encode_context(self, frames, scene=None, object_=None) -> Context:
        context = super().encode_context(frames, scene, object_)
        return dataclasses.replace(context, mask=torch.zeros_like(context.mask))

    def decode(self, motion, context) -> DecodedFrames:
        decoded = super().decode(motion, context)
        frames = context.background[:, None].expand_as(decoded.frames)
        empty = torch.zeros_like(decoded.mask)
        return dataclasses.replace(decoded, frames=frames, mask=empty)


class Joint(Oracle):
    """One whose context says nothing of scene and objects: only the future's latents do."""

    scopes: ClassVar = dict.fromkeys((*semantics.LATENTS, *semantics.FUTURE))

    def encode_context(self, frames, scene=None, object_=None) -> Context:
        context = super().encode_context(frames, scene, object_)
        empty = torch.zeros_like(context.background)
        return dataclasses.replace(context, background=empty, mask=torch.zeros_like(context.mask))

    def encode_future(self, frames) -> dict[str, torch.Tensor]:
        found = [self.number(clip[-1], CONTEXT + FUTURE - 1) for clip in frames]
        numbers = torch.tensor(found).float().view(-1, 1, 1, 1)
        return {"future_scene": numbers, "future_object": numbers}

    def with_future(self, context, latents) -> Context:
        return super().encode_context(context.frames, *(latents[name] for name in semantics.FUTURE))


class Frozen(Oracle):
    """One whose decoder ignores motion."""

    def decode(self, motion, context) -> DecodedFrames:
        return super().decode(torch.full_like(motion, LAST), context)


def measured(tmp_path: Path, oracle: type[Oracle], **dataset) -> tuple[dict, pd.DataFrame]:
    """Index and table of the stage on a few clips."""
    index, videos = make_dataset(tmp_path / "dataset", ["train", *["test"] * 6], **dataset)
    folder = tmp_path / "semantics"
    latents = {kind: {"mean": [0.0], "deviation": [1.0]} for kind in oracle.scopes}
    write_json(tmp_path / "latents.json", {"statistics": latents})
    settings = Settings(name="oracle")
    settings.compute.device, settings.compute.threads = "cpu", 1
    settings.evaluation.bootstrap = 200
    arguments = Namespace(
        dataset=index, autoencoder=tmp_path / "index.json", latents=tmp_path / "latents.json",
        scores=folder / "scores.parquet", index=folder / "index.json",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure_semantics, "load_autoencoder", lambda path: oracle(videos))
        assert measure_semantics.run(arguments, settings)["clips"] == 6
    values = json.loads(arguments.index.read_text())
    assert values["files"]["scores.parquet"] == sha256_of_file(arguments.scores)
    return values, pd.read_parquet(arguments.scores)


def verdicts(index: dict, table: pd.DataFrame) -> dict[str, str]:
    """Goals are met or not; where all groups agree and there is no interval, by their mean."""
    found = {}
    for name, goal in index["goals"].items():
        score = group_interval(table[name], table["group"], 200)
        ends = (score.mean if np.isnan(end) else end for end in (score.low, score.high))
        found[name] = verdict(*ends, goal)
    return found


def test_the_truth_itself_gets_full_marks(tmp_path):
    index, table = measured(tmp_path, Oracle)
    assert (table["scene_psnr"] == 100).all()
    assert (table[["object_iou", "object_iou_future", "swap_right"]] == 1).all(axis=None)
    assert (table["latent_scene_psnr"] == 100).all() and (table["latent_swap_right"] == 1).all()
    assert (table["latent_object_psnr"] > 50).all()
    assert (table["motion_error"] < 1e-4).all() and (table["motion_error_still"] > 1).all()
    assert (table["swap_psnr"] > 50).all() and (table["swap_object_psnr"] > 50).all()
    assert (table["swap_margin"] > 20).all() and (table["swap_object_margin"] > 20).all()
    assert verdicts(index, table) == dict.fromkeys(semantics.GOALS, "met")
    assert index["truth"] and len(table) == 6
    # The median of four frames is no background where an object stays for more than one.
    assert table["median_psnr"].mean() < 40


def test_one_that_erases_objects_is_found_out(tmp_path):
    index, table = measured(tmp_path, Eraser)
    assert (table["object_iou"] == 0).all()
    assert (table[["swap_right", "latent_swap_right"]] == 0).all(axis=None)
    assert (table["latent_scene_psnr"] == 100).all() and (table["latent_object_psnr"] < 20).all()
    assert verdicts(index, table) == {
        "scene_psnr": "met",
        "object_iou": "missed",
        "swap_margin": "missed",
        "latent_scene_psnr": "met",
        "latent_object_psnr": "missed",
        "latent_swap_right": "missed",
    }


def test_one_that_does_not_move_objects_is_found_out(tmp_path):
    index, table = measured(tmp_path, Frozen)
    assert (table["swap_right"] == 0).all()
    assert verdicts(index, table)["swap_margin"] == "missed"
    lost = table[["motion_frozen_psnr", "motion_mean_psnr", "motion_other_psnr"]]
    assert (lost == 0).all(axis=None) and table["scene_other_psnr"].mean() > 3


def test_ablations_tell_what_a_latent_explains(tmp_path):
    index, table = measured(tmp_path, Oracle)
    assert [(e["latent"], e["replaced_by"]) for e in index["ablations"]] == [*semantics.ABLATIONS]
    assert (table["intact_psnr"] > 50).all() and (table["intact_motion"] < 0.05).all()
    for entry in index["ablations"]:
        if entry["latent"] != "motion" or entry["replaced_by"] != "other":  # an oracle's is time
            name = f"{entry['latent']}_{entry['replaced_by']}"
            for measure in ("psnr", "ssim", "motion"):
                assert table[f"{name}_{measure}"].mean() > 0, (name, measure)
            assert table[f"{name}_lpips"].isna().all()  # no weights
    # Frozen motion shows the last context frame, which is a clip that can be made by hand.
    first = next(iter(table.itertuples()))
    video = generate_video(
        SETTINGS, (SIZE, SIZE), int(first.clip[1:].split("@")[0]), CONTEXT + FUTURE
    )
    times = [5, 7, 9, 11]
    by_hand = semantics.clip_psnr(video.frames[[LAST] * 4], video.frames[times])
    lost = first.intact_psnr - by_hand
    assert first.motion_frozen_psnr == pytest.approx(lost, abs=0.01)


def test_without_truth_there_are_ablations_only(tmp_path):
    index, table = measured(tmp_path, Oracle, truth=False)
    assert not index["truth"] and table["scene_mean_psnr"].mean() > 0
    assert "scene_psnr" not in table


def test_scene_and_object_of_the_future_count(tmp_path):
    """Their own part is in scores, ablations and pictures, and goes with what is replaced."""
    expected, table = measured(tmp_path / "context", Oracle)
    index, joint_table = measured(tmp_path / "future", Joint)
    pd.testing.assert_frame_equal(joint_table, table)
    assert index["protocol"].pop("scene_and_object") == "of the context and of the true future"
    assert expected["protocol"].pop("scene_and_object") is None
    for key in ("ablations", "protocol", "views"):
        assert index[key] == expected[key]
    for view in index["views"]:
        for name in ("scene", "mask", "motion"):
            pictures = (
                tmp_path / side / "semantics" / view[name] for side in ("context", "future")
            )
            assert len({picture.read_bytes() for picture in pictures}) == 1


@pytest.mark.parametrize("kind", ["rsvp", "joint"])
@torch.no_grad()
def test_intact_frames_are_those_of_the_reconstruction(kind):
    torch.manual_seed(0)
    arguments = autoencoder_arguments(structured(Autoencoder, {"kind": kind, "width": 16}))
    model = make_autoencoder(**arguments).eval()
    stored = torch.randint(0, 256, (1, CONTEXT + 3, 32, 32, 3), dtype=torch.uint8)
    own = semantics.encode(model, stored, CONTEXT, [CONTEXT, CONTEXT + 2])
    frames = model.decode(own.future, own.context).frames
    clips = to_float(stored.permute(0, 1, 4, 2, 3))
    torch.testing.assert_close(frames, model.reconstruct_future(clips, CONTEXT)[:, [0, 2]])


def test_other_latents_are_refused(tmp_path):
    class Frames(Oracle):
        scopes: ClassVar = {"frame": None}

    with pytest.raises(UserError, match="its latents are frame"):
        measured(tmp_path, Frames)


def test_networks_compute_in_float32(tmp_path):
    """Neither convolutions nor matrix products of the autoencoder are in TF32."""
    flags = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [flag.allow_tf32 for flag in flags]
    seen = set()

    class Noted(Oracle):
        def decode(self, motion, context) -> DecodedFrames:
            seen.add(tuple(flag.allow_tf32 for flag in flags))
            return super().decode(motion, context)

    try:
        for flag in flags:  # as on a GPU
            flag.allow_tf32 = True
        measured(tmp_path, Noted)
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value
    assert seen == {(False, False)}


def test_one_group_is_mixed_with_nothing(tmp_path):
    _, table = measured(tmp_path, Oracle, groups=["g"] * 7)
    assert not [name for name in table if "other" in name or "swap" in name]
    assert table["scene_mean_psnr"].mean() > 0


def read_picture(path: Path) -> np.ndarray:
    """A PNG as RGB, (H, W, 3)."""
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def test_views_show_the_layers(tmp_path):
    index, _ = measured(tmp_path, Oracle)
    assert [view["clip"] for view in index["views"]] == [f"v{n}@000000" for n in range(1, 7)]
    folder = tmp_path / "semantics"
    assert read_picture(folder / index["legend"]).shape == (65, 65, 3)
    view = index["views"][1]
    shown = {name: read_picture(folder / view[name]) for name in ("scene", "mask", "motion")}
    video = generate_video(SETTINGS, (SIZE, SIZE), 2, CONTEXT + FUTURE)
    mask = object_mask(video.alpha)[LAST] > 0
    assert np.array_equal(shown["scene"], video.background)
    assert np.array_equal(shown["mask"][..., 0] == 255, mask)
    assert (shown["motion"][~mask] == 255).all() and (shown["motion"][mask].min(axis=1) < 250).all()
    labels = semantics.object_labels(video.alpha[LAST])
    moved = semantics.rigid_displacement(labels, video.positions[[LAST, -1]])
    assert view["motion_pixels"] == pytest.approx(np.hypot(*moved[0]).max(), rel=0.15)


def test_the_legend_shows_each_direction_where_it_points():
    """The colour of a motion stands in the disc at the place where that motion leads."""
    disc = motion_legend()
    assert (disc[32, 32] == 255).all() and (disc[0, 0] == 255).all()
    for x, y in ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)):
        colour, largest = colours_of_motion(torch.tensor([x, y]).view(2, 1, 1) * 3.0)
        assert largest == 3.0
        there = disc[round(32 + 32 * y), round(32 + 32 * x)].astype(int)
        assert np.abs(there - colour[0, 0]).max() <= 3


@pytest.mark.parametrize("seed", range(4))
def test_composite_is_what_the_renderer_paints(seed, monkeypatch):
    """The objects of one video over the background of another, against painting them there."""
    video, other = (
        generate_video(SETTINGS, (SIZE, SIZE), seed, 6),
        generate_video(SETTINGS, (SIZE, SIZE), seed + 100, 1),
    )
    own = generated.background_texture

    def elsewhere(random, x, y, size):
        own(random, x, y, size)  # draws as many numbers, so that the objects stay as they are
        return other.background / 255.0

    monkeypatch.setattr(generated, "background_texture", elsewhere)
    painted = generate_video(SETTINGS, (SIZE, SIZE), seed, 6).frames
    made = semantics.composite(video.frames, vars(video), other.background)
    assert np.abs(made.astype(int) - painted).max() <= 2
    assert np.abs(made.astype(int) - video.frames).max() > 40


def test_rigid_displacement_leads_to_the_same_colours():
    """The later frame shows the colour of a pixel of a lone object where that goes."""
    for seed in range(6):
        video = generate_video(SETTINGS.model_copy(update={"objects": 1}), (64, 64), seed, 9)
        labels = semantics.object_labels(video.alpha[0])
        moved = semantics.rigid_displacement(labels, video.positions)
        assert (moved[:, :, labels == 0] == 0).all()
        y, x = np.nonzero(cv2.erode(video.alpha[0, 0], np.ones((5, 5))) == 255)
        to_x, to_y = x + moved[-1, 0, y, x], y + moved[-1, 1, y, x]
        seen = (to_x > 0) & (to_x < 63) & (to_y > 0) & (to_y < 63)
        places = (to[seen].astype(np.float32)[None] for to in (to_x, to_y))
        there = cv2.remap(video.frames[8], *places, cv2.INTER_LINEAR)[0]
        colours = video.frames[0, y[seen], x[seen]].astype(float)
        unmoved = video.frames[8, y[seen], x[seen]]
        assert len(colours) > 50
        assert np.abs(colours - there).mean() < 4 < 20 < np.abs(colours - unmoved).mean()


def test_the_topmost_object_has_the_pixel():
    alpha = np.zeros((2, 1, 3), np.uint8)
    alpha[0, 0, :2], alpha[1, 0, 1:] = 255, 128
    assert semantics.object_labels(alpha).tolist() == [[1, 2, 2]]


def test_motion_error_of_a_known_mistake():
    """Half a pixel too far to the right is an end-point error of a half."""
    video = generate_video(SETTINGS, (SIZE, SIZE), 1, 8)
    labels = semantics.object_labels(video.alpha[0])
    right = semantics.rigid_displacement(labels, video.positions)
    half = right.reshape(7, 2, SIZE // 2, 2, SIZE // 2, 2).mean((3, 5))
    half[:, 0] += 0.5
    truth = vars(video) | {"mask": object_mask(video.alpha)}
    scores = semantics.motion_scores(half, truth)
    assert scores["motion_error"] == pytest.approx(0.5)
    still = semantics.motion_scores(np.zeros_like(half), truth)
    assert still["motion_error"] == pytest.approx(scores["motion_error_still"])


def test_intersection_over_union():
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert np.isnan(semantics.iou(one, other))
    one[:2], other[1:3] = True, True
    assert semantics.iou(one, other) == pytest.approx(4 / 12)


def test_partners_are_of_other_groups():
    groups = ["a", "a", "b", "b", "b", "c"]
    found = semantics.partners(groups)
    assert found is not None and all(groups[i] != groups[j] for i, j in enumerate(found))
    assert semantics.partners(["a", "a"]) is None
    assert semantics.partners([]) is None


def test_scored_frames_reach_to_the_end():
    assert semantics.scored_frames(4, 16) == [6, 9, 12, 15]
    assert semantics.scored_frames(4, 6) == [4, 5]
    assert semantics.scored_frames(1, 30)[-1] == 29
