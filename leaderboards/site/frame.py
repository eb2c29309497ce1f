"""A plot with two axes: its frame, and how a point gets into it."""

from __future__ import annotations

import dataclasses

from markupsafe import Markup

from comface_bench.leaderboards.site.svg import Scale, line, shown, text, tick_texts, ticks

WIDTH = 480
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 14, 54


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis: its label, the ends of its scale, and its ticks, each with a text, if they aren't round."""

    label: str
    low: float
    high: float
    named: tuple[tuple[float, str], ...] | None = None

    def marks(self) -> list[tuple[float, str]]:
        """Return the ticks and what stands at each."""
        if self.named is not None:
            return list(self.named)
        values = ticks(self.low, self.high)
        return list(zip(values, tick_texts(values), strict=True))


class Frame:
    """Room for marks between two axes.

    Args:
        x, y: The axes.
        height: Of the whole plot; it is 480 wide.
        grid: Whether lines cross the plot at the ticks of x too.

    Attributes:
        x, y: Scales from values to positions.
    """

    def __init__(self, x: Axis, y: Axis, height: int = 360, *, grid: bool = False) -> None:
        self.x = Scale(x.low, x.high, LEFT, WIDTH - RIGHT)
        self.y = Scale(y.low, y.high, height - BOTTOM, TOP)
        self._height = height
        self._axes = [*self._x_axis(x, grid), *self._y_axis(y)]

    def draw(self, name: str, title: str, description: str, marks: list[str]) -> Markup:
        """Write the plot.

        Args:
            name: Begins the ids of its title and description; once a page.
            title: What it shows.
            description: What can be seen in it, for those who can't see it.
            marks: Between the axes, in the order in which they are painted.
        """
        head = (
            f'<svg class="plot" viewBox="0 0 {WIDTH} {self._height}" role="img" '
            f'aria-labelledby="{name}-title {name}-description">'
            f'<title id="{name}-title">{shown(title)}</title>'
            f'<desc id="{name}-description">{shown(description)}</desc>'
        )
        # Everything inside comes from the writers of marks, which escape what they are given.
        return Markup("".join([head, *self._axes, *marks, "</svg>"]))  # noqa: S704

    def _x_axis(self, axis: Axis, grid: bool) -> list[str]:
        bottom, drawn = self._height - BOTTOM, []
        for value, words in axis.marks():
            x = self.x(value)
            drawn += [line(x, TOP, x, bottom, "grid")] if grid else [line(x, bottom, x, bottom + 5, "axis")]
            drawn.append(text(x, bottom + 20, words, "tick middle"))
        drawn.append(line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"))
        drawn.append(text((LEFT + WIDTH - RIGHT) / 2, self._height - 8, axis.label, "label middle"))
        return drawn

    def _y_axis(self, axis: Axis) -> list[str]:
        drawn = []
        for value, words in axis.marks():
            y = self.y(value)
            drawn.append(line(LEFT, y, WIDTH - RIGHT, y, "grid"))
            drawn.append(text(LEFT - 8, y + 4.5, words, "tick end"))
        middle = (TOP + self._height - BOTTOM) / 2
        turned = f'<text class="label middle" transform="translate(15 {middle:.0f}) rotate(-90)">'
        return [*drawn, f"{turned}{shown(axis.label)}</text>"]
