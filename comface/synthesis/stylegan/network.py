"""StyleGAN's generator: mapping, truncation's mean and synthesis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comface_bench.comface.synthesis.stylegan.layers import (
    EPSILON,
    SLOPE,
    Blur,
    ConstantInput,
    Convolution,
    ConvolutionLayer,
    Dense,
    ToRgb,
    UpsamplingLayer,
    blur_kernel,
)
from comface_bench.core.errors import WeightsFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPTH: Final = 8
"""Layers of the mapping."""
_RATE: Final = 0.01


@dataclass(frozen=True)
class StyleGanShape:
    """Sizes of a generator.

    Attributes:
        channels: Of the features at 4, 8, 16, … pixels.
        latent: Size of z and of w.
        fused_from: Resolution in pixels from which on up-layers are stored for a transposed convolution.
    """

    channels: tuple[int, ...] = (512, 512, 512, 512, 256, 128, 64, 32, 16)
    latent: int = 512
    fused_from: int = 128

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""
        return 2 << len(self.channels)

    @property
    def layers(self) -> int:
        """Number of layers, each of which takes a code."""
        return 2 * len(self.channels)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Read the sizes off a state dict.

        Raises:
            WeightsFormatError: It is no StyleGAN's.
        """
        channels: list[int] = []
        while f"synthesis.layer{2 * len(channels)}.epilogue.bias" in tensors:
            channels.append(len(tensors[f"synthesis.layer{2 * len(channels)}.epilogue.bias"]))
        mean = tensors.get("truncation.w_avg")
        if len(channels) < 2 or mean is None or mean.dim() != 1:
            raise WeightsFormatError(
                "the file holds no StyleGAN: it lacks truncation.w_avg or synthesis.layer0, layer2, …",
                "docs/generators.md says which files do.",
            )
        fused = [i for i in range(1, len(channels)) if f"synthesis.layer{2 * i}.weight" in tensors]
        return cls(tuple(channels), len(mean), 4 << min(fused, default=len(channels)))


class MappingNetwork(nn.Module):
    """From z to w, both (N, latent)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        for index in range(DEPTH):
            self.add_module(f"dense{index}", Dense(latent, latent, math.sqrt(2), _RATE))

    def forward(self, z: Tensor) -> Tensor:
        """Return w, not truncated."""
        x = z * (z.square().mean(1, keepdim=True) + EPSILON).rsqrt()
        for dense in self.children():
            x = F.leaky_relu_(dense(x), SLOPE)
        return x


class Truncation(nn.Module):
    """The mean of w, (latent,)."""

    w_avg: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("w_avg", torch.empty(latent))


class Synthesis(nn.Module):
    """From codes (N, layers, latent) to images (N, 3, R, R).

    The colours of the lower resolutions are trained with the generator and stored with it, but make no
    image: only the last one's are used.
    """

    lod: Tensor

    def __init__(self, shape: StyleGanShape) -> None:
        super().__init__()
        self.register_buffer("lod", torch.zeros(()))
        before = shape.channels[0]
        self._layers = shape.layers
        for index, channels in enumerate(shape.channels):
            resolution = 4 << index
            first: nn.Module = ConstantInput(channels, shape.latent)
            if index:
                fused = resolution >= shape.fused_from
                first = UpsamplingLayer(before, channels, resolution, shape.latent, fused)
            self.add_module(f"layer{2 * index}", first)
            self.add_module(
                f"layer{2 * index + 1}", ConvolutionLayer(channels, channels, resolution, shape.latent)
            )
            before = channels
        for index, channels in enumerate(shape.channels):
            self.add_module(f"output{index}", ToRgb(channels))

    def forward(self, codes: Tensor) -> Tensor:
        """Return images, about −1 to 1."""
        x: Tensor = self.get_submodule("layer0")(codes[:, 0])
        for index in range(1, self._layers):
            x = self.get_submodule(f"layer{index}")(x, codes[:, index])
        image: Tensor = self.get_submodule(f"output{self._layers // 2 - 1}")(x)
        return image


class StyleGanNetwork(nn.Module):
    """The whole generator, for inference; its state dict has the keys of InterFaceGAN's port.

    Args:
        shape: Sizes; by default those of FFHQ at 1024 pixels, 26,219,627 parameters.
    """

    def __init__(self, shape: StyleGanShape | None = None) -> None:
        super().__init__()
        self.shape = shape or StyleGanShape()
        self.mapping = MappingNetwork(self.shape.latent)
        self.truncation = Truncation(self.shape.latent)
        self.synthesis = Synthesis(self.shape)
        self.requires_grad_(False)

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""
        return self.shape.resolution

    @property
    def layers(self) -> int:
        """Number of layers, each of which takes a code."""
        return self.shape.layers

    @property
    def mean(self) -> Tensor:
        """The mean of w, (latent,)."""
        return self.truncation.w_avg

    def prepare(self) -> Self:
        """Compute the layers' kernels from the stored weights; call it again when these change."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.prepare()
        return self


def draw_weights(network: StyleGanNetwork, seed: int) -> None:
    """Fill a network with the random weights that training starts from, for tests and timings.

    Biases, noise strengths and the mean of w, which start at 0, are drawn as well, so that their effect
    shows.
    """
    random = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        scale = 1.0
        if name.startswith("mapping."):
            scale = 1 / _RATE if name.endswith("weight") else 10.0
        elif name.endswith((".bias", "apply_noise.weight")):
            scale = 0.3
        if not name.endswith(("lod", "kernel")):
            tensor.copy_(torch.randn(tensor.shape, generator=random) * scale)
    network.prepare()


def check_constants(network: StyleGanNetwork) -> None:
    """Make sure that a file's constants are those that the network computes with.

    Raises:
        WeightsFormatError: Another blur's kernel, or a generator that hasn't grown to its resolution.
    """
    for name, module in network.named_modules():
        if isinstance(module, Blur) and not torch.allclose(module.kernel, blur_kernel(1).to(module.kernel)):
            raise WeightsFormatError(f"{name} has another kernel than [1, 2, 1] in both directions")
    if float(network.synthesis.lod) != 0:
        raise WeightsFormatError(
            f"the generator's level of detail is {float(network.synthesis.lod)}, not 0: it isn't fully grown"
        )
