"""What is there: weights of methods, data of tasks. Nothing is opened, so it costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from comface_bench.core.card import MethodCard, TaskCard
from comface_bench.core.errors import BenchError
from comface_bench.core.options import method_options
from comface_bench.core.registry import Entry
from comface_bench.core.weights import weights_folder

Weights = Literal["present", "missing", "not needed"]
Data = Literal["ships", "found", "missing"]


def find_method_weights(entry: Entry[MethodCard]) -> Weights:
    """Tell whether a method's weights are there, for its default options; their digest isn't checked."""
    card, own = entry.card, entry.hook("find_weights")
    if own is not None:
        try:
            return "present" if own(card, method_options(card, {})) is not None else "not needed"
        except BenchError:
            return "missing"
    if card.checkpoint is None:
        return "not needed"
    return "present" if (weights_folder() / card.checkpoint.file).is_file() else "missing"


def find_task_data(card: TaskCard, data: Path | None) -> Data:
    """Tell whether the data set of a task is there."""
    from comface_bench.data.task import data_location

    there = data_location(card, data).exists()
    if card.ships and there:
        return "ships"
    return "found" if there else "missing"
