"""Random generators keyed by (seed, step, purpose)."""

import torch


def generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """Return a CPU generator that is a function of (seed, step, purpose) alone."""
    # SplitMix64's increment spreads neighbouring seeds and steps over all 64 bits.
    mixed = hash_text(purpose)
    for value in (seed, step):
        mixed = ((mixed ^ value) * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed % 2**63)


def hash_text(text: str) -> int:
    """Return a fixed 64-bit number for a text (FNV-1a)."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value
