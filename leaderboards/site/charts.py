"""Plots as SVG: scales, round ticks and marks, frames with two axes, and the plots of one record.

Marks carry classes, no colours and no styles: the style sheet draws them, in both themes.
"""

from __future__ import annotations

import dataclasses
import html
import math
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from comface_bench.core.display import with_unit
from comface_bench.leaderboards.formatting import brief, compact, visible
from comface_bench.leaderboards.site.error_analysis import round_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from comface_bench.leaderboards.site.error_analysis import Predictions, SizeBin, SubjectError
    from comface_bench.results.schema import UnitResult

LARGEST = 1e12
SMALLEST = 1e-9
WIDTH = 480
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 14, 54


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
        """Return True if a value lies between the ends."""
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


def ticks(low: float, high: float, about: int = 5, least: float = 0.0) -> list[float]:
    """Return round values between two ends, about so many, at least so far apart."""
    step = max(least, round_step(high - low, about))
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


def words_at(x: float, y: float, words: str, mark: str) -> str:
    """Write words of a class at a place."""
    return f'<text class="{mark}" x="{number(x)}" y="{number(y)}">{shown(words)}</text>'


def shown(text: str) -> str:
    """Escape words for SVG and HTML; what can't be seen becomes an escape that can."""
    return html.escape(visible(text))


def _title(words: str) -> str:
    return f"<title>{shown(words)}</title>"


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

    Attributes:
        x, y: Scales from values to positions.
    """

    def __init__(self, x: Axis, y: Axis, height: int = 360) -> None:
        self.x = Scale(x.low, x.high, LEFT, WIDTH - RIGHT)
        self.y = Scale(y.low, y.high, height - BOTTOM, TOP)
        self._height = height
        self._axes = [*self._x_axis(x), *self._y_axis(y)]

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

    def _x_axis(self, axis: Axis) -> list[str]:
        bottom, drawn = self._height - BOTTOM, []
        for value, words in axis.marks():
            x = self.x(value)
            drawn.append(line(x, bottom, x, bottom + 5, "axis"))
            drawn.append(words_at(x, bottom + 20, words, "tick middle"))
        drawn.append(line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"))
        drawn.append(words_at((LEFT + WIDTH - RIGHT) / 2, self._height - 8, axis.label, "label middle"))
        return drawn

    def _y_axis(self, axis: Axis) -> list[str]:
        drawn = []
        for value, words in axis.marks():
            y = self.y(value)
            drawn.append(line(LEFT, y, WIDTH - RIGHT, y, "grid"))
            drawn.append(words_at(LEFT - 8, y + 4.5, words, "tick end"))
        middle = (TOP + self._height - BOTTOM) / 2
        turned = f'<text class="label middle" transform="translate(15 {middle:.0f}) rotate(-90)">'
        return [*drawn, f"{turned}{shown(axis.label)}</text>"]


def scatter(points: Predictions, unit: str) -> Markup:
    """Draw predicted against true change, on equal scales, beside the line of right answers."""
    low, high = domain([*_ends(points.y), *_ends(points.yhat)], zero=True, margin=0.04)
    frame = Frame(
        Axis(with_unit("true change", unit, ", "), low, high),
        Axis(with_unit("predicted change", unit, ", "), low, high),
        480,
    )
    x = np.rint(_positions(points.y, frame.x(low), frame.x(high), low, high)).astype(int).tolist()
    y = np.rint(_positions(points.yhat, frame.y(low), frame.y(high), low, high)).astype(int).tolist()
    # One path of points, each a line of no length with round ends: a third of the bytes of circles.
    path = "".join(map("M{} {}h0".format, x, y))
    marks = [
        line(frame.x(low), frame.y(0), frame.x(high), frame.y(0), "zero"),
        line(frame.x(0), frame.y(low), frame.x(0), frame.y(high), "zero"),
        line(frame.x(low), frame.y(low), frame.x(high), frame.y(high), "right"),
        f'<path class="points" d="{path}"/>',
    ]
    description = (
        f"{len(points.y)} points. True changes go from {_span(points.y, unit)}, "
        f"predicted ones from {_span(points.yhat, unit)}. The dashed line is where both are equal."
    )
    return frame.draw("scatter", "Predicted against true change", description, marks)


def _span(values: NDArray[np.float64], unit: str) -> str:
    return f"{brief(float(values.min()))} to {with_unit(brief(float(values.max())), unit)}"


def size_bars(bins: Sequence[SizeBin], unit: str) -> Markup:
    """Draw the error by size of the true change, with the no-change baseline's error as a hollow bar."""
    _, top = domain([value for one in bins for value in (one.error, one.baseline)], zero=True, margin=0.03)
    named = tuple((index + 0.5, size_text(one)) for index, one in enumerate(bins))
    frame = Frame(
        Axis(with_unit("size of the true change", unit, ", "), 0, len(bins), named),
        Axis(with_unit("mean absolute error", unit, ", "), 0, top),
    )
    wide = (frame.x(1) - frame.x(0)) * 0.36
    marks = []
    for index, one in enumerate(bins):
        middle = frame.x(index + 0.5)
        for x, value, mark, who in (
            (middle - wide - 1, one.error, "bar", "this method"),
            (middle + 1, one.baseline, "bar hollow", "no change"),
        ):
            y = frame.y(min(value, top))
            title = f"{with_unit(size_text(one), unit)}, {who}: {compact(value, 3)} ({one.pairs} predictions)"
            marks.append(bar(x, y, wide, frame.y(0) - y, mark, title))
    marks.append(line(frame.x(0), frame.y(0), frame.x(len(bins)), frame.y(0), "axis"))
    description = (
        "Filled bars are this method, hollow ones always answering no change; the table has the numbers."
    )
    return frame.draw("size", "Mean absolute error by size of the true change", description, marks)


