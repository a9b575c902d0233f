"""Orthogonal steps: their matrices, PyTorch's own for matrices, AdamW for the rest, resuming."""

import pytest
import torch
from torch import nn

from rsvp.training.muon import Muon, orthogonal
from rsvp.training.state import load_part, save_part


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 9)])
def test_singular_vectors_stay_and_values_are_near_1(shape):
    matrices = random(3, *shape)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ orthogonal(matrices) @ right.mT
    off_diagonal = inner - torch.diag_embed(inner.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 1e-9
    large = values > 0.02 * matrices.norm(dim=(1, 2))[:, None]
    found = inner.diagonal(dim1=1, dim2=2)[large]
    assert found.min() > 0.65 and found.max() < 1.25


def test_no_gradient_no_direction():
    assert torch.equal(orthogonal(torch.zeros(1, 4, 6)), torch.zeros(1, 4, 6))


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (32, 2, 1, 1)])
def test_convolutions_step_as_torch_steps_their_matrices(shape):
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    own = nn.Parameter(random(*shape, seed=1).float().to(memory_format=torch.channels_last))
    peer = nn.Parameter(own.detach().flatten(1).clone())
    before = peer.detach().clone()
    optimizers = (
        Muon([own], lr=0.1, momentum=0.8, weight_decay=0.3),
        torch.optim.Muon([peer], lr=0.1, momentum=0.8, weight_decay=0.3,
                         adjust_lr_fn="match_rms_adamw"),
    )  # fmt: skip
    for step in range(4):
        gradient = random(*shape, seed=2 + step).float()
        own.grad, peer.grad = gradient, gradient.flatten(1).clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = (peer - before).abs().mean()
    # PyTorch multiplies in bfloat16.
    assert (own.flatten(1) - peer).abs().mean() < 0.01 * moved


def test_gains_and_scalars_step_as_adamw():
    values = [nn.Parameter(random(*shape).float()) for shape in ((7,), ())]
    copies = [nn.Parameter(value.detach().clone()) for value in values]
    settings = {"lr": 0.01, "betas": (0.9, 0.98), "weight_decay": 0.1}
    optimizers = (
        Muon([*values, nn.Parameter(torch.ones(2, 2))], **settings),
        torch.optim.AdamW(copies, **settings),
    )
    for step in range(3):
        for value, copy in zip(values, copies, strict=True):
            value.grad = random(*value.shape, seed=step).float()
            copy.grad = value.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for value, copy in zip(values, copies, strict=True):
        assert torch.equal(value, copy)


def test_restored_steps_have_the_same_bits():
    def network() -> nn.Module:
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8), nn.Conv2d(8, 8, 3))
        return layers.to(memory_format=torch.channels_last)

    def steps(module: nn.Module, optimizer: Muon, first: int, last: int) -> None:
        for step in range(first, last):
            optimizer.zero_grad()
            images = random(2, 3, 9, 9, seed=step).float()
            module(images.to(memory_format=torch.channels_last)).square().mean().backward()
            optimizer.step()

    whole, stopped, resumed = network(), network(), network()
    steps(whole, Muon(whole.parameters()), 0, 4)
    optimizer = Muon(stopped.parameters())
    steps(stopped, optimizer, 0, 2)
    tensors: dict[str, torch.Tensor] = {}
    layout = save_part(optimizer, "optimizer", tensors)
    resumed.load_state_dict(stopped.state_dict())
    restored = Muon(resumed.parameters())
    load_part(restored, "optimizer", {k: v.contiguous() for k, v in tensors.items()}, layout)
    steps(resumed, restored, 2, 4)
    for value, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(value, expected)
