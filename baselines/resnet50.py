"""ResNet-50 baselines of the paper: ImageNet, VGGFace2, SimCLR, MoCo v2, SwAV, Barlow Twins, Bulat et al.

One network and seven layouts of files. A method is one row: its card, and `build_<name>` where the card names
it. VGGFace2's keys and shapes are torchvision's ResNet-50, its topology is Caffe's: loaded into torchvision's
network, it gives no error and wrong features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from comface_bench.baselines.networks import build_backbone
from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights import parts

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchvision.models import ResNet

    from comface_bench.baselines.networks import Build

KeyOrder = Literal["torchvision's", "simclr-converter's", "no network's"]

FEATURE_DIM = 2048
IMAGENET_CLASSES = 1000
VGGFACE2_IDENTITIES = 8631

_BACKBONE = "ResNet-50"
_FEATURE = "average-pooled map of the last stage"
_RED_0228 = Preprocess(std=(0.228, 0.224, 0.225))
_MOCO_WRAPPERS = ("module.", "")
"""Training on several processes puts the first before every key; files of one's own may lack it."""

_SELF_SUPERVISED = MethodCard(
    name="resnet50",
    version=1,
    build=":build",
    backbone=_BACKBONE,
    feature=_FEATURE,
    feature_dim=FEATURE_DIM,
    preprocess=Preprocess(),
    options={"checkpoint": (), "part": ()},
    trained_on=("ImageNet",),
    supervision=("self-supervised",),
    group="Visual Representation Learning",
    paper="supplement, Tables F, G, J and N",
    training_scale="1.28M",
    training_source="Images",
)
"""Facts that most rows share; it is no method itself."""

IMAGENET = dataclasses.replace(
    _SELF_SUPERVISED,
    name="imagenet",
    build=":build_imagenet",
    checkpoint=Checkpoint(
        file="resnet50_ram-a26f946b.pth",
        sha256="a26f946b",
        url="https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"
        "resnet50_ram-a26f946b.pth",
    ),
    dropped_keys=("fc.",),
    group="General Pre-training",
    supervision=("image class",),
    summary="Supervised ResNet-50. Later timm versions give the name resnet50 to other weights;"
    " these are resnet50.ram_in1k.",
    licence="Apache-2.0 (timm's code); none stated for the weights",
    source="timm 0.4.12, today's tag resnet50.ram_in1k; the name holds the first digits of its SHA-256",
    training_source="Images+Human labels",
)

VGGFACE2 = dataclasses.replace(
    _SELF_SUPERVISED,
    name="vggface2",
    build=":build_vggface2",
    backbone=f"{_BACKBONE}, Caffe's topology",
    feature=f"{_FEATURE}; over the whole map, also where images aren't of 224 pixels",
    preprocess=Preprocess(
        mean=(91.4953, 103.8827, 131.0912), std=(1.0, 1.0, 1.0), channels="BGR", scale=255.0
    ),
    checkpoint=Checkpoint(
        file="resnet50_scratch_weight.pkl",
        url="https://drive.google.com/file/d/1gy9OJlVfBulWkIEnZhGpOLu084RgHw39/view",
    ),
    dropped_keys=("fc.",),
    trained_on=("VGGFace2",),
    supervision=("identity",),
    group="General Pre-training",
    summary="Supervised ResNet-50 for 8,631 identities, trained from scratch. Strides and pooling are"
    " Caffe's; input is BGR in 0–255 minus the mean. The authors' code takes 224 pixels only, pooling 7×7;"
    " here the whole map is pooled, which is the same at 224 and lets other sizes run."
    " Oxford has withdrawn data and models.",
    licence="MIT (code); weights unsettled: Oxford's Keras ones are CC BY-SA 4.0, says an author of theirs",
    source="github.com/cydonia999/VGGFace2-pytorch; no digest published, and the fine-tuned weights'"
    " resnet50_ft_weight.pkl have the same layout",
    training_scale="3.31M",
    training_source="Images+Human labels",
)

SIMCLR = dataclasses.replace(
    _SELF_SUPERVISED,
    name="simclr",
    build=":build_simclr",
    preprocess=Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    checkpoint=Checkpoint(file="resnet50-1x.pth"),
    options={"pool": ("torch", "tf"), "checkpoint": (), "part": ()},
    dropped_keys=("fc.",),
    summary="Contrastive learning of two views. Input is RGB in [0, 1], not normalised. pool=torch pads the"
    " max-pool on all sides, as the network of the converter does, which the paper names; pool=tf pads it"
    " below and on the right, as the network was trained (exact for images whose sides are multiples of 4)."
    " The converter leaves fc.bias random: never use the file's classifier. No PyTorch"
    " file is published, and a digest depends on the conversion.",
    licence="Apache-2.0 (code and converter); none stated for the weights",
    source="github.com/google-research/simclr (ResNet50_1x.zip, TensorFlow), converted on your machine by"
    " github.com/tonylins/simclr-converter",
)

