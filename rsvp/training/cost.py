"""Cost of a model, for the run records: operations per clip and clips per second."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from rsvp.data.clips import Clips
from rsvp.models.autoencoders.base import ClipAutoencoder


@torch.no_grad()
def forward_flops(forward: Callable[[], object]) -> int:
    """Count the floating-point operations of one call of `forward`; a multiply-add counts as two.

    Matrix products, convolutions and attention are counted, element-wise operations are not.
    """
    with FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops()


def autoencoder_flops(autoencoder: ClipAutoencoder, clips: Clips) -> int:
    """Count the operations of encoding one whole clip and decoding its future frames."""
    device = next(autoencoder.parameters()).device
    clip = torch.zeros(1, clips.clip_frames, *clips.shape, device=device).permute(0, 1, 4, 2, 3)

    def forward() -> None:
        autoencoder.reconstruct_future(clip, clips.context_frames)

    return forward_flops(forward)


def per_second(samples: int, seconds: float) -> float | None:
    """Return `samples` per second with three digits; None where no time has passed."""
    return float(f"{samples / seconds:.3g}") if seconds > 0 else None
