"""DINOv3: self-supervised ViT-B/16, distilled from a larger one, as timm has it.

timm pools the average of the patches unless told otherwise; the authors' feature is the class token.
Takes timm's file or the authors' own (`dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.timm_model import build_model, find_pinned
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.read import read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "vit_base_patch16_dinov3.lvd1689m"
AUTHORS_FILE = "dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth"
_FIXED = ("rope_embed.periods", "mask_token")
"""What the network needs no weights for: rotary frequencies that follow from its size, and masking."""

CARD = MethodCard(
    name="dinov3",
    version=1,
    build=":build",
    backbone="ViT-B/16, 4 registers, rotary positions",
    feature="class token after the last norm",
    feature_dim=768,
    preprocess=Preprocess(multiple=16),
    checkpoint=Checkpoint(
        file=f"timm/{NAME}.safetensors",
        url=f"https://huggingface.co/timm/{NAME}/resolve/main/model.safetensors",
    ),
    options={"checkpoint": ()},
    trained_on=("LVD-1689M",),
    group="Visual Representation Learning",
    summary="Self-distillation at scale. timm's default pools the average of the patches; this is the class"
    " token, as upstream.",
    licence="DINOv3 licence",
    source=f"timm {NAME}; the authors' {AUTHORS_FILE} serves as well and is given out on request",
    paper="Siméoni et al. 2025",
    training_scale="1.7B",
    training_source="Images",
)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path:
    """Find timm's file or the authors', or raise WeightsMissingError."""
    del options
    return find_pinned(card, [AUTHORS_FILE])


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network with the class token as its feature."""
    del options
    assert weights is not None
    tensors = read_tensors(weights)
    if "storage_tokens" in tensors:
        tensors = _strip(tensors, weights)
    return build_model(NAME, weights, seed, tensors, global_pool="token")


def _strip(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Take out of the authors' file what timm's network has no place for: attention biases that are zero."""
    kept = {}
    for name, tensor in tensors.items():
        if name.endswith("attn.qkv.bias"):
            if (tensor * tensors.get(f"{name}_mask", 1)).any():
                raise WeightsFormatError(f"{path.name}: {name} isn't zero, which timm's {NAME} can't hold")
        elif not (name in _FIXED or name.endswith("attn.qkv.bias_mask")):
            kept[name] = tensor
    return kept
