"""The two losses: identities are told apart, changes are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def contrast(projections: Tensor, identities: Tensor, temperature: float) -> Tensor:
    """Return NT-Xent over identities (inter-personal learning).

    The two images of a pair attract each other and repel all images of other people. Further images of the
    same person are left out: they are neither what the pair is compared with nor what it must resemble.

    Args:
        projections: Of unit length, float32 or wider, (2N, P): the N first images, then the N second ones.
        identities: Of the N pairs, int64 (N,).
        temperature: Of the softmax, above 0.

    Returns:
        The mean over all 2N images, a scalar.
    """
    count = len(identities)
    similar = projections @ projections.T / temperature
    people = identities.repeat(2)
    same = people[:, None] == people[None, :]
    rows = torch.arange(2 * count, device=projections.device)
    partner = (rows + count) % (2 * count)
    positive = similar[rows, partner]
    others = similar.masked_fill(same, float("-inf"))
    # The partner, which `same` has taken out with the rest, is put back beside the strangers.
    logits = torch.cat([positive[:, None], others], dim=1)
    return (logits.logsumexp(dim=1) - positive).mean()


def measure(predicted: Tensor, change: Tensor, scale: float) -> Tensor:
    """Return L1 between predicted and true change of α over its scale (intra-personal learning).

    Args:
        predicted: Change over `scale`, as the heads give it, float32 or wider, (N,) or (N, heads).
        change: α_y − α_x, (N,).
        scale: What a change of 1 stands for, above 0.

    Returns:
        The mean, a scalar.
    """
    target = (change / scale).to(predicted.dtype)
    if predicted.ndim == 2:
        target = target[:, None]
    return (predicted - target).abs().mean()