def subject_dots(errors: Sequence[SubjectError], unit: str) -> Markup:
    """Draw each subject's error, the smallest first, with the no-change baseline's as a hollow dot."""
    _, top = domain([value for one in errors for value in (one.error, one.baseline)], zero=True, margin=0.04)
    count = len(errors)
    named = tuple((float(rank), str(rank)) for rank in sorted({1, count}))
    frame = Frame(
        Axis("subjects, by error", 0.5, count + 0.5, named),
        Axis(with_unit("mean absolute error", unit, ", "), 0, top),
    )
    radius = 4.5 if count <= 60 else 3
    hollow, filled = [], []
    for rank, one in enumerate(errors, start=1):
        x, title = frame.x(rank), f"subject {one.subject}: {compact(one.error, 3)}"
        hollow.append(dot(x, frame.y(min(one.baseline, top)), radius, "dot hollow"))
        filled.append(dot(x, frame.y(min(one.error, top)), radius, "dot", title))
    first, last = compact(errors[0].error, 3), compact(errors[-1].error, 3)
    description = (
        f"{count} subjects; errors go from {first} to {with_unit(last, unit)}. "
        "Hollow dots are always answering no change; the table has the numbers."
    )
    return frame.draw("subjects", "Mean absolute error by subject", description, [*hollow, *filled])


def curves(units: Sequence[UnitResult], unit: str) -> Markup | None:
    """Draw validation loss by epoch, one line a fold and seed, with the chosen epochs marked."""
    trained = [one for one in units if one.validation_curve]
    if not trained:
        return None
    losses = [loss for one in trained for loss in one.validation_curve]
    low, high = domain(losses, margin=0.06)
    last = max(len(one.validation_curve) for one in trained)
    x_low, x_high = (1, last) if last > 1 else (0.5, 1.5)
    named = ((1, "1"),) if last == 1 else None
    frame = Frame(
        Axis("epoch", x_low, x_high, named), Axis(with_unit("validation loss", unit, ", "), low, high)
    )
    lines, dots = [], []
    for one in trained:
        points = [f"{number(frame.x(e))} {number(frame.y(v))}" for e, v in enumerate(one.validation_curve, 1)]
        lines.append(f'<path class="curve" d="M{"L".join(points)}"/>')
        if 1 <= one.best_epoch <= len(one.validation_curve):
            loss = one.validation_curve[one.best_epoch - 1]
            title = f"fold {one.fold}, seed {one.seed}: epoch {one.best_epoch}, {brief(loss)}"
            dots.append(dot(frame.x(one.best_epoch), frame.y(loss), 4, "dot", title))
    least, most = brief(min(losses)), brief(max(losses))
    description = (
        f"{len(trained)} curves of {last} epochs, between {least} and {with_unit(most, unit)}. "
        "Dots are the epochs that were chosen; they are in the table of units."
    )
    return frame.draw("curve", "Validation loss by epoch", description, [*lines, *dots])


def size_text(one: SizeBin) -> str:
    """Name a bin of sizes."""
    return brief(one.low) if one.low == one.high else f"{brief(one.low)}–{brief(one.high)}"


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _positions(
    values: NDArray[np.float64], start: float, end: float, low: float, high: float
) -> NDArray[np.float64]:
    """As `Scale` does, for many values at once."""
    with np.errstate(over="ignore"):
        part = np.clip((values - low) / (high - low), -1, 2)
    found: NDArray[np.float64] = start + (end - start) * part
    return found
