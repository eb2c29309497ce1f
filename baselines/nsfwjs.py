"""Inception v3 and MobileNet v2, ImageNet first, then a filter of pictures, from the npm package nsfwjs.

Both were made by Keras from its own ImageNet weights. The models say which layers were tuned for the filter:
about the second half. torchvision's and timm's networks are built with Keras's ways: an epsilon of 0.001,
TensorFlow's padding, and means over the pixels that there are, where torchvision counts those outside as
zeros.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.card import Checkpoint, MethodCard, Package, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn


def _package(folder: str, shards: int) -> Package:
    names = ("model", *(f"group1-shard{number + 1}of{shards}" for number in range(shards)))
    return Package(
        client="npm",
        name="nsfwjs",
        version="4.4.0",
        sha256="585cd178f3b994337c4d10a87b080d342fc52f8b9bf0085c4d1f345a3a1c5382",
        members=tuple(f"package/dist/models/{folder}/{name}.min.js" for name in names),
    )


INCEPTION = MethodCard(
    name="nsfw-inception-v3",
    version=1,
    build=":build_inception",
    backbone="Inception v3",
    feature="average-pooled map of the last block, below the classifier",
    feature_dim=2048,
    preprocess=Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    checkpoint=Checkpoint(file="inception_v3.safetensors", package=_package("inception_v3", 6)),
    options={"checkpoint": (), "part": ()},
    dropped_keys=("dense_",),
    trained_on=("ImageNet", "drawings and photographs from the web"),
    supervision=("image class",),
    group="General Pre-training",
    summary="Supervised on ImageNet, then 43 of its 94 layers tuned to tell pictures that aren't safe for"
    " work from others, in five classes; 21.8 million parameters, in 8 bits; made for 299 pixels"
    " (-o image_size=299). The pictures were collected from the web, so it may have seen a task's.",
    licence="MIT (nsfwjs and its models)",
    source="npm nsfwjs 4.4.0, dist/models/inception_v3; trained by github.com/GantMan/nsfw_model",
    paper="Szegedy et al. 2016 (network)",
    training_scale="1.28M (ImageNet), then unknown",
    training_source="Images+Human labels",
)

MOBILENET = dataclasses.replace(
    INCEPTION,
    name="nsfw-mobilenet-v2",
    build=":build_mobilenet",
    backbone="MobileNet v2",
    feature="average-pooled head, below the classifier",
    feature_dim=1280,
    checkpoint=Checkpoint(file="mobilenet_v2.safetensors", package=_package("mobilenet_v2", 1)),
    summary="Supervised on ImageNet, then 19 of its 52 layers tuned to tell pictures that aren't safe for"
    " work from others, in five classes; 2.2 million parameters, in 8 bits; made for 224 pixels. The pictures"
    " were collected from the web, so it may have seen a task's.",
    source="npm nsfwjs 4.4.0, dist/models/mobilenet_v2; trained by github.com/GantMan/nsfw_model",
    paper="Sandler et al. 2018 (network)",
)

CARDS = (INCEPTION, MOBILENET)

_EPSILON = 1e-3


def build_inception(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build torchvision's network as Keras has it and load its weights strictly."""
    network = build_keras_inception(seed)
    if weights is not None:
        load_backbone(network, weights, INCEPTION, options, partial(take_inception, network))
    return network


def build_mobilenet(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build timm's network as Keras has it and load its weights strictly."""
    import timm
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = timm.create_model("mobilenetv2_100", num_classes=0, pad_type="same", bn_eps=_EPSILON)
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(network.blocks) for j in range(len(stage))]
    if weights is not None:
        load_backbone(network, weights, MOBILENET, options, partial(take_mobilenet, blocks))
    built: nn.Module = network
    return built


def build_keras_inception(seed: int = 0) -> nn.Module:
    """Build Inception v3 as Keras has it, without its classifier.

    Args:
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, H, W), RGB in [0, 1], sides of 75 pixels and more, to features (N, 2048).
    """
    import torch
    import torchvision
    from torch import nn
    from torch.nn import functional

    class Recount(nn.Module):
        """Turn means over nine pixels, those outside taken as zeros, into means over those inside."""

        def forward(self, means: Tensor) -> Tensor:
            inside = functional.avg_pool2d(means.new_ones(1, 1, *means.shape[2:]), 3, 1, 1)
            return means / inside

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.inception_v3(
            weights=None, aux_logits=False, transform_input=False, init_weights=False
        )
    for block in network.children():
        if hasattr(block, "branch_pool"):
            block.branch_pool = nn.Sequential(Recount(), block.branch_pool)
    network.fc = nn.Identity()
    network.dropout = nn.Identity()
    built: nn.Module = network
    return built


_LAYER = re.compile(r"(conv2d|batch_normalization)_(\d+)/(kernel|beta|moving_mean|moving_variance)")
_LEAVES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Keras's names of tensors → torch's."""


def take_inception(network: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn Keras's tensors into the network's; both number their layers from the input on, branch by branch.

    Raises:
        WeightsFormatError: The file has another number of layers.
    """
    import torch
    from torch import nn

    names = [
        name.removesuffix(".conv") for name, part in network.named_modules() if isinstance(part, nn.Conv2d)
    ]
    taken: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(INCEPTION.dropped_keys):
            continue
        match = _LAYER.fullmatch(name)
        if match is None or not 0 < int(match[2]) <= len(names):
            raise WeightsFormatError(f"the file isn't Keras's Inception v3 of {len(names)} layers: {name}")
        layer = f"{names[int(match[2]) - 1]}.{'conv' if match[1] == 'conv2d' else 'bn'}"
        taken[f"{layer}.{_LEAVES[match[3]]}"] = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor
        if match[3] == "beta":
            taken[f"{layer}.weight"] = torch.ones_like(tensor)  # Keras's norms have no scale here.
    return taken


_OUTER = {"Conv1": "conv_stem", "bn_Conv1": "bn1", "Conv_1": "conv_head", "Conv_1_bn": "bn2"}
_INNER = {
    "expand": "conv_pw",
    "expand_BN": "bn1",
    "depthwise": "conv_dw",
    "depthwise_BN": "bn2",
    "project": "conv_pwl",
    "project_BN": "bn3",
}
_UNEXPANDED = {"depthwise": "conv_dw", "depthwise_BN": "bn1", "project": "conv_pw", "project_BN": "bn2"}
"""Layers of the file → timm's; of the first block, which doesn't expand, timm counts from the second."""


def take_mobilenet(blocks: list[str], tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn Keras's tensors into timm's network's, without the classifier's.

    Args:
        blocks: Names of timm's blocks, in the order in which the file counts them.
        tensors: The file's.
    """
    taken: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(MOBILENET.dropped_keys):
            continue
        layer, _, leaf = name.rpartition("/")
        if tensor.ndim == 4:
            tensor = tensor.permute(2, 3, 0, 1) if leaf == "depthwise_kernel" else tensor.permute(3, 2, 0, 1)
        taken[f"{_own_name(layer, blocks)}.{_LEAVES.get(leaf, leaf)}"] = tensor
    return taken


def _own_name(layer: str, blocks: list[str]) -> str:
    match = re.fullmatch(r"(?:expanded_conv|block_(\d+))_(\w+)", layer)
    if match is None:
        return _OUTER.get(layer, layer)
    number, layers = int(match[1] or 0), _INNER if match[1] else _UNEXPANDED
    block = blocks[number] if number < len(blocks) else f"block_{number}"
    return f"{block}.{layers.get(match[2], match[2])}"
