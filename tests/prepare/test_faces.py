import sys

import numpy as np
import pytest
from PIL import Image

from comface_bench.core.errors import MissingExtraError
from comface_bench.prepare.faces import SHORT_SIDE, DlibDetector
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
