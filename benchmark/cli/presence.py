"""What is there: weights of methods, data of tasks. Nothing is opened, so it costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import BenchError
from comface_bench.core.names import method_options
from comface_bench.core.registry import Entry
from comface_bench.core.weights import locate_weights

Weights = Literal["present", "missing", "not needed"]
Data = Literal["ships", "found", "missing"]


def find_method_weights(entry: Entry[MethodCard]) -> Weights:
    """Tell whether a method's weights are there, for its default options; their digest isn't checked."""
    own = entry.hook("find_weights")
    if own is None:
        if entry.card.checkpoint is None:
            return "not needed"
        return "missing" if locate_weights(entry.card) is None else "present"
    try:
        return "not needed" if own(entry.card, method_options(entry.card, {})) is None else "present"
    except BenchError:
        return "missing"


def find_task_data(card: TaskCard, data: Path | None) -> Data:
    """Tell whether the data set of a task is there."""
    from comface_bench.data.task import data_location

    there = data_location(card, data).exists()
    if card.ships and there:
        return "ships"
    return "found" if there else "missing"
