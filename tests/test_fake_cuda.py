"""All that runs on a GPU, on a pretended one: a tensor that stays on the CPU raises.

So does reading a value, for which a real GPU makes the program wait. Gradients cannot be computed
there; `test_deterministic.py` knows those that have no kernel.
"""

import functools
from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from rsvp.config.load import structured
from rsvp.config.schema import SAMPLERS, Autoencoder, ObservedFrames
from rsvp.data.clips import Clips
from rsvp.data.contexts import PREFIX, contexts_of
from rsvp.data.latents import LatentStatistics
from rsvp.data.layout import Layout
from rsvp.data.micro_batches import cut
from rsvp.data.pixels import to_float
from rsvp.diffusion import samplers
from rsvp.diffusion.objectives import OBJECTIVES
from rsvp.diffusion.packing import Packing
from rsvp.diffusion.predictor import TrainedPredictor, predict_block
from rsvp.diffusion.samplers import Sampling
from rsvp.metrics import definitions, ensemble, frame, perceptual, semantics
from rsvp.metrics.i3d import I3D
from rsvp.metrics.perceptual import PerceptualDistance
from rsvp.metrics.self_test import seeded_variables
from rsvp.metrics.sliced_wasserstein import sliced_wasserstein
from rsvp.models.autoencoders.kinds import autoencoder_arguments, make_autoencoder
from rsvp.models.denoiser import LatentDenoiser
from rsvp.models.rolling import roll
from rsvp.models.warping import (
    backward_displacement,
    fill,
    refine,
    sample,
    sample_by_gathering,
    splat,
)
from rsvp.stages.cache_latents import encode
from rsvp.training.adversarial import (
    Discriminators,
    draw_consecutive,
    generator_losses,
    hinge_loss,
    judged,
)
from rsvp.training.augmentation import Transformation
from rsvp.training.denoising import diffusion_loss, draw_noise
from rsvp.training.muon import Muon
from rsvp.training.processes import Processes
from rsvp.training.reconstruction import (
    ClipPart,
    draw_reconstruction,
    reconstruct_batch,
    reconstruction_loss,
)
from rsvp.training.validation import ReconstructionValidator
from tests.fake_cuda import Mode, moved, on_gpu

SIZES = (64, 256)
CONTEXT, FRAMES = 2, 6
PLAIN = {"width": 16, "channels": 4}
KINDS = {
    "rsvp": {"width": 16},
    "joint": {"kind": "joint", "width": 16},
    "triplane": {"kind": "triplane", **PLAIN},
    "triplane, fsq": {"kind": "triplane", **PLAIN, "regulariser": {"kind": "fsq"}},
    "frames, kl": {"kind": "frames", **PLAIN, "regulariser": {"kind": "kl"}},
    "frames, vq": {"kind": "frames", **PLAIN, "regulariser": {"kind": "vq", "codes": 32}},
}
ONE_EACH = ("rsvp", "joint", "triplane", "frames, kl")
CONTEXTS = contexts_of(CONTEXT, {"back": ObservedFrames(last=3)})


GPU = Mode()  # one for all tests, which share networks


@pytest.fixture(autouse=True)
def gpu():
    with GPU:
        yield GPU


@functools.cache
def autoencoder(kind):
    with on_gpu():
        return make_autoencoder(**autoencoder_arguments(structured(Autoencoder, KINDS[kind])))


def stored(size, count=2):
    """As a batch comes from the CPU."""
    return torch.zeros(count, FRAMES, 3, size, size, dtype=torch.uint8).to("cuda")


def clips(size, count=2):
    return to_float(stored(size, count))


def part(size, drawn):
    return ClipPart(cut(2, 1)[0], stored(size), CONTEXT, drawn)


def random():
    return torch.Generator().manual_seed(0)


