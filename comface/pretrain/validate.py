"""Validation on held-out identities: both losses, correlation of predicted and true changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from comface_bench.comface.pretrain.loader import plain_images
from comface_bench.comface.pretrain.step import change_loss, contrastive_loss, join_projections, split_chunks
from comface_bench.core.card import IMAGENET
from comface_bench.core.errors import UnitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from comface_bench.comface.model import ComFace
    from comface_bench.comface.pretrain.loader import Batch
    from comface_bench.comface.pretrain.settings import Settings
    from comface_bench.core.card import Preprocess
    from comface_bench.engine.precision import Machine

_FEWEST = 10
"""Pairs below which a correlation isn't stated."""


class ValidationResult(NamedTuple):
    """Measures of one validation.

    Attributes:
        loss: Both losses, weighted.
        inter, intra: The two losses; contrasts are within batches, whose size is the settings'. `inter` is
            None where its weight is 0.
        correlation: Pearson's r of predicted and true change of α, by attribute; by its own head where it
            has one. None for an attribute of fewer than 10 pairs.
    """

    loss: float
    inter: float | None
    intra: float
    correlation: dict[str, float | None]


@torch.no_grad()
def validate(
    network: ComFace,
    batches: Iterable[Batch],
    names: tuple[str, ...],
    settings: Settings,
    machine: Machine,
    preprocess: Preprocess = IMAGENET,
) -> ValidationResult:
    """Measure a network in eval mode; it is left in train mode.

    Args:
        network: Of the training.
        batches: Pairs of held-out identities.
        names: Of the attributes that pairs number.
        settings: Weights of the losses, size of the images.
        machine: Device and precision.
        preprocess: Of the backbone.

    Raises:
        UnitError: All predictions are equal, so the network has collapsed.
    """
    network.eval()
    losses, weights, predicted, true, attribute = [], [], [], [], []
    for batch in batches:
        pairs = batch.pairs
        images = plain_images(batch, settings.image_size, machine, preprocess)
        own = torch.from_numpy(pairs.attribute).to(machine.device)
        # In eval mode chunks don't depend on each other, so a batch may be divided at will.
        outputs = []
        for chunk in split_chunks(images, own, settings.chunk_size):
            with machine.autocast():
                outputs.append(network(*chunk))
        changes = torch.cat([one.changes for one in outputs])
        change = torch.from_numpy(pairs.change).to(machine.device)
        inter = 0.0
        if settings.inter_weight > 0:
            identities = torch.from_numpy(pairs.identity).to(machine.device)
            inter = float(contrastive_loss(join_projections(outputs), identities, settings.temperature))
        losses.append((inter, float(change_loss(changes, change, settings.change_scale))))
        weights.append(len(pairs))
        predicted.append(changes[:, -1].double().cpu().numpy())
        true.append(pairs.change)
        attribute.append(pairs.attribute)
    network.train()
    predictions = np.concatenate(predicted)
    if not np.isfinite(predictions).all():
        raise UnitError("predictions aren't finite numbers", "Lower learning_rate, or set precision=float32.")
    if np.ptp(predictions) < 1e-6:
        raise UnitError(
            "the network has collapsed: it predicts one change for all pairs",
            "Lower learning_rate, raise batch_size, or give warmup_steps.",
        )
    inter_mean, intra_mean = np.average(np.array(losses), axis=0, weights=weights).tolist()
    correlation = correlation_by_attribute(
        predictions, np.concatenate(true), np.concatenate(attribute), names
    )
    loss = settings.inter_weight * inter_mean + settings.intra_weight * intra_mean
    contrasted = inter_mean if settings.inter_weight > 0 else None
    return ValidationResult(loss, contrasted, intra_mean, correlation)


def correlation_by_attribute(
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
