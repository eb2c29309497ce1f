"""Templates of the site, and cells of its tables: no text gets into a page unescaped or unseen."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from comface_bench.leaderboards.document import PARTLY, marks_text, shown_marks
from comface_bench.leaderboards.formatting import (
    DASH,
    brief,
    compact,
    format_value,
    heading,
    interval_text,
    p_text,
    signed_text,
    unit_of,
    visible,
)
from comface_bench.leaderboards.markdown import (
    AGREEMENT,
    AGREEMENT_NOTES,
    SETTINGS_NOTES,
    correlation_ends,
    correlation_text,
    setting_text,
    shorten_names,
)
from comface_bench.leaderboards.naming import options_title, protocol_title, target_note, target_title
from comface_bench.leaderboards.site.charts import shown, size_text
from comface_bench.stats.metrics import METRICS, MetricValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from comface_bench.leaderboards.document import Comparison, MetricCell
    from comface_bench.leaderboards.site.error_analysis import SizeBin, SubjectError
    from comface_bench.results.schema import UnitResult

MARK = "<!-- Written by `comface-bench leaderboard build`; changes are lost at the next build. -->"
NONE = f'<td class="none">{DASH}</td>'
TIE = '<abbr class="tie" title="tied with the best">≈</abbr>'


@functools.cache
def environment() -> Environment:
    """Return the environment: everything that a template prints is made visible, then escaped."""
    made = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {
        "MARK": Markup(MARK),  # noqa: S704
        "METRICS": METRICS,
        "DASH": DASH,
        "PARTLY": PARTLY,
        "brief": brief,
        "cells": cells,
        "change_cells": change_cells,
        "error_cells": error_cells,
        "folds_cell": folds_cell,
        "heading": heading,
        "marks_text": marks_text,
        "metric_cell": metric_cell,
        "format_value": format_value,
        "number_cell": number_cell,
        "p_text": p_text,
        "plain_cell": plain_cell,
        "compact": compact,
        "shown_marks": shown_marks,
        "size_text": size_text,
        "setting_text": setting_text,
        "options_title": options_title,
        "protocol_title": protocol_title,
        "target_note": target_note,
        "target_title": target_title,
        "shorten_names": shorten_names,
        "correlation_text": correlation_text,
        "correlation_ends": correlation_ends,
        "AGREEMENT": AGREEMENT,
        "AGREEMENT_NOTES": AGREEMENT_NOTES,
        "SETTINGS_NOTES": SETTINGS_NOTES,
        "interval_text": interval_text,
        "signed_text": signed_text,
        "MetricValue": MetricValue,
        "styled": styled,
        "unit_of": unit_of,
        "unit_texts": unit_texts,
    }
    made.filters |= {
        "lower_first": lambda text: text[:1].lower() + text[1:],
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
    }
    return made


def render(template: str, **context: object) -> bytes:
    """Fill a template.

    Args:
        template: File name under `templates`.
        context: What it is filled with.
    """
    return environment().get_template(template).render(context).encode()


def _finalize(value: object) -> object:
    return visible(value) if type(value) is str else value


def cells(texts: Iterable[str]) -> Markup:
    """Write cells of any text."""
    return Markup("".join([f"<td>{shown(text)}</td>" for text in texts]))  # noqa: S704


def number_cell(value: float | None, text: str) -> Markup:
    """Write a cell that is sorted by a number; a dash where there is none."""
    return Markup(NONE if value is None else f'<td data-v="{brief(value)}">{shown(text)}</td>')  # noqa: S704


def metric_cell(found: Mapping[str, MetricCell], name: str) -> Markup:
    """Write a metric with its interval below it; best, second and tied are marked."""
    cell = found.get(name)
    if cell is None or cell.value.value is None:
        return Markup(NONE)  # noqa: S704
    value = styled(cell, format_value(name, cell.value.value))
    return _with_below(cell.value.value, value, interval_text(name, cell.interval))


def plain_cell(found: Mapping[str, MetricCell], name: str) -> Markup:
    """Write a metric with its interval below it, without its place."""
    cell = found.get(name)
    if cell is None or cell.value.value is None:
        return Markup(NONE)  # noqa: S704
    return _with_below(
        cell.value.value, format_value(name, cell.value.value), interval_text(name, cell.interval)
    )


def folds_cell(found: Mapping[str, MetricCell], name: str) -> Markup:
    """Write the mean of the folds' metrics with its interval below it."""
    cell = found.get(name)
    if cell is None or cell.fold_mean.value is None:
        return Markup(NONE)  # noqa: S704
    text, below = format_value(name, cell.fold_mean.value), interval_text(name, cell.fold_interval)
    return _with_below(cell.fold_mean.value, text, below)


def change_cells(name: str, comparison: Comparison | None) -> Markup:
    """Write a difference with its interval, and its p-value in a cell of its own."""
    if comparison is None or comparison.difference.value is None:
        return Markup(NONE * 2)  # noqa: S704
    found = comparison.difference
    text, below = (
        signed_text(name, found.value),
        interval_text(name, found.interval, signed=True),
    )
    return _with_below(found.value, text, below) + number_cell(comparison.p.value, p_text(comparison.p))


def styled(cell: MetricCell, text: str) -> Markup:
    """Put a metric's text in bold where it is the best, underline the second, and mark ties."""
    tag = {1: "strong", 2: "u"}.get(cell.rank or 0)
    marked = f"<{tag}>{shown(text)}</{tag}>" if tag else shown(text)
    return Markup(f"{marked}{TIE}" if cell.tied and cell.rank != 1 else marked)  # noqa: S704


def error_cells(errors: SizeBin | SubjectError) -> Markup:
    """Write the number of pairs, their mean absolute error, and the no-change baseline's."""
    return cells([str(errors.pairs), compact(errors.error, 3), compact(errors.baseline, 3)])


def unit_texts(unit: UnitResult, metrics: Iterable[str]) -> list[str]:
    """Print a unit: its metrics, counts, chosen epoch, lowest loss, seconds and memory."""
    known = {name: metric.value for name, metric in unit.metrics.items()}
    values = [format_value(name, known.get(name)) for name in metrics]
    lowest = compact(min(unit.validation_curve), 3) if unit.validation_curve else DASH
    memory = DASH if unit.peak_memory_mb is None else compact(unit.peak_memory_mb, 0)
    counts = [str(unit.n_pairs), str(unit.n_subjects), str(unit.best_epoch)]
    return [*values, *counts, lowest, compact(unit.seconds, 1), memory]


def _with_below(value: float | None, text: str, below: str) -> Markup:
    """Write a cell of text that is markup already, or needs no escape, and small text below."""
    key = "" if value is None else f' data-v="{brief(value)}"'
    small = f"<small>{shown(below)}</small>" if below else ""
    return Markup(f"<td{key}>{text}{small}</td>")  # noqa: S704
