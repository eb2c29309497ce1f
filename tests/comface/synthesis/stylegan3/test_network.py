"""StyleGAN3's network against a slow one in float64, and what its design promises of its images."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from comface_bench.comface.synthesis.stylegan3.layers import Layer, Workspace
from comface_bench.comface.synthesis.stylegan3.network import StyleGan3Network, draw_weights
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape


def draw_codes(network, count, seed=0):
    """A code of its own for each layer and image."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, network.layers, network.shape.latent, generator=random)


@pytest.fixture(params=["small", "small_t"])
def network(request):
    return request.getfixturevalue(request.param)


def test_the_mapping_equals_the_slow_reference(network, reference, arrays):
    z = 3 * torch.randn(4, network.shape.latent, generator=torch.Generator().manual_seed(1))
    expected = reference.mapping(arrays(network), z.double().numpy())
    with torch.inference_mode():
        found = network.mapping(z).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.allclose(network.mapping(10 * z), found, rtol=1e-4, atol=1e-5)


def test_images_equal_the_slow_reference(network, reference, arrays):
    codes = draw_codes(network, 2)
    tensors, plans = arrays(network), reference.plans(network)
    expected = np.stack([reference.synthesis(tensors, code.double().numpy(), plans) for code in codes])
    assert expected.shape == (2, 3, 32, 32)
    assert expected.std() > 0.05
    with torch.inference_mode():
        found = network.synthesis(codes).numpy()
        direct = reference.direct_synthesis(network, codes).numpy()
        exact = copy.deepcopy(network).double().synthesis(codes.double()).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(direct - expected).max() < 1e-5 * np.abs(expected).max()
    # In float64 nothing but rounding is left.
    assert np.abs(exact - expected).max() < 1e-12 * np.abs(expected).max()


def test_the_input_turns_and_moves_as_the_code_and_the_user_say(small, reference, arrays):
    tensors, (rate, band, size) = arrays(small), reference.plans(small)[0]
    code = draw_codes(small, 1)[0, 0]
    # Two thirds of the size: some waves leave the band and fade.
    user = torch.tensor([[1.2, -0.9, 0.1], [0.9, 1.2, -0.2], [0.0, 0.0, 1.0]])
    for transform in (None, user):
        given = None if transform is None else transform.double().numpy()
        expected = reference.start(tensors, code.double().numpy(), rate, band, size, given)
        found = small.synthesis.input(code[None], transform)[0].numpy()
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    seen = np.linalg.norm(tensors["synthesis.input.freqs"], axis=1) * 1.5
    assert ((seen > band) & (seen < rate / 2)).any()


@pytest.fixture(scope="module")
def medium():
    """64 pixels, of whose channels there are enough for pictures with some detail."""
    network = StyleGan3Network(StyleGan3Shape.config_r(64, base=512, most=24, depth=8))
    draw_weights(network, 0)
    return network


def decibels(network, shift):
    """Error of following a shift by whole pixels (x, y), and distance from the unshifted image, in dB.

    Peak signal to noise where both images show the same, in units of the image's range.
    """
    dx, dy = shift
    size = network.resolution
    transform = torch.eye(3)
    transform[0, 2], transform[1, 2] = dx / size, dy / size
    codes = draw_codes(network, 1, seed=1)[:, :1].expand(-1, network.layers, -1)
    with torch.inference_mode():
        still, moved = network.synthesis(codes)[0], network.synthesis(codes, transform)[0]
        assert torch.equal(network.synthesis(codes)[0], still)
    rows, columns = slice(max(dy, 0), size + min(dy, 0)), slice(max(dx, 0), size + min(dx, 0))
    rows_, columns_ = slice(max(-dy, 0), size + min(-dy, 0)), slice(max(-dx, 0), size + min(-dx, 0))
    peak = still.max() - still.min()

    def psnr(a, b):
        return float(20 * torch.log10(peak / (a - b).square().mean().sqrt()))

    return psnr(still[:, rows, columns], moved[:, rows_, columns_]), psnr(still, moved)


