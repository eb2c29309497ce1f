"""Scratch: no pre-training at all, weights drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.networks import BACKBONES, FEATURES, build_backbone
from comface_bench.core.card import MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="scratch",
    version=1,
    build=":build",
    backbone="ResNet-50",
    feature=FEATURES,
    preprocess=Preprocess(),
    options={"backbone": BACKBONES},
    drawn=True,
    group="Scratch",
    supervision=("none",),
    summary="Random weights: what fine-tuning reaches without any pre-training.",
    licence="none needed",
    source="torchvision and timm topologies",
    paper="supplement, Tables F and N",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone with weights drawn from the seed."""
    del weights
    return build_backbone(options["backbone"], seed)