def check(*tensors):
    assert all(tensor.device.type == "cuda" for tensor in tensors)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_autoencoders_train(kind, size, monkeypatch):
    """Forward, with their losses and optimiser; the larger ones in bfloat16."""
    network = autoencoder(kind).train()
    if "vq" in kind:
        # The library reads whether codes are initialised, and in training which are expired.
        codes = type(network.regulariser.codebook._codebook)
        monkeypatch.setattr(codes, "init_embed_", lambda *given, **named: None)
        network.eval()
    optimizer = Muon(network.parameters(), lr=1e-3)
    with unset_fake_temporarily():  # with values, as on the CPU
        targets = torch.tensor([4, 1, 5])
        drawn = draw_reconstruction(network, (2, FRAMES, 3, size, size), CONTEXT, targets, random())
    drawn = drawn.to("cuda")
    with torch.autocast("cuda", torch.bfloat16, enabled=size == SIZES[1]):
        (result,) = reconstruct_batch(Processes(), network, [part(size, drawn)])
        loss, losses = reconstruction_loss(result)
    check(loss, *losses.values())
    matrices = optimizer.param_groups[0]["params"]
    for matrix in matrices:  # backward needs a driver
        matrix.grad = torch.zeros_like(matrix)
    optimizer.step()
    check(*matrices, *(optimizer.state[matrix]["exp_avg"] for matrix in matrices))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_latents_are_cached(kind, size):
    latents = encode(autoencoder(kind).eval(), clips(size), CONTEXTS)
    check(*latents.values())
    assert {name.partition("/")[0] for name in latents if "/" in name} == {"back"}


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_adversarial_losses(size):
    network = autoencoder("frames, kl")
    with on_gpu():
        discriminators = Discriminators(8)
    drawn = draw_consecutive(network, stored(size).shape, CONTEXTS[PREFIX], 2, random()).to("cuda")
    (result,) = reconstruct_batch(Processes(), network, [part(size, drawn)])
    change = Transformation(True, 1, (3, -2), 0.1, 0.9, 1.1, (7, 9))
    shown = (result.predicted, result.frames)
    fake, real = (torch.stack([change(clip) for clip in x]) for x in shown)
    answers = judged(discriminators, [fake, real])
    losses = generator_losses(*reconstruction_loss(result), *answers)
    distance = sliced_wasserstein(result.predicted, result.frames, 3)
    check(*losses.values(), hinge_loss(*answers), distance)


def predictor(kind, objective, sampling, size, contexts):
    """A predictor whose latents have the shapes that the autoencoder gives them."""
    network = autoencoder(kind).eval()
    latents, _ = network.encode_clip(clips(size, 1), CONTEXT)
    scopes = {name: scope.value for name, scope in network.scopes.items()}
    cells = {name: list(value.shape[-3:]) for name, value in latents.items()}
    contexts = {name: {"first": c.first, "last": c.last} for name, c in contexts.items()}
    layout = Layout(scopes, network.over_time, contexts, FRAMES, cells)
    batch = layout.arrange(latents, PREFIX, 1)
    with on_gpu():
        denoiser = LatentDenoiser(
            **batch.shapes(), width=32, depth=1, heads=2, patch=2, frames_per_token=2
        )
    statistics = {k: LatentStatistics([0.0] * s[0], [1.0] * s[0]) for k, s in cells.items()}
    packing = Packing(batch.shapes()["targets"])
    objective = type(OBJECTIVES[objective])()  # of its own, since it may keep tables
    return TrainedPredictor(network, denoiser, statistics, layout, packing, objective, sampling)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ONE_EACH)
def test_denoisers_train(kind, size):
    """With each objective, dropped contexts, and masks of several contexts."""
    made = predictor(kind, "flow", Sampling("heun", 2), size, CONTEXTS)
    torch.optim.AdamW(made.denoiser.parameters(), fused=True)
    latents, _ = made.autoencoder.encode_clip(clips(size), CONTEXT)
    latents = {name: value.detach().cpu() for name, value in latents.items()}
    batch = made.layout.arrange(latents, PREFIX, 2)
    for name in OBJECTIVES:
        objective = type(OBJECTIVES[name])()  # of its own, since it may keep tables
        drawn = draw_noise(batch, objective, random(), uniform=False, mean=0.0, deviation=1.0)
        drawn = drawn._replace(dropped=torch.tensor([True, False])).to("cuda")
        with torch.autocast("cuda", torch.bfloat16):
            check(diffusion_loss(made.denoiser, batch.to("cuda"), objective, drawn))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kind", "sampler", "objective"),
    [("rsvp", "heun", "flow"), ("joint", "ddim", "noise"), ("triplane", "dpm-solver", "edm"),
     ("frames, kl", "euler", "v")],
)  # fmt: skip
@torch.no_grad()
def test_predictors_sample(kind, sampler, objective, size, monkeypatch):
    """Rolling forward, in a limited interval of guidance, with several trajectories at once."""
    times = samplers.sampling_times

    def with_values(*arguments):
        with unset_fake_temporarily():
            fresh = type(arguments[0])()
            return list(times(fresh, *arguments[1:]))

    monkeypatch.setattr(samplers, "sampling_times", with_values)
    sampling = Sampling(sampler, 2, eta=0.5, guidance=2.0, guidance_high=0.9)
    made = predictor(kind, objective, sampling, size, {PREFIX: CONTEXTS[PREFIX]})
    context = torch.zeros(1, CONTEXT, 3, size, size, dtype=torch.uint8).to("cuda")
    block = partial(predict_block, made, 0, [0])  # clips are sampled one after the other
    with torch.autocast("cuda", torch.bfloat16):
        predicted = roll(block, context, 2, FRAMES)
    check(predicted)
    assert predicted.shape == (1, 2, FRAMES, 3, size, size) and predicted.dtype == torch.uint8


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_metrics(size, gpu):
    """Frame metrics, the validation of autoencoders, and networks that score."""
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8).to("cuda")
    check(frame.psnr(images, images), frame.ssim(images, images), frame.mse(images, images))
    predicted, other = torch.zeros(2, 2, 3, size, size, 3, dtype=torch.uint8).to("cuda")
    check(ensemble.crps(predicted, other[0]), ensemble.energy_score(predicted, other[0]))
    check(ensemble.mean_error(predicted, other[0]), ensemble.diversity(predicted))


