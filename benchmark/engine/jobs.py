"""Jobs: the units that a protocol's function is given, what they share, and the outcomes that it returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.core.errors import UnitError
from comface_bench.data.task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from comface_bench.core.events import Report
    from comface_bench.core.protocol import Protocol
    from comface_bench.engine.encoder import Encoder, ImageSource
    from comface_bench.engine.feature_store import FeatureStore


@dataclass(frozen=True)
class Job:
    """A unit to train or solve: a task's fold and repetition.

    Attributes:
        task: The task with its data; `pairs` gives the pairs of each part, `draw` those of an epoch.
        fold: Index of the fold.
        seed: Index of the repetition.
        label: Names the unit in messages.
    """

    task: Task
    fold: int
    seed: int
    label: str


@dataclass(frozen=True, eq=False)
class RunContext:
    """Everything that the jobs of one call share.

    Attributes:
        encoder: Freshly built, on the run's device; the call may train it.
        protocol: Resolved; an instance of the card's `settings`.
        images: Renders the images of the jobs' data set, without augmentation; `with_views` adds one.
        features: Of these images under the encoder as it was built; encoded when they are required.
        report: Takes the events of the run.
        checkpoint: File for a state to go on from after a kill; removed after the call.
        key: Digest of all units and the precision. A state under another key is another training's.
    """

    encoder: Encoder
    protocol: Protocol
    images: ImageSource
    features: FeatureStore
    report: Report
    checkpoint: Path
    key: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """The test predictions of a unit and how they came about.

    Attributes:
        predictions: ŷ of the test pairs in their order, float64 (n,), in the target's unit.
        best_epoch: Epoch of the lowest validation loss, 1-based; 0 if nothing was trained.
        validation_curve: Validation loss (mean L1 by default) after each epoch.
        seconds: Wall time of the unit; units that shared their work share it equally.
        peak_memory_mb: Largest memory in use, of the device during the unit on CUDA, of the process until
            the unit's end on a CPU.
        details: Facts about how the unit ran, such as how many shared its features. `images_per_second`
            is of a frozen backbone's encoding, or of a trained one's steps; None where there were none.
    """

    predictions: NDArray[np.float64]
    best_epoch: int
    validation_curve: list[float]
    seconds: float
    peak_memory_mb: float
    details: dict[str, str | int | float | bool | None] = field(default_factory=dict)


def check_finite(loss: float, label: str, epoch: int) -> None:
    """Check a loss.

    Raises:
        UnitError: It isn't a finite number.
    """
    if not math.isfinite(loss):
        raise UnitError(
            f"{label}: the loss is {loss} in epoch {epoch}",
            "A smaller learning rate may help: -o learning_rate=…",
        )


def check_predictions(predictions: NDArray[np.float64], label: str) -> None:
    """Check that predictions can be a result.

    Raises:
        UnitError: They are constant, which is a collapsed backbone or a broken head.
    """
    if not np.isfinite(predictions).all():
        raise UnitError(f"{label}: some predictions aren't finite")
    if len(predictions) > 1 and np.ptp(predictions) == 0:
        raise UnitError(
            f"{label}: every pair gets the same answer, {predictions[0]:g}",
            "The backbone gives all faces the same feature: check its preprocessing and weights.",
        )
