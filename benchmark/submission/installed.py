"""A record against this installation: its tasks, data, splits, protocols and methods. No plugin is loaded."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from comface_bench.core.errors import UsageError
from comface_bench.core.names import parse_name
from comface_bench.core.registry import Registry, method_registry, task_registry
from comface_bench.submission.method_here import check_method, check_protocol, find_method
from comface_bench.submission.task_here import check_task
from comface_bench.submission.text import name_problem, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from comface_bench.core.card import MethodCard, TaskCard
    from comface_bench.results.predictions import Prediction
    from comface_bench.results.schema import Record
    from comface_bench.submission.task_here import Tables

Problem = tuple[str, str]
"""A field of the record, and what is wrong there."""


class Installation:
    """What this installation knows, read once for all records of a package.

    Args:
        data: Data root of tasks whose data don't ship; without one, their data aren't looked at.
    """

    def __init__(self, data: Path | None = None) -> None:
        self._data = data
        self._tables: Tables = {}

    @cached_property
    def tasks(self) -> Registry[TaskCard]:
        """The tasks that come with the package."""
        return task_registry(plugins=False)

    @cached_property
    def methods(self) -> Registry[MethodCard]:
        """The methods that come with the package."""
        return method_registry(plugins=False)

    def compare(self, record: Record, rows: Sequence[Prediction], unchecked: list[str]) -> Iterator[Problem]:
        """Yield what differs between a record, sound in itself, and what is known here.

        Args:
            record: The record.
            rows: Its predictions.
            unchecked: Told what can't be looked at.
        """
        bad_names = list(_check_names(record))
        yield from bad_names
        if bad_names:
            return
        yield from check_method(record.method, self.methods, unchecked)
        base, _ = parse_name(record.task.name)
        # Only fixed names are looked up: `csv:FILE` would open a file of the stranger's choice.
        if base not in self.tasks.names():
            yield "task.name", f"no task here is called {show(base)}"
            return
        entry = self.tasks.get(base)
        yield from check_task(record.task, entry, rows, self._data, self._tables, unchecked)
        method = find_method(record.method.name, self.methods)
        own_head = (
            method.card.pretrained_head if method else record.method.card.get("pretrained_head") is True
        )
        yield from check_protocol(record, entry.card, own_head)
        yield from check_leak(record, entry.card)


def check_leak(record: Record, task: TaskCard) -> Iterator[Problem]:
    """Yield a finding if the method was trained on labels of the people that the task tests."""
    labels = record.method.card.get("labels_of")
    leaked = sorted(set(task.overlaps) & set(labels if isinstance(labels, list) else ()))
    if leaked:
        yield "method.card.labels_of", f"trained on the labels of {', '.join(leaked)}, which the task tests"


def _check_names(record: Record) -> Iterator[Problem]:
    for field, name in (
        ("task.name", record.task.name),
        ("method.name", record.method.name),
        ("protocol.name", record.protocol.name),
    ):
        if problem := name_problem(name):
            yield field, problem
            continue
        try:
            parse_name(name)
        except UsageError as error:
            yield field, error.message
