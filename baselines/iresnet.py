"""iResNet methods of face recognition: ArcFace and AdaFace.

The residual network of face recognition has a norm before each convolution and takes a face of 112 pixels.
insightface (ArcFace) and AdaFace write it differently: AdaFace passes on every second pixel where the
width stays and the size halves, and its last norm has no weights of its own.

AdaFace's first release wants BGR images, the authors' later one in CVLface RGB; the keys of the two have
different prefixes, so that one can't be taken for the other.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import load_backbone
from comface_bench.weights.strict import select_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

DEPTHS = {"iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}
"""Blocks of each of the four stages; AdaFace calls the second one IR-101."""

PREPROCESS = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=112, interpolation="bilinear")
"""RGB in [-1, 1]; the fully connected layer fixes the size."""

_WIDTHS = (64, 128, 256, 512)
_EMBEDDING = 512

_RELEASE_PREFIXES = {"adaface": ("model.",), "cvlface": ("model.net.", "net.")}
_LIGHTNING_CALLBACKS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
)
"""Classes that the trainer's files of those years name beside the weights."""
_FIRST_KEY = "input_layer.0.weight"

ARCFACE = MethodCard(
    name="arcface",
    version=1,
    build=":build_arcface",
    backbone="iResNet",
    feature="embedding after the last norm, not scaled to length 1",
    feature_dim=512,
    preprocess=PREPROCESS,
    checkpoint=Checkpoint(
        file="backbone.pth",
        url="https://github.com/deepinsight/insightface/tree/master/model_zoo",
    ),
    options={"backbone": tuple(DEPTHS), "checkpoint": (), "part": ()},
    trained_on=("MS1MV3",),
    supervision=("identity",),
    group="Facial Representation Learning",
    chip="arcface",
    summary="Face recognition; 112 pixels, which images are resized to. The authors name every file"
    " backbone.pth: the one meant is in their folder ms1mv3_arcface_r50_fp16; use -o checkpoint=FILE for any"
    " other, so for backbone=iresnet100.",
    licence="MIT (code); weights for non-commercial research",
    source="insightface, model zoo of arcface_torch",
    paper="Deng et al., CVPR 2019",
    training_scale="5.2M",
    training_source="Face images+Identities",
)

ADAFACE = MethodCard(
    name="adaface",
    version=1,
    build=":build_adaface",
    backbone="iResNet, AdaFace's variant",
    feature="embedding after the last norm, not scaled to length 1",
    feature_dim=512,
    # Depends on the release: RGB or BGR, in [-1, 1], 112 pixels.
    preprocess=None,
    checkpoint=Checkpoint(
        file="adaface_ir50_ms1mv2.ckpt",
        prefixes=_RELEASE_PREFIXES["adaface"],
        url="https://drive.google.com/file/d/1eUaSHG4pGlIZK7hBkqjyp2fc2epKoBvI/view",
    ),
    options={"release": tuple(_RELEASE_PREFIXES), "backbone": tuple(DEPTHS), "checkpoint": (), "part": ()},
    dropped_keys=("head.",),
    trained_on=("MS1MV2", "WebFace4M"),
    supervision=("identity",),
    group="Facial Representation Learning",
    chip="arcface",
    summary="Face recognition; 112 pixels, BGR in the first release and RGB in CVLface's, for whose"
    " model.safetensors use release=cvlface with -o checkpoint=FILE. The authors scale the embedding to"
    " length 1 and keep its length beside it; here it has both. Unverified: what else a"
    " Lightning file carries.",
    licence="MIT",
    source="mk-minchul/AdaFace; Hugging Face minchul/cvlface_adaface_ir50_webface4m",
    paper="Kim, Jain and Liu, CVPR 2022",
    training_scale="5.8M (MS1MV2)",
    training_source="Face images+Identities",
)

CARDS = (ARCFACE, ADAFACE)


