"""Numbers that only the site prints; metrics are printed as on the Markdown pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comface_bench.leaderboards.numbers import DASH
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from comface_bench.stats.metrics import MetricValue


def p_text(p: MetricValue) -> str:
    """Print a p-value."""
    if p.value is None:
        return DASH
    return "< 0.001" if p.value < 0.001 else f"{p.value:.3f}"


def plain(value: float, digits: int) -> str:
    """Print with so many decimals, never as minus zero; very large values in powers of ten."""
    if abs(value) >= 1e7:
        return f"{value:.3e}"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def brief(value: float) -> str:
    """Print with up to six significant digits, for axes, facts and sorting."""
    return f"{value + 0.0:.6g}"


def unit_of(name: str, unit: str) -> str:
    """Return the unit in which a metric is printed: the target's, percent or none."""
    if METRICS[name].has_unit:
        return unit
    return "%" if METRICS[name].percent else ""
