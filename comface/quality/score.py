"""SER-FIQ's estimate: an image is good if its embedding hardly moves under dropout."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from comface_bench.core.errors import UnitError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_UPPER, _SHARE = 0.9, 0.8


def robustness(embeddings: Tensor) -> Tensor:
    """Return q = 2·sigmoid(−d) in [0, 1], d the mean Euclidean distance of all pairs of embeddings.

    Args:
        embeddings: T stochastic embeddings of each of N images, shape (T, N, E), T ≥ 2; scaled to unit length
            here.

    Returns:
        Shape (N,).

    Source:
        P. Terhörst et al., "SER-FIQ", CVPR 2020.
    """
    unit = torch.nn.functional.normalize(embeddings.float(), dim=2).transpose(0, 1)
    passes = unit.shape[1]
    # Distances straight from differences: the shortcut by inner products loses small ones.
    distances = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum(dim=(1, 2)) / (passes * (passes - 1))
    return 2 * torch.sigmoid(-mean)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Spreads q over [0, 1]: v = sigmoid(slope·(q − middle)).

    The authors' constants belong to their network; these are fitted to a corpus: the median becomes 0.5, and
    the 90th percentile 0.8.

    Attributes:
        slope, middle: As above.
    """

    slope: float
    middle: float

    @classmethod
    def fit(cls, robust: NDArray[np.floating[Any]]) -> Self:
        """Fit to the q of a corpus, of any shape.

        Raises:
            UnitError: So many q are equal that nothing tells images apart.
        """
        middle, upper = (float(value) for value in np.quantile(robust.astype(np.float64), (0.5, _UPPER)))
        if upper <= middle:
            raise UnitError(
                "most images have the same robustness, so there is nothing to tell them apart by",
                "Look at them: comface-bench synth sheets DIR --out sheets\n"
                "If they do differ, train the recogniser longer: comface-bench synth quality DIR --steps N",
            )
        return cls(math.log(_SHARE / (1 - _SHARE)) / (upper - middle), middle)

    def apply(self, robust: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return v in [0, 1] for q, of the same shape."""
        v = 1 / (1 + np.exp(-self.slope * (robust.astype(np.float64) - self.middle)))
        found: NDArray[np.float32] = v.astype(np.float32)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return plain facts."""
        return dataclasses.asdict(self)
