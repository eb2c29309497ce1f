"""ViT-B networks of general images that timm has: DINOv2, DINOv3, SigLIP 2, Perception Encoder, CLIP.

A method is one row: its card and `build_<name>`. Each takes timm's file; the authors' own, where
`AUTHORS_FILES` names it, is renamed by timm. OpenAI's `ViT-B-16.pt` is a program with weights inside, and
programs aren't read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.timm import build_model, find_pinned, hub_checkpoint
from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import read_whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from comface_bench.baselines.networks import Build

DINOV2_MODEL = "vit_base_patch14_reg4_dinov2.lvd142m"
DINOV3_MODEL = "vit_base_patch16_dinov3.lvd1689m"
SIGLIP2_MODEL = "vit_base_patch16_siglip_224.v2_webli"
PECORE_MODEL = "vit_pe_core_base_patch16_224.fb"
CLIP_MODEL = "vit_base_patch16_clip_quickgelu_224.openai"
"""The topology with QuickGELU, whatever the weights: timm has DFN's under a name with plain GELU."""

AUTHORS_FILES = {
    "dinov2": "dinov2_vitb14_reg4_pretrain.pth",
    "dinov3": "dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth",
    "pecore": "PE-Core-B16-224.pt",
}
"""Method → the authors' own file, which serves as well as timm's."""

_DINOV3_FIXED = ("rope_embed.periods", "mask_token")
"""Tensors of the authors' file without use: rotary frequencies, which follow from the size, and masking."""


DINOV2 = MethodCard(
    name="dinov2",
    version=1,
    build=":build_dinov2",
    backbone="ViT-B/14, 4 registers",
    feature="class token after the last norm",
    feature_dim=768,
    preprocess=Preprocess(multiple=14),
    checkpoint=hub_checkpoint(DINOV2_MODEL),
    options={"checkpoint": (), "part": ()},
    trained_on=("LVD-142M",),
    supervision=("self-supervised",),
    group="Visual Representation Learning",
    summary="Self-distillation on curated pictures. timm's own default size is 518 pixels; here it takes the"
    " protocol's.",
    licence="Apache-2.0",
    source=f"timm {DINOV2_MODEL}; the authors' {AUTHORS_FILES['dinov2']} serves as well",
    paper="Oquab et al. 2023; Darcet et al. 2023 (registers)",
    training_scale="142M",
    training_source="Images",
)

DINOV3 = MethodCard(
    name="dinov3",
    version=1,
    build=":build_dinov3",
    backbone="ViT-B/16, 4 registers, rotary positions",
    feature="class token after the last norm",
    feature_dim=768,
    preprocess=Preprocess(multiple=16),
    checkpoint=hub_checkpoint(DINOV3_MODEL),
    options={"checkpoint": (), "part": ()},
    trained_on=("LVD-1689M",),
    supervision=("self-supervised",),
    group="Visual Representation Learning",
    summary="Self-distillation at scale. timm's default pools the average of the patches; this is the class"
    " token, as upstream.",
    licence="DINOv3 licence",
    source=f"timm {DINOV3_MODEL}; the authors' {AUTHORS_FILES['dinov3']} serves as well and is given out on"
    " request",
    paper="Siméoni et al. 2025",
    training_scale="1.7B",
    training_source="Images",
)

SIGLIP2 = MethodCard(
    name="siglip2",
    version=1,
    build=":build_siglip2",
    backbone="ViT-B/16, no class token",
    feature="attention pooling",
    feature_dim=768,
    preprocess=Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), multiple=16),
    checkpoint=hub_checkpoint(SIGLIP2_MODEL),
    options={"checkpoint": (), "part": ()},
    trained_on=("WebLI",),
    supervision=("image text",),
    group="Visual Representation Learning",
    summary="Pictures and captions, sigmoid loss. At 224 pixels as published; other sizes resample positions."
    " Nothing is cropped, as in open_clip; timm's configuration would take the middle.",
    licence="Apache-2.0",
    source=f"timm {SIGLIP2_MODEL}",
    paper="Tschannen et al. 2025",
    training_scale="10B",
    training_source="Images+Captions",
)

