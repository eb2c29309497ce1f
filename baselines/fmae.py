"""FMAE: a masked autoencoder on nine million faces (Face9M), the pre-trained file.

The authors also publish networks fine-tuned on DISFA's, BP4D's and others' action units; those files are
refused by their classification heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.mae import FEATURE, FEATURES, build_mae
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="fmae",
    version=1,
    build=":build",
    backbone="ViT-B/16",
    feature=FEATURE,
    feature_dim=768,
    preprocess=Preprocess(multiple=16),
    checkpoint=Checkpoint(
        file="fmae_pretrain_vit_base.pth",
        url="https://drive.google.com/file/d/1uCdJq4xQAbYQHTVpcflrnK8OPavJ8Fz7/view",
    ),
    options={"feature": FEATURES, "checkpoint": ()},
    dropped_keys=("mask_token", "decoder_"),
    trained_on=("Face9M",),
    group="Facial Representation Learning",
    summary="Masked autoencoder on faces. The pre-trained network only: the authors' fine-tuned files are"
    " refused. Unverified: the name of the published file (rename it, or use -o checkpoint=FILE) and"
    " its keys.",
    licence="CC BY-NC 4.0",
    source="forever208/FMAE-IAT, ViT-base of the table of pre-trained files",
    paper="Ning, Salah and Ertugrul 2024",
    training_scale="9M",
    training_source="Face images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the encoder without its decoder."""
    assert weights is not None
    return build_mae(CARD, options["feature"], weights, seed)
