"""ResNet-50, of which seven of the paper's baselines are weights: one network, seven layouts of files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from comface_bench.baselines.networks import build_backbone
from comface_bench.core.card import MethodCard
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.strict import load_strictly, read_backbone

if TYPE_CHECKING:
    from torch import nn

BACKBONE = "ResNet-50"
FEATURE = "average-pooled map of the last stage"
FEATURE_DIM = 2048

Order = Literal["torchvision's", "simclr-converter's", "no network's"]


def load_resnet50(card: MethodCard, weights: Path | None, seed: int) -> nn.Module:
    """Build torchvision's ResNet-50 without classifier and load the authors' file of a method into it.

    Args:
        card: The method; says how the file's keys map to the network's.
        weights: The file.
        seed: Of the weights that are drawn before the file's replace all of them.

    Returns:
        A module from normalised images (N, 3, H, W) to features (N, 2048).

    Raises:
        WeightsFormatError: The file can't be read, or doesn't fit.
    """
    assert weights is not None
    network = build_backbone("resnet50", seed)
    load_strictly(network, read_backbone(weights, card), weights)
    return network


def load_classifier(
    card: MethodCard, weights: Path | None, seed: int, classes: int, foreign: Order | None = None
) -> nn.Module:
    """Like `load_resnet50`, from a file that holds a classifier of that many classes.

    The classifier must fit before it is taken off: all other tensors have the same names and shapes in
    every method's file, so it is what tells many of them apart.

    Args:
        card: The method.
        weights: The file.
        seed: As for `load_resnet50`.
        classes: Number of the classifier's outputs.
        foreign: Order of keys that gives away another method's file.

    Raises:
        WeightsFormatError: The file can't be read, doesn't fit, or is another method's.
    """
    from torch import nn

    assert weights is not None
    tensors = read_backbone(weights, dataclasses.replace(card, dropped_keys=()))
    network = build_backbone("resnet50", seed)
    network.fc = nn.Linear(FEATURE_DIM, classes, device="meta").to_empty(device="cpu")
    if key_order(tensors) == foreign:
        raise WeightsFormatError(
            f"{weights.name} isn't {card.name}'s: its keys stand in {foreign} order",
            "Names and shapes are the same in both files, only their order tells them apart.\nIf another"
            f" program saved {card.name}'s weights again, this keeps them and drops the order:"
            " comface-bench weights convert FILE",
        )
    load_strictly(network, tensors, weights)
    network.fc = nn.Identity()
    return network


def key_order(names: Iterable[str]) -> Order:
    """Tell in whose order a ResNet-50's keys stand.

    SimCLR's converter names a block's shortcut first; torchvision and timm name it last; a file sorted by
    name, such as safetensors, has neither order.
    """
    place = {name: number for number, name in enumerate(names)}
    block = [f"layer1.0.{name}.weight" for name in ("conv1", "bn1", "downsample.0")]
    if not all(name in place for name in block):
        return "no network's"
    convolution, norm, shortcut = (place[name] for name in block)
    if shortcut < convolution:
        return "simclr-converter's"
    return "torchvision's" if convolution < norm < shortcut else "no network's"
