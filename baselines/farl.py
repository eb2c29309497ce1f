"""FaRL: CLIP's image tower, trained on faces with their texts and on masked patches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.clip_vit import build_clip_vit, rename_clip_keys
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.weights.strict import load_strictly, read_backbone

if TYPE_CHECKING:
    from torch import nn

_RELEASE = "https://github.com/FacePerceiver/FaRL/releases/download/pretrained_weights/"


def _checkpoint(file: str) -> Checkpoint:
    return Checkpoint(file=file, url=_RELEASE + file, prefixes=("visual.",))


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
    checkpoint=_checkpoint("FaRL-Base-Patch16-LAIONFace20M-ep16.pth"),
    options={"feature": ("cls", "proj"), "checkpoint": ()},
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
    checkpoint=_checkpoint("FaRL-Base-Patch16-LAIONFace20M-ep64.pth"),
    summary="FaRL after 64 epochs instead of the 16 that the paper compares with; all else is the same.",
    paper="",
)

CARDS = (FARL, EP64)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the image tower and load its weights, without the text tower and the masked patches' head."""
    from torch import nn

    assert weights is not None
    # Both cards describe one layout. The projection is loaded in any case: a file without it is no FaRL.
    tensors = rename_clip_keys(read_backbone(weights, FARL))
    tower = build_clip_vit(512, seed)
    load_strictly(tower, tensors, weights)
    if options["feature"] == "cls":
        tower.head = nn.Identity()
    return tower
