"""Applying what units learnt to any images: heads that share an encoder, and features that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from comface_bench.engine.encoder import ENCODE_BATCH, Encoder, ImageSource, encode
from comface_bench.engine.heads import HeadKind, MirrorKind, add_mirrored, score_pairs
from comface_bench.engine.jobs import Fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PairHeads:
    """Heads that are applied to the features of one encoder.

    Attributes:
        weights: (heads, inputs), float64, on the CPU.
        head: How they join the features of two images.
        mirror: Which features those are.
    """

    weights: Tensor
    head: HeadKind
    mirror: MirrorKind

    @classmethod
    def of(cls, fitted: Sequence[Fitted]) -> PairHeads:
        """Put heads together that join features in the same way, which have equally many numbers."""
        first = fitted[0]
        return cls(torch.stack([one.weight.double() for one in fitted]), first.head, first.mirror)

    @staticmethod
    def inputs(fitted: Fitted, width: int) -> int:
        """Return how many numbers a head must have where the encoder gives `width` features."""
        return width * (2 if fitted.mirror == "beside" else 1) * (2 if fitted.head == "concat" else 1)

    def encode(
        self, encoder: Encoder, images: ImageSource, tick: Callable[[int], None] | None = None
    ) -> Tensor:
        """Return the features that the heads are applied to, of all images of a source, (images, inputs).

        Args:
            encoder: In eval mode, on the machine's device.
            images: Renders the images.
            tick: Called with the number of images of each batch.
        """
        count = len(images.store)
        rows = np.arange(count)
        if count % ENCODE_BATCH == 1:
            # Libraries take other paths for a batch of one, which round otherwise than those of a run.
            rows = np.append(rows, 0)

        def render_mirrored(some: Rows) -> Tensor:
            return images.plain(some).flip(3)

        own = encode(encoder, images.plain, rows, images.machine, tick)[:count]
        if self.mirror == "none":
            return own
        mirrored = encode(encoder, render_mirrored, rows, images.machine)[:count]
        return add_mirrored(self.mirror, own.double(), mirrored.double())

    def score(self, features: Tensor, x: Rows, y: Rows) -> NDArray[np.float64]:
        """Return each head's estimates of pairs, (heads, pairs), in the target's unit.

        Args:
            features: As `encode` gives them.
            x: Row of the first image of each pair, int64 (pairs,).
            y: Likewise of the second.
        """
        return score_pairs(self.head, self.weights, lambda rows: features[torch.from_numpy(rows)], x, y)
