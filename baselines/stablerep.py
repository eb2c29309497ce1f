"""StableRep: learned on images that a text-to-image model made, several for each caption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.networks import build_backbone
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="stablerep",
    version=1,
    build=":build",
    backbone="ViT-B/16",
    feature="class token after the last norm",
    feature_dim=768,
    # timm's configuration of this network says 0.5 throughout; the authors trained with ImageNet's.
    preprocess=Preprocess(multiple=16),
    checkpoint=Checkpoint(
        file="cc12m.1x.pth",
        url="https://github.com/google-research/syn-rep-learn/tree/main/StableRep (its Dropbox folder)",
        prefixes=("visual.",),
    ),
    options={"checkpoint": (), "part": ()},
    dropped_keys=("image_mlp.",),
    trained_on=("CC12M (generated images)",),
    supervision=("self-supervised",),
    group="Visual Representation Learning",
    summary="Images that Stable Diffusion made from CC12M's captions. Positions are resampled for sizes other"
    " than 224, which is our choice.",
    licence="Apache-2.0 (code and file)",
    source="google-research/syn-rep-learn",
    paper="supplement, Table M",
    training_scale="100M",
    training_source="Synthetic images (Stable Diffusion)+Text",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights, without the head that the training loss needs."""
    del seed
    network = build_backbone("vit_base_patch16", None)
    if weights is not None:
        load_backbone(network, weights, CARD, options)
    return network
