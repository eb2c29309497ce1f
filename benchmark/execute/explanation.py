"""Explanations of estimates: what the regions of two photographs added, as numbers and as a picture."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.display import with_unit
from comface_bench.core.errors import MissingExtraError, UsageError
from comface_bench.core.files import replace_file
from comface_bench.core.plotting import STYLE, load_matplotlib

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comface_bench.engine.attribution import Windows
    from comface_bench.engine.pair_model import AttributionKind

FORMATS = (".png", ".jpg", ".svg", ".pdf")
"""Endings of the files that a picture can be saved as."""
SIDES = ("first", "second")

_COLOURS = "RdBu_r"
_OPAQUE = 0.6
"""Of a map over its photograph."""
_STYLE = STYLE | {"pdf.fonttype": 42, "font.size": 9}
_load = partial(load_matplotlib, "the picture needs matplotlib", ", or numbers alone: --json")


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which regions moved the estimate of a change, and by how much; `Model.explain` makes it.

    Attributes:
        first, second: The photographs.
        target: What changed, such as `age`.
        unit: Of all numbers here, such as `years`.
        change: Estimated change.
        low, high: Its interval.
        method: How regions were weighed.
        windows: Where they lie in the photographs as the network saw them.
        images: Those photographs, uint8 (2, H, W, 3).
        effects: What each window adds to the estimate, (2, rows, columns): by how much the estimate is higher
            than with the window hidden, above 0 where it raises the estimate.
    """

    first: Path
    second: Path
    target: str
    unit: str
    change: float
    low: float
    high: float
    method: AttributionKind
    windows: Windows
    images: NDArray[np.uint8]
    effects: NDArray[np.float64]

    @cached_property
    def maps(self) -> NDArray[np.float64]:
        """For each pixel the mean effect of the windows that it lies in, (2, H, W)."""
        return self.windows.spread(self.effects)

    def __str__(self) -> str:
        change = with_unit(f"{self.change:+.3g}", self.unit)
        return f"{self.target}: {change} ({self.low:+.3g} to {self.high:+.3g})"

    def __repr__(self) -> str:
        down, across = self.windows.shape
        return f"<Explanation of {self} by {self.method}, {down} × {across} windows of each photograph>"

    def find_strongest(self, side: int) -> tuple[float, float, float]:
        """Return the largest effect of a photograph's windows, and where its middle lies.

        Args:
            side: 0 for the first photograph, 1 for the second.

        Returns:
            The effect, in the unit; its place across, from the left, and down, from the top, as shares of
            the photograph.
        """
        columns, half = len(self.windows.columns), self.windows.side / 2
        place = int(abs(self.effects[side]).argmax())
        effect = float(self.effects[side].flat[place])
        top, left = self.windows.rows[place // columns], self.windows.columns[place % columns]
        return effect, (left + half) / self.windows.width, (top + half) / self.windows.height

    def describe(self) -> dict[str, object]:
        """Return its numbers for programs, effects to six digits."""
        return {
            "first": str(self.first),
            "second": str(self.second),
            "change": self.change,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "method": self.method,
            "image_size": self.windows.width,
            "window": self.windows.side,
            "rows": list(self.windows.rows),
            "columns": list(self.windows.columns),
            "effects": {
                name: [[float(f"{value:.6g}") for value in row] for row in grid]
                for name, grid in zip(SIDES, self.effects.tolist(), strict=True)
            },
        }

    def save(self, path: Path | str) -> None:
        """Write the picture; it is there whole or not at all.

        Args:
            path: Its file, one of `FORMATS`.

        Raises:
            UsageError: It is to be of another format.
            MissingExtraError: matplotlib isn't installed.
            StorageError: There is no room.
        """
        path = Path(path)
        replace_file(path, self.draw(check_format(path)))

    def draw(self, kind: str = "png") -> bytes:
        """Draw the picture: both photographs, and below them what their regions added.

        Args:
            kind: `png`, `jpg`, `svg` or `pdf`.

        Returns:
            The file's content; the same for the same explanation and release of matplotlib.

        Raises:
            MissingExtraError: matplotlib isn't installed.
        """
        with _load(module="matplotlib").rc_context(_STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Names of files may have characters that the font lacks.
            figure = self._lay_out()
            stream = io.BytesIO()
            undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
            figure.savefig(stream, format=kind, dpi=150, metadata=undated.get(kind))
        return stream.getvalue()

    def _repr_png_(self) -> bytes | None:
        """Show itself in a notebook."""
        with contextlib.suppress(MissingExtraError):
            return self.draw()
        return None

    def _lay_out(self) -> Any:
        figure = _load().Figure(figsize=(5.4, 5.6), layout="constrained")
        panels = figure.subplots(2, 2)
        # One scale for both, so that they can be compared, with white at 0.
        most = float(abs(self.maps).max()) or 1.0
        for side, (above, below) in enumerate(panels.T):
            above.imshow(self.images[side])
            named = f"{SIDES[side]}: {(self.first, self.second)[side].name}"
            above.set_title(_shorten(named), fontsize="medium", parse_math=False)
            grey = self.images[side] @ (0.299, 0.587, 0.114)
            below.imshow(grey, cmap="gray", vmin=0, vmax=255)
            colours = below.imshow(self.maps[side], cmap=_COLOURS, vmin=-most, vmax=most, alpha=_OPAQUE)
        for panel in panels.flat:
            panel.set_axis_off()
        bar = figure.colorbar(colours, ax=panels[1], location="bottom", aspect=40, shrink=0.8)
        in_unit = f" ({self.unit})" if self.unit else ""
        bar.set_label(
            _shorten(f"what a region adds to the estimate{in_unit}: red raises it, blue lowers it"),
            parse_math=False,
        )
        figure.suptitle(_shorten(str(self)), parse_math=False)
        how = f"{self.method}, windows of {self.windows.side} × {self.windows.side} pixels"
        figure.supxlabel(how, fontsize="small", color="0.4")
        return figure


def check_format(path: Path) -> str:
    """Return how a picture's file is written, by its name: `png`, `jpg`, `svg` or `pdf`.

    Raises:
        UsageError: It is none of these.
        MissingExtraError: matplotlib isn't installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a picture is called {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    _load()
    return path.suffix.lower().removeprefix(".")


_LONGEST = 78


def _shorten(text: str) -> str:
    """Keep a line within the picture, and characters that stand for nothing out of it."""
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
