"""Alignment: the chip, the face that is taken, and dlib's own chips beside ours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comface_bench.core.card import CHIPS, MEAN_FACE, Chip
from comface_bench.data.alignment import HOW, Aligner, count_faces, cut_chip, fit_similarity
from comface_bench.data.faces import Box

WANTED = np.array(CHIPS["dlib"].points)


class ToldFinder:
    """A finder without dlib: it is told what each look finds, and every face has the same points."""

    def __init__(self, *looks, points=None):
        self.looks, self.asked, self.boxes = looks, [], []
        self.found = 20 * WANTED if points is None else points

    def look(self, rgb, doublings, threshold=0.0):
        self.asked.append(doublings)
        assert threshold == (-0.5 if doublings else 0)
        return list(self.looks[doublings]) if doublings < len(self.looks) else []

    def points(self, rgb, box):
        self.boxes.append(box)
        return self.found

    def describe(self):
        return {"name": "told"}


numbers = st.floats(-50, 50)


@given(
    points=st.lists(st.tuples(numbers, numbers), min_size=5, max_size=5, unique_by=lambda point: point[0]),
    others=st.lists(st.tuples(numbers, numbers), min_size=5, max_size=5),
)
def test_similarity_has_the_least_sum_of_squares(points, others):
    source, target = np.array(points), np.array(others)
    if np.ptp(source[:, 0]) < 0.1:
        return
    turn, shift = fit_similarity(source, target)
    # A linear least-squares problem in four unknowns: x' = ax - by + c and y' = bx + ay + d.
    x, y, one, nothing = *source.T, np.ones(5), np.zeros(5)
    rows = np.block([[np.stack([x, -y, one, nothing], 1)], [np.stack([y, x, nothing, one], 1)]])
    wanted = np.linalg.lstsq(rows, target.T.ravel(), rcond=None)[0]
    np.testing.assert_allclose([turn.real, turn.imag, shift.real, shift.imag], wanted, atol=1e-6)


@pytest.mark.parametrize("size", [40, 90, 300])
@pytest.mark.parametrize("angle", [0.0, 0.5, 3.0])
def test_points_of_a_drawing_come_to_lie_where_they_are_wanted(size, angle):
    turn = 120 * np.exp(1j * angle)
    places = turn * ((WANTED - 0.5) @ [1, 1j]) + (150 + 140j)
    found = np.stack([places.real, places.imag], 1)
    across, down = np.meshgrid(np.arange(300) + 0.5, np.arange(280) + 0.5)
    drawing = np.zeros((280, 300, 3), np.uint8)
    for number, (x, y) in enumerate(found):
        # The first three points in colours of their own, the last two in white.
        spot = 255 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * 5**2))
        for channel in [number] if number < 3 else []:
            drawing[..., channel] = spot
    chip = np.asarray(cut_chip(Image.fromarray(drawing), found, size * WANTED, size)).astype(float)
    assert chip.shape == (size, size, 3)
    places = np.arange(size) + 0.5
    for channel in range(3):
        weights = np.where(chip[..., channel] > 20, chip[..., channel], 0)
        centre = [weights.sum(0) @ places / weights.sum(), weights.sum(1) @ places / weights.sum()]
        np.testing.assert_allclose(centre, size * WANTED[channel], atol=0.1 + 0.001 * size)


def test_what_lies_outside_is_black():
    white = Image.new("RGB", (20, 20), (255, 255, 255))
    chip = np.asarray(cut_chip(white, 20 * WANTED + [10, 0], 40 * WANTED, 40))
    assert chip[:, :19].min() == 255
    assert chip[:, 21:].max() == 0


def test_of_several_faces_the_largest_counts_then_the_surest():
    faces = [Box(0, 0, 5, 5, 3.0), Box(1, 0, 8, 8, 0.1), Box(2, 0, 8, 8, 0.2)]
    finder = ToldFinder(faces)
    chip, how = Aligner("dlib", finder).align(Image.new("RGB", (20, 20), (1, 2, 3)), 20)
    assert (finder.boxes, finder.asked, HOW[how]) == ([faces[2]], [0], "found")
    assert chip.size == (20, 20)


def test_a_second_look_is_taken_only_where_the_first_finds_nothing():
    finder = ToldFinder([], [Box(0, 0, 5, 5)])
    _, how = Aligner("dlib", finder).align(Image.new("RGB", (20, 20), (1, 2, 3)), 20)
    assert (finder.asked, HOW[how]) == ([0, 1], "second pass")


@pytest.mark.parametrize("size", [(60, 40), (40, 60)])
def test_without_a_face_the_square_in_the_middle_is_shown(size):
    finder = ToldFinder()
    image = Image.effect_noise(size, 60).convert("RGB")
    chip, how = Aligner("dlib", finder).align(image, 40)
    assert (finder.asked, finder.boxes, HOW[how]) == ([0, 1], [], "fixed box")
    left, top = (size[0] - 40) // 2, (size[1] - 40) // 2
    np.testing.assert_array_equal(chip, image.crop((left, top, left + 40, top + 40)))


def test_faces_are_counted():
    ways = np.array([0, 2, 0, 1, 0], np.uint8)
    assert count_faces(ways) == {"found": 3, "second pass": 1, "fixed box": 1}
    assert count_faces(np.zeros(7, np.uint8)) == {"found": 7, "second pass": 0, "fixed box": 0}


def test_chips_have_their_points_inside_in_shares_of_the_side():
    for chip in CHIPS.values():
        assert np.all((np.array(chip.points) > 0.05) & (np.array(chip.points) < 0.95))
    # ArcFace's template: both eyes, in pixels of 112; the face isn't turned, so heights agree on average.
    eyes = 112 * np.array(CHIPS["arcface"].points)[:4].reshape(2, 2, 2).mean(1)
    np.testing.assert_allclose(eyes[:, 0], [73.5318, 38.2946], atol=1e-3)
    np.testing.assert_allclose(eyes[:, 1].mean(), (51.5014 + 51.6963) / 2, atol=1e-3)
    np.testing.assert_allclose(Chip.padded(0).points, MEAN_FACE, atol=1e-8)


def test_what_decides_a_chip_is_described():
    described = [Aligner(chip, ToldFinder()).describe() for chip in CHIPS]
    assert described[0]["finder"] == {"name": "told"}
    assert len({str(facts) for facts in described}) == len(CHIPS)


# dlib itself.


@pytest.fixture(scope="module")
def astronaut():
    """Return scikit-image's photograph, and five points on the face in it."""
    data = pytest.importorskip("skimage.data")
    points = [(255, 104), (238, 105), (195, 101), (212, 103), (224, 134)]
    return data.astronaut(), np.array(points, float)


