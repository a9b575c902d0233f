"""The seeded weights that the official I3D graph was run with: see shared/reference/README.md."""

import zlib

import numpy as np

from rsvp.metrics import i3d


def seeded_variables() -> dict[str, np.ndarray]:
    """Variables by TensorFlow's names, float32."""
    variables = {}
    for name, tensor in i3d.manifest().items():
        random, shape = np.random.RandomState(zlib.crc32(name.encode())), tensor["shape"]
        if name.endswith("conv_3d/w"):
            values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        elif name.endswith("moving_variance"):
            values = random.uniform(0.5, 1.5, shape)
        else:
            values = random.standard_normal(shape) * 0.1
        variables[name] = values.astype(np.float32)
    return variables
