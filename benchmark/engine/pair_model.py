"""Applying what units learnt to any images: heads that share an encoder, and features that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from comface_bench.engine.attribution import Windows, blur, integrate_gradients, occlude
from comface_bench.engine.encoder import ENCODE_BATCH, Encoder, ImageSource, encode
from comface_bench.engine.heads import HeadKind, MirrorKind, add_mirrored, score_pairs
from comface_bench.engine.jobs import Fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from comface_bench.engine.precision import Machine

    Rows = NDArray[np.int64]

AttributionKind = Literal["occlusion", "gradients"]


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
        return self._encode(encoder, images.plain, len(images.store), images.machine, tick)

    def _encode(
        self,
        encoder: Encoder,
        render: Callable[[Rows], Tensor],
        count: int,
        machine: Machine,
        tick: Callable[[int], None] | None = None,
    ) -> Tensor:
        rows = np.arange(count)
        if count % ENCODE_BATCH == 1:
            # Libraries take other paths for a batch of one, which round otherwise than those of a run.
            rows = np.append(rows, 0)

        def render_mirrored(some: Rows) -> Tensor:
            return render(some).flip(3)

        own = encode(encoder, render, rows, machine, tick)[:count]
        if self.mirror == "none":
            return own
        mirrored = encode(encoder, render_mirrored, rows, machine)[:count]
        return add_mirrored(self.mirror, own.double(), mirrored.double())

    def score(self, features: Tensor, x: Rows, y: Rows) -> NDArray[np.float64]:
        """Return each head's estimates of pairs, (heads, pairs), in the target's unit.

        Args:
            features: As `encode` gives them.
            x: Row of the first image of each pair, int64 (pairs,).
            y: Likewise of the second.
        """
        return score_pairs(self.head, self.weights, lambda rows: features[torch.from_numpy(rows)], x, y)

    def add(self, encoder: Encoder, images: Tensor, side: int, machine: Machine) -> Tensor:
        """Return what images add to the mean of the heads' estimates, float64 (N,).

        A head is linear: an estimate is the sum of what the first and what the second image of a pair adds.

        Args:
            encoder: In eval mode, on the machine's device.
            images: (N, 3, H, W) on that device. If they ask for gradients, the answer has them.
            side: 0 for first images of pairs, 1 for second ones.
            machine: Device and precision.
        """
        if images.requires_grad:
            with machine.autocast():
                own = encoder.encode_checked(images).double()
                mirrored = None if self.mirror == "none" else encoder.encode_checked(images.flip(3)).double()
            features = add_mirrored(self.mirror, own, mirrored)
        else:
            features = self._encode(
                encoder, lambda rows: images[torch.from_numpy(rows)], len(images), machine
            ).double()
        weight = self.weights.mean(dim=0).to(features.device)
        if self.head == "difference":
            return features @ (weight if side else -weight)
        return features @ weight.chunk(2)[side]

    def attribute(
        self,
        kind: AttributionKind,
        encoder: Encoder,
        pair: Tensor,
        windows: Windows,
        machine: Machine,
        tick: Callable[[int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Measure what each window of both images of a pair adds to the mean of the heads' estimates.

        Args:
            kind: How; with `gradients` it is the sum over the window's pixels.
            encoder: In eval mode, on the machine's device.
            pair: The two images, (2, 3, H, W), on that device.
            windows: For images of H × W.
            machine: Device and precision.
            tick: Called with the number of images of each batch.

        Returns:
            (2, rows, columns) in the target's unit; above 0 where the window raises the estimate.

        Raises:
            UnitError: The backbone has no gradients, or none that are finite.
        """
        effects = []
        for side in (0, 1):
            image = pair[side : side + 1]

            def answer(images: Tensor, side: int = side) -> Tensor:
                return self.add(encoder, images, side, machine)

            fill = blur(image, windows.side)
            if kind == "occlusion":
                effects.append(occlude(image, answer, windows, fill, tick))
            else:
                effects.append(windows.sum(integrate_gradients(image, answer, fill, tick=tick)))
        return np.concatenate(effects)
