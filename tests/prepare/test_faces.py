"""Faces: detection, smoothing of boxes, and crops."""

import io
import statistics
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comface_bench.core.errors import MissingExtraError
from comface_bench.prepare.faces import SHORT_SIDE, Box, CropRule, DlibDetector, crop_face, smooth_boxes
from comface_bench.prepare.video import count_frames, read_frames


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("dlib")
    return DlibDetector()


@pytest.mark.parametrize("faces", [0, 1, 2])
def test_rendered_faces_are_counted(detector, draw_scene, faces):
    found = detector.detect(draw_scene(faces))
    assert len(found) == faces
    assert [box.score for box in found] == sorted((box.score for box in found), reverse=True)


def test_box_lies_on_the_face(detector, draw_scene):
    (box,) = detector.detect(draw_scene(1))
    # The rendered face is centred in the 128 pixels from (96, 56) on.
    assert box.x + box.width / 2 == pytest.approx(160, abs=12)
    assert box.y + box.height / 2 == pytest.approx(126, abs=16)
    assert 70 < box.width < 120


@pytest.mark.parametrize("factor", [0.5, 4, 6])
def test_box_is_in_the_pixels_of_the_image_given(detector, draw_scene, factor):
    scene = Image.fromarray(draw_scene(1))
    (box,) = detector.detect(np.array(scene.resize((int(320 * factor), int(240 * factor)))))
    assert (box.x + box.width / 2) / factor == pytest.approx(160, abs=14)
    assert 60 < box.width / factor < 130
    assert factor < 3 or 240 * factor > SHORT_SIDE


def test_image_without_colour_or_order_in_memory(detector, draw_scene):
    scene = draw_scene(1)
    assert len(detector.detect(scene[:, ::-1])) == 1
    assert len(detector.detect(np.repeat(scene.mean(2, keepdims=True), 3, 2).astype(np.uint8))) == 1


def test_detector_describes_itself(detector):
    described = detector.describe()
    assert described["name"] == "dlib-frontal"
    assert described["version"].count(".") >= 1


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "dlib", None)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="dlib") as caught:
        DlibDetector()
    assert "comface-bench[prepare]" in caught.value.hint
    with pytest.raises(MissingExtraError, match="PyAV"):
        list(read_frames(tmp_path / "a.avi", lambda _: True))
    with pytest.raises(MissingExtraError, match="PyAV"):
        count_frames(tmp_path / "a.avi")


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
