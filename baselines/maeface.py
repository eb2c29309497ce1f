"""MAE-Face: a masked autoencoder on two million faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.mae import FEATURE, FEATURES, build_mae
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="maeface",
    version=1,
    build=":build",
    backbone="ViT-B/16",
    feature=FEATURE,
    feature_dim=768,
    preprocess=Preprocess(multiple=16),
    checkpoint=Checkpoint(
        file="mae_face_pretrain_vit_base.pth",
        url="https://github.com/FuxiVirtualHuman/MAE-Face/releases",
    ),
    options={"feature": FEATURES, "checkpoint": ()},
    dropped_keys=("mask_token", "decoder_"),
    trained_on=("AffectNet", "CASIA-WebFace", "CelebA", "IMDB-WIKI"),
    group="Facial Representation Learning",
    summary="Masked autoencoder on faces. Unverified: its mean and standard deviation, which the authors"
    " don't state; ImageNet's are those of the code they build upon.",
    licence="MIT",
    source="FuxiVirtualHuman/MAE-Face, release",
    paper="Ma et al. 2022; CVPR 2023 workshops",
    training_scale="2.17M",
    training_source="Face images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the encoder without its decoder."""
    assert weights is not None
    return build_mae(CARD, options["feature"], weights, seed)
