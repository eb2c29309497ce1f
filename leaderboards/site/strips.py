"""Intervals as rows of a table: each row is a strip of its own, all on one scale.

Positions are percentages and heights pixels, so that strips fit any width without shrinking their marks.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from markupsafe import Markup

from comface_bench.leaderboards.site.svg import Scale, number, shown, tick_texts, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

HEIGHT = 34
AXIS_HEIGHT = 30


@dataclasses.dataclass(frozen=True)
class Strip:
    """What one row shows.

    Attributes:
        value: The dot; None for none.
        low, high: Ends of its interval; None for none.
        mark: Class of dot and interval: `best`, `tied` or empty.
        hollow: A hollow dot beside it, such as the paper's value; None for none.
        told: The same in words.
    """

    value: float | None
    low: float | None
    high: float | None
    mark: str
    hollow: float | None
    told: str


class Strips:
    """Strips on one scale.

    Args:
        low, high: Ends of the scale.
        about: How many ticks it has, about.
        line: A value with a line across all strips, such as the constant answer's; None for none.
    """

    def __init__(self, low: float, high: float, about: int = 4, line: float | None = None) -> None:
        self._scale = Scale(low, high, 3, 97)
        self._ticks = ticks(low, high, about)
        self._behind = "".join(self._vertical(value, "grid", HEIGHT) for value in self._ticks)
        if line is not None and self._scale.holds(line):
            self._behind += self._vertical(line, "floor", HEIGHT)

    def row(self, strip: Strip) -> Markup:
        """Write one row's strip."""
        middle, drawn = HEIGHT // 2, [self._behind]
        suffix = f" {strip.mark}" if strip.mark else ""
        if strip.low is not None and strip.high is not None:
            ends = f'x1="{self._at(strip.low)}" x2="{self._at(strip.high)}"'
            drawn.append(f'<line class="interval{suffix}" {ends} y1="{middle}" y2="{middle}"/>')
        if strip.hollow is not None:
            drawn.append(f'<circle class="paper" cx="{self._at(strip.hollow)}" cy="{middle}" r="5"/>')
        if strip.value is not None:
            drawn.append(f'<circle class="dot{suffix}" cx="{self._at(strip.value)}" cy="{middle}" r="5"/>')
        head = f'<svg class="strip" height="{HEIGHT}" role="img"><title>{shown(strip.told)}</title>'
        # Everything inside is numbers, or escaped by `shown`.
        return Markup("".join([head, *drawn, "</svg>"]))  # noqa: S704

    def axis(self, title: str, span: float | None = None, span_text: str = "") -> Markup:
        """Write the scale that stands above or below the rows.

        Args:
            title: What the scale is of.
            span: Length of a bar to compare distances with, in the scale's unit; None for none.
            span_text: A short name of the bar, and its length.
        """
        drawn = [f'<svg class="strip scale" height="{AXIS_HEIGHT}" role="img"><title>{shown(title)}</title>']
        for value, words in zip(self._ticks, self._texts(), strict=True):
            drawn.append(self._vertical(value, "axis", 6))
            drawn.append(f'<text class="tick middle" x="{self._at(value)}" y="21">{words}</text>')
        drawn.append("</svg>")
        if span is not None:
            ends = f'x1="{self._at(self._scale.low)}" x2="{self._at(self._scale.low + span)}"'
            drawn += [
                f'<svg class="strip scale" height="26" role="img"><title>{shown(span_text)}</title>',
                f'<line class="span" {ends} y1="7" y2="7"/>',
                f'<text class="tick" x="{self._at(self._scale.low)}" y="23">{shown(span_text)}</text></svg>',
            ]
        return Markup("".join(drawn))  # noqa: S704

    def _texts(self) -> Sequence[str]:
        return tick_texts(self._ticks)

    def _at(self, value: float) -> str:
        return f"{number(min(98.5, max(1.5, self._scale(value))))}%"

    def _vertical(self, value: float, mark: str, height: int) -> str:
        at = self._at(value)
        return f'<line class="{mark}" x1="{at}" x2="{at}" y1="0" y2="{height}"/>'
