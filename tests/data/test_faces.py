"""Faces in photographs: dlib's detector, its five points, and the file that they need."""

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from comface_bench.core.card import MEAN_FACE
from comface_bench.core.digest import digest_file
from comface_bench.core.errors import MissingExtraError, WeightsFormatError, WeightsMissingError
from comface_bench.data import faces
from comface_bench.data.faces import (
    LANDMARKS,
    PACKAGES,
    SHORT_SIDE,
    DlibDetector,
    DlibPoints,
    find_landmarks,
    open_finder,
)


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


def test_missing_dlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    for start in (DlibDetector, open_finder):
        with pytest.raises(MissingExtraError, match="dlib") as caught:
            start()
        assert "comface-bench[prepare]" in caught.value.hint


def test_missing_points_are_named_with_the_command_that_gets_them(own_folders, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(own_folders)])
    with pytest.raises(WeightsMissingError, match=LANDMARKS.checkpoint.file) as caught:
        find_landmarks()
    assert "comface-bench weights fetch five-points" in caught.value.hint


@pytest.fixture
def small_file(monkeypatch):
    """Take a small file for the published one: `small_file(path)` writes it."""
    content = b"points"

    def write(path):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        checkpoint = dataclasses.replace(LANDMARKS.checkpoint, sha256=digest_file(path))
        monkeypatch.setattr(faces, "LANDMARKS", dataclasses.replace(LANDMARKS, checkpoint=checkpoint))
        return path

    return write


def test_points_are_found_in_the_weights_folder(own_folders, small_file):
    path = small_file(own_folders / "weights" / "five-points" / LANDMARKS.checkpoint.file)
    assert find_landmarks() == path
    path.write_bytes(b"others")
    with pytest.raises(WeightsFormatError, match="the authors publish"):
        find_landmarks()


@pytest.mark.parametrize("package", PACKAGES)
def test_points_are_found_in_a_package_that_is_never_imported(tmp_path, small_file, monkeypatch, package):
    path = small_file(tmp_path / package / "models" / LANDMARKS.checkpoint.file)
    (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert find_landmarks() == path
    assert package not in sys.modules


@pytest.fixture(scope="module")
def finder(small_predictor):
    return DlibPoints(small_predictor)


def test_points_lie_on_the_face(finder, draw_scene):
    rgb = draw_scene(1)
    (box,) = finder.look(rgb, 0)
    points = finder.points(rgb, box)
    assert points.shape == (5, 2)
    # The small predictor has learnt the mean face of a box, in pixels whose centres are at halves.
    wanted = np.array(MEAN_FACE) * box.width + [box.x, box.y]
    np.testing.assert_allclose(points, wanted, atol=1.5)
    np.testing.assert_array_equal(points % 1, 0.5)


def test_finder_describes_detector_and_points(finder, small_predictor):
    described = finder.describe()
    assert described["name"] == "dlib-frontal"
    assert described["points"] == digest_file(small_predictor)


def test_a_lower_threshold_finds_no_fewer_faces(finder, draw_scene):
    rgb = draw_scene(2)
    faces = finder.look(rgb, 0)
    assert [box for box in finder.look(rgb, 0, -0.5) if box.score > 0] == faces
    assert finder.look(rgb, 0, faces[-1].score) == faces[:1]


def test_finders_of_threads_find_the_same(finder, draw_scene):
    scenes = [draw_scene(count, grey) for count in (1, 2) for grey in (90, 160)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda rgb: finder.look(rgb, 0), scenes))
    assert together == [finder.look(rgb, 0) for rgb in scenes]
