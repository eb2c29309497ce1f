"""PCL: expression and pose, separated without labels on video frames of faces.

The feature is the trunk's map before either head, which the authors' linear evaluation takes, flattened:
6,272 numbers at their 100 pixels, 25,088 at the paper's 224. Flattened is the default, because that is the
published feature and where in the face something happens is in it; averaged over positions, an option, 128
numbers stay, a cheap feature that nobody published.

The network has sixteen 3×3 and 7×7 convolutions from image to either head, with channel attention. No batch
norm anywhere; every convolution has a bias; LeakyReLU with slope 0.1 throughout. The map shrinks by 16: 64
pixels give 4², 100 and 112 give 7², 224 give 14². Written from a description of the layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.weights.parts import load_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

CHANNELS = 128
"""Channels of the trunk's last map."""

HEADS = ("layer3_2_exp", "layer3_2_pose")
"""Two parallel heads on the trunk, for expression and for pose; no feature goes through them."""

CARD = MethodCard(
    name="pcl",
    version=1,
    build=":build",
    backbone="16-layer CNN",
    feature="map of the trunk before its two heads: flattened (flat: 128 times the positions, 25,088 at 224"
    " pixels, 6,272 at 100), or averaged over positions (pooled, 128)",
    preprocess=Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    checkpoint=Checkpoint(
        file="best.pth",
        url="https://drive.google.com/drive/folders/1wx5PTGDCqDWsjhXimjHqz_7WUwxr54uh",
        # As pre-training saves it, and as the authors' linear evaluation does.
        prefixes=("module.encoder.", ""),
    ),
    options={"feature": ("flat", "pooled"), "checkpoint": (), "part": ()},
    dropped_keys=("module.exp_fc.", "module.pose_fc.", "module.decoder.", "linear_classifier."),
    trained_on=("VoxCeleb1", "VoxCeleb2"),
    supervision=("self-supervised",),
    group="Facial Representation Learning",
    summary="Learns to separate expression from pose; its authors train at 64 pixels and evaluate at 100"
    " (-o image_size=100).",
    licence="none stated, for the code or the file",
    source="DreamMr/PCL",
    paper="supplement, Tables F, G, J and N",
    training_scale="unknown",
    training_source="Face images",
)


def build(options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the network and load its weights; then its heads go, which no feature depends on."""
    from torch import nn

    network = build_pcl(seed)
    if weights is not None:
        load_backbone(network, weights, CARD, options)
    for head in HEADS:
        delattr(network, head)
    pooled = [nn.AdaptiveAvgPool2d(1)] if options["feature"] == "pooled" else []
    return nn.Sequential(network, *pooled, nn.Flatten())


def build_pcl(seed: int = 0) -> nn.Module:
    """Build the network, whose parts bear the names that the authors' files have.

    Args:
        seed: Of the random weights.

    Returns:
        A module from images (N, 3, H, W) in [0, 1] to the trunk's map, (N, 128, ⌈H/16⌉, ⌈W/16⌉). It holds
        the two heads as well, unused: 2,469,760 parameters in 48 tensors.
    """
    import torch
    from torch import nn

    def convolve(given: int, made: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
        return nn.Conv2d(given, made, kernel, stride, padding=kernel // 2)

    def activate() -> nn.LeakyReLU:
        return nn.LeakyReLU(0.1)

    class ChannelAttention(nn.Module):
        """Adds to each position a mixture of channels, weighted by how alike the channels are."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.g = convolve(channels, channels, kernel=1)
            self.theta = convolve(channels, channels, kernel=1)
            self.phi = convolve(channels, channels, kernel=1)
            self.activation = activate()

        def forward(self, given: Tensor) -> Tensor:
            where = self.theta(given).flatten(2).softmax(dim=2)  # Sums to 1 over positions.
            what = self.g(given).flatten(2).softmax(dim=1)  # Sums to 1 over channels.
            alike = self.phi(given).flatten(2) @ where.transpose(1, 2)  # (N, C, C)
            result: Tensor = self.activation(given + (alike @ what).reshape(given.shape))
            return result

    class Residual(nn.Module):
        """Two convolutions and a way around them."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1 = convolve(channels, channels)
            self.conv2 = convolve(channels, channels)
            self.activation = activate()

        def forward(self, given: Tensor) -> Tensor:
            result: Tensor = self.activation(given + self.conv2(self.activation(self.conv1(given))))
            return result

    def pair(given: int, between: int, made: int, stride: int = 1, *middle: nn.Module) -> nn.Sequential:
        first = convolve(given, between, stride)
        return nn.Sequential(first, activate(), *middle, convolve(between, made), activate())

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Sequential(convolve(3, 64, 2, kernel=7), activate(), convolve(64, 64), activate())
            self.layer1 = pair(64, 64, 64, 1, ChannelAttention(64))
            self.layer2_1 = pair(64, 128, 128, 2, ChannelAttention(128))
            self.resblock1 = Residual(128)
            self.resblock2 = Residual(128)
            self.layer2_2 = pair(128, 128, 128, 2)
            self.layer3_1 = pair(128, 256, CHANNELS, 2)
            for head in HEADS:
                self.add_module(head, pair(CHANNELS, 128, 128))

        def forward(self, images: Tensor) -> Tensor:
            early = self.layer2_1(self.layer1(self.conv1(images)))
            late = self.layer2_2(self.resblock2(self.resblock1(early)))
            trunk: Tensor = self.layer3_1(late)
            return trunk

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network()
