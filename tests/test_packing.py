"""Several latents as one tensor."""

import torch

from rsvp.diffusion.packing import Packing


def test_one_latent_is_left_as_it_is():
    packing, value = Packing({"motion": [2, 3, 4, 4]}), torch.rand(5, 2, 3, 4, 4)
    assert packing.shape == (2, 3, 4, 4)
    assert packing.pack({"motion": value}) is value
    assert packing.unpack(value)["motion"] is value


def test_several_come_back_in_their_shapes():
    shapes = {"b": (1, 2, 4, 4), "a": (3, 2, 1, 4), "c": (5,)}
    latents = {name: torch.rand(6, *shape) for name, shape in shapes.items()}
    packing = Packing(shapes)
    packed = packing.pack(dict(reversed(latents.items())))
    assert packed.shape == (6, *packing.shape) == (6, 32 + 24 + 5)
    assert torch.equal(packed[:, :32], latents["b"].flatten(1))
    for name, value in packing.unpack(packed).items():
        assert torch.equal(value, latents[name])


def test_a_network_is_asked_by_name_and_answers_packed():
    shapes = {"a": (1, 2), "b": (3,)}
    packing = Packing(shapes)
    seen = {"still": torch.ones(4, 1)}

    def denoiser(noisy, time, observed):
        assert observed is seen
        return {"b": 2 * noisy["b"].half(), "a": noisy["a"] + time.view(-1, 1, 1)}

    packed = torch.rand(4, 5)
    answer = packing.network(denoiser, seen)(packed, torch.ones(4))
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer[:, :2], packed[:, :2] + 1)
    torch.testing.assert_close(answer[:, 2:], 2 * packed[:, 2:], atol=1e-3, rtol=1e-3)
