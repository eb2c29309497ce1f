"""What training one unit yields."""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.errors import UnitError
from comface_bench.engine.heads import HeadKind, pair_loss, score
from comface_bench.engine.precision import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_SCORE_CHUNK = 4096


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


@dataclass
class Throughput:
    """Images that the backbone worked through and the seconds that took, over all parts of a run."""

    images: int = 0
    seconds: float = 0.0

    @contextlib.contextmanager
    def measure(self, images: int) -> Iterator[None]:
        """Count the images as done in the time that the block takes, which ends in step with the device."""
        started = time.perf_counter()
        yield
        self.images += images
        self.seconds += time.perf_counter() - started

    @property
    def per_second(self) -> float | None:
        """Images per second to three significant digits; None if there were none."""
        return float(f"{self.images / self.seconds:.3g}") if self.images and self.seconds > 0 else None


def score_pairs(
    kind: HeadKind, weight: Tensor, features: Tensor, x: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Score pairs by the features of their images.

    Args:
        kind: Of the head.
        weight: Of the head, (inputs,).
        features: (number of images, D).
        x: Rows of `features` for the first image of each pair, (n,).
        y: Likewise for the second image.

    Returns:
        Predicted changes, float64 (n,).
    """
    parts = [np.empty(0)]
    for start in range(0, len(x), _SCORE_CHUNK):
        chunk = slice(start, start + _SCORE_CHUNK)
        first, second = features[torch.from_numpy(x[chunk])], features[torch.from_numpy(y[chunk])]
        parts.append(score(kind, weight, first, second).numpy())
    return np.concatenate(parts)


def mean_loss(
    kind: Literal["l1", "l2", "smooth-l1"], predicted: NDArray[np.float64], target: NDArray[np.float64]
) -> float:
    """Return the mean loss of scored pairs, in float64."""
    return float(pair_loss(kind, torch.from_numpy(predicted), torch.from_numpy(target)).mean())


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


def reset_peak_memory(machine: Machine) -> None:
    """Begin to measure peak memory anew, which only CUDA can; a process on a CPU keeps its maximum."""
    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(machine.device)


def peak_memory_mb(machine: Machine) -> float:
    """Return the largest memory in use so far, in MB (10⁶ bytes)."""
    if machine.device.type == "cuda":
        return torch.cuda.max_memory_allocated(machine.device) / 1e6
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
