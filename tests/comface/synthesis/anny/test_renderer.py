from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from comface_bench.comface.synthesis.anny import renderer
from comface_bench.comface.synthesis.anny.person import (
    GLASSES,
    HAIRSTYLES,
    NECKLINES,
    State,
    draw_person,
    stream,
)
from comface_bench.comface.synthesis.anny.renderer import render, render_record
from comface_bench.comface.synthesis.anny.scene import draw_view

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.head_model import HeadModel
    from comface_bench.comface.synthesis.anny.person import Person


VIEW = dataclasses.replace(draw_view(stream("view")), yaw=4.0, pitch=0.0, roll=0.0, noise=0.0)
SIZE = 48


@pytest.fixture(scope="module")
def person() -> Person:
    return dataclasses.replace(
        draw_person("a", 1), glasses="", hairstyle="side", fringe=0.0, beard=0.0, moustache=0.0
    )


def shot(head: HeadModel, person: Person, state: State, size: int = SIZE) -> Any:
    return render(head, person, state, VIEW, size).astype(float)


def smile(person: Person) -> Any:
    return lambda alpha: (person, State(units={12: 2.5 + alpha / 2}))


def test_image_depends_on_its_own_alpha_only(head: HeadModel, person: Person) -> None:
    alphas = [-5.0, 0.0, 1.7, 5.0]
    record = render_record(head, smile(person), alphas, [VIEW], SIZE)
    assert record.shape == (4, SIZE, SIZE, 3) and record.dtype == np.uint8
    renderer._latest_identity.clear()
    backwards = render_record(head, smile(person), alphas[::-1], [VIEW], SIZE)
    np.testing.assert_array_equal(record, backwards[::-1])
    renderer._latest_identity.clear()
    np.testing.assert_array_equal(record[2], render_record(head, smile(person), [1.7], [VIEW], SIZE)[0])
    steps = np.abs(np.diff(record.astype(float), axis=0)).mean(axis=(1, 2, 3))
    assert (steps > 0.05).all()


def test_base_is_the_same_for_every_path(head: HeadModel, person: Person) -> None:
    state = State(units={12: 2.5})
    paths = [
        smile(person),
        lambda alpha: (person, dataclasses.replace(state, years=30 + 5 * alpha)),
        lambda alpha: (dataclasses.replace(person, curl=person.curl + 0.02 * alpha), state),
        lambda alpha: (dataclasses.replace(person, blush=person.blush + 0.1 * alpha), state),
    ]
    images = [render_record(head, at, [5.0, 0.0], [VIEW], SIZE) for at in paths]
    for image in images[1:]:
        np.testing.assert_array_equal(image[1], images[0][1])
        assert np.abs(image[0].astype(float) - images[0][1]).mean() > 0.1


@pytest.fixture(scope="module")
def shaven(head: HeadModel, person: Person) -> Any:
    """The image without hair."""
    return shot(head, dataclasses.replace(person, hairstyle="shaved"), State())


@pytest.mark.parametrize("hairstyle", HAIRSTYLES)
def test_every_hairstyle_can_be_seen_and_leaves_the_face_free(
    head: HeadModel, person: Person, shaven: Any, hairstyle: str
) -> None:
    image = shot(head, dataclasses.replace(person, hairstyle=hairstyle), State())
    middle = slice(int(SIZE * 0.45), int(SIZE * 0.7)), slice(int(SIZE * 0.4), int(SIZE * 0.6))
    if hairstyle != "shaved":
        assert np.abs(image - shaven)[: SIZE // 3].mean() > 2
    assert np.abs(image - shaven)[middle].mean() < 4


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({"glasses": GLASSES[2]}, (0.35, 0.6)),
        ({"beard": 1.0, "moustache": 1.0}, (0.55, 1.0)),
        ({"brow": 1.6}, (0.3, 0.5)),
        ({"blush": 2.0}, (0.45, 0.8)),
    ],
)
def test_features_show_where_they_belong(
    head: HeadModel, person: Person, change: dict[str, Any], rows: Any
) -> None:
    person = dataclasses.replace(person, blush=0.2, brow=0.8)
    difference = np.abs(
        shot(head, dataclasses.replace(person, **change), State()) - shot(head, person, State())
    ).mean(axis=(1, 2))
    low, high = (int(SIZE * share) for share in rows)
    assert difference[low:high].mean() > 0.4
    assert difference[low:high].sum() > 0.7 * difference.sum()


def test_skin_and_hair_show_age(head: HeadModel, person: Person) -> None:
    person = dataclasses.replace(person, baldness=0.0, grey_onset=40.0, hair=(0.15, 0.1, 0.07))
    # Whatever else roughens a cheek is set aside: stubble, gloss, edges of large features.
    person = dataclasses.replace(person, stubble=0.0, makeup=0.0, oil=0.2, changes={}, muscle=0.5)
    young, old = (shot(head, person, State(years=years), 128) for years in (25, 70))
    hair, cheek = (slice(4, 16), slice(50, 78)), (slice(60, 90), slice(44, 84))
    assert old[hair].mean() > young[hair].mean() + 20

    def rough(image: Any) -> float:
        return float(np.abs(np.diff(image[cheek].mean(axis=2), axis=0)).mean())

    assert rough(old) > 1.1 * rough(young)


@pytest.mark.parametrize("neckline", NECKLINES)
def test_clothes_take_their_colour(head: HeadModel, person: Person, neckline: str) -> None:
    view = dataclasses.replace(VIEW, frame=2.9)
    red, blue = (
        render(head, person, State(cloth=cloth, neckline=neckline), view, SIZE).astype(float)
        for cloth in ((0.6, 0.1, 0.1), (0.1, 0.1, 0.6))
    )
    assert (red - blue)[-3:, :, 0].mean() > 15 and (blue - red)[-3:, :, 2].mean() > 15
