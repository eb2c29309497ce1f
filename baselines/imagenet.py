"""ImageNet: supervised pre-training, with the weights that the paper's timm 0.4.12 calls `resnet50`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.resnet50 import BACKBONE, FEATURE, FEATURE_DIM, load_classifier
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CLASSES = 1000

CARD = MethodCard(
    name="imagenet",
    version=1,
    build=":build",
    backbone=BACKBONE,
    feature=FEATURE,
    feature_dim=FEATURE_DIM,
    preprocess=Preprocess(),
    checkpoint=Checkpoint(
        file="resnet50_ram-a26f946b.pth",
        sha256="a26f946b",
        url="https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"
        "resnet50_ram-a26f946b.pth",
    ),
    options={"checkpoint": ()},
    dropped_keys=("fc.",),
    trained_on=("ImageNet",),
    group="General Pre-training",
    summary="Supervised ResNet-50. Later timm versions give the name resnet50 to other weights;"
    " these are resnet50.ram_in1k.",
    licence="Apache-2.0 (timm's code); none stated for the weights",
    source="timm 0.4.12, today's tag resnet50.ram_in1k; the name holds the first digits of its SHA-256",
    paper="supplement, Tables F, G, J and N",
    training_scale="1.28M",
    training_source="Images+Human labels",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone and load the classifier's weights into it, without the classifier."""
    del options
    return load_classifier(CARD, weights, seed, CLASSES, foreign="simclr-converter's")
