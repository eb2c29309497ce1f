"""How measured numbers are printed."""

from __future__ import annotations

from comface_bench.stats.metrics import METRICS

DASH = "—"


def format_value(name: str, value: float | None) -> str:
    """Print a metric: three decimals, or a percentage with one; a dash for none."""
    if value is None:
        return DASH
    text = f"{100 * value:.1f}" if METRICS[name].percent else f"{value:.3f}"
    return text.removeprefix("-") if not text.strip("-0.") else text
