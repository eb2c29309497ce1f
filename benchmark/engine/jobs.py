"""Jobs: the units that a protocol's function is given, what they share, and the outcomes that it returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from comface_bench.core.errors import UnitError
from comface_bench.data.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.core.events import Report
    from comface_bench.core.protocol import Protocol
    from comface_bench.engine.encoder import Encoder, ImageSource
    from comface_bench.engine.feature_store import FeatureStore
    from comface_bench.engine.heads import HeadKind, MirrorKind


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
class Fitted:
    """What a unit learnt, by which any pair of images can be estimated: weight · join(f(x), f(y)).

    Attributes:
        weight: Of the pair head, (inputs,), float32 or float64, on the CPU.
        head: How it joins the features of two images (`heads.join`).
        mirror: Which features those are: of the image (`none`), or of it and its mirror image
            (`heads.add_mirrored`).
        encoder: Digest of the frozen encoder that the weight belongs to, as `state_digest` gives it; empty
            where it was trained.
        backbone: Where it was trained, the encoder's tensors; else nothing.
    """

    weight: Tensor
    head: HeadKind
    mirror: MirrorKind = "none"
    encoder: str = ""
    backbone: Mapping[str, Tensor] = field(default_factory=dict)


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
        fitted: What answers these predictions, and can be kept; None if the protocol doesn't give it.
    """

    predictions: NDArray[np.float64]
    best_epoch: int
    validation_curve: list[float]
    seconds: float
    peak_memory_mb: float
    details: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    fitted: Fitted | None = None


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


NOT_FINITE = "the network's features aren't finite"


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


_NO_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
"""What torch and its libraries say in errors that have no class of their own."""


def explain_memory(error: Exception, protocol: Protocol) -> UnitError | None:
    """Return the error to report if memory ran out, of the device or the machine, else None.

    Batches of a training aren't divided: batch normalisation would give another network.

    Args:
        error: What a protocol's function raised.
        protocol: Resolved; says which of its values could be smaller.
    """
    known = isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_MEMORY)
    if not known and not isinstance(error, MemoryError):
        return None
    said = (str(error) or type(error).__name__).splitlines()[0]
    values: dict[str, int | None] = {"image_size": protocol.image_size}
    if protocol.trains == "backbone":
        values = {"batch_size": getattr(protocol, "batch_size", None)} | values
    smaller = ", ".join(f"-o {name}=N (now {value})" for name, value in values.items() if value)
    half = "" if protocol.precision == "bfloat16" else "; -o precision=bfloat16 takes about half"
    return UnitError(
        f"memory ran out: {said}",
        f"Is it in use by others? Else give smaller values, which make a row of their own: {smaller}{half}.",
    )
