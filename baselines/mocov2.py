"""MoCo v2: the query encoder of the authors' 200-epoch checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.resnet50 import BACKBONE, FEATURE, FEATURE_DIM, load_resnet50
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn

_WRAPPERS = ("module.", "")
"""Training on several processes puts the first before every key; files of one's own may lack it."""

CARD = MethodCard(
    name="mocov2",
    version=1,
    build=":build",
    backbone=BACKBONE,
    feature=FEATURE,
    feature_dim=FEATURE_DIM,
    preprocess=Preprocess(),
    checkpoint=Checkpoint(
        file="moco_v2_200ep_pretrain.pth.tar",
        md5="59fd9945",
        prefixes=tuple(f"{wrapper}encoder_q." for wrapper in _WRAPPERS),
        url="https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_200ep/"
        "moco_v2_200ep_pretrain.pth.tar",
    ),
    options={"checkpoint": ()},
    # The head's layers one by one: version 1's head is a single layer, so that its file is refused.
    dropped_keys=tuple(
        wrapper + key
        for wrapper in _WRAPPERS
        for key in ("encoder_q.fc.0.", "encoder_q.fc.2.", "encoder_k.", "queue", "queue_ptr")
    ),
    trained_on=("ImageNet",),
    group="Visual Representation Learning",
    summary="Contrastive learning against a queue of 65,536 keys; the query encoder without its head. The"
    " file's name ends in .tar, but it is an ordinary torch file.",
    licence="MIT since January 2023, though the README says CC BY-NC 4.0; none of its own for the weights",
    source="github.com/facebookresearch/moco at commit 132aea9; its last commit deletes all files. The README"
    " gives the first digits of the file's MD5",
    paper="supplement, Tables F, G, J and N",
    training_scale="1.28M",
    training_source="Images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone and load the query encoder."""
    del options
    return load_resnet50(CARD, weights, seed)