def detection(dlib, points):
    return dlib.full_object_detection(
        dlib.rectangle(181, 79, 273, 171), [dlib.point(int(x), int(y)) for x, y in points]
    )


@pytest.mark.parametrize("turned", [0, 1, 2])
@pytest.mark.parametrize(("name", "padding"), [("dlib", 0.25), ("dlib-0.2", 0.2)])
@pytest.mark.parametrize("size", [64, 150, 256])
def test_chips_are_dlibs_own(astronaut, size, name, padding, turned):
    dlib = pytest.importorskip("dlib")
    rgb, points = astronaut
    for _ in range(turned):
        rgb = np.ascontiguousarray(np.rot90(rgb))
        points = np.stack([points[:, 1], 511 - points[:, 0]], 1)
    face, wanted = detection(dlib, points), size * np.array(CHIPS[name].points)
    details = dlib.get_face_chip_details(face, size, padding)
    turn, shift = fit_similarity(wanted, points)
    middle = turn * (size / 2) * (1 + 1j) + shift
    corners = details.rect
    assert abs(turn) * size == pytest.approx(corners.width(), rel=1e-6)
    assert np.angle(turn) == pytest.approx(details.angle, abs=1e-6)
    assert middle.real == pytest.approx((corners.left() + corners.right()) / 2, abs=0.01)
    assert middle.imag == pytest.approx((corners.top() + corners.bottom()) / 2, abs=0.01)

    theirs = np.asarray(dlib.get_face_chip(rgb, face, size, padding)).astype(float)

    def differ(shift):
        ours = cut_chip(Image.fromarray(rgb), points + 0.5, wanted + shift, size)
        return np.abs(np.asarray(ours) - theirs).mean()

    # Filters differ, so that pixels do; no chip a half pixel off is nearer.
    nearest = differ([0, 0])
    assert nearest < 5
    assert all(differ(shift) > nearest for shift in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]))
