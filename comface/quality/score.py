"""SER-FIQ's estimate: an image is good if its embedding hardly moves under dropout."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import torch

if TYPE_CHECKING:
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
    def fit(cls, robust: Tensor) -> Self:
        """Fit to the q of a corpus, shape (N,).

        Raises:
            ValueError: All q are equal.
        """
        values = robust.double()
        middle, upper = (float(torch.quantile(values, level)) for level in (0.5, _UPPER))
        if upper <= middle:
            raise ValueError("every image has the same robustness, so there is nothing to tell apart")
        return cls(float(torch.logit(torch.tensor(_SHARE, dtype=torch.float64))) / (upper - middle), middle)

    def apply(self, robust: Tensor) -> Tensor:
        """Return v in [0, 1] for q, shape (N,)."""
        return torch.sigmoid(self.slope * (robust.double() - self.middle)).float()

    def as_json(self) -> dict[str, Any]:
        """Return plain facts."""
        return dataclasses.asdict(self)
