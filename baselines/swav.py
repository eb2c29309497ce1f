"""SwAV: the backbone of the authors' 200-epoch checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.resnet50 import BACKBONE, FEATURE, FEATURE_DIM, load_resnet50
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="swav",
    version=1,
    build=":build",
    backbone=BACKBONE,
    feature=FEATURE,
    feature_dim=FEATURE_DIM,
    preprocess=Preprocess(std=(0.228, 0.224, 0.225)),
    checkpoint=Checkpoint(
        file="swav_200ep_pretrain.pth.tar",
        prefixes=("module.",),
        url="https://dl.fbaipublicfiles.com/deepcluster/swav_200ep_pretrain.pth.tar",
    ),
    options={"checkpoint": ()},
    dropped_keys=(
        "module.projection_head.0.",
        "module.projection_head.1.",
        "module.projection_head.3.",
        "module.prototypes.weight",
    ),
    trained_on=("ImageNet",),
    group="Visual Representation Learning",
    summary="Clustering of several crops' views. The standard deviation of red is 0.228, not ImageNet's"
    " 0.229, in the authors' pre-training and evaluation alike.",
    licence="CC BY-NC 4.0 (code and weights)",
    source="github.com/facebookresearch/swav; no digest published, and files of other numbers of epochs have"
    " the same layout",
    paper="supplement, Tables F, G, J and N",
    training_scale="1.28M",
    training_source="Images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone and load the authors' file, without projection head and prototypes."""
    del options
    return load_resnet50(CARD, weights, seed)
