"""The plots of one record: its predictions, its errors by size and by subject, its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from comface_bench.leaderboards.site.frame import Axis, Frame
from comface_bench.leaderboards.site.numbers import brief, plain
from comface_bench.leaderboards.site.svg import bar, domain, dot, line, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from comface_bench.leaderboards.detail import Predictions, SizeBin, SubjectError
    from comface_bench.results.schema import UnitResult


def scatter(points: Predictions, unit: str) -> Markup:
    """Draw predicted against true change, on equal scales, beside the line of right answers."""
    low, high = domain([*_ends(points.y), *_ends(points.yhat)], zero=True, margin=0.04)
    frame = Frame(Axis(f"true change, {unit}", low, high), Axis(f"predicted change, {unit}", low, high), 480)
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
    told = (
        f"{len(points.y)} points. True changes go from {brief(float(points.y.min()))} to "
        f"{brief(float(points.y.max()))} {unit}, predicted ones from {brief(float(points.yhat.min()))} to "
        f"{brief(float(points.yhat.max()))} {unit}. The dashed line is where both are equal."
    )
    return frame.draw("scatter", "Predicted against true change", told, marks)


def size_bars(bins: Sequence[SizeBin], unit: str) -> Markup:
    """Draw the error by size of the true change, with the constant answer's error as a hollow bar."""
    _, top = domain([value for one in bins for value in (one.error, one.constant)], zero=True, margin=0.03)
    named = tuple((index + 0.5, size_text(one)) for index, one in enumerate(bins))
    frame = Frame(
        Axis(f"size of the true change, {unit}", 0, len(bins), named),
        Axis(f"mean absolute error, {unit}", 0, top),
    )
    wide = (frame.x(1) - frame.x(0)) * 0.36
    marks = []
    for index, one in enumerate(bins):
        middle = frame.x(index + 0.5)
        for x, value, mark, who in (
            (middle - wide - 1, one.error, "bar", "this method"),
            (middle + 1, one.constant, "bar hollow", "no change"),
        ):
            y = frame.y(min(value, top))
            title = f"{size_text(one)} {unit}, {who}: {plain(value, 3)} ({one.pairs} predictions)"
            marks.append(bar(x, y, wide, frame.y(0) - y, mark, title))
    marks.append(line(frame.x(0), frame.y(0), frame.x(len(bins)), frame.y(0), "axis"))
    told = "Filled bars are this method, hollow ones always answering no change; the table has the numbers."
    return frame.draw("size", "Mean absolute error by size of the true change", told, marks)


def subject_dots(errors: Sequence[SubjectError], unit: str) -> Markup:
    """Draw each subject's error, the smallest first, with the constant answer's as a hollow dot."""
    _, top = domain([value for one in errors for value in (one.error, one.constant)], zero=True, margin=0.04)
    count = len(errors)
    named = tuple((float(place), str(place)) for place in sorted({1, count}))
    frame = Frame(
        Axis("subjects, by error", 0.5, count + 0.5, named),
        Axis(f"mean absolute error, {unit}", 0, top),
    )
    radius = 4.5 if count <= 60 else 3
    hollow, filled = [], []
    for place, one in enumerate(errors, start=1):
        x, title = frame.x(place), f"subject {one.subject}: {plain(one.error, 3)}"
        hollow.append(dot(x, frame.y(min(one.constant, top)), radius, "dot hollow"))
        filled.append(dot(x, frame.y(min(one.error, top)), radius, "dot", title))
    first, last = plain(errors[0].error, 3), plain(errors[-1].error, 3)
    told = (
        f"{count} subjects; errors go from {first} to {last} {unit}. "
        "Hollow dots are always answering no change; the table has the numbers."
    )
    return frame.draw("subjects", "Mean absolute error by subject", told, [*hollow, *filled])


def curves(units: Sequence[UnitResult], unit: str) -> Markup | None:
    """Draw validation loss by epoch, one line a fold and seed, with the chosen epochs marked."""
    shown = [one for one in units if one.validation_curve]
    if not shown:
        return None
    losses = [loss for one in shown for loss in one.validation_curve]
    low, high = domain(losses, margin=0.06)
    last = max(len(one.validation_curve) for one in shown)
    x_low, x_high = (1, last) if last > 1 else (0.5, 1.5)
    named = ((1, "1"),) if last == 1 else None
    frame = Frame(Axis("epoch", x_low, x_high, named), Axis(f"validation loss, {unit}", low, high))
    lines, dots = [], []
    for one in shown:
        places = [f"{number(frame.x(e))} {number(frame.y(v))}" for e, v in enumerate(one.validation_curve, 1)]
        lines.append(f'<path class="curve" d="M{"L".join(places)}"/>')
        if 1 <= one.best_epoch <= len(one.validation_curve):
            loss = one.validation_curve[one.best_epoch - 1]
            title = f"fold {one.fold}, seed {one.seed}: epoch {one.best_epoch}, {brief(loss)}"
            dots.append(dot(frame.x(one.best_epoch), frame.y(loss), 4, "dot", title))
    least, most = brief(min(losses)), brief(max(losses))
    told = (
        f"{len(shown)} curves of {last} epochs, between {least} and {most} {unit}. "
        "Dots are the epochs that were chosen; they are in the table of units."
    )
    return frame.draw("curve", "Validation loss by epoch", told, [*lines, *dots])


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
