"""ArcFace: face recognition with a margin on angles, insightface's PyTorch files (`backbone.pth`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.iresnet import DEPTHS, PREPROCESS, build_iresnet
from comface_bench.core.card import Checkpoint, MethodCard
from comface_bench.weights.strict import load_strictly, read_backbone

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="arcface",
    version=1,
    build=":build",
    backbone="iResNet",
    feature="embedding after the last norm, not scaled to length 1",
    feature_dim=512,
    preprocess=PREPROCESS,
    checkpoint=Checkpoint(
        file="backbone.pth",
        url="https://github.com/deepinsight/insightface/tree/master/model_zoo",
    ),
    options={"backbone": tuple(DEPTHS), "checkpoint": ()},
    trained_on=("MS1MV3",),
    group="Facial Representation Learning",
    summary="Face recognition; 112 pixels, which images are resized to. The authors name every file"
    " backbone.pth: the one meant is in their folder ms1mv3_arcface_r50_fp16; use -o checkpoint=FILE for any"
    " other, so for backbone=iresnet100.",
    licence="MIT (code); weights for non-commercial research",
    source="insightface, model zoo of arcface_torch",
    paper="Deng et al., CVPR 2019",
    training_scale="5.2M",
    training_source="Face images+Identities",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights."""
    assert weights is not None
    network = build_iresnet(options["backbone"], seed)
    load_strictly(network, read_backbone(weights, CARD), weights)
    return network
