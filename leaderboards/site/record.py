"""The page of one record: its plots, and every fact that stands behind its numbers."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from comface_bench.leaderboards.formatting import brief
from comface_bench.leaderboards.site.charts import scatter, size_bars, subject_dots
from comface_bench.leaderboards.site.error_analysis import (
    SizeBin,
    SubjectError,
    draw_points,
    error_by_size,
    error_by_subject,
    gather,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from markupsafe import Markup

    from comface_bench.results.schema import Record
    from comface_bench.stats.predictions import Columns

DEEPEST = 3
LONGEST = 400


@dataclasses.dataclass(frozen=True)
class Plots:
    """Plots of a record's predictions, and their numbers.

    Attributes:
        scatter, size, subjects: The plots.
        drawn, pairs: How many predictions are drawn, and how many there are.
        bins, errors: The numbers of the second and third plot.
    """

    scatter: Markup
    size: Markup
    subjects: Markup
    drawn: int
    pairs: int
    bins: list[SizeBin]
    errors: list[SubjectError]


def facts(record: Record) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the facts of a record as text, by section."""
    task, method, provenance = record.task, record.method, record.provenance
    sections = [
        (
            "Method",
            [
                ("Group", str(method.card.get("group", ""))),
                ("Backbone", str(method.card.get("backbone", ""))),
                ("Parameters", f"{method.parameters:,}"),
                ("Feature", f"{method.feature_dim:,} numbers"),
                ("Trained on", ", ".join(map(str, method.card.get("trained_on", ())))),
                ("Taught", ", ".join(map(str, method.card.get("supervision", ())))),
                ("Paper", method.about.paper),
                ("Training", method.about.training_scale),
                ("Licence", method.about.licence),
                ("Source", method.about.source),
                ("What is known, and what isn't", method.about.summary),
                *_flat(method.options),
            ],
        ),
        ("Protocol", list(_flat(record.protocol.values))),
        (
            "Provenance",
            [
                ("From", provenance.kind),
                ("Created", provenance.created),
                ("Written by", f"comface-bench {provenance.tool_version}"),
                ("Command", provenance.command or ""),
            ],
        ),
        (
            "Digests",
            [
                ("Data", task.manifest_digest),
                ("Split", task.split_digest),
                ("Task", task.card_digest),
                ("Method", method.card_digest),
                ("Weights", method.checkpoint_digest or ""),
                ("Protocol", record.protocol.digest),
                ("Predictions", record.predictions_digest or ""),
                ("Record", record.digest or ""),
            ],
        ),
        ("Environment", list(_flat(record.environment))),
    ]
    return [(title, [fact for fact in lines if fact[1]]) for title, lines in sections]


def draw_plots(columns: Collection[Columns], record: Record) -> Plots | None:
    """Draw a record's predictions and errors, given by fold and seed; None where no unit is finished."""
    if not columns:
        return None
    predictions = gather(columns)
    points, bins, errors = draw_points(predictions), error_by_size(predictions), error_by_subject(predictions)
    unit = record.task.unit
    return Plots(
        scatter(points, unit),
        size_bars(bins, unit),
        subject_dots(errors, unit),
        len(points.y),
        len(predictions.y),
        bins,
        errors,
    )


def _flat(facts: Mapping[str, Any], before: str = "", depth: int = 1) -> Iterator[tuple[str, str]]:
    """Walk through free-form facts, one line a leaf; what lies deeper is shown as JSON."""
    for key, value in facts.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, dict) and depth < DEEPEST:
            yield from _flat(value, f"{name} · ", depth + 1)
        elif value is not None and value != [] and value != {}:
            yield name, _fact(value)


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return brief(value)
    if isinstance(value, list) and all(isinstance(part, str | int | float) for part in value):
        text = ", ".join(brief(part) if isinstance(part, float) else str(part) for part in value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