@pytest.mark.parametrize("shift", [(1, 0), (0, -3), (5, -3), (-11, 7)])
def test_images_follow_a_shift_above_40_decibels(medium, shift):
    followed, stayed = decibels(medium, shift)
    assert followed > 60
    assert stayed < 50
    # It is the filters that do it: without the second, what the leaky ReLU adds above the band folds back.
    bare = copy.deepcopy(medium)
    for layer in bare.synthesis.stack:
        if not layer.plan.rgb:
            middle = layer.plan.down_taps // 2
            layer.down_filter.zero_()[(middle,) * layer.down_filter.dim()] = 1
    assert decibels(bare, shift)[0] < followed - 15


def test_images_follow_a_quarter_turn_exactly(medium):
    """Filters and kernels have no direction, and padding keeps the middle where it is."""
    codes = draw_codes(medium, 1, seed=1)
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    with torch.inference_mode():
        still, turned = medium.synthesis(codes)[0], medium.synthesis(codes, quarter)[0]
    difference = (turned - still.rot90(1, (1, 2))).abs().max()
    assert difference < 1e-5 * (still.max() - still.min())
    assert (turned - still).abs().max() > 0.1 * (still.max() - still.min())


def test_an_image_hangs_on_nothing_that_is_made_with_it(small):
    codes = draw_codes(small, 4)
    with torch.inference_mode():
        alone = torch.cat([small.synthesis(code[None]) for code in codes])
        others = small.synthesis(torch.stack([codes[0], *(100 * codes[1:])]))
        assert (small.synthesis(codes) - alone).abs().max() < 1e-5 * alone.abs().max()
        # To the bit, where as many are made at once: neighbours don't matter.
        assert torch.equal(others[0], small.synthesis(codes)[0])


def test_images_stay_when_the_next_are_made(small):
    one, two = draw_codes(small, 2).split(1)
    with torch.inference_mode():
        first = small.synthesis(one)
        kept = first.clone()
        small.synthesis(two)
    assert torch.equal(first, kept)
    # Memory that was first used in inference mode serves outside of it, too.
    assert torch.equal(small.synthesis(one), kept)


def test_magnitudes_divide_the_features_and_stay_as_they_are(small):
    other = copy.deepcopy(small)
    layer = other.synthesis.stack[1]
    code = draw_codes(small, 1)[:, 1]
    before = layer.modulate(code)
    layer.magnitude_ema.mul_(4)
    assert torch.allclose(layer.modulate(code), before / 2)
    state = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    small.synthesis(draw_codes(small, 1))
    assert all(torch.equal(tensor, state[name]) for name, tensor in small.state_dict().items())


def test_colours_are_clamped_as_features_are(small):
    other = copy.deepcopy(small)
    other.synthesis.stack[-1].magnitude_ema.fill_(1e-12)
    image = other.synthesis(draw_codes(small, 1))
    # 256, times the scale of the output.
    assert (image.min(), image.max()) == (-64, 64)


def test_kernels_keep_the_scale_of_features_whatever_the_style(small):
    code = draw_codes(small, 3)[:, 1]
    layer: Layer = copy.deepcopy(small.synthesis.stack[1])
    layer.magnitude_ema.fill_(1)
    assert torch.allclose(layer.modulate(code).square().sum((2, 3, 4)), torch.ones(3, 8))
    layer.weight.mul_(1e-3)
    layer.affine.weight.mul_(1e-3)
    layer.affine.bias.mul_(1e-3)
    # The norms of weights and style before they meet keep even tiny ones clear of the demodulation's ε.
    assert torch.allclose(layer.modulate(code).square().sum((2, 3, 4)), torch.ones(3, 8))


def test_memory_is_used_again():
    space = Workspace((48, 24))
    first = space.take(0, (2, 3, 4, 4), torch.empty(0))
    assert first.shape == (2, 3, 4, 4)
    assert first.is_contiguous(memory_format=torch.channels_last)
    second = space.take(0, (1, 6, 2, 4), torch.empty(0))
    assert second.data_ptr() == first.data_ptr()
    assert space.take(1, (1, 6, 2, 2), torch.empty(0)).data_ptr() != first.data_ptr()
    assert space.take(0, (1, 3, 4, 4), torch.empty(0).double()).dtype == torch.float64


def test_random_weights_depend_on_the_seed_alone(small):
    again, other = StyleGan3Network(small.shape), StyleGan3Network(small.shape)
    draw_weights(again, 0)
    draw_weights(other, 1)
    for name, tensor in small.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
        same = torch.equal(other.state_dict()[name], tensor)
        assert same == name.endswith(("transform", "_filter", "input.affine.bias"))
