"""Boxes of faces: smoothing, and crops around them."""

import io
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comface_bench.data.faces import Box
from comface_bench.prepare.faces import CropRule, crop_face, smooth_boxes


def gradient(height: int = 60, width: int = 80) -> np.ndarray:
    """Red grows by 3 a pixel to the right, green by 4 downwards."""
    rgb = np.full((height, width, 3), 128, dtype=np.uint8)
    rgb[..., 0] = 3 * np.arange(width)
    rgb[..., 1] = 4 * np.arange(height)[:, None]
    return rgb


def decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as image:
        assert image.format == "JPEG"
        return np.asarray(image).astype(float)


def test_square_is_cut_around_the_box():
    # Side 20, margin 0.5: 40 × 40 from (20, 10); lift 0.25 moves it 5 up.
    crop = decoded(crop_face(gradient(), Box(30, 20, 20, 20), CropRule(0.5, 0.25), 40))
    assert crop.shape == (40, 40, 3)
    assert crop[20, 20, 0] == pytest.approx(3 * 40, abs=4)
    assert crop[20, 20, 1] == pytest.approx(4 * 25, abs=4)
    assert crop[2, 2, 0] == pytest.approx(3 * 22, abs=5)
    assert crop[38, 38, 1] == pytest.approx(4 * 43, abs=5)


def test_longer_side_of_the_box_counts():
    wide = crop_face(gradient(), Box(30, 25, 20, 10), CropRule(0.0), 20)
    square = crop_face(gradient(), Box(30, 20, 20, 20), CropRule(0.0), 20)
    assert wide == square


def test_border_is_repeated_outside_of_the_image():
    crop = decoded(crop_face(gradient(), Box(-10, -10, 20, 20), CropRule(0.0), 20))
    assert crop[:9, :9, :2] == pytest.approx(0, abs=6)
    # The face keeps its place: the image's corner is in the middle.
    assert crop[19, 19, 0] == pytest.approx(3 * 9, abs=5)
    assert crop[19, 19, 1] == pytest.approx(4 * 9, abs=5)


@given(
    x=st.floats(-50, 120),
    y=st.floats(-50, 120),
    side=st.floats(8, 150),
    margin=st.floats(-0.4, 2),
    lift=st.floats(0, 0.3),
    size=st.sampled_from([16, 33]),
)
def test_every_box_gives_a_crop_of_the_size(x, y, side, margin, lift, size):
    crop = decoded(crop_face(gradient(), Box(x, y, side, side), CropRule(margin, lift), size))
    assert crop.shape == (size, size, 3)


def test_jump_of_the_detector_is_taken_out():
    boxes = {frame: Box(10, 20, 100, 100) for frame in range(1, 40, 5)}
    boxes[16] = Box(0, 10, 120, 120, 3.0)
    result = smooth_boxes(boxes, 10)
    assert result[16] == Box(10, 20, 100, 100, 3.0)
    assert result[1] == boxes[1]


@given(
    frames=st.dictionaries(st.integers(1, 60), st.integers(-20, 200), min_size=1, max_size=25),
    reach=st.integers(0, 15),
)
def test_smoothed_box_is_the_median_of_the_near_ones(frames, reach):
    boxes = {frame: Box(x, 2 * x, 50 + x / 2 + 10, 10) for frame, x in frames.items()}
    result = smooth_boxes(boxes, reach)
    assert result.keys() == boxes.keys()
    for frame, box in result.items():
        near = [boxes[other] for other in boxes if abs(other - frame) <= reach]
        assert box.width == box.height == statistics.median(one.width for one in near)
        centre = statistics.median(one.x + one.width / 2 for one in near)
        assert box.x + box.width / 2 == pytest.approx(centre)
