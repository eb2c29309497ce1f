"""DINOv2: self-supervised ViT-B/14 with four registers, as timm has it.

Takes timm's file or the authors' own (`dinov2_vitb14_reg4_pretrain.pth`), which timm renames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.timm_model import build_model, find_pinned
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

NAME = "vit_base_patch14_reg4_dinov2.lvd142m"
AUTHORS_FILE = "dinov2_vitb14_reg4_pretrain.pth"

CARD = MethodCard(
    name="dinov2",
    version=1,
    build=":build",
    backbone="ViT-B/14, 4 registers",
    feature="class token after the last norm",
    feature_dim=768,
    preprocess=Preprocess(multiple=14),
    checkpoint=Checkpoint(
        file=f"timm/{NAME}.safetensors",
        url=f"https://huggingface.co/timm/{NAME}/resolve/main/model.safetensors",
    ),
    options={"checkpoint": ()},
    trained_on=("LVD-142M",),
    group="Visual Representation Learning",
    summary="Self-distillation on curated pictures. timm's own default size is 518 pixels; here it takes the"
    " protocol's.",
    licence="Apache-2.0",
    source=f"timm {NAME}; the authors' {AUTHORS_FILE} serves as well",
    paper="Oquab et al. 2023; Darcet et al. 2023 (registers)",
    training_scale="142M",
    training_source="Images",
)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path:
    """Find timm's file or the authors', or raise WeightsMissingError."""
    del options
    return find_pinned(card, [AUTHORS_FILE])


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network, which takes images of any size in whole patches."""
    del options
    return build_model(NAME, weights, seed)