PECORE = MethodCard(
    name="pecore",
    version=1,
    build=":build_pecore",
    backbone="ViT-B/16, rotary and absolute positions",
    # timm's default answers with the 1024 numbers that are compared with captions.
    feature="attention pooling, before the projection",
    feature_dim=768,
    preprocess=Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), multiple=16, interpolation="bilinear"),
    checkpoint=hub_checkpoint(PECORE_MODEL),
    options={"checkpoint": (), "part": ()},
    trained_on=("MetaCLIP pictures", "PE video data"),
    supervision=("image text",),
    group="Visual Representation Learning",
    summary="Pictures and captions, then videos. Without the projection to 1024 that timm's default keeps. At"
    " 224 pixels as published; the authors squash bilinearly where timm's configuration says bicubic.",
    licence="Apache-2.0",
    source=f"timm {PECORE_MODEL}; the authors' {AUTHORS_FILES['pecore']} serves as well",
    paper="Bolya et al. 2025",
    training_scale="5.4B",
    training_source="Images+Videos+Captions",
)

CLIP_OPENAI = MethodCard(
    name="clip-openai",
    version=1,
    build=":build_clip",
    backbone="ViT-B/16, QuickGELU",
    feature="class token after the last norm, before the projection",
    feature_dim=768,
    preprocess=Preprocess(
        mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711), multiple=16
    ),
    checkpoint=hub_checkpoint("vit_base_patch16_clip_224.openai"),
    options={"checkpoint": (), "part": ()},
    trained_on=("WIT-400M",),
    supervision=("image text",),
    group="Visual Representation Learning",
    summary="The first CLIP. Plain GELU, which loads as cleanly, shifts its features. At 224 pixels as"
    " published; other sizes resample the positions.",
    licence="MIT",
    source="timm vit_base_patch16_clip_224.openai, or open_clip ViT-B-16-quickgelu, tag openai",
    paper="Radford et al. 2021",
    training_scale="400M",
    training_source="Images+Captions",
)

CLIP_DFN = dataclasses.replace(
    CLIP_OPENAI,
    name="clip-dfn",
    checkpoint=hub_checkpoint("vit_base_patch16_clip_224.dfn2b"),
    trained_on=("DFN-2B",),
    summary="CLIP on captions that a network has filtered. timm lists these weights under plain GELU; they"
    " were trained with QuickGELU.",
    licence="Apple's sample code licence",
    source="timm vit_base_patch16_clip_224.dfn2b, or open_clip ViT-B-16-quickgelu, tag dfn2b",
    paper="Fang et al. 2023",
    training_scale="2B",
)

CARDS = (DINOV2, DINOV3, SIGLIP2, PECORE, CLIP_OPENAI, CLIP_DFN)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path:
    """Find timm's file or the authors'.

    Raises:
        WeightsMissingError: Neither is in the weights folder or the hub's cache.
    """
    del options
    return find_pinned(card, [AUTHORS_FILES[card.name]] if card.name in AUTHORS_FILES else [])


def load_model(model: str, options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build one of timm's networks without classifier or projection and load its weights."""
    return build_model(model, weights, seed, options.get("part", ""))


build_dinov2: Build = partial(load_model, DINOV2_MODEL)
build_siglip2: Build = partial(load_model, SIGLIP2_MODEL)
build_pecore: Build = partial(load_model, PECORE_MODEL)
build_clip: Build = partial(load_model, CLIP_MODEL)


def build_dinov3(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network with the class token as its feature, where timm's default averages the patches."""
    parts = None
    if weights is not None:
        parts = {
            name: _strip_dinov3(tensors, weights) if "storage_tokens" in tensors else tensors
            for name, tensors in read_whole(weights).items()
        }
    return build_model(DINOV3_MODEL, weights, seed, options.get("part", ""), parts, global_pool="token")


def _strip_dinov3(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Remove from the authors' file what timm's network has no place for: attention biases that are zero."""
    kept = {}
    for name, tensor in tensors.items():
        if name.endswith("attn.qkv.bias"):
            if (tensor * tensors.get(f"{name}_mask", 1)).any():
                raise WeightsFormatError(
                    f"{path.name}: {name} isn't zero, which timm's {DINOV3_MODEL} can't hold"
                )
        elif not (name in _DINOV3_FIXED or name.endswith("attn.qkv.bias_mask")):
            kept[name] = tensor
    return kept
