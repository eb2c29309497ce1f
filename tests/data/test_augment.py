import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as reference

from comface_bench.core.augmentation import NO_AUGMENTATION, TABLE_B, TABLE_C, TABLE_D
from comface_bench.data.augment import apply, draw_parameters, image_key, render, resize

CHANGES = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)


def noise(count, height=40, width=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)
    images[:, :, : height // 4] = images[:, :1, : height // 4]  # Grey: no hue.
    images[:, 0, -height // 4 :] = images[:, 1, -height // 4 :]  # Two channels share the largest value.
    images[..., 0], images[..., -1] = 0, 255  # Black and white.
    return images


def draw(augmentation, count, seed=0, **changes):
    keys = np.array([image_key(f"{row}.jpg") for row in range(count)], dtype=np.uint64)
    return replace(draw_parameters(augmentation, seed, keys, np.arange(count)), **changes)


def one_by_one(images, parameters, size):
    """Torchvision, one sample at a time, on the same parameters."""
    views = []
    for row, image in enumerate(images):
        top, left, height, width = parameters.boxes(*image.shape[-2:])[row].tolist()
        view = image.float() / 255 if image.dtype == torch.uint8 else image
        view = reference.resized_crop(view, top, left, height, width, [size, size], antialias=True)
        if parameters.flip[row]:
            view = reference.horizontal_flip(view)
        if parameters.jitter[row]:
            for column in parameters.order[row]:
                view = CHANGES[column](view, float(parameters.factors[row, column]))
        if parameters.gray[row]:
            view = reference.rgb_to_grayscale(view, num_output_channels=3)
        views.append(view)
    return torch.stack(views)


def largest_difference(one, other):
    assert one.shape == other.shape
    return (one - other).abs().max().item()


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, TABLE_B, TABLE_C, TABLE_D])
@pytest.mark.parametrize(("stored", "size"), [(40, 32), (40, 40), (24, 56)])
def test_views_equal_torchvision(augmentation, stored, size):
    images, parameters = noise(48, stored, stored), draw(augmentation, 48)
    views = apply(images, parameters, size)
    assert views.dtype == torch.float32
    assert views.shape == (48, 3, size, size)
    assert views.min() >= 0
    assert views.max() <= 1
    assert largest_difference(views, one_by_one(images, parameters, size)) <= 1e-5


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 3.0])
def test_each_colour_change_alone(column, factor):
    factors = np.array([[1.0, 1.0, 1.0, 0.0]]).repeat(6, axis=0)
    factors[::2, column] = factor if column < 3 else (factor - 1) / 4  # Hue: from −0.25 to 0.5.
    images = noise(6)
    parameters = draw(NO_AUGMENTATION, 6, jitter=np.ones(6, dtype=bool), factors=factors)
    expected = images.float() / 255
    expected[::2] = CHANGES[column](expected[::2], float(factors[0, column]))
    assert largest_difference(apply(images, parameters, 40), expected) <= 1e-5


def test_all_orders_of_the_jitter():
    orders = np.array(list(itertools.permutations(range(4))))
    images = noise(24)
    images[:] = images[:1]
    factors = np.tile([1.4, 0.6, 1.4, 0.1], (24, 1))
    parameters = draw(NO_AUGMENTATION, 24, jitter=np.ones(24, dtype=bool), factors=factors, order=orders)
    views = apply(images, parameters, 40)
    assert largest_difference(views, one_by_one(images, parameters, 40)) <= 1e-5
    assert len(torch.unique((views * 1e4).round(), dim=0)) > 12  # The order does matter.


def test_grayscale_has_three_equal_channels():
    images = noise(5)
    gray = np.array([True, False, True, True, False])
    views = apply(images, draw(NO_AUGMENTATION, 5, gray=gray), 40)
    plain = images.float() / 255
    expected = reference.rgb_to_grayscale(plain, num_output_channels=3)
    assert largest_difference(views[gray], expected[gray]) <= 1e-6
    assert largest_difference(views[~gray], plain[~gray]) <= 1e-6


