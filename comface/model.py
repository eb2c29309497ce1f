"""The ComFace network: one backbone with an inter-personal projector and intra-personal heads.

The supplement (B.1, Figure C) names the two branches and describes the intra-personal one as a Siamese
network ending in a linear layer that downstream tasks can start from. The rest isn't published, so it is
ours: features are normalised by their batch before both branches (without that neither loss moved in
300 steps), the projector has two layers, and heads are linear, without bias, on the difference of
features, so that ŷ(x, y) = −ŷ(y, x).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARED_HEAD = "shared"
"""Name of the head that all attributes train."""

SILENT_SHARE = 0.05
"""Share of the mean variance of features below which one counts as silent: it hardly varied in training."""


class PairOutput(NamedTuple):
    """Output of the network for N pairs.

    Attributes:
        projections: Of unit length, float32 (2N, P): the first images', then the second ones'. (2N, 0) where
            identities aren't contrasted.
        changes: float32 (N, 1 or 2): by the shared head, then by the attribute's own if it has one.
        spread: Standard deviation of the features within the batch over their mean size, a scalar; 0 if all
            are equal.
        features: Of the backbone, float32 or wider, (2N, D).
    """

    projections: Tensor
    changes: Tensor
    spread: Tensor
    features: Tensor


class ComFace(nn.Module):
    """Backbone, projector and pair heads.

    Args:
        backbone: From normalised images (N, 3, H, W) to features (N, D).
        feature_dim: D.
        projection_dim: Size P of the space in which identities are contrasted.
        attributes: Names of those that have a head of their own beside the shared one.
        contrast: Whether identities are contrasted; else the projector stands idle.
        frozen: Modules and parameters of the backbone, by name, that don't learn: neither do their parameters
            move, nor do their batch norms take statistics, and their dropout is off.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        projection_dim: int = 128,
        attributes: Sequence[str] = (),
        contrast: bool = True,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self._contrast = contrast
        self._frozen = tuple(frozen)
        self.attributes = tuple(attributes)
        self.norm = nn.BatchNorm1d(feature_dim, affine=False)
        self.projector = nn.Sequential(
            nn.Linear(feature_dim, feature_dim, bias=False),
            nn.BatchNorm1d(feature_dim),
            nn.ReLU(inplace=True),
            nn.Linear(feature_dim, projection_dim),
        )
        self.heads = nn.Linear(feature_dim, 1 + len(self.attributes), bias=False)
        self.projector.requires_grad_(contrast)
        for name, parameter in backbone.named_parameters():
            if _is_in(name, self._frozen):
                parameter.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but what is frozen, which stays in eval mode."""
        super().train(mode)
        for name, module in self.backbone.named_modules():
            if _is_in(name, self._frozen):
                module.training = False
        return self

    def forward(self, images: Tensor, own: Tensor) -> PairOutput:
        """Compare N pairs.

        Args:
            images: Normalised, (2N, 3, H, W): the N first images, then the N second ones.
            own: Index in `attributes` of the attribute that changes in each pair, int64 (N,); ignored where
                no attribute has a head of its own.
        """
        features: Tensor = self.backbone(images)
        with torch.autocast(features.device.type, enabled=False):
            # From bfloat16 up to float32; a network in float64 stays there.
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            known = features.detach()
            spread = known.std(dim=0).mean() / known.abs().mean().clamp_min(1e-12)
            normed = self.norm(features)
            projections = features.new_zeros(len(features), 0)
            if self._contrast:
                projections = nn.functional.normalize(self.projector(normed), dim=1)
            first, second = normed.chunk(2)
            changes = self.heads(second - first)
            chosen = [changes[:, :1]]
            if self.attributes:
                chosen.append(changes[:, 1:].gather(1, own[:, None]))
            return PairOutput(projections, torch.cat(chosen, dim=1), spread, features)

    @torch.no_grad()
    def head_weights(self) -> dict[str, Tensor]:
        """Return each head's weight on the backbone's own features, (D,) each, by name.

        The norm's scale is folded in; its shift cancels in a difference. A silent feature is scaled as if it
        just weren't: where photographs make it vary, the division by next to nothing would drown all others.
        """
        variance = self.norm.running_var
        assert variance is not None
        scale = variance.clamp_min(SILENT_SHARE * float(variance.mean()))
        folded = self.heads.weight / (scale + self.norm.eps).sqrt()
        return dict(zip((SHARED_HEAD, *self.attributes), folded.clone(), strict=True))


def _is_in(name: str, parts: Sequence[str]) -> bool:
    """Return whether a parameter or module is one of some parts, or inside one."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)
