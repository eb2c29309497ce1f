"""Views: random numbers, parameters, and pixels against torchvision's."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms.v2 import functional as reference

from comface_bench.core.card import NO_AUGMENTATION, TABLE_B, TABLE_C, TABLE_D, Augmentation
from comface_bench.data import augment
from comface_bench.data.augment import apply, draw_parameters, image_key, render, resize, uniforms

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


@pytest.mark.parametrize(("stored", "size"), [(40, 32), (40, 40), (24, 56)])
def test_views_are_the_same_in_pieces_of_any_size(monkeypatch, stored, size):
    count = 30
    images, keys, views = noise(count, stored, stored), np.arange(count, dtype=np.uint64), np.arange(count)
    image_bytes = 4 * 3 * max(stored, size) ** 2
    rendered, at_once = [], []
    for piece in (1, 3, 7, count, 100):
        monkeypatch.setattr(augment, "_PIECE_BYTES", piece * image_bytes / torch.get_num_threads())
        at_once.append(augment.images_at_once(images, size))
        rendered.append(render(images, TABLE_B, 5, keys, views, size))
    assert at_once == [1, 3, 7, count, 100]
    assert all(torch.equal(each, rendered[0]) for each in rendered)


def test_a_piece_is_measured_in_bytes_not_images():
    budget = augment._PIECE_BYTES * torch.get_num_threads()
    for stored, size in ((32, 16), (16, 32), (64, 512), (512, 64)):
        at_once = augment.images_at_once(torch.empty(2, 3, stored, stored, dtype=torch.uint8), size)
        image_bytes = 4 * 3 * max(stored, size) ** 2
        assert at_once == 1 or at_once * image_bytes <= budget < (at_once + 1) * image_bytes


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


MANY = np.arange(20_000)


def draw_many(augmentation, seed=0, keys=MANY, views=None, **options):
    views = np.zeros(len(keys), dtype=np.int64) if views is None else np.asarray(views)
    return draw_parameters(augmentation, seed, np.asarray(keys, dtype=np.uint64), views, **options)


def test_no_augmentation_changes_nothing():
    drawn = draw_many(NO_AUGMENTATION)
    assert not drawn.flip.any()
    assert not drawn.jitter.any()
    assert not drawn.gray.any()
    np.testing.assert_array_equal(np.unique(drawn.boxes(30, 20), axis=0), [[0, 0, 30, 20]])
    np.testing.assert_array_equal(np.unique(drawn.factors, axis=0), [[1, 1, 1, 0]])


@given(
    rows=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 1000)), min_size=1, max_size=6),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_view_never_depends_on_its_batch(rows, seed):
    keys, views = zip(*rows, strict=True)
    together = draw_many(TABLE_B, seed, keys, views)
    for row, (key, view) in enumerate(rows):
        alone = draw_many(TABLE_B, seed, [key], [view])
        for field in fields(together):
            np.testing.assert_array_equal(
                getattr(together, field.name)[row], getattr(alone, field.name)[0], err_msg=field.name
            )


def test_switching_one_change_off_leaves_the_others():
    full, without = draw_many(TABLE_C), draw_many(replace(TABLE_C, crop_scale=None, flip=0.0))
    for name in ("jitter", "factors", "order", "gray"):
        np.testing.assert_array_equal(getattr(full, name), getattr(without, name))


def test_frequencies_and_ranges():
    drawn = draw_many(TABLE_C)
    for happens, probability in ((drawn.flip, 0.5), (drawn.jitter, 0.8), (drawn.gray, 0.2)):
        assert stats.binomtest(int(happens.sum()), len(happens), probability).pvalue > 1e-3
    for column, (low, width) in enumerate([(0.6, 0.8)] * 3 + [(-0.1, 0.2)]):
        assert stats.kstest(drawn.factors[:, column], "uniform", (low, width)).pvalue > 1e-3
    orders, counts = np.unique(drawn.order, axis=0, return_counts=True)
    assert len(orders) == 24
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    assert stats.chisquare(counts).pvalue > 1e-3
    yes = np.stack([drawn.flip, drawn.jitter, drawn.gray, *drawn.factors.T, drawn.crop_top, drawn.crop_left])
    correlation = np.corrcoef(yes.astype(float)) - np.eye(len(yes))
    assert np.abs(correlation).max() < 4.5 / math.sqrt(len(MANY))


def test_factors_never_fall_below_zero():
    assert draw_many(Augmentation(jitter_prob=1.0, brightness=3.0)).factors[:, 0].min() >= 0


@pytest.mark.parametrize(
    ("scale", "ratio", "height", "width"),
    [
        ((0.2, 1.0), (3 / 4, 4 / 3), 256, 256),
        ((0.5, 1.0), (3 / 4, 4 / 3), 256, 256),
        ((0.1, 0.9), (0.5, 3.0), 400, 200),
        ((0.9, 1.0), (3.0, 4.0), 100, 100),  # Nothing fits: wider than the image.
        ((0.9, 1.0), (0.2, 0.3), 100, 301),  # Nothing fits: taller.
    ],
)
def test_crops_follow_the_rule_of_torchvision(scale, ratio, height, width):
    """Against a plain loop over pixels with the same random numbers, slot by slot."""
    count = 300
    augmentation = Augmentation(crop_scale=scale, crop_ratio=ratio)
    drawn = draw_many(augmentation, 3, range(count), aspect=width / height)
    boxes = drawn.boxes(height, width)
    numbers = uniforms(3, np.arange(count, dtype=np.uint64), np.zeros(count, dtype=np.int64), 30)
    for row in range(count):
        tries = zip(numbers[row, 10:20], numbers[row, 20:30], strict=True)
        for for_area, for_ratio in tries:
            area = height * width * (scale[0] + (scale[1] - scale[0]) * for_area)
            shape = math.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * for_ratio)
            wide, tall = math.sqrt(area * shape), math.sqrt(area / shape)
            if wide <= width and tall <= height:
                wide, tall = round(wide), round(tall)
                top = math.floor(numbers[row, 4] * (height - tall + 1))
                left = math.floor(numbers[row, 5] * (width - wide + 1))
                break
        else:
            shape = min(max(width / height, ratio[0]), ratio[1])
            wide, tall = min(width, round(height * shape)), min(height, round(width / shape))
            top, left = (height - tall + 1) // 2, (width - wide + 1) // 2
        assert boxes[row].tolist() == [top, left, tall, wide]


@given(
    seed=st.integers(0, 2**63 - 1),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    low=st.floats(0.001, 1.0),
)
def test_boxes_lie_inside_the_image(seed, height, width, low):
    drawn = draw_many(Augmentation(crop_scale=(low, 1.0)), seed, range(50), aspect=width / height)
    top, left, tall, wide = drawn.boxes(height, width).T
    assert min(top.min(), left.min()) >= 0
    assert min(tall.min(), wide.min()) >= 1
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()


def test_a_view_shows_the_same_part_at_any_resolution():
    drawn = draw_many(TABLE_B, keys=range(200))
    small, large = drawn.boxes(64, 64), drawn.boxes(640, 640)
    assert np.abs(small - large / 10).max() <= 1.5
    assert len(draw_many(TABLE_D, keys=range(3))) == 3


WORD = (1 << 64) - 1


def reference_uniforms(seed: int, key: int, view: int, slots: int) -> list[float]:
    """The documented generator in plain Python integers."""

    def mix(word: int) -> int:
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
        return word ^ (word >> 31)

    golden = 0x9E3779B97F4A7C15
    stream = mix(mix(mix((seed + golden) & WORD) ^ key) ^ (view & WORD))
    return [(mix((stream + (slot + 1) * golden) & WORD) >> 11) / 2**53 for slot in range(slots)]


@given(
    seed=st.integers(0, 2**63 - 1),
    addresses=st.lists(st.tuples(st.integers(0, WORD), st.integers(-(2**63), 2**63 - 1)), max_size=8),
    slots=st.integers(0, 5),
)
def test_numbers_are_a_pure_function_of_their_address(seed, addresses, slots):
    keys = np.array([key for key, _ in addresses], dtype=np.uint64)
    views = np.array([view for _, view in addresses], dtype=np.int64)
    drawn = uniforms(seed, keys, views, slots)
    assert drawn.shape == (len(addresses), slots)
    assert drawn.dtype == np.float64
    assert drawn.tolist() == [reference_uniforms(seed, key, view, slots) for key, view in addresses]


def test_known_values():
    # Pins the stream: other numbers would change every published record.
    drawn = uniforms(7, np.array([image_key("a/b.jpg")], dtype=np.uint64), np.array([3]), 2)
    assert image_key("a/b.jpg") == 0x67ED673B4D9FCCAE
    assert drawn[0].tolist() == [0.3430458797954302, 0.6188324751268413]


def test_more_slots_keep_the_first():
    keys, views = np.arange(5, dtype=np.uint64), np.arange(5)
    np.testing.assert_array_equal(uniforms(1, keys, views, 9)[:, :4], uniforms(1, keys, views, 4))


@pytest.mark.parametrize("axis", ["seed", "key", "view", "slot"])
def test_neighbours_are_uniform_and_independent(axis):
    count, zeros = 20_000, np.zeros(20_000, dtype=np.int64)
    numbers = np.arange(count)
    drawn = {
        "seed": lambda: np.array(
            [uniforms(seed, zeros[:1].astype(np.uint64), zeros[:1], 1) for seed in numbers]
        ),
        "key": lambda: uniforms(5, numbers.astype(np.uint64), zeros, 1),
        "view": lambda: uniforms(5, zeros.astype(np.uint64), numbers, 1),
        "slot": lambda: uniforms(5, zeros[:1].astype(np.uint64), zeros[:1], count),
    }[axis]().ravel()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    for lag in (1, 2, 3, 16, 256):
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 4 / np.sqrt(count)
    pairs = np.histogram2d(drawn[:-1:2], drawn[1::2], bins=10, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(pairs.ravel()).pvalue > 1e-3


def test_key_and_view_are_not_interchangeable():
    values = uniforms(
        0, np.repeat(np.arange(100, dtype=np.uint64), 100), np.tile(np.arange(100), 100), 1
    ).ravel()
    assert len(np.unique(values)) == 10_000
