"""Contact sheets: one person a row, one value of a label or of α a column.

Sheets of a corpus are read from its images (as the supplement's Figures A and B) and have captions; sheets of
anny's labels are rendered, without captions.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from comface_bench.comface.synthesis.anny.labels import UNITS
from comface_bench.comface.synthesis.anny.person import State, draw_person, stream
from comface_bench.comface.synthesis.anny.scene import draw_view
from comface_bench.core.errors import UsageError
from comface_bench.core.files import writing
from comface_bench.core.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from comface_bench.comface.corpus.read import Corpus

LabelKind = Literal["age", "units", "smile", "weight"]

JPEG_QUALITY = 90
_SMALLEST_FACE = 64  # pixels; below that a caption can't be read
_INK, _PAPER, _HIGHLIGHT = (30, 30, 30), (255, 255, 255), (255, 220, 90)


class AttributeSheet(NamedTuple):
    """Faces of a corpus that show one attribute.

    Attributes:
        attribute: Its name.
        columns: α of each column, shape (C,).
        people: Identity of each row, shape (R,).
        alphas: α of each face, shape (R, C): the column's, or the nearest that the record has.
        faces: RGB, shape (R·H, C·W, 3).
    """

    attribute: str
    columns: NDArray[np.float32]
    people: NDArray[np.int64]
    alphas: NDArray[np.float32]
    faces: NDArray[np.uint8]


def write_attribute_sheets(corpus: Corpus, out: Path, rows: int = 6, columns: int = 11) -> list[Path]:
    """Write one captioned sheet for each attribute of a corpus; arguments as for `attribute_sheet`.

    Returns:
        The files, `<attribute>.jpg`, in the attributes' order.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name in corpus.description.plan.attributes:
        files.append(out / f"{name}.jpg")
        _write_image(draw_captions(attribute_sheet(corpus, name, rows, columns)), files[-1])
    return files


def render_contact_sheet(
    out: Path, kind: LabelKind, *, seed: int = 1, rows: int = 4, size: int = 112
) -> None:
    """Render people of anny with one label changing from column to column.

    Each row has one view, so that nothing but the label changes.

    Args:
        out: File to write; its suffix gives the format.
        kind: `age` in years, `units` (neutral, then each of the 12 action units at 5), `smile`
            (AU 6, 12, 25 from 0 to 5), or `weight` (0 to 4 kg of fluid).
        seed: Seed of the people and their views.
        rows: Number of people.
        size: Height and width of each face in pixels.

    Raises:
        MissingExtraError: anny isn't installed.
    """
    from comface_bench.comface.synthesis.anny.head_model import load_head
    from comface_bench.comface.synthesis.anny.renderer import render

    head, states = load_head(), label_states(kind)
    faces: list[list[NDArray[np.uint8]]] = []
    for row in range(rows):
        person = draw_person(seed, "sheet", row)
        view = draw_view(stream(seed, "sheet", kind, row, 0))
        view = dataclasses.replace(view, yaw=view.yaw / 2, noise=1.0, blur=0.5)
        faces.append([])
        for state in states:
            faces[-1].append(render(head, person, state, view, size))
    _write_image(_tile(faces), out)


def label_states(kind: LabelKind) -> list[State]:
    """Return the state that each column of a label's sheet shows."""
    if kind == "age":
        return [State(years=years) for years in (0, 2, 5, 9, 13, 18, 27, 40, 52, 62, 69)]
    if kind == "units":
        return [State(years=28)] + [State(years=28, units={unit: 5}) for unit in UNITS]
    if kind == "smile":
        return [State(years=28, units={12: level, 6: level, 25: 0.7 * level}) for level in range(6)]
    return [State(years=50, fluid=kilograms) for kilograms in (0, 0.5, 1, 1.5, 2, 3, 4)]


