"""StyleGAN3's generator: mapping, truncation's mean and synthesis."""

from __future__ import annotations

from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comface_bench.comface.synthesis.stylegan3.filters import GAIN, SLOPE
from comface_bench.comface.synthesis.stylegan3.layers import EPSILON, Dense, FourierInput, Layer, Workspace
from comface_bench.comface.synthesis.stylegan3.schedule import StyleGan3Shape

_DEPTH: Final = 2
"""Layers of the mapping."""
_RATE: Final = 0.01
_OUTPUT_SCALE: Final = 0.25


class MappingNetwork(nn.Module):
    """From z to w, both (N, latent), and the mean of w."""

    w_avg: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        for index in range(_DEPTH):
            self.add_module(f"fc{index}", Dense(latent, latent, _RATE))
        self.register_buffer("w_avg", torch.empty(latent))

    def forward(self, z: Tensor) -> Tensor:
        """Return w, not truncated."""
        x = z * (z.square().mean(1, keepdim=True) + EPSILON).rsqrt()
        for dense in self.children():
            x = F.leaky_relu_(dense(x), SLOPE) * GAIN
        return x


class Synthesis(nn.Module):
    """From codes (N, L, latent), the input's and then one for each layer, to images (N, 3, R, R).

    Not for several threads at once: images share their memory while they are made.
    """

    def __init__(self, shape: StyleGan3Shape) -> None:
        super().__init__()
        plans = shape.layers()
        self.input = FourierInput(plans[0].before, shape.latent)
        for plan in plans:
            self.add_module(plan.name, Layer(plan, shape.latent))
        self._space = Workspace(
            (
                max(plan.after.channels * plan.inner_size**2 for plan in plans),
                max(plan.after.channels * plan.after.size**2 for plan in plans),
            )
        )

    @property
    def stack(self) -> list[Layer]:
        """The layers, in order."""
        return [cast("Layer", module) for name, module in self.named_children() if name != "input"]

    def forward(self, codes: Tensor, transform: Tensor | None = None) -> Tensor:
        """Return images, about −1 to 1.

        Args:
            codes: (N, L, latent).
            transform: Moves the image; see `FourierInput`.
        """
        x: Tensor = self.input(codes[:, 0], transform)
        for index, layer in enumerate(self.stack):
            x = layer(x, codes[:, index + 1], self._space)
        return (x * _OUTPUT_SCALE).contiguous()


class StyleGan3Network(nn.Module):
    """The whole generator, for inference; its state dict has the keys of NVIDIA's files.

    Args:
        shape: Sizes; by default those of configuration R on FFHQ at 1024 pixels.
    """

    def __init__(self, shape: StyleGan3Shape | None = None) -> None:
        super().__init__()
        self.shape = shape or StyleGan3Shape.config_r()
        self.mapping = MappingNetwork(self.shape.latent)
        self.synthesis = Synthesis(self.shape)
        self.requires_grad_(False)

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""
        return self.shape.resolution

    @property
    def layers(self) -> int:
        """Number of codes that an image is made of."""
        return len(self.shape.channels) + 1

    @property
    def mean(self) -> Tensor:
        """The mean of w, (latent,)."""
        return self.mapping.w_avg


def draw_weights(network: StyleGan3Network, seed: int) -> None:
    """Fill a network with the random weights that training starts from, for tests and timings.

    Biases, magnitudes and the mean of w, which start at constants, are drawn as well, so that their
    effect shows. The input's waves lie within its band; filters are those of the design.
    """
    random = torch.Generator().manual_seed(seed)
    source = network.synthesis.input
    for name, tensor in network.state_dict().items():
        scale = 1.0
        if name.startswith("mapping.fc"):
            scale = 1 / _RATE if name.endswith("weight") else 10.0
        elif name.endswith(".bias"):
            scale = 0.3
        tensor.copy_(torch.randn(tensor.shape, generator=random) * scale)
        if name.endswith("magnitude_ema"):
            tensor.copy_((tensor * 0.1).exp())
    source.transform.copy_(torch.eye(3))
    radius = source.freqs.norm(dim=1, keepdim=True)
    source.freqs.mul_(source.stage.cutoff * (1 - (-(radius**2) / 2).exp()).sqrt() / radius)
    source.affine.bias.copy_(torch.tensor([1.0, 0.3, 0.05, -0.02]))
    source.affine.weight.mul_(0.1)
    for layer in network.synthesis.stack:
        layer.affine.bias.add_(1)
        for name, design in layer.design_filters().items():
            layer.get_buffer(name).copy_(design)
