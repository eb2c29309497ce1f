"""The feature store: features of a frozen encoder, each image encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event, Report, ignore
from comface_bench.engine.encoder import Encoder, ImageSource, encode, state_digest
from comface_bench.engine.precision import Throughput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    View = int | Literal["plain", "mirrored"]


class FeatureStore:
    """Features of one data set's images under one frozen encoder.

    Args:
        encoder: Frozen and put into eval mode here.
        images: Renders the images.
        report: Takes the events of encoding.

    Attributes:
        encoder, images: As given.
        encoded: Images that went through the backbone, and the seconds that took.
    """

    def __init__(self, encoder: Encoder, images: ImageSource, report: Report = ignore) -> None:
        self.encoder, self.images, self._report = encoder, images, report
        self.encoded = Throughput()
        self._state = ""

    def with_views(self, augmentation: str, seed: int) -> FeatureStore:
        """Return a store of the same images whose numbered views follow `AUGMENTATIONS[augmentation]`."""
        other = FeatureStore(self.encoder, self.images.with_views(augmentation, seed), self._report)
        other.encoded, other._state = self.encoded, self._state
        return other

    def require(self, rows: NDArray[np.int64], view: View, stage: str) -> Features:
        """Return features of images; those that aren't kept are encoded.

        Args:
            rows: Manifest rows, int64 (n,), in any order, repeated or not.
            view: Number of an augmented view, or `plain`, or `mirrored` (plain, flipped horizontally).
            stage: Names the work in events.
        """
        if not self._state:
            self.encoder.eval().requires_grad_(False)
            self._state = state_digest(self.encoder)
        epoch = view if isinstance(view, int) else None
        rows = np.unique(rows)
        self._report(Event("stage", stage, epoch=epoch, total=len(rows)))

        def render(batch: NDArray[np.int64]) -> Tensor:
            if view == "plain":
                return self.images.plain(batch)
            if view == "mirrored":
                return self.images.plain(batch).flip(3)
            return self.images.augmented(batch, np.full(len(batch), view, dtype=np.int64))

        def tick(count: int) -> None:
            self._report(Event("progress", stage, amount=count, total=len(rows), epoch=epoch))

        with self.encoded.measure(len(rows)):
            values = encode(self.encoder, render, rows, self.images.machine, tick)
        return Features(rows, values, len(self.images.keys))

    def check_frozen(self) -> None:
        """Make sure that the backbone is bit for bit what it was before it encoded.

        Raises:
            UnitError: It changed.
        """
        if self._state and state_digest(self.encoder) != self._state:
            raise UnitError(f"{self.encoder.name}: the frozen backbone changed while it encoded images")


class Features:
    """Features of some of a data set's images.

    Attributes:
        width: D.
    """

    def __init__(self, rows: NDArray[np.int64], values: Tensor, images: int) -> None:
        self.width = int(values.shape[1])
        self._values = values
        self._place = np.full(images, -1, dtype=np.int64)
        self._place[rows] = np.arange(len(rows))

    def gather(self, rows: NDArray[np.int64]) -> Tensor:
        """Return features by manifest row, in any order, repeated or not.

        Args:
            rows: Integers (n,), among those that were required.

        Returns:
            float32 (n, D), on the CPU, memory of its own.

        Raises:
            IndexError: A row wasn't required.
        """
        places = self._place[rows]
        if (places < 0).any():
            raise IndexError("features of an image that wasn't required")
        return self._values[torch.from_numpy(places)]
