"""SimCLR (v1): the authors' TensorFlow checkpoint, converted by tonylins/simclr-converter."""

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
    name="simclr",
    version=1,
    build=":build",
    backbone=BACKBONE,
    feature=FEATURE,
    feature_dim=FEATURE_DIM,
    preprocess=Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    checkpoint=Checkpoint(file="resnet50-1x.pth"),
    options={"pool": ("torch", "tf"), "checkpoint": ()},
    dropped_keys=("fc.",),
    trained_on=("ImageNet",),
    group="Visual Representation Learning",
    summary="Contrastive learning of two views. Input is RGB in [0, 1], not normalised. pool=torch pads the"
    " max-pool on all sides, as the network of the converter does, which the paper names; pool=tf pads it"
    " below and on the right, as the network was trained (exact for images whose sides are multiples of 4)."
    " The converter leaves fc.bias random: never use the file's classifier. No PyTorch"
    " file is published, and a digest depends on the conversion.",
    licence="Apache-2.0 (code and converter); none stated for the weights",
    source="github.com/google-research/simclr (ResNet50_1x.zip, TensorFlow), converted on your machine by"
    " github.com/tonylins/simclr-converter",
    paper="supplement, Tables F, G, J and N",
    training_scale="1.28M",
    training_source="Images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone with the chosen max-pool and load the converted weights."""
    from torch import nn

    network = load_classifier(CARD, weights, seed, CLASSES, foreign="torchvision's")
    if options["pool"] == "tf":
        network.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)
    return network
