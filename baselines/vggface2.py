"""VGGFace2: supervised face recognition, the Caffe network of Oxford's converted by cydonia999.

Its keys and shapes are torchvision's ResNet-50, its topology isn't: loaded there, it gives no error and
wrong features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.resnet50 import BACKBONE, FEATURE, FEATURE_DIM, load_classifier
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess

if TYPE_CHECKING:
    from torch import nn
    from torchvision.models import ResNet

IDENTITIES = 8631

CARD = MethodCard(
    name="vggface2",
    version=1,
    build=":build",
    backbone=f"{BACKBONE}, Caffe's topology",
    feature=f"{FEATURE}; over the whole map, also where images aren't of 224 pixels",
    feature_dim=FEATURE_DIM,
    preprocess=Preprocess(
        mean=(91.4953, 103.8827, 131.0912), std=(1.0, 1.0, 1.0), channels="BGR", scale=255.0
    ),
    checkpoint=Checkpoint(
        file="resnet50_scratch_weight.pkl",
        url="https://drive.google.com/file/d/1gy9OJlVfBulWkIEnZhGpOLu084RgHw39/view",
    ),
    options={"checkpoint": ()},
    dropped_keys=("fc.",),
    trained_on=("VGGFace2",),
    group="General Pre-training",
    summary="Supervised ResNet-50 for 8,631 identities, trained from scratch. Strides and pooling are"
    " Caffe's; input is BGR in 0–255 minus the mean. The authors' code takes 224 pixels only, pooling 7×7;"
    " here the whole map is pooled, which is the same at 224 and lets other sizes run."
    " Oxford has withdrawn data and models.",
    licence="MIT (code); weights unsettled: Oxford's Keras ones are CC BY-SA 4.0, says an author of theirs",
    source="github.com/cydonia999/VGGFace2-pytorch; no digest published, and the fine-tuned weights'"
    " resnet50_ft_weight.pkl have the same layout",
    paper="supplement, Tables F, G, J and N",
    training_scale="3.31M",
    training_source="Images+Human labels",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone in Caffe's topology and load the recogniser's weights, without its classifier."""
    del options
    network = load_classifier(CARD, weights, seed, IDENTITIES)
    give_caffe_topology(network)
    return network


def give_caffe_topology(network: ResNet) -> None:
    """Turn torchvision's ResNet-50 into Caffe's: other strides and another max-pool, the same tensors."""
    from torch import nn

    network.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)
    for stage in (network.layer2, network.layer3, network.layer4):
        # Caffe halves the map in a block's first convolution, torchvision in its second.
        block = stage[0]
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
