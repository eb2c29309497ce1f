"""PCL: expression and pose, told apart without labels on video frames of faces.

The feature is the trunk's map before either head, which the authors' linear evaluation takes, flattened:
6,272 numbers at their 100 pixels, 25,088 at the paper's 224. Flattened is the default, because that is the
published feature and where in the face something happens is in it; averaged over positions, an option, 128
numbers stay, a cheap feature that nobody published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.pcl_network import HEADS, build_pcl
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.weights.strict import load_strictly, read_backbone

if TYPE_CHECKING:
    from torch import nn

CARD = MethodCard(
    name="pcl",
    version=1,
    build=":build",
    backbone="16-layer CNN",
    feature="map of the trunk before its two heads: flattened (flat: 128 times the positions, 25,088 at 224"
    " pixels, 6,272 at 100), or averaged over positions (pooled, 128)",
    preprocess=Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    checkpoint=Checkpoint(
        file="best.pth",
        url="https://drive.google.com/drive/folders/1wx5PTGDCqDWsjhXimjHqz_7WUwxr54uh",
        # As pre-training saves it, and as the authors' linear evaluation does.
        prefixes=("module.encoder.", ""),
    ),
    options={"feature": ("flat", "pooled"), "checkpoint": ()},
    dropped_keys=("module.exp_fc.", "module.pose_fc.", "module.decoder.", "linear_classifier."),
    trained_on=("VoxCeleb1", "VoxCeleb2"),
    group="Facial Representation Learning",
    summary="Learns to separate expression from pose; its authors train at 64 pixels and evaluate at 100"
    " (-o image_size=100).",
    licence="none stated, for the code or the file",
    source="DreamMr/PCL",
    paper="supplement, Tables F, G, J and N",
    training_scale="unknown",
    training_source="Face images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights; then its heads go, which no feature depends on."""
    from torch import nn

    assert weights is not None
    network = build_pcl(seed)
    load_strictly(network, read_backbone(weights, CARD), weights)
    for head in HEADS:
        delattr(network, head)
    pooled = [nn.AdaptiveAvgPool2d(1)] if options["feature"] == "pooled" else []
    return nn.Sequential(network, *pooled, nn.Flatten())
