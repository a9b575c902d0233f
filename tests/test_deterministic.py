"""With `compute.deterministic`, training steps call no operator that has none on a GPU.

Steps run on a CPU, where tensors say that they are on a GPU, so that code takes the ways it takes
there; the gradient of an operator that PyTorch would refuse is recognised by its name.
"""

import re

import pytest
import torch
from lightning_fabric import Fabric
from torch.utils._python_dispatch import TorchDispatchMode

from rsvp.config.load import structured
from rsvp.config.schema import Autoencoder, ObservedFrames
from rsvp.data.micro_batches import cut
from rsvp.diffusion.objectives import OBJECTIVES, denoising_loss
from rsvp.models.autoencoders.kinds import autoencoder_arguments, make_autoencoder
from rsvp.models.denoiser import LatentDenoiser
from rsvp.training.adversarial import (
    Discriminators,
    discriminator_step,
    draw_consecutive,
    generator_step,
)
from rsvp.training.augmentation import AdaptiveAugmentation
from rsvp.training.processes import Processes
from rsvp.training.reconstruction import clip_parts, draw_reconstruction, reconstruction_step

# That raise: https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html
REFUSED = re.compile(
    r"(reflection_pad\dd|(adaptive_|fractional_)max_pool\dd|_?adaptive_avg_pool\dd|avg_pool3d"
    r"|(_?upsample_)?(linear1d|bilinear2d|bicubic2d|trilinear3d)(_aa)?|grid_sampler_\dd)_backward"
    r"|max_unpool\dd|nll_loss\w*_forward|_?ctc_loss_backward|put_?|histc|median|scatter_reduce_?"
)
KINDS = {
    "rsvp": {"width": 16},
    "joint": {"kind": "joint", "width": 16},
    "triplane": {"kind": "triplane", "width": 16, "channels": 4, "regulariser": {"kind": "vq"}},
    "frames": {"kind": "frames", "width": 16, "channels": 4, "regulariser": {"kind": "kl"}},
}
CONTEXT = 2


class Refusing(TorchDispatchMode):
    """Raises as PyTorch does on a GPU."""

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        name = operator.overloadpacket.__name__
        if REFUSED.fullmatch(name):
            raise RuntimeError(f"{name} does not have a deterministic implementation")
        return operator(*arguments, **(named or {}))


@pytest.fixture(autouse=True)
def on_a_gpu(monkeypatch):
    """Deterministic algorithms, and tensors that say that they are on a GPU."""
    for name, answer in (("is_cuda", True), ("is_cpu", False)):
        monkeypatch.setattr(torch.Tensor, name, property(lambda self, a=answer: a), raising=False)
    torch.use_deterministic_algorithms(True)
    with Refusing():
        yield
    torch.use_deterministic_algorithms(False)


def clips(size=32):
    return torch.randint(256, (2, 6, 3, size, size), dtype=torch.uint8, generator=generator(1))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def autoencoder(kind):
    torch.manual_seed(0)
    return make_autoencoder(**autoencoder_arguments(structured(Autoencoder, KINDS[kind])))


FABRIC = Fabric(accelerator="cpu", devices=1)


@pytest.mark.parametrize("kind", KINDS)
def test_pretraining(kind):
    network = autoencoder(kind)
    optimizer = FABRIC.setup_optimizers(torch.optim.AdamW(network.parameters()))
    drawn = draw_reconstruction(network, clips().shape, CONTEXT, torch.tensor([4, 1]), generator(0))
    parts = clip_parts(cut(2, 1), [clips()], CONTEXT, drawn)
    losses = reconstruction_step(
        FABRIC, Processes(), network, optimizer, parts, l1=1.0, l2=1.0, lpips=0.0, perceptual=None
    )
    assert losses["loss"].isfinite()


@pytest.mark.parametrize("kind", KINDS)
def test_finetuning(kind):
    """With the sliced Wasserstein loss, the adaptive weight, R1 and all augmentations."""
    network, augmentation = autoencoder(kind), AdaptiveAugmentation(0.6, 100)
    augmentation.p.fill_(1.0)
    discriminators = Discriminators(8, augmentation)
    optimizer, other = (torch.optim.Adam(x.parameters()) for x in (network, discriminators))
    drawn = draw_consecutive(network, clips().shape, ObservedFrames(first=CONTEXT), 2, generator(0))
    parts, one = clip_parts(cut(2, 1), [clips()], CONTEXT, drawn), Processes()
    fakes, reals, losses = generator_step(
        FABRIC, one, network, discriminators, optimizer, parts, 0, 0, l1=1.0, l2=1.0,
        lpips=0.0, perceptual=None, patches=1.0, adversarial=1.0, adaptive=True,
        feature_matching=1.0,
    )  # fmt: skip
    losses |= discriminator_step(FABRIC, one, discriminators, other, parts, fakes, reals, r1=1.0)
    assert all(value.isfinite() for value in losses.values())


def test_denoising():
    shapes = {"motion": [2, 4, 8, 8]}
    network = LatentDenoiser(shapes, shapes, 32, 1, heads=2, patch=2, frames_per_token=2)
    data, noise = torch.randn(2, 3, 2, 4, 8, 8)[:, :2]
    wanted = torch.rand(2, 2, 4, 8, 8) < 0.5

    def packed(x, time):
        return network({"motion": x}, time, {"motion": data})["motion"]

    loss = denoising_loss(packed, OBJECTIVES["noise"], data, noise, torch.rand(2), wanted)
    loss.backward()
    assert loss.isfinite()


def test_what_pytorch_refuses_is_recognised():
    image = torch.rand(1, 1, 4, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="reflection_pad2d_backward does not have"):
        torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect").sum().backward()
    with pytest.raises(RuntimeError, match="grid_sampler_2d_backward does not have"):
        grid = torch.zeros(1, 2, 2, 2)
        torch.nn.functional.grid_sample(image, grid, align_corners=False).sum().backward()