def build_arcface(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights."""
    network = build_iresnet(options["backbone"], seed)
    if weights is not None:
        load_backbone(network, weights, ARCFACE, options)
    return network


def build_adaface(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights; the release says the order of channels."""
    release, name = options["release"], options["backbone"]

    def take(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        found = _find_release(tensors)
        if found not in (None, release):
            raise WeightsFormatError(
                f"{path.name} is of the release {found}, whose channels have the other order",
                f"Use it as --method adaface -o release={found}",
            )
        tensors = select_backbone(tensors, path, _RELEASE_PREFIXES[release], ADAFACE.dropped_keys)
        return rename_adaface(tensors, name, path)

    network = build_iresnet(name, seed, adaface=True)
    if weights is not None:
        load_backbone(network, weights, ADAFACE, options, partial(take, weights), _LIGHTNING_CALLBACKS)
    preprocess = dataclasses.replace(PREPROCESS, channels="BGR" if release == "adaface" else "RGB")
    network.preprocess = preprocess  # type: ignore[assignment]
    return network


def _find_release(tensors: Mapping[str, Tensor]) -> str | None:
    for release, prefixes in _RELEASE_PREFIXES.items():
        if any(prefix + _FIRST_KEY in tensors for prefix in prefixes):
            return release
    return None


def build_iresnet(name: str, seed: int, adaface: bool = False) -> nn.Module:
    """Build the network with random weights, under insightface's names.

    Args:
        name: One of `DEPTHS`.
        seed: Of the random weights.
        adaface: Whether to build AdaFace's variant.

    Returns:
        From images (N, 3, 112, 112) to embeddings (N, 512), not normalised to length 1.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inside: int, width: int, stride: int) -> None:
            super().__init__()
            self.bn1 = nn.BatchNorm2d(inside)
            self.conv1 = nn.Conv2d(inside, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.prelu = nn.PReLU(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(width)
            self.downsample: nn.Module = nn.Identity()
            if inside != width or (stride != 1 and not adaface):
                self.downsample = nn.Sequential(
                    nn.Conv2d(inside, width, 1, stride, bias=False), nn.BatchNorm2d(width)
                )
            elif stride != 1:
                self.downsample = nn.MaxPool2d(1, stride)

        def forward(self, images: Tensor) -> Tensor:
            inner: Tensor = self.prelu(self.bn2(self.conv1(self.bn1(images))))
            added: Tensor = self.bn3(self.conv2(inner)) + self.downsample(images)
            return added

    class IResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inside = _WIDTHS[0]
            self.conv1 = nn.Conv2d(3, inside, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(inside)
            self.prelu = nn.PReLU(inside)
            for stage, (count, width) in enumerate(zip(DEPTHS[name], _WIDTHS, strict=True), start=1):
                blocks = [Block(width if i else inside, width, 1 if i else 2) for i in range(count)]
                self.add_module(f"layer{stage}", nn.Sequential(*blocks))
                inside = width
            self.bn2 = nn.BatchNorm2d(inside)
            self.dropout = nn.Dropout(0.4 if adaface else 0.0)
            self.fc = nn.Linear(inside * 7 * 7, _EMBEDDING)
            self.features = nn.BatchNorm1d(_EMBEDDING, affine=not adaface)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.prelu(self.bn1(self.conv1(images)))
            for stage in range(1, 5):
                maps = self.get_submodule(f"layer{stage}")(maps)
            embedded: Tensor = self.features(self.fc(self.dropout(self.bn2(maps).flatten(1))))
            return embedded

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return IResNet()


_STEM = {"0": "conv1", "1": "bn1", "2": "prelu"}
_BLOCK = {"0": "bn1", "1": "conv1", "2": "bn2", "3": "prelu", "4": "conv2", "5": "bn3"}
_END = {"0": "bn2", "3": "fc", "4": "features"}


def rename_adaface(tensors: Mapping[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """Turn AdaFace's names of weights into insightface's.

    Args:
        tensors: `input_layer…`, `body…` and `output_layer…` → tensor.
        name: One of `DEPTHS`, which says where a stage ends.
        path: The file, for messages.

    Raises:
        WeightsFormatError: A key has another layout, or belongs to a deeper network.
    """
    places = [
        f"layer{stage}.{block}" for stage, count in enumerate(DEPTHS[name], start=1) for block in range(count)
    ]
    renamed = {}
    for key, tensor in tensors.items():
        layer, _, leaf = key.rpartition(".")
        part, _, rest = layer.partition(".")
        inner = re.fullmatch(r"(\d+)\.(res|shortcut)_layer\.(\d+)", rest)
        new: str | None = None
        if part == "input_layer":
            new = _STEM.get(rest)
        elif part == "output_layer":
            new = _END.get(rest)
        elif part == "body" and inner and int(inner[1]) < len(places):
            within = _BLOCK.get(inner[3]) if inner[2] == "res" else f"downsample.{inner[3]}"
            new = within and f"{places[int(inner[1])]}.{within}"
        if not new:
            raise WeightsFormatError(f"{path.name}: {name} has no place for its key {key}")
        renamed[f"{new}.{leaf}"] = tensor
    return renamed
