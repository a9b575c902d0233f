"""The optimiser of stage one: orthogonal steps of convolutions, AdamW for all other weights."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

STEPS = 5  # of the iteration
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan et al.
ROOT_MEAN_SQUARE = 0.2  # of a step's values, as AdamW's steps have (Liu et al., section 2.2)


class Muon(torch.optim.AdamW):
    """Steps along the momentum's nearest matrix with equal singular values.

    That is for weights of convolutions, (outputs, …), as matrices of one row per output: Jordan et
    al., "Muon: an optimizer for hidden layers in neural networks", 2024, scaled as in Liu et al.,
    "Muon is scalable for LLM training", 2025, equation 4. Gains, biases and scalars take AdamW. One
    learning rate and one weight decay hold for both.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        momentum: float = 0.9,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
    ) -> None:
        matrices, others = [], []
        for parameter in parameters:
            (matrices if parameter.ndim > 1 else others).append(parameter)
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others}]
        super().__init__(groups, lr=lr, betas=betas, weight_decay=weight_decay)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient; those of matrices' are used up."""
        group = self.param_groups[0]
        rate, decay = group["lr"], group["weight_decay"]
        alike = defaultdict(list)  # one product for all matrices of a shape
        for weight in group["params"]:
            if weight.grad is not None:
                alike[weight.shape[0], weight[0].numel()].append(weight)
        for (height, width), weights in alike.items():
            moments = torch.stack([self.averaged(weight).flatten(1) for weight in weights])
            size = ROOT_MEAN_SQUARE * max(height, width) ** 0.5
            for weight, direction in zip(weights, orthogonal(moments), strict=True):
                weight.mul_(1.0 - rate * decay)
                weight.add_(direction.view(weight.shape), alpha=-rate * size)
                weight.grad = None  # AdamW leaves it alone
        super().step()

    def averaged(self, weight: Tensor) -> Tensor:
        """Move the momentum towards the gradient; return one such step ahead of it (Nesterov)."""
        gradient, state = weight.grad, self.state[weight]
        assert gradient is not None
        if not state:  # by AdamW's names, which reads them
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(gradient)
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1.0 - self.momentum)
        return gradient.lerp(state["exp_avg"], self.momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (N, H, W) whose singular values are near 1 in place of their own.

    Five steps of a polynomial of odd degree take values from 0.01 of the Frobenius norm on to 0.7
    to 1.2; an exact result is no better (Jordan et al.).
    """
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x if wide else x.mT
