"""CLIP ViT-B/16: OpenAI's weights and Apple's DFN, both trained with the approximation QuickGELU.

Takes timm's file or the whole model in open_clip's layout, whose text tower is left out. OpenAI's own
`ViT-B-16.pt` is a program with weights inside, and programs aren't read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.timm_model import build_model, find_pinned
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

# The topology with QuickGELU, whatever the tag: timm has DFN's weights under a name with plain GELU.
NAME = "vit_base_patch16_clip_quickgelu_224.openai"


def _checkpoint(tag: str) -> Checkpoint:
    repository = f"timm/vit_base_patch16_clip_224.{tag}"
    return Checkpoint(
        file=f"{repository}.safetensors",
        url=f"https://huggingface.co/{repository}/resolve/main/model.safetensors",
    )


OPENAI = MethodCard(
    name="clip-openai",
    version=1,
    build=":build",
    backbone="ViT-B/16, QuickGELU",
    feature="class token after the last norm, before the projection",
    feature_dim=768,
    preprocess=Preprocess(
        mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711), multiple=16
    ),
    checkpoint=_checkpoint("openai"),
    options={"checkpoint": ()},
    trained_on=("WIT-400M",),
    group="Visual Representation Learning",
    summary="The first CLIP. Plain GELU, which loads as cleanly, shifts its features. At 224 pixels as"
    " published; other sizes resample the positions.",
    licence="MIT",
    source="timm vit_base_patch16_clip_224.openai, or open_clip ViT-B-16-quickgelu, tag openai",
    paper="Radford et al. 2021",
    training_scale="400M",
    training_source="Images+Captions",
)

DFN = dataclasses.replace(
    OPENAI,
    name="clip-dfn",
    checkpoint=_checkpoint("dfn2b"),
    trained_on=("DFN-2B",),
    summary="CLIP on captions that a network has filtered. timm lists these weights under plain GELU; they"
    " were trained with QuickGELU.",
    licence="Apple's sample code licence",
    source="timm vit_base_patch16_clip_224.dfn2b, or open_clip ViT-B-16-quickgelu, tag dfn2b",
    paper="Fang et al. 2023",
    training_scale="2B",
)

CARDS = (OPENAI, DFN)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path:
    """Find timm's file, or raise WeightsMissingError."""
    del options
    return find_pinned(card)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the image tower without its projection."""
    del options
    return build_model(NAME, weights, seed)
