"""Perception Encoder, core, B/16: image tower trained on pictures, videos and captions, as timm has it.

Takes timm's file or the authors' own (`PE-Core-B16-224.pt`). timm's default answers with the 1024 numbers
that are compared with captions; the feature here is what they are projected from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.timm_model import build_model, find_pinned
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

NAME = "vit_pe_core_base_patch16_224.fb"
AUTHORS_FILE = "PE-Core-B16-224.pt"

CARD = MethodCard(
    name="pecore",
    version=1,
    build=":build",
    backbone="ViT-B/16, rotary and absolute positions",
    feature="attention pooling, before the projection",
    feature_dim=768,
    preprocess=Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), multiple=16, interpolation="bilinear"),
    checkpoint=Checkpoint(
        file=f"timm/{NAME}.safetensors",
        url=f"https://huggingface.co/timm/{NAME}/resolve/main/model.safetensors",
    ),
    options={"checkpoint": ()},
    trained_on=("MetaCLIP pictures", "PE video data"),
    group="Visual Representation Learning",
    summary="Pictures and captions, then videos. Without the projection to 1024 that timm's default keeps. At"
    " 224 pixels as published; the authors squash bilinearly where timm's configuration says bicubic.",
    licence="Apache-2.0",
    source=f"timm {NAME}; the authors' {AUTHORS_FILE} serves as well",
    paper="Bolya et al. 2025",
    training_scale="5.4B",
    training_source="Images+Videos+Captions",
)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path:
    """Find timm's file or the authors', or raise WeightsMissingError."""
    del options
    return find_pinned(card, [AUTHORS_FILE])


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the image tower without its projection."""
    del options
    return build_model(NAME, weights, seed)
