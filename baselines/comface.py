"""ComFace: pre-trained on pairs of synthetic faces of one identity.

Files are safetensors with the keys of `comface_bench.comface.model.ComFace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.networks import BACKBONES, FEATURES, build_backbone, feature_width
from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import WeightsMissingError
from comface_bench.weights.read import read_tensors
from comface_bench.weights.strict import load_strictly

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="comface",
    version=1,
    build=":build",
    backbone="ResNet-50",
    feature=FEATURES,
    preprocess=Preprocess(),
    options={"backbone": BACKBONES, "checkpoint": ()},
    pretrained_head=True,
    trained_on=("synthetic faces",),
    group="Facial Representation Learning",
    summary="Inter- and intra-personal learning on synthetic faces whose attributes change by known amounts.",
    licence="Apache-2.0 (this project's implementation)",
    source="comface-bench; the authors have published no code and no weights",
    paper="Akamatsu et al., WACV 2025",
    training_scale="35M (paper)",
    training_source="Synthetic face images+Intensity α",
)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path | None:
    """Say that no weights ship yet.

    Raises:
        WeightsMissingError: Always, until a version ships them.
    """
    raise WeightsMissingError(
        f"{card.name}: this version ships no weights for {options['backbone']}, and the authors publish none",
        "With a file of your own: -o checkpoint=FILE (safetensors of comface_bench.comface.model.ComFace)\n"
        "Without weights, the same backbone untrained: --method scratch",
    )


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights; its head is offered for head starts (b) and (d)."""
    from comface_bench.comface.model import ComFace

    assert weights is not None
    tensors = read_tensors(weights)
    backbone = build_backbone(options["backbone"], seed)
    network = ComFace(backbone, feature_width(options["backbone"]))
    load_strictly(network, tensors, weights)
    # Downstream only the backbone and the head's weight count; the projector stays behind.
    backbone.head_weight = network.head_weight
    return backbone
