"""What is there: weights of methods, data of tasks. Nothing is opened, so it costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import BenchError
from comface_bench.core.options import method_options
from comface_bench.core.registry import Entry
from comface_bench.core.weights import locate_file

Weights = Literal["present", "missing", "not needed"]
Data = Literal["ships", "found", "missing"]


def find_method_weights(entry: Entry[MethodCard]) -> Weights:
    """Tell whether a method's weights are there, for its default options; their digest isn't checked."""
    if locate_file(entry) is not None:
        return "present"
    if own := entry.hook("find_weights"):
        try:
            own(entry.card, method_options(entry.card, {}))
        except BenchError:
            return "missing"
        return "not needed"
    return "not needed" if entry.card.checkpoint is None else "missing"


def find_task_data(card: TaskCard, data: Path | None) -> Data:
    """Tell whether the data set of a task is there."""
    from comface_bench.data.task import data_location

    there = data_location(card, data).exists()
    if card.ships and there:
        return "ships"
    return "found" if there else "missing"
