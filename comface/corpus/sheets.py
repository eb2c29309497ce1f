"""Contact sheets of a corpus: a person a row, α from left to right (as the supplement's Figures A and B)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from comface_bench.core.errors import UsageError
from comface_bench.core.names import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from comface_bench.comface.corpus.read import Corpus


def attribute_sheet(corpus: Corpus, attribute: str, rows: int = 6, columns: int = 11) -> NDArray[np.uint8]:
    """Put faces side by side.

    Args:
        corpus: Where they are.
        attribute: Name; its first `rows` records are shown.
        rows: Most people shown.
        columns: Images of each, those nearest to equally spaced α from −5 to 5.

    Returns:
        RGB, shape (rows·H, columns·W, 3).

    Raises:
        UsageError: The corpus has no such attribute.
    """
    names = corpus.description.plan.attributes
    if attribute not in names:
        meant = did_you_mean(attribute, names)
        raise UsageError(f"the corpus has no attribute {attribute!r}.{meant}", f"It has {', '.join(names)}.")
    numbers = np.flatnonzero(corpus.attributes == names.index(attribute))[:rows]
    lines = []
    for number in map(int, numbers):
        alphas = corpus.record(number).alphas
        wanted = np.linspace(-5, 5, min(columns, len(alphas)))
        nearest = [int(np.abs(alphas - alpha).argmin()) for alpha in wanted]
        lines.append(np.concatenate([corpus.image(number, index) for index in nearest], axis=2))
    return np.concatenate(lines, axis=1).transpose(1, 2, 0)


def write_sheets(corpus: Corpus, out: Path, rows: int = 6, columns: int = 11) -> list[Path]:
    """Write one sheet for each attribute; arguments as for `attribute_sheet`.

    Returns:
        The files, `<attribute>.jpg`, in the attributes' order.
    """
    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name in corpus.description.plan.attributes:
        files.append(out / f"{name}.jpg")
        Image.fromarray(attribute_sheet(corpus, name, rows, columns)).save(files[-1], quality=90)
    return files