@pytest.mark.parametrize("backbone", ["alex", "squeeze", "vgg"])
@torch.no_grad()
def test_lpips(backbone, gpu):
    network = PerceptualDistance.__new__(PerceptualDistance)
    nn.Module.__init__(network)
    with unset_fake_temporarily():
        network.network = perceptual._empty_network(backbone).to_empty(device="cpu")
    moved(gpu, network)
    images = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    assert definitions.lpips(images, images, network).shape == (2,)
    validator = ReconstructionValidator(None, [], network, torch.device("cuda"))
    check(validator.distance(clips(64), clips(64)))


@torch.no_grad()
def test_i3d(gpu):
    with unset_fake_temporarily():
        network = I3D(seeded_variables())
    features = moved(gpu, network).features(torch.zeros(1, 9, 64, 64, 3, dtype=torch.uint8))
    check(features)


class Held(Clips):
    """Clips of a dataset, all black."""

    context_frames = CONTEXT

    def __init__(self, size):
        self.size = size

    def frames(self, i, start=0, stop=None):
        return torch.zeros(FRAMES, self.size, self.size, 3, dtype=torch.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ONE_EACH)
def test_autoencoders_are_validated(kind, size):
    validator = ReconstructionValidator(Held(size), [0, 1], None, torch.device("cuda"))
    scores = validator.measure(autoencoder(kind).eval())
    assert scores.watched.shape == scores.psnr.shape == (2,)


@pytest.mark.parametrize("kind", ["rsvp", "joint"])
@torch.no_grad()
def test_semantics(kind):
    network = autoencoder(kind).eval()
    frames = stored(64).permute(0, 1, 3, 4, 2)
    own = semantics.encode(network, frames, CONTEXT, [3, 5])
    means = {
        name: torch.zeros(value.shape[-3], 1, 1).to("cuda")
        for name, value in network.encode_clip(clips(64), CONTEXT)[0].items()
    }
    for context, motion in semantics.ablations(network, own, [1, 0], means).values():
        check(network.decode(motion, context).frames)


def test_moving_pixels():
    """Splatting and sampling, as flow extrapolation and the decoder use them."""
    image, displacement = (torch.zeros(2, n, 64, 64).to("cuda") for n in (3, 2))
    check(splat(image, displacement), sample(image, displacement, "bicubic"))
    check(*backward_displacement(image[:, :1], displacement, scale=2))
    check(sample_by_gathering(image, displacement), fill(image, image[:, :1]))
    check(refine(displacement, image, image, image[:, :1]))


def test_all_samplers_are_among_these():
    assert set(SAMPLERS) == {"heun", "ddim", "dpm-solver", "euler"}


def test_a_tensor_on_the_cpu_and_a_read_value_raise():
    there, here = torch.zeros(3).to("cuda"), torch.zeros(3)
    with pytest.raises(RuntimeError, match=r"device.*cuda:0.*cpu"):
        there + here
    with pytest.raises(RuntimeError, match="a value of a tensor on cuda:0 is read"):
        float(there[0])
    with pytest.raises(RuntimeError, match=r"device.*cuda:0.*cpu"):
        autoencoder("rsvp").encode_clip(torch.zeros(1, FRAMES, 3, 64, 64), CONTEXT)