MOCOV2 = dataclasses.replace(
    _SELF_SUPERVISED,
    name="mocov2",
    build=":build_mocov2",
    checkpoint=Checkpoint(
        file="moco_v2_200ep_pretrain.pth.tar",
        md5="59fd9945",
        prefixes=tuple(f"{wrapper}encoder_q." for wrapper in _MOCO_WRAPPERS),
        url="https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_200ep/"
        "moco_v2_200ep_pretrain.pth.tar",
    ),
    # The head's layers one by one: version 1's head is a single layer, so that its file is refused.
    dropped_keys=tuple(
        wrapper + key
        for wrapper in _MOCO_WRAPPERS
        for key in ("encoder_q.fc.0.", "encoder_q.fc.2.", "encoder_k.", "queue", "queue_ptr")
    ),
    summary="Contrastive learning against a queue of 65,536 keys; the query encoder without its head. The"
    " file's name ends in .tar, but it is an ordinary torch file.",
    licence="MIT since January 2023, though the README says CC BY-NC 4.0; none of its own for the weights",
    source="github.com/facebookresearch/moco at commit 132aea9; its last commit deletes all files. The README"
    " gives the first digits of the file's MD5",
)

SWAV = dataclasses.replace(
    _SELF_SUPERVISED,
    name="swav",
    build=":build_swav",
    preprocess=_RED_0228,
    checkpoint=Checkpoint(
        file="swav_200ep_pretrain.pth.tar",
        prefixes=("module.",),
        url="https://dl.fbaipublicfiles.com/deepcluster/swav_200ep_pretrain.pth.tar",
    ),
    dropped_keys=(
        "module.projection_head.0.",
        "module.projection_head.1.",
        "module.projection_head.3.",
        "module.prototypes.weight",
    ),
    summary="Clustering of several crops' views. The standard deviation of red is 0.228, not ImageNet's"
    " 0.229, in the authors' pre-training and evaluation alike.",
    licence="CC BY-NC 4.0 (code and weights)",
    source="github.com/facebookresearch/swav; no digest published, and files of other numbers of epochs have"
    " the same layout",
)

BARLOWTWINS = dataclasses.replace(
    _SELF_SUPERVISED,
    name="barlowtwins",
    build=":build_barlowtwins",
    checkpoint=Checkpoint(
        file="resnet50.pth",
        prefixes=("module.backbone.", ""),
        url="https://dl.fbaipublicfiles.com/barlowtwins/ljng/resnet50.pth",
    ),
    # Of a full checkpoint; the backbone's own file has neither, nor a classifier.
    dropped_keys=("module.projector.", "module.bn."),
    summary="Redundancy reduction between two views. Two files are called resnet50.pth: the README's since"
    " December 2021 (…/barlowtwins/ljng/resnet50.pth, taken here) and that of hubconf.py and the older README"
    " (…/barlowtwins/ep1000_bs2048_lrw0.2_lrb0.0048_lambd0.0051/resnet50.pth). Both claim 73.5 %, and the"
    " supplement doesn't say which it used. VICReg's file has that name too. Names and shapes are the same"
    " in all three, so only a digest tells them apart.",
    licence="MIT since July 2021, CC BY-NC before (code and weights)",
    source="github.com/facebookresearch/barlowtwins; no digest published",
)

BULAT = dataclasses.replace(
    _SELF_SUPERVISED,
    name="bulat",
    build=":build_bulat",
    preprocess=_RED_0228,
    checkpoint=Checkpoint(
        file="flr_r50_vgg_face.pth",
        prefixes=("module.base_net.",),
        url="https://www.adrianbulat.com/downloads/ECCV2022/pretrained_models/unsupervised/"
        "flr_r50_vgg_face.pth",
    ),
    dropped_keys=("module.projection_net.", "module.prototypes.weight"),
    trained_on=("VGGFace",),
    group="Facial Representation Learning",
    summary="SwAV's training on face images; the standard deviation of red is 0.228 as there. The supplement"
    " and the file's name say VGGFace, the README VGG, while the code's option for its data is vggface2.",
    licence="MIT (code); none stated for the weights",
    source="github.com/1adrianb/unsupervised-face-representation (the owner's name begins with the digit 1);"
    " no digest published",
    training_scale="3.4M",
    training_source="Face images",
)

