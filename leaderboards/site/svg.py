"""Pieces of a plot: scales, round ticks, and marks written as SVG.

Marks carry classes, no colours and no styles: the style sheet draws them, in both themes.
"""

from __future__ import annotations

import dataclasses
import html
import math
from typing import TYPE_CHECKING

from comface_bench.leaderboards.detail import round_step
from comface_bench.leaderboards.site.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


LARGEST = 1e12
SMALLEST = 1e-9


@dataclasses.dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` onto positions from `start` to `end`, linearly."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value; far outside it goes no further than one length of the scale."""
        part = min(2.0, max(-1.0, (value - self.low) / (self.high - self.low)))
        return self.start + (self.end - self.start) * part

    def holds(self, value: float) -> bool:
        """Whether a value lies between the ends."""
        return self.low <= value <= self.high


def domain(values: Iterable[float], *, zero: bool = False, margin: float = 0.0) -> tuple[float, float]:
    """Return ends of a scale that hold all values up to a million millions, and are apart.

    Args:
        values: Any numbers.
        zero: Whether the scale also holds 0.
        margin: Room on both sides, as a part of the values' span.
    """
    held = [min(LARGEST, max(-LARGEST, value)) for value in values] + ([0.0] if zero else [])
    low, high = min(held, default=0.0), max(held, default=1.0)
    if high - low < SMALLEST * max(1.0, abs(low), abs(high)):
        room = max(abs(high), 1.0) / 2
    else:
        room = (high - low) * margin
    return low - room, high + room


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values between two ends, about so many."""
    step = round_step(high - low, about)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Print ticks with the decimals that their step needs."""
    if not values:
        return []
    largest = max(map(abs, values))
    step = values[1] - values[0] if len(values) > 1 else abs(values[0]) or 1.0
    if largest >= 1e6 or step < 1e-5:
        return [f"{value + 0.0:.3g}" for value in values]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:.{digits}f}".replace(f"-{0:.{digits}f}", f"{0:.{digits}f}") for value in values]


def number(value: float) -> str:
    """Print a position, with one decimal."""
    return f"{value:.1f}"


def line(x1: float, y1: float, x2: float, y2: float, mark: str) -> str:
    """Write a line of a class."""
    ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f'<line class="{mark}" {ends}/>'


def dot(x: float, y: float, radius: float, mark: str, title: str = "") -> str:
    """Write a circle of a class, with a title that shows where the pointer rests."""
    place = f'cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"'
    return (
        f'<circle class="{mark}" {place}>{_title(title)}</circle>'
        if title
        else f'<circle class="{mark}" {place}/>'
    )


def bar(x: float, y: float, width: float, height: float, mark: str, title: str = "") -> str:
    """Write a rectangle of a class, likewise."""
    place = f'x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
    return f'<rect class="{mark}" {place}>{_title(title)}</rect>'


def text(x: float, y: float, words: str, mark: str) -> str:
    """Write words of a class at a place."""
    return f'<text class="{mark}" x="{number(x)}" y="{number(y)}">{shown(words)}</text>'


def shown(words: str) -> str:
    """Escape words for SVG and HTML; what can't be seen becomes an escape that can."""
    return html.escape(visible(words))


def _title(words: str) -> str:
    return f"<title>{shown(words)}</title>"
