"""StyleGAN's network against a slow one in float64, and against the facts of the published weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from comface_bench.comface.synthesis.stylegan import layers
from comface_bench.comface.synthesis.stylegan.network import (
    StyleGanNetwork,
    StyleGanShape,
    check_constants,
    draw_weights,
)
from comface_bench.core.errors import WeightsFormatError


@pytest.fixture(scope="module")
def published():
    with torch.device("meta"):
        return StyleGanNetwork()


def test_the_published_sizes_are_met_exactly(published):
    def total(*parts):
        return sum(
            p.numel() for name, p in published.named_parameters() if any(part in name for part in parts)
        )

    assert total("") == 26_219_627
    assert total("mapping") == 2_101_248
    assert total("first_layer") == 8_192
    assert total("style_mod") == 5_220_288
    assert total("apply_noise") == 5_088
    assert total("epilogue.bias") == 5_088
    assert total("output") == 7_659
    convolutions = [
        p.numel()
        for name, p in published.synthesis.named_parameters()
        if name.startswith("layer") and name.count(".") <= 2 and name.endswith("weight")
    ]
    assert (len(convolutions), sum(convolutions)) == (17, 18_872_064)
    noise = [t.numel() for name, t in published.named_buffers() if name.endswith("noise")]
    assert sum(noise) == 2_796_192


def test_names_and_shapes_are_those_of_the_port(published):
    channels = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
    expected = {
        "truncation.w_avg": (512,),
        "synthesis.lod": (),
        "synthesis.layer0.first_layer": (1, 512, 4, 4),
    }
    for i in range(8):
        expected[f"mapping.dense{i}.linear.weight"] = (512, 512)
        expected[f"mapping.dense{i}.wscale.bias"] = (512,)
    for i in range(18):
        size = 2 ** (i // 2 + 2)
        c, before = channels[size], channels[max(4, size // 2)]
        name = f"synthesis.layer{i}"
        expected |= {
            f"{name}.epilogue.apply_noise.weight": (c,),
            f"{name}.epilogue.apply_noise.noise": (1, 1, size, size),
            f"{name}.epilogue.bias": (c,),
            f"{name}.epilogue.style_mod.dense.linear.weight": (2 * c, 512),
            f"{name}.epilogue.style_mod.dense.wscale.bias": (2 * c,),
        }
        if i in (10, 12, 14, 16):
            expected[f"{name}.weight"] = (3, 3, before, c)
        elif i:
            expected[f"{name}.conv.weight"] = (c, c if i % 2 else before, 3, 3)
        if i % 2 == 0 and i:
            expected[f"{name}.blur.kernel"] = (c, 1, 3, 3)
    for i, c in enumerate(channels.values()):
        expected[f"synthesis.output{i}.conv.weight"] = (3, c, 1, 1)
        expected[f"synthesis.output{i}.bias"] = (3,)
    assert len(expected) == 152
    assert {name: tuple(tensor.shape) for name, tensor in published.state_dict().items()} == expected
    assert StyleGanShape.of(published.state_dict()) == StyleGanShape()
    assert (published.resolution, published.layers) == (1024, 18)


def test_images_equal_the_slow_reference(small, reference, arrays):
    z = torch.randn(2, 512, generator=torch.Generator().manual_seed(1))
    tensors = arrays(small)
    w = reference.mapping(tensors, z.double().numpy())
    with torch.inference_mode():
        assert np.abs(small.mapping(z).numpy() - w).max() < 1e-5 * np.abs(w).max()
    # A code of its own for each layer and image.
    codes = torch.randn(2, small.layers, 512, generator=torch.Generator().manual_seed(2))
    expected = reference.synthesis(tensors, codes.double().numpy())
    with torch.inference_mode():
        found = small.synthesis(codes).numpy()
    assert found.shape == expected.shape == (2, 3, 32, 32)
    assert expected.std() > 0.3
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_in_float64_nothing_but_rounding_is_left(small, reference, arrays):
    exact = copy.deepcopy(small).double().prepare()
    codes = torch.randn(1, small.layers, 512, generator=torch.Generator().manual_seed(3)).double()
    expected = reference.synthesis(arrays(small), codes.numpy())
    with torch.inference_mode():
        found = exact.synthesis(codes).numpy()
    assert np.abs(found - expected).max() < 1e-11


@pytest.mark.parametrize("fused", [False, True])
def test_up_layers_do_what_their_weights_are_stored_for(fused, reference):
    layer = layers.UpsamplingLayer(3, 5, 14, 8, fused).double().requires_grad_(False)
    weight = torch.randn(3, 3, 3, 5, generator=torch.Generator().manual_seed(4)).double()
    (layer.weight if fused else layer.conv.weight).copy_(weight if fused else weight.permute(3, 2, 0, 1))
    layer.prepare()
    x = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(5)).double()
    found = F.conv_transpose2d(x, layer.kernel, stride=2, padding=1).numpy()
    gain = np.sqrt(2 / 27)
    if fused:
        expected = reference.transposed(x.numpy(), reference.fused_kernel(weight.numpy() * gain))
    else:
        expected = reference.correlate(reference.upsample(x.numpy()), layer.conv.weight.numpy() * gain)
    assert np.abs(found - expected).max() < 1e-12
    # The two kinds are each other's mirror image.
    mirrored = reference.correlate(
        reference.upsample(x.numpy()), weight.numpy().transpose(3, 2, 0, 1)[:, :, ::-1, ::-1] * gain
    )
    assert fused == bool(np.abs(found - mirrored).max() < 1e-12)


def test_blur_equals_its_definition(reference):
    x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(6)).double()
    found = layers.Blur(3).double()(x).numpy()
    assert np.abs(found - reference.blur(x.numpy())).max() < 1e-14


@pytest.mark.parametrize("size", [1, 3, 900])
def test_the_mean_square_is_right_whatever_the_blocks(size):
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))
    found = layers._mean_square(x)
    assert torch.allclose(found.double(), x.double().square().mean((2, 3)), rtol=1e-6)


def test_only_the_last_colours_make_the_image(small):
    other = copy.deepcopy(small)
    codes = torch.randn(1, small.layers, 512, generator=torch.Generator().manual_seed(8))
    with torch.inference_mode():
        image = small.synthesis(codes)
        other.synthesis.output0.conv.weight += 1
        assert torch.equal(other.prepare().synthesis(codes), image)
        other.synthesis.output3.conv.weight += 1
        assert not torch.allclose(other.prepare().synthesis(codes), image)


def test_sizes_are_read_off_a_state_dict(small):
    assert StyleGanShape.of(small.state_dict()) == small.shape
    plain = StyleGanNetwork(StyleGanShape((4, 4, 2), latent=8, fused_from=32))
    assert StyleGanShape.of(plain.state_dict()) == StyleGanShape((4, 4, 2), 8, 32)
    with pytest.raises(WeightsFormatError, match="no StyleGAN"):
        StyleGanShape.of({"conv1.weight": torch.ones(1)})


def test_stored_constants_must_be_what_is_computed(small):
    other = copy.deepcopy(small)
    check_constants(other)
    other.synthesis.layer2.blur.kernel[0, 0, 0, 0] = 1
    with pytest.raises(WeightsFormatError, match=r"layer2\.blur has another kernel"):
        check_constants(other)
    other = copy.deepcopy(small)
    other.synthesis.lod.fill_(1.5)
    with pytest.raises(WeightsFormatError, match="isn't fully grown"):
        check_constants(other)


def test_random_weights_depend_on_the_seed_alone(small):
    again, other = StyleGanNetwork(small.shape), StyleGanNetwork(small.shape)
    draw_weights(again, 0)
    draw_weights(other, 1)
    for name, tensor in small.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
        same = torch.equal(other.state_dict()[name], tensor)
        assert same == name.endswith(("lod", "kernel"))
