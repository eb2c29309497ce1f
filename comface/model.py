"""The ComFace network: one backbone with an inter-personal projector and an intra-personal head.

The supplement (B.1, Figure C) names the two branches and says that the intra-personal one is a Siamese
network ending in a linear layer that downstream tasks can start from; sizes of the projector and the
form of the layer aren't published, so they are ours: a two-layer projector with batch norm, and a
linear layer without bias on the difference of features, shared by all attributes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ComFace(nn.Module):
    """Backbone, projector and pair head.

    Args:
        backbone: From normalised images (N, 3, H, W) to features (N, D).
        feature_dim: D.
        projection_dim: Size of the space in which identities are contrasted.

    Attributes:
        projector: For inter-personal learning: (N, D) → (N, projection_dim), unit length.
        head: For intra-personal learning: f(y) − f(x) → change of the attribute's intensity.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, projection_dim: int = 128) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = nn.Sequential(
            nn.Linear(feature_dim, feature_dim, bias=False),
            nn.BatchNorm1d(feature_dim),
            nn.ReLU(inplace=True),
            nn.Linear(feature_dim, projection_dim),
        )
        self.head = nn.Linear(feature_dim, 1, bias=False)

    @property
    def head_weight(self) -> Tensor:
        """The pair head's weight, (D,), which downstream tasks can start from."""
        return self.head.weight.detach()[0]

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, D) of normalised images (N, 3, H, W)."""
        features: Tensor = self.backbone(images)
        return features

    def project(self, features: Tensor) -> Tensor:
        """Project features (N, D) onto the unit sphere (N, projection_dim), to contrast identities."""
        return torch.nn.functional.normalize(self.projector(features), dim=1)

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Estimate the change from the first to the second image by their features (N, D); answer (N,)."""
        change: Tensor = self.head(second - first)
        return change[:, 0]
