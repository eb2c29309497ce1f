"""FaRL: CLIP's ViT-B/16 image tower, trained on faces with their captions and on masked patches.

CLIP's tower differs from timm's usual ViT-B/16 in two ways that no key or shape gives away, QuickGELU,
x·sigmoid(1.702x), in place of GELU, and LayerNorm's epsilon of 1e-5; and in two that they do, a norm before
the first block and patches without bias. The weights go into timm's network of that kind, which takes other
sizes than 224 too; OpenAI's names are translated here, so that loading stays strict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.weights.parts import load_backbone
from comface_bench.weights.strict import select_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

_RELEASE = "https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights/"


_PREFIXES = ("visual.",)
_FILES = {epochs: f"FaRL-Base-Patch16-LAIONFace20M-ep{epochs}.pth" for epochs in (16, 64)}

FARL = MethodCard(
    name="farl",
    version=1,
    build=":build",
    backbone="ViT-B/16 (CLIP's: QuickGELU, LayerNorm epsilon 1e-5)",
    feature="class token after ln_post (cls, 768), or its projection into the space of texts (proj, 512)",
    preprocess=Preprocess(
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        multiple=16,
    ),
    checkpoint=Checkpoint(file=_FILES[16], url=_RELEASE + _FILES[16], prefixes=_PREFIXES),
    options={"feature": ("cls", "proj"), "checkpoint": (), "part": ()},
    dropped_keys=(
        # The text tower.
        "transformer.",
        "token_embedding.",
        "positional_embedding",
        "ln_final.",
        "text_projection",
        "logit_scale",
        # What predicts masked patches.
        "visual.mask_token",
        "visual.lm_transformer.",
        "visual.ln_lm.",
        "visual.lm_head.",
    ),
    trained_on=("LAION-Face",),
    supervision=("image text",),
    group="Facial Representation Learning",
    summary="Faces with their captions, and masked patches, for 16 epochs. Positions are resampled for sizes"
    " other than 224, which is our choice.",
    licence="MIT (code); none stated for the file",
    source="FacePerceiver/FaRL",
    paper="supplement, Tables F, G, J and N",
    training_scale="20M",
    training_source="Face images+Text",
)

EP64 = dataclasses.replace(
    FARL,
    name="farl-ep64",
    checkpoint=Checkpoint(file=_FILES[64], url=_RELEASE + _FILES[64], prefixes=_PREFIXES),
    summary="FaRL after 64 epochs instead of the 16 that the paper compares with; all else is the same.",
    paper="",
)

CARDS = (FARL, EP64)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the image tower and load its weights, without the text tower and the masked patches' head."""
    from torch import nn

    # Both cards describe one layout. The projection is loaded in any case: a file without it is no FaRL.
    tower = build_clip_vit(512, seed)
    if weights is not None:
        path = weights

        def take(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            return rename_clip_keys(select_backbone(tensors, path, _PREFIXES, FARL.dropped_keys))

        load_backbone(tower, path, FARL, options, take)
    if options["feature"] == "cls":
        tower.head = nn.Identity()
    return tower


_TIMM_NAMES = {
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
        for theirs, ours in _TIMM_NAMES.items():
            name = name.replace(theirs, ours)
        renamed[name] = tensor
    return renamed
