"""Barlow Twins: the authors' backbone file, or the backbone of a full training checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.resnet50 import BACKBONE, FEATURE, FEATURE_DIM, load_resnet50
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="barlowtwins",
    version=1,
    build=":build",
    backbone=BACKBONE,
    feature=FEATURE,
    feature_dim=FEATURE_DIM,
    preprocess=Preprocess(),
    checkpoint=Checkpoint(
        file="resnet50.pth",
        prefixes=("module.backbone.", ""),
        url="https://dl.fbaipublicfiles.com/barlowtwins/ljng/resnet50.pth",
    ),
    options={"checkpoint": ()},
    # Of a full checkpoint; the backbone's own file has neither, nor a classifier.
    dropped_keys=("module.projector.", "module.bn."),
    trained_on=("ImageNet",),
    group="Visual Representation Learning",
    summary="Redundancy reduction between two views. Two files are called resnet50.pth: the README's since"
    " December 2021 (…/barlowtwins/ljng/resnet50.pth, taken here) and that of hubconf.py and the older README"
    " (…/barlowtwins/ep1000_bs2048_lrw0.2_lrb0.0048_lambd0.0051/resnet50.pth). Both claim 73.5 %, and the"
    " supplement doesn't say which it used. VICReg's file has that name too. Names and shapes are the same"
    " in all three, so only a digest tells them apart.",
    licence="MIT since July 2021, CC BY-NC before (code and weights)",
    source="github.com/facebookresearch/barlowtwins; no digest published",
    paper="supplement, Tables F, G, J and N",
    training_scale="1.28M",
    training_source="Images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone and load either form of the authors' files."""
    del options
    return load_resnet50(CARD, weights, seed)