CARDS = (IMAGENET, VGGFACE2, SIMCLR, MOCOV2, SWAV, BARLOWTWINS, BULAT)


def load_backbone(card: MethodCard, options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build torchvision's ResNet-50 without classifier and load the authors' file of a method into it.

    Args:
        card: The method; it says how the file's keys map to the network's.
        options: The method's options; `part` names the part of the file.
        weights: The file.
        seed: Makes no difference: the file's weights are all there are.

    Returns:
        A module from normalised images (N, 3, H, W) to features (N, 2048).

    Raises:
        WeightsFormatError: The file can't be read, or doesn't fit.
    """
    del seed
    network = build_backbone("resnet50", None)
    if weights is not None:
        parts.load_backbone(network, weights, card, options)
    return network


build_mocov2: Build = partial(load_backbone, MOCOV2)
build_swav: Build = partial(load_backbone, SWAV)
build_barlowtwins: Build = partial(load_backbone, BARLOWTWINS)
build_bulat: Build = partial(load_backbone, BULAT)


def build_imagenet(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone and load the classifier's weights into it, without the classifier."""
    del seed
    return load_classifier(IMAGENET, options, weights, IMAGENET_CLASSES, foreign="simclr-converter's")


def build_simclr(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone with the chosen max-pool and load the converted weights."""
    del seed
    network = load_classifier(SIMCLR, options, weights, IMAGENET_CLASSES, foreign="torchvision's")
    if options["pool"] == "tf":
        network.maxpool = _unpadded_pool()
    return network


def build_vggface2(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the backbone in Caffe's topology and load the recogniser's weights, without its classifier."""
    del seed
    network = load_classifier(VGGFACE2, options, weights, VGGFACE2_IDENTITIES)
    give_caffe_topology(network)
    return network


def load_classifier(
    card: MethodCard,
    options: Mapping[str, str],
    weights: Path | None,
    classes: int,
    foreign: KeyOrder | None = None,
) -> nn.Module:
    """Load a ResNet-50 from a file that holds a classifier of that many classes, and take it off.

    The classifier must fit before it is taken off: all other tensors have the same names and shapes in
    every method's file, so it is what tells many of them apart.

    Args:
        card: The method.
        options: As for `load_backbone`.
        weights: The file.
        classes: Number of the classifier's outputs.
        foreign: Order of keys that gives away another method's file.

    Raises:
        WeightsFormatError: The file can't be read, doesn't fit, or is another method's.
    """
    from torch import nn

    network = build_backbone("resnet50", None)
    network.fc = nn.Linear(FEATURE_DIM, classes, device="meta").to_empty(device="cpu")

    def take(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if key_order(tensors) == foreign:
            raise WeightsFormatError(
                f"{path.name} isn't {card.name}'s: its keys stand in {foreign} order",
                "Names and shapes are the same in both files, only their order tells them apart.\nIf another"
                f" program saved {card.name}'s weights again, this keeps them and drops the order:"
                " comface-bench weights convert FILE",
            )
        return tensors

    if weights is not None:
        parts.load_backbone(network, weights, card, options, partial(take, weights))
    network.fc = nn.Identity()
    return network


def key_order(names: Iterable[str]) -> KeyOrder:
    """Return in whose order a ResNet-50's keys stand.

    SimCLR's converter names a block's shortcut first; torchvision and timm name it last; a file sorted by
    name, such as safetensors, has neither order.
    """
    place = {name: number for number, name in enumerate(names)}
    block = [f"layer1.0.{name}.weight" for name in ("conv1", "bn1", "downsample.0")]
    if not all(name in place for name in block):
        return "no network's"
    convolution, norm, shortcut = (place[name] for name in block)
    if shortcut < convolution:
        return "simclr-converter's"
    return "torchvision's" if convolution < norm < shortcut else "no network's"


def give_caffe_topology(network: ResNet) -> None:
    """Turn torchvision's ResNet-50 into Caffe's: other strides and another max-pool, the same tensors."""
    network.maxpool = _unpadded_pool()
    for stage in (network.layer2, network.layer3, network.layer4):
        # Caffe halves the map in a block's first convolution, torchvision in its second.
        block = stage[0]
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)


def _unpadded_pool() -> nn.MaxPool2d:
    from torch import nn

    return nn.MaxPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)
