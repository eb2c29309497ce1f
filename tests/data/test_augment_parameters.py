import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from comface_bench.core.augmentation import NO_AUGMENTATION, TABLE_B, TABLE_C, TABLE_D, Augmentation
from comface_bench.data.augment_parameters import draw_parameters
from comface_bench.data.uniforms import uniforms

MANY = np.arange(20_000)


def draw(augmentation, seed=0, keys=MANY, views=None, **options):
    views = np.zeros(len(keys), dtype=np.int64) if views is None else np.asarray(views)
    return draw_parameters(augmentation, seed, np.asarray(keys, dtype=np.uint64), views, **options)


def test_no_augmentation_changes_nothing():
    drawn = draw(NO_AUGMENTATION)
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
    together = draw(TABLE_B, seed, keys, views)
    for row, (key, view) in enumerate(rows):
        alone = draw(TABLE_B, seed, [key], [view])
        for field in fields(together):
            np.testing.assert_array_equal(
                getattr(together, field.name)[row], getattr(alone, field.name)[0], err_msg=field.name
            )


def test_switching_one_change_off_leaves_the_others():
    full, without = draw(TABLE_C), draw(replace(TABLE_C, crop_scale=None, flip=0.0))
    for name in ("jitter", "factors", "order", "gray"):
        np.testing.assert_array_equal(getattr(full, name), getattr(without, name))


def test_frequencies_and_ranges():
    drawn = draw(TABLE_C)
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
    assert draw(Augmentation(jitter_prob=1.0, brightness=3.0)).factors[:, 0].min() >= 0


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
    drawn = draw(augmentation, 3, range(count), aspect=width / height)
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
    drawn = draw(Augmentation(crop_scale=(low, 1.0)), seed, range(50), aspect=width / height)
    top, left, tall, wide = drawn.boxes(height, width).T
    assert min(top.min(), left.min()) >= 0
    assert min(tall.min(), wide.min()) >= 1
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()


def test_a_view_shows_the_same_part_at_any_resolution():
    drawn = draw(TABLE_B, keys=range(200))
    small, large = drawn.boxes(64, 64), drawn.boxes(640, 640)
    assert np.abs(small - large / 10).max() <= 1.5
    assert len(draw(TABLE_D, keys=range(3))) == 3
