"""A face recogniser of our own with dropout before its last layer, trained on the synthetic identities.

SER-FIQ's published network is bound to an abandoned framework; identities of synthetic faces are known, so
a network of the same form (dropout, then one fully connected layer) can be trained on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING = 128
DROPOUT = 0.5
_SCALE = 16.0  # of cosines before the softmax


class IdentityNetwork(nn.Module):
    """Backbone, dropout, embedding; a classifier over identities while it is trained.

    Args:
        backbone: From normalised images (N, 3, H, W) to features (N, D).
        feature_dim: D.
        identities: Number of identities to train on.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, identities: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.drop = nn.Dropout(DROPOUT)
        self.embed = nn.Linear(feature_dim, EMBEDDING)
        self.classes = nn.Parameter(torch.randn(identities, EMBEDDING))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, identities) of normalised images (N, 3, H, W)."""
        embedded = nn.functional.normalize(self.embed(self.drop(self.backbone(images))).float(), dim=1)
        logits: Tensor = _SCALE * embedded @ nn.functional.normalize(self.classes, dim=1).T
        return logits

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return what comes before dropout, (N, D), of normalised images; the network is in eval mode."""
        found: Tensor = self.backbone(images.to(self.classes.device)).float()
        return found

    @torch.no_grad()
    def repeat(self, features: Tensor, passes: int, random: torch.Generator) -> Tensor:
        """Return `passes` embeddings under dropout of each image's features, shape (passes, N, E).

        The backbone needn't run again: dropout comes after it.

        Args:
            features: As `features` returns them.
            passes: Number of stochastic passes.
            random: Source of the dropout, of the CPU, so that a GPU drops the same.
        """
        kept = torch.rand((passes, *features.shape), generator=random) >= DROPOUT
        embedded: Tensor = self.embed(features * kept.to(features.device) / (1 - DROPOUT))
        return embedded


def make_network(identities: int, seed: int) -> IdentityNetwork:
    """Return an untrained network on ResNet-18, its weights drawn from the seed."""
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = torchvision.models.resnet18()
        backbone.fc = nn.Identity()
        return IdentityNetwork(backbone, 512, identities)
