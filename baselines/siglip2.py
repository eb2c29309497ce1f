"""SigLIP 2: image tower of a ViT-B/16 trained on pictures and captions, as timm has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.timm_model import build_model, find_pinned
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

NAME = "vit_base_patch16_siglip_224.v2_webli"

CARD = MethodCard(
    name="siglip2",
    version=1,
    build=":build",
    backbone="ViT-B/16, no class token",
    feature="attention pooling",
    feature_dim=768,
    preprocess=Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), multiple=16),
    checkpoint=Checkpoint(
        file=f"timm/{NAME}.safetensors",
        url=f"https://huggingface.co/timm/{NAME}/resolve/main/model.safetensors",
    ),
    options={"checkpoint": ()},
    trained_on=("WebLI",),
    group="Visual Representation Learning",
    summary="Pictures and captions, sigmoid loss. At 224 pixels as published; other sizes resample positions."
    " Nothing is cropped, as in open_clip; timm's configuration would take the middle.",
    licence="Apache-2.0",
    source=f"timm {NAME}",
    paper="Tschannen et al. 2025",
    training_scale="10B",
    training_source="Images+Captions",
)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path:
    """Find timm's file, or raise WeightsMissingError."""
    del options
    return find_pinned(card)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the image tower."""
    del options
    return build_model(NAME, weights, seed)