@settings(max_examples=60, deadline=None)
@given(data=st.data(), height=st.integers(1, 50), width=st.integers(1, 50), size=st.integers(1, 60))
def test_any_crop_of_any_image(data, height, width, size):
    """From one pixel to the whole image, square or not, shrunk or blown up."""
    share, place = st.floats(0.001, 1.0), st.floats(0.0, 1.0, exclude_max=True)
    columns = {name: [data.draw(share) for _ in range(3)] for name in ("crop_height", "crop_width")}
    columns |= {name: [data.draw(place) for _ in range(3)] for name in ("crop_top", "crop_left")}
    crops = {name: np.array(values) for name, values in columns.items()}
    flip = np.array(data.draw(st.lists(st.booleans(), min_size=3, max_size=3)))
    images = noise(3, height, width)
    parameters = draw(NO_AUGMENTATION, 3, flip=flip, **crops)
    assert largest_difference(apply(images, parameters, size), one_by_one(images, parameters, size)) <= 1e-5


@pytest.mark.parametrize("size", [32, 33, 224])  # 224² is enough for torch to split a sum among threads.
def test_a_view_is_the_same_alone_and_in_a_batch(size):
    count = 40 if size < 100 else 6
    images = noise(count)
    keys, views = np.arange(count, dtype=np.uint64), np.arange(count)
    together = render(images, TABLE_B, 5, keys, views, size)
    for row in range(count):
        one = slice(row, row + 1)
        alone = render(images[one], TABLE_B, 5, keys[one], views[one], size)
        assert torch.equal(alone, together[one])
    shuffled = np.random.default_rng(0).permutation(count)
    mixed = render(images[shuffled], TABLE_B, 5, keys[shuffled], views[shuffled], size)
    assert torch.equal(mixed, together[shuffled])
    assert torch.equal(together, render(images, TABLE_B, 5, keys, views, size))


def test_views_and_seeds_differ():
    images, keys = noise(4), np.arange(4, dtype=np.uint64)
    first = render(images, TABLE_C, 1, keys, np.zeros(4, dtype=np.int64), 32)
    for seed, view in ((1, 1), (2, 0)):
        other = render(images, TABLE_C, seed, keys, np.full(4, view), 32)
        assert ((first - other).abs().amax(dim=(1, 2, 3)) > 0.01).all()


def test_bytes_and_floats_give_the_same_view_and_stay_as_they_are():
    images, parameters = noise(16), draw(TABLE_B, 16)
    floats = images.float() / 255
    before, floats_before = images.clone(), floats.clone()
    from_bytes = apply(images, parameters, 28)
    for same in (floats, floats.double(), floats.contiguous(memory_format=torch.channels_last)):
        assert largest_difference(from_bytes, apply(same, parameters, 28)) <= 1e-6
    assert torch.equal(images, before)
    assert torch.equal(floats, floats_before)


def test_autocast_does_not_coarsen_a_view():
    images, parameters = noise(8), draw(TABLE_B, 8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        views, resized = apply(images, parameters, 28), resize(images, 28)
    assert torch.equal(views, apply(images, parameters, 28))
    assert torch.equal(resized, resize(images, 28))


def test_an_empty_batch_is_a_batch():
    assert apply(noise(0), draw(TABLE_B, 0), 28).shape == (0, 3, 28, 28)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="2 RGB images"):
        apply(noise(3), draw(TABLE_B, 2), 28)
    with pytest.raises(ValueError, match="RGB"):
        apply(noise(2)[:, :1], draw(TABLE_B, 2), 28)


@pytest.mark.parametrize(("height", "width", "size"), [(40, 40, 28), (40, 40, 40), (17, 60, 33), (5, 9, 64)])
def test_resize_equals_torchvision(height, width, size):
    images = noise(3, height, width)
    floats = images.float() / 255
    expected = reference.resize(floats, [size, size], antialias=True)
    for given_images in (images, floats, floats.double()):
        resized = resize(given_images, size)
        assert resized.dtype == torch.float32
        assert largest_difference(resized, expected) <= 1e-6
    # Without augmentation a view is the resized image.
    assert largest_difference(apply(images, draw(NO_AUGMENTATION, 3), size), expected) <= 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_renders_the_same_views():
    images, parameters = noise(32), draw(TABLE_B, 32)
    views = apply(images.cuda(), parameters, 32)
    assert views.is_cuda
    assert largest_difference(views.cpu(), apply(images, parameters, 32)) <= 1e-5
