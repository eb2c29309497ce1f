"""Checks of a record against itself: digests, keys, names, folds, plausible numbers. Needs no predictions."""

from __future__ import annotations

import datetime
import json
import math
import re
from typing import TYPE_CHECKING

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.digest import digest
from comface_bench.core.errors import UsageError
from comface_bench.results.keys import stored_card_digest
from comface_bench.results.parse import Parsed, Problem
from comface_bench.results.schema import dump_json
from comface_bench.stats.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comface_bench.results.schema import Record, UnitResult
    from comface_bench.stats.metrics import MetricValue

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = r"(0|[1-9][0-9]{0,17})"
_NUMBERS = re.compile(f"{_NUMBER}(,{_NUMBER})*")
_ERRORS = ("mae", "rmse")
_LOWEST = {"acc": 0.0}
"""Metrics that aren't errors lie between this, -1 by default, and 1."""
_ROUNDING = 1e-9
AGAIN = "Take the file as it was written, or make it again: comface-bench run"


def check_text(parsed: Parsed, data: bytes) -> Iterator[Problem]:
    """Check that a record's bytes are the one text that this record is written as, down to its digest."""
    if parsed.version > 1:
        if parsed.record.digest != parsed.record.text_digest():
            yield Problem("digest", "the record isn't the one that this digest was taken of", AGAIN)
        expected = dump_json(parsed.record)
    else:
        expected = json.dumps(parsed.facts, indent=1) + "\n"
    if expected.encode() != data:
        line = _first_difference(expected.encode(), data)
        yield Problem(f"line {line}", "not written as comface-bench writes this record", AGAIN)


def check_facts(record: Record) -> Iterator[Problem]:
    """Check all that a record says of itself."""
    yield from _check_digests(record)
    yield from _check_names(record)
    yield from _check_folds(record)
    for number, unit in enumerate(record.units):
        place = f"units.{number}"
        yield from _check_key(record, unit.fold, unit.seed, unit.key, place)
        yield from _check_metrics(unit.metrics, f"{place}.metrics")
        yield from _check_metrics(unit.constant, f"{place}.constant")
        yield from _check_training(record, unit, place)
    for number, failure in enumerate(record.failures):
        yield from _check_key(record, failure.fold, failure.seed, failure.key, f"failures.{number}")
    for part in ("pooled", "fold_mean", "constant"):
        metrics = getattr(record.summary, part)
        if set(metrics) != set(record.task.metrics):
            yield Problem(f"summary.{part}", "its metrics aren't the task's")
        yield from _check_metrics(metrics, f"summary.{part}")
    try:
        datetime.datetime.fromisoformat(record.provenance.created)
    except ValueError:
        yield Problem("provenance.created", "no date such as 2026-01-31")


def _check_digests(record: Record) -> Iterator[Problem]:
    task, method, protocol = record.task, record.method, record.protocol
    if task.card_digest != stored_card_digest(task.card, TaskCard):
        yield Problem("task.card_digest", "not the digest of the card", AGAIN)
    if method.card_digest != stored_card_digest(method.card, MethodCard):
        yield Problem("method.card_digest", "not the digest of the card", AGAIN)
    if protocol.digest != digest(protocol.values):
        yield Problem("protocol.digest", "not the digest of the values", AGAIN)
    for place, value in (
        ("task.manifest_digest", task.manifest_digest),
        ("task.split_digest", task.split_digest),
        ("method.checkpoint_digest", method.checkpoint_digest),
    ):
        if value is not None and not _DIGEST.fullmatch(value):
            yield Problem(place, "not 64 hexadecimal digits")


def _check_key(record: Record, fold: int, seed: int, key: str, place: str) -> Iterator[Problem]:
    try:
        expected = record.unit_key(fold, seed)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, UsageError):
        yield Problem(f"{place}.key", "can't be checked: a card or the protocol lacks a fact", AGAIN)
        return
    if key != expected:
        yield Problem(f"{place}.key", "not the key that the record's facts give", AGAIN)


def _check_names(record: Record) -> Iterator[Problem]:
    task, method, protocol = record.task, record.method, record.protocol
    for place, name, card_name in (
        ("task.name", task.name, task.card.get("name")),
        ("method.name", method.name, method.card.get("name")),
    ):
        if not isinstance(card_name, str) or name.split("+")[0] != card_name.split("+")[0]:
            yield Problem(place, f"{name!r} isn't of the card's name {card_name!r}")
    if protocol.name != protocol.values.get("name"):
        yield Problem("protocol.name", "not the name among the protocol's values")
    for field in ("data", "target", "unit", "metrics", "aggregate"):
        if getattr(task, field) != task.card.get(field):
            yield Problem(f"task.{field}", "not the card's")
    for name in task.metrics:
        if name not in METRICS:
            yield Problem("task.metrics", f"no metric is called {name!r}")
    dim = method.card.get("feature_dim")
    if dim is not None and dim != method.feature_dim:
        yield Problem("method.feature_dim", f"{method.feature_dim}, but the card says {dim}")


def _check_folds(record: Record) -> Iterator[Problem]:
    task = record.task
    if not task.fold_subjects:
        yield Problem(
            "task.fold_subjects", "who is in which fold isn't there, so folds can't be checked", AGAIN
        )
    tested: dict[str, int] = {}
    for number, fold in enumerate(task.fold_subjects):
        for part in ("train", "validation", "test"):
            text = getattr(fold, part)
            listed = text.split(",")
            if not _NUMBERS.fullmatch(text) or listed != sorted(listed, key=int):
                yield Problem(f"task.fold_subjects.{number}.{part}", "not ascending numbers")
        for subject in fold.test.split(",") if task.aggregate == "pooled" else ():
            if subject in tested:
                yield Problem(
                    f"task.fold_subjects.{number}.test",
                    f"subject {subject} is tested by fold {tested[subject]}, too, though folds are pooled",
                )
            tested.setdefault(subject, number)


def _check_metrics(metrics: Mapping[str, MetricValue], place: str) -> Iterator[Problem]:
    for name, metric in metrics.items():
        if metric.value is None or name not in METRICS:
            continue
        low = 0.0 if name in _ERRORS else _LOWEST.get(name, -1.0)
        high = math.inf if name in _ERRORS else 1.0
        if not low - _ROUNDING <= metric.value <= high + _ROUNDING:
            yield Problem(f"{place}.{name}", f"{metric.value!r} isn't between {low:g} and {high:g}")


def _check_training(record: Record, unit: UnitResult, place: str) -> Iterator[Problem]:
    epochs, curve = record.protocol.values.get("epochs"), unit.validation_curve
    if len(curve) != epochs:
        yield Problem(f"{place}.validation_curve", f"{len(curve)} epochs, but the protocol has {epochs}")
    if any(loss < 0 for loss in curve):
        yield Problem(f"{place}.validation_curve", "a loss is negative")
    best = curve.index(min(curve)) + 1 if curve else 0
    if unit.best_epoch != best:
        yield Problem(
            f"{place}.best_epoch", f"{unit.best_epoch}, but the lowest validation loss is of {best}"
        )
    if unit.n_subjects > unit.n_pairs:
        yield Problem(f"{place}.n_subjects", "more subjects than pairs")


def _first_difference(one: bytes, other: bytes) -> int:
    """Return the line, from 1, in which two texts first differ."""
    lines = zip(one.split(b"\n"), other.split(b"\n"), strict=False)
    same = next((number for number, (a, b) in enumerate(lines) if a != b), None)
    return 1 + (min(one.count(b"\n"), other.count(b"\n")) if same is None else same)
