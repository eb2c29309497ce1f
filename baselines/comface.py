"""ComFace: pre-trained on pairs of synthetic faces of one identity.

Weights ship for ResNet-18. A file of one's own is what `comface-bench export` writes: `backbone.*` and a head
for each attribute, with metadata that say which head a task starts from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.baselines.networks import BACKBONES, FEATURES, build_backbone
from comface_bench.core.card import MethodCard, Preprocess
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.weights.read import read_tensors
from comface_bench.weights.strict import load_strictly, select_backbone

if TYPE_CHECKING:
    from torch import nn

SHIPS = "resnet18"

CARD = MethodCard(
    name="comface",
    version=2,
    build=":build",
    backbone="ResNet-18 (paper: ResNet-50)",
    feature=FEATURES,
    preprocess=Preprocess(),
    options={"backbone": (SHIPS, *(name for name in BACKBONES if name != SHIPS)), "checkpoint": ()},
    dropped_keys=("heads.",),
    pretrained_head=True,
    trained_on=("synthetic faces",),
    supervision=("rendered change",),
    group="Facial Representation Learning",
    summary="Inter- and intra-personal learning on synthetic faces whose attributes change by known amounts.",
    licence="Apache-2.0 (this project's implementation and weights)",
    source="comface-bench pretrain; the authors have published no code and no weights",
    paper="Akamatsu et al., WACV 2025",
    training_scale="112k (paper: 35M)",
    training_source="Synthetic face images+Intensity α",
)


def find_weights(card: MethodCard, options: Mapping[str, str]) -> Path | None:
    """Return the weights that ship.

    Raises:
        WeightsMissingError: None ship for this backbone.
    """
    from comface_bench.comface.weights import shipped_weights

    path = shipped_weights(options["backbone"])
    if path is None:
        raise WeightsMissingError(
            f"{card.name}: weights ship for {SHIPS}, not for {options['backbone']}; the authors publish none",
            "With a file that `comface-bench export` wrote: -o checkpoint=FILE\n"
            "Without weights, the same backbone untrained: --method scratch",
        )
    return path


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone and load its weights; its heads are offered for head starts (b) and (d).

    Raises:
        WeightsFormatError: The file isn't one that `comface-bench export` writes, or is of another backbone.
    """
    from comface_bench.comface.export import read_facts, shared_head, task_heads

    del seed
    assert weights is not None
    facts = read_facts(weights)
    if facts is None:
        raise WeightsFormatError(
            f"{weights.name} doesn't say that it is ComFace's",
            "comface-bench export writes such files from a pre-training.",
        )
    if facts["backbone"] != options["backbone"]:
        raise WeightsFormatError(
            f"{weights.name} holds {facts['backbone']}, not {options['backbone']}",
            f"-o backbone={facts['backbone']}",
        )
    tensors = read_tensors(weights)
    backbone = build_backbone(options["backbone"], None)
    load_strictly(backbone, select_backbone(tensors, weights, ("backbone.",), CARD.dropped_keys), weights)
    heads: Any = backbone
    heads.head_weight = shared_head(tensors, weights)
    heads.head_weights = task_heads(tensors, facts, weights)
    return backbone
