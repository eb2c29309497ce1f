"""The templates, set up so that no text gets into a page unescaped or unseen."""

from __future__ import annotations

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from comface_bench.leaderboards.facts import heading, headline
from comface_bench.leaderboards.numbers import DASH, format_value
from comface_bench.leaderboards.site import cells, numbers
from comface_bench.leaderboards.site.charts import size_text
from comface_bench.leaderboards.site.visible import visible
from comface_bench.stats.metrics import METRICS

MARK = "<!-- Written by `comface-bench leaderboard build`; changes are lost at the next build. -->"


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
        "brief": numbers.brief,
        "cells": cells.cells,
        "change_cells": cells.change_cells,
        "error_cells": cells.error_cells,
        "folds_cell": cells.folds_cell,
        "heading": heading,
        "headline": headline,
        "metric_cell": cells.metric_cell,
        "format_value": format_value,
        "number_cell": cells.number_cell,
        "p_text": numbers.p_text,
        "plain": numbers.plain,
        "size_text": size_text,
        "styled": cells.styled,
        "unit_of": numbers.unit_of,
        "unit_texts": cells.unit_texts,
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
