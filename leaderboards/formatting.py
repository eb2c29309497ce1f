"""Numbers, names and marks as text, without the markup of any format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.core.display import visible as visible
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from comface_bench.stats.bootstrap import Interval
    from comface_bench.stats.metrics import MetricValue

DASH = "—"
INCOMPLETE, TIED = "†", "≈"
"""Signs of a row with missing folds, and of a value tied with the best."""
DIGITS = 10
"""Digits of computed numbers in files for programs; later ones may differ between processors."""


def format_value(name: str, value: float | None) -> str:
    """Print a metric with the decimals of its card, perhaps as a percentage; a dash for none."""
    if value is None:
        return DASH
    metric = METRICS[name]
    return fixed(100 * value if metric.percent else value, metric.digits)


def signed_text(name: str, value: float | None) -> str:
    """Print a difference of metrics with its sign; 0 has none."""
    text = format_value(name, value)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.") else text


def interval_text(name: str, interval: Interval, *, signed: bool = False) -> str:
    """Print the ends of a metric's interval in brackets; empty where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    form = signed_text if signed else format_value
    return f"[{form(name, interval.low)}, {form(name, interval.high)}]"


def p_text(p: MetricValue) -> str:
    """Print a p-value with three decimals; a dash for none."""
    if p.value is None:
        return DASH
    return "< 0.001" if p.value < 0.001 else f"{p.value:.3f}"


def heading(name: str) -> str:
    """Return a metric's title with the arrow of its better direction."""
    return f"{METRICS[name].title} {'↑' if METRICS[name].higher_is_better else '↓'}"


def unit_of(name: str, unit: str) -> str:
    """Return the unit in which a metric is printed: the target's, percent or none.

    Args:
        name: Of the metric.
        unit: Of the target.
    """
    if METRICS[name].has_unit:
        return unit
    return "%" if METRICS[name].percent else ""


def fixed(value: float, digits: int) -> str:
    """Print with so many decimals, never as minus zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def compact(value: float, digits: int) -> str:
    """Print with so many decimals, values from ten millions on in powers of ten."""
    return f"{value:.3e}" if abs(value) >= 1e7 else fixed(value, digits)


def brief(value: float) -> str:
    """Print with up to six significant digits, for axes, facts and sorting."""
    return f"{value + 0.0:.6g}"


def precise(value: float) -> str:
    """Print with up to `DIGITS` significant digits, for files that programs read."""
    return f"{value + 0.0:.{DIGITS}g}"
