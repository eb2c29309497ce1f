"""What a network knows of people it has never seen: losses, and predicted against true changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from comface_bench.comface.pretrain.losses import contrast, measure
from comface_bench.comface.pretrain.step import divide_images, join_parts
from comface_bench.comface.pretrain.views import plain_images
from comface_bench.core.errors import UnitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from comface_bench.comface.model import ComFace
    from comface_bench.comface.pretrain.loader import Batch
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.engine.precision import Machine

_FEWEST = 10
"""Pairs below which a correlation isn't stated."""


class Validation(NamedTuple):
    """Of held-out identities.

    Attributes:
        loss: Both losses, weighted.
        inter, intra: The two losses; contrasts are within batches, whose size is the settings'.
        correlation: Pearson's r of predicted and true change of α, by attribute; by its own head where it
            has one. None for an attribute of fewer than 10 pairs.
    """

    loss: float
    inter: float
    intra: float
    correlation: dict[str, float | None]


@torch.no_grad()
def validate(
    network: ComFace, batches: Iterable[Batch], names: tuple[str, ...], settings: Settings, machine: Machine
) -> Validation:
    """Measure a network in eval mode; it is left in train mode.

    Args:
        network: The network.
        batches: Pairs of held-out identities.
        names: Of the attributes that pairs number.
        settings: Weights of the losses, size of the images.
        machine: Where to compute.

    Raises:
        UnitError: All predictions are equal, so the network has collapsed.
    """
    network.eval()
    losses, weights, predicted, true, attribute = [], [], [], [], []
    for batch in batches:
        pairs = batch.pairs
        images = plain_images(batch, settings.image_size, machine)
        own = torch.from_numpy(pairs.attribute).to(machine.device)
        # In eval mode parts don't see each other, so a batch may pass in as small ones as fit.
        said = []
        for part in divide_images(images, own, settings.chunk_size):
            with machine.autocast():
                said.append(network(*part))
        projections = join_parts(said)
        changes = torch.cat([one.changes for one in said])
        change = torch.from_numpy(pairs.change).to(machine.device)
        identities = torch.from_numpy(pairs.identity).to(machine.device)
        inter = contrast(projections, identities, settings.temperature)
        losses.append((float(inter), float(measure(changes, change, settings.change_scale))))
        weights.append(len(pairs))
        predicted.append(changes[:, -1].double().cpu().numpy())
        true.append(pairs.change)
        attribute.append(pairs.attribute)
    network.train()
    answers = np.concatenate(predicted)
    if not np.isfinite(answers).all():
        raise UnitError("predictions aren't finite numbers", "Lower learning_rate, or set precision=float32.")
    if np.ptp(answers) < 1e-6:
        raise UnitError(
            "the network has collapsed: it predicts one change for all pairs",
            "Lower learning_rate, raise batch_size, or give warmup_steps.",
        )
    inter_mean, intra_mean = np.average(np.array(losses), axis=0, weights=weights).tolist()
    correlation = correlate(answers, np.concatenate(true), np.concatenate(attribute), names)
    loss = settings.inter_weight * inter_mean + settings.intra_weight * intra_mean
    return Validation(loss, inter_mean, intra_mean, correlation)


def correlate(
    predicted: NDArray[np.float64],
    true: NDArray[np.float32],
    attribute: NDArray[np.int64],
    names: tuple[str, ...],
) -> dict[str, float | None]:
    """Return Pearson's r of predicted and true change for each attribute; see `Validation`."""
    found: dict[str, float | None] = {}
    for place, name in enumerate(names):
        chosen = attribute == place
        a, b = predicted[chosen], true[chosen].astype(np.float64)
        enough = chosen.sum() >= _FEWEST and np.ptp(a) > 0 and np.ptp(b) > 0
        found[name] = float(np.corrcoef(a, b)[0, 1]) if enough else None
    return found
