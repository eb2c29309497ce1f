"""CLIP's ViT-B/16 image tower, for checkpoints under OpenAI's names of its parts.

It differs from timm's usual ViT-B/16 in two ways that no key or shape gives away, QuickGELU,
x·sigmoid(1.702x), in place of GELU, and LayerNorm's epsilon of 1e-5; and in two that they do, a norm before
the first block and patches without bias. The weights go into timm's network of that kind, which takes other
sizes than 224 too; the names are translated here, so that loading stays strict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_RENAMED = {
    "conv1.": "patch_embed.proj.",
    "positional_embedding": "pos_embed",
    "class_embedding": "cls_token",
    "transformer.resblocks.": "blocks.",
    "ln_pre.": "norm_pre.",
    "ln_post.": "norm.",
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "in_proj_": "qkv.",
    "out_proj.": "proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


def build_clip_vit(embedding: int, seed: int = 0) -> nn.Module:
    """Build the image tower.

    Args:
        embedding: Size D of the projection that images share with texts.
        seed: Of the random weights.

    Returns:
        A module from normalised images (N, 3, H, W), H and W in multiples of 16, to embeddings (N, D): the
        class token after `ln_post`, (N, 768), through the projection `head`, which has no bias. Sizes other
        than 224 get the positional embedding resampled bicubically, with antialiasing, which is our choice.
    """
    import timm
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower: Any = timm.create_model(
            "vit_base_patch16_clip_quickgelu_224", pretrained=False, num_classes=0, dynamic_img_size=True
        )
        tower.head = nn.Linear(tower.num_features, embedding, bias=False)
    built: nn.Module = tower
    return built


def rename_clip_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of an image tower the names and shapes that `build_clip_vit`'s network has.

    Args:
        tensors: Name without `visual.` → tensor, e.g. `transformer.resblocks.0.ln_1.weight`.

    Returns:
        timm's name → tensor. A name that CLIP doesn't have stays as it is.
    """
    renamed = {}
    for name, tensor in tensors.items():
        if name == "proj":  # A matrix that is multiplied from the right.
            name, tensor = "head.weight", tensor.transpose(0, -1)
        elif name in ("class_embedding", "positional_embedding"):
            tensor = tensor.reshape(1, -1, tensor.shape[-1])
        for theirs, ours in _RENAMED.items():
            name = name.replace(theirs, ours)
        renamed[name] = tensor
    return renamed