def attribute_sheet(corpus: Corpus, attribute: str, rows: int = 6, columns: int = 11) -> AttributeSheet:
    """Choose faces of a corpus and put them side by side.

    Args:
        corpus: Opened for reading.
        attribute: Name; its first `rows` records are shown.
        rows: Most people shown.
        columns: Images of each, at most as many as a record has: at values of the plan's grid that are about
            equally spaced from −5 to 5, the same in each row, or as near as a record has them.

    Raises:
        UsageError: The corpus has no such attribute.
    """
    plan = corpus.description.plan
    if attribute not in plan.attributes:
        meant = did_you_mean(attribute, plan.attributes)
        raise UsageError(
            f"the corpus has no attribute {attribute!r}.{meant}", f"It has {', '.join(plan.attributes)}."
        )
    numbers = np.flatnonzero(corpus.attributes == plan.attributes.index(attribute))[:rows]
    grid = np.array(plan.grid, np.float32)
    wanted = grid[_nearest(grid, np.linspace(-5, 5, min(columns, plan.alphas)))]
    faces, alphas = [], []
    for number in map(int, numbers):
        own = corpus.record(number).alphas
        places = _nearest(own, wanted)
        alphas.append(own[places])
        faces.append([corpus.image(number, int(place)).transpose(1, 2, 0) for place in places])
    return AttributeSheet(attribute, wanted, corpus.identities[numbers], np.stack(alphas), _tile(faces))


def draw_captions(sheet: AttributeSheet) -> NDArray[np.uint8]:
    """Put the attribute and each column's α above a sheet's faces, and each identity's number beside them.

    A face of another α than its column's has its own α written on it. Small faces are enlarged.

    Returns:
        RGB, shape (H, W, 3).
    """
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = sheet.alphas.shape
    side = sheet.faces.shape[0] // rows
    factor = -(-_SMALLEST_FACE // side)
    side *= factor
    faces = sheet.faces.repeat(factor, axis=0).repeat(factor, axis=1)
    size = max(11, side // 9)
    font, title = ImageFont.load_default(size), ImageFont.load_default(round(1.3 * size))
    left, top = 4 * size, 4 * size
    page = Image.new("RGB", (left + columns * side, top + rows * side), _PAPER)
    page.paste(Image.fromarray(faces), (left, top))
    draw = ImageDraw.Draw(page)
    draw.text((left, size), sheet.attribute, _INK, title, anchor="lm")
    draw.text((left - size // 2, top - size), "alpha", _INK, font, anchor="rm")
    for column, alpha in enumerate(sheet.columns):
        middle = left + column * side + side // 2
        draw.text((middle, top - size), _alpha_text(alpha), _INK, font, anchor="mm")
        for row, own in enumerate(sheet.alphas[:, column]):
            if own != alpha:
                _draw_label(draw, (middle, top + (row + 1) * side), _alpha_text(own), font)
    for row, person in enumerate(sheet.people):
        place = (left - size // 2, top + row * side + side // 2)
        draw.text(place, f"{person}", _INK, font, anchor="rm")
    return np.asarray(page)


def _tile(faces: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Join rows of faces, each (H, W, 3), into one image."""
    return np.concatenate([np.concatenate(row, axis=1) for row in faces], axis=0)


def _write_image(page: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    with writing(path):
        Image.fromarray(page).save(path, quality=JPEG_QUALITY)


def _nearest(values: NDArray[np.float32], wanted: NDArray[np.floating]) -> NDArray[np.intp]:
    found: NDArray[np.intp] = np.abs(values[:, None] - wanted).argmin(axis=0)
    return found


def _draw_label(draw: ImageDraw, foot: tuple[int, int], text: str, font: FreeTypeFont | ImageFont) -> None:
    """Write into a face's lower edge, on a highlighted ground."""
    place = (foot[0], foot[1] - 3)
    x0, y0, x1, y1 = draw.textbbox(place, text, font, anchor="mb")
    draw.rectangle((x0 - 3, y0 - 2, x1 + 3, y1 + 2), fill=_HIGHLIGHT)
    draw.text(place, text, _INK, font, anchor="mb")


def _alpha_text(alpha: np.floating) -> str:
    return f"{alpha:.1f}"  # Pillow's own font has neither a minus sign nor α
