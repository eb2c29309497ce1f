"""Contact sheets of a corpus: a person a row, α from left to right (as the supplement's Figures A and B)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from comface_bench.core.errors import UsageError
from comface_bench.core.names import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from comface_bench.comface.corpus.read import Corpus

_LEAST = 64  # pixels of a face with a caption that can be read
_INK, _PAPER, _ODD = (30, 30, 30), (255, 255, 255), (255, 220, 90)


class Sheet(NamedTuple):
    """Faces of one attribute.

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


def attribute_sheet(corpus: Corpus, attribute: str, rows: int = 6, columns: int = 11) -> Sheet:
    """Put faces side by side.

    Args:
        corpus: Where they are.
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
    lines, alphas = [], []
    for number in map(int, numbers):
        own = corpus.record(number).alphas
        places = _nearest(own, wanted)
        alphas.append(own[places])
        lines.append(np.concatenate([corpus.image(number, int(place)) for place in places], axis=2))
    faces = np.concatenate(lines, axis=1).transpose(1, 2, 0)
    return Sheet(attribute, wanted, corpus.identities[numbers], np.stack(alphas), faces)


def caption(sheet: Sheet) -> NDArray[np.uint8]:
    """Put the attribute and each column's α above a sheet's faces, and each identity's number beside them.

    A face of another α than its column's says so itself. Small faces are enlarged.

    Returns:
        RGB, shape (H, W, 3).
    """
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = sheet.alphas.shape
    side = sheet.faces.shape[0] // rows
    factor = -(-_LEAST // side)
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
        draw.text((middle, top - size), _text(alpha), _INK, font, anchor="mm")
        for row, own in enumerate(sheet.alphas[:, column]):
            if own != alpha:
                _label(draw, (middle, top + (row + 1) * side), _text(own), font)
    for row, person in enumerate(sheet.people):
        place = (left - size // 2, top + row * side + side // 2)
        draw.text(place, f"{person}", _INK, font, anchor="rm")
    return np.asarray(page)


def write_sheets(corpus: Corpus, out: Path, rows: int = 6, columns: int = 11) -> list[Path]:
    """Write one captioned sheet for each attribute; arguments as for `attribute_sheet`.

    Returns:
        The files, `<attribute>.jpg`, in the attributes' order.
    """
    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name in corpus.description.plan.attributes:
        files.append(out / f"{name}.jpg")
        page = caption(attribute_sheet(corpus, name, rows, columns))
        Image.fromarray(page).save(files[-1], quality=90)
    return files


def _nearest(values: NDArray[np.float32], wanted: NDArray[np.floating]) -> NDArray[np.intp]:
    found: NDArray[np.intp] = np.abs(values[:, None] - wanted).argmin(axis=0)
    return found


def _label(draw: ImageDraw, foot: tuple[int, int], text: str, font: FreeTypeFont | ImageFont) -> None:
    """Write into a face's lower edge, on a ground of its own."""
    place = (foot[0], foot[1] - 3)
    x0, y0, x1, y1 = draw.textbbox(place, text, font, anchor="mb")
    draw.rectangle((x0 - 3, y0 - 2, x1 + 3, y1 + 2), fill=_ODD)
    draw.text(place, text, _INK, font, anchor="mb")


def _text(alpha: np.floating) -> str:
    return f"{alpha:.1f}"  # Pillow's own font has no minus sign, nor α
