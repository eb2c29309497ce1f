"""Bulat et al.: SwAV's training on faces, from the authors' file `flr_r50_vgg_face.pth`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.resnet50 import BACKBONE, FEATURE, FEATURE_DIM, load_resnet50
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="bulat",
    version=1,
    build=":build",
    backbone=BACKBONE,
    feature=FEATURE,
    feature_dim=FEATURE_DIM,
    preprocess=Preprocess(std=(0.228, 0.224, 0.225)),
    checkpoint=Checkpoint(
        file="flr_r50_vgg_face.pth",
        prefixes=("module.base_net.",),
        url="https://www.adrianbulat.com/downloads/ECCV2022/pretrained_models/unsupervised/"
        "flr_r50_vgg_face.pth",
    ),
    options={"checkpoint": ()},
    dropped_keys=("module.projection_net.", "module.prototypes.weight"),
    trained_on=("VGGFace",),
    group="Facial Representation Learning",
    summary="SwAV's training on face images; the standard deviation of red is 0.228 as there. The supplement"
    " and the file's name say VGGFace, the README VGG, while the code's option for its data is vggface2.",
    licence="MIT (code); none stated for the weights",
    source="github.com/1adrianb/unsupervised-face-representation (the owner's name begins with the digit 1);"
    " no digest published",
    paper="supplement, Tables F, G, J and N",
    training_scale="3.4M",
    training_source="Face images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone and load the authors' file, without projection and prototypes."""
    del options
    return load_resnet50(CARD, weights, seed)
