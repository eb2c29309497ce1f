"""Layers of StyleGAN's networks, as the paper defines them, arranged for speed.

Attributes of modules are named so that a state dict has the keys of InterFaceGAN's port, in which the
FFHQ weights circulate.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON: Final = 1e-8
SLOPE: Final = 0.2
"""Of the leaky ReLU."""
_BLOCK: Final = 1 << 19
"""Numbers that are squared at once."""


class Weight(nn.Module):
    """A module with a weight only, for the names of the state dict."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))


class Bias(nn.Module):
    """A module with a bias only, for the names of the state dict."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(size))


class Dense(nn.Module):
    """A fully connected layer with equalised learning rate: (N, inputs) → (N, outputs).

    Args:
        inputs, outputs: Sizes.
        gain: Standard deviation of the outputs in units of that of the inputs, for stored weights of 1/rate.
        rate: Factor of the learning rate, which divides what is stored.
    """

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0, rate: float = 1.0) -> None:
        super().__init__()
        self.linear = Weight(outputs, inputs)
        self.wscale = Bias(outputs)
        self._scale, self._rate = gain / math.sqrt(inputs) * rate, rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, shape (N, outputs)."""
        return F.linear(x, self.linear.weight * self._scale, self.wscale.bias * self._rate)


class StyleAffine(nn.Module):
    """From a code (N, latent) to a scale and a shift of each channel, both (N, C)."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.dense = Dense(latent, 2 * channels)

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale, 1 for a style of 0, and shift."""
        scale, shift = self.dense(code).chunk(2, dim=1)
        return scale + 1, shift


class NoiseInput(nn.Module):
    """A noise image, (1, 1, R, R), with a strength for each channel."""

    noise: Tensor

    def __init__(self, channels: int, resolution: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.register_buffer("noise", torch.empty(1, 1, resolution, resolution))


class Epilogue(nn.Module):
    """Noise, bias, leaky ReLU, instance norm and style: the end of every layer.

    Args:
        channels: C.
        resolution: R.
        latent: Size of a code.
    """

    def __init__(self, channels: int, resolution: int, latent: int) -> None:
        super().__init__()
        self.apply_noise = NoiseInput(channels, resolution)
        self.bias = nn.Parameter(torch.empty(channels))
        self.style_mod = StyleAffine(latent, channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Apply the epilogue in place.

        Args:
            x: Features (N, C, R, R), which are written over.
            code: (N, latent).
        """
        # In place: at 1024 pixels, making new features takes longer than filling them.
        x.addcmul_(self.apply_noise.noise, self.apply_noise.weight[:, None, None])
        x += self.bias[:, None, None]
        F.leaky_relu_(x, SLOPE)
        x -= x.mean((2, 3), keepdim=True)
        variance = _mean_square(x)
        scale, shift = self.style_mod(code)
        # Norm and style scale each channel, one after the other: one pass does both.
        x *= (scale * (variance + EPSILON).rsqrt())[:, :, None, None]
        x += shift[:, :, None, None]
        return x


def _mean_square(x: Tensor) -> Tensor:
    """Return the mean square of each channel: (N, C, R, R) → (N, C)."""
    # In blocks of rows, whose squares fit a CPU's cache: all at once would be new memory each time.
    rows = len(x[0, 0]) if x.is_cuda else max(1, _BLOCK // x[:, :, :1].numel())
    total = torch.stack([block.square().sum((2, 3)) for block in torch.split(x, rows, dim=2)]).sum(0)
    return total / x[0, 0].numel()


class Blur(nn.Module):
    """[1, 2, 1] ⊗ [1, 2, 1] / 16 on each channel, with zeros around: (N, C, R, R) to the same.

    The kernel is stored for the sake of the names.
    """

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the blurred features."""
        return F.conv2d(x, self.kernel, padding=1, groups=len(self.kernel))


def blur_kernel(channels: int) -> Tensor:
    """Return the blur's kernel, shape (channels, 1, 3, 3)."""
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    return torch.outer(line, line).expand(channels, 1, 3, 3).clone()


class ConstantInput(nn.Module):
    """Layer 0: the learned constant, (1, C, 4, 4)."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.first_layer = nn.Parameter(torch.empty(1, channels, 4, 4))
        self.epilogue = Epilogue(channels, 4, latent)

    def forward(self, code: Tensor) -> Tensor:
        """Return features (N, C, 4, 4) for codes (N, latent)."""
        x = self.first_layer.repeat(len(code), 1, 1, 1)
        features: Tensor = self.epilogue(x.contiguous(memory_format=torch.channels_last), code)
        return features


class Convolution(nn.Module, ABC):
    """Base of all convolutions: a kernel that is made of the stored weights once.

    Call `prepare` after the weights have come or changed.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.empty(0), persistent=False)

    def prepare(self) -> None:
        """Make the kernel of the stored weights."""
        self.kernel = self.make_kernel().contiguous(memory_format=torch.channels_last)

    @abstractmethod
    def make_kernel(self) -> Tensor:
        """Return the kernel as the convolution takes it."""


class ConvolutionLayer(Convolution):
    """A convolution of 3 × 3 and its epilogue: (N, inputs, R, R) → (N, outputs, R, R).

    Args:
        inputs, outputs: Channels.
        resolution: R.
        latent: Size of a code.
    """

    def __init__(self, inputs: int, outputs: int, resolution: int, latent: int) -> None:
        super().__init__()
        self.conv = Weight(outputs, inputs, 3, 3)
        self.epilogue = Epilogue(outputs, resolution, latent)
        self._gain = math.sqrt(2 / (9 * inputs))

    def make_kernel(self) -> Tensor:
        """Return the kernel, shape (outputs, inputs, 3, 3)."""
        return self.conv.weight * self._gain

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return the features that follow."""
        features: Tensor = self.epilogue(F.conv2d(x, self.kernel, padding=1), code)
        return features


class UpsamplingLayer(Convolution):
    """A layer that doubles the resolution first: (N, inputs, R/2, R/2) → (N, outputs, R, R).

    Each pixel becomes 2 × 2, then a convolution of 3 × 3 and a blur follow. Pixels of one block meet the
    same number, so that the first two are one transposed convolution of 4 × 4 and stride 2, at less than
    half the work.

    Args:
        inputs, outputs: Channels.
        resolution: R.
        latent: Size of a code.
        fused: The weights are stored for the transposed convolution, (3, 3, inputs, outputs), and not for
            the plain one; the two are each other's mirror image.
    """

    def __init__(self, inputs: int, outputs: int, resolution: int, latent: int, fused: bool) -> None:
        super().__init__()
        if fused:
            self.weight = nn.Parameter(torch.empty(3, 3, inputs, outputs))
        else:
            self.conv = Weight(outputs, inputs, 3, 3)
        self.blur = Blur(outputs)
        self.epilogue = Epilogue(outputs, resolution, latent)
        self._gain, self._fused = math.sqrt(2 / (9 * inputs)), fused

    def make_kernel(self) -> Tensor:
        """Return the kernel of the transposed convolution, shape (inputs, outputs, 4, 4)."""
        if self._fused:
            kernel = self.weight.permute(2, 3, 0, 1)
        else:
            kernel = self.conv.weight.transpose(0, 1).flip(2, 3)
        kernel = F.pad(kernel * self._gain, (1, 1, 1, 1))
        # Four copies, each moved by one, add up to what a block of 2 × 2 meets.
        kernel = kernel[:, :, 1:] + kernel[:, :, :-1]
        return kernel[:, :, :, 1:] + kernel[:, :, :, :-1]

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return the features that follow."""
        x = F.conv_transpose2d(x, self.kernel, stride=2, padding=1)
        features: Tensor = self.epilogue(self.blur(x), code)
        return features


class ToRgb(Convolution):
    """A convolution of 1 × 1 to colours: (N, C, R, R) → (N, 3, R, R)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Weight(3, channels, 1, 1)
        self.bias = nn.Parameter(torch.empty(3))
        self._gain = 1 / math.sqrt(channels)

    def make_kernel(self) -> Tensor:
        """Return the kernel, shape (3, C, 1, 1)."""
        return self.conv.weight * self._gain

    def forward(self, x: Tensor) -> Tensor:
        """Return colours, about −1 to 1."""
        return F.conv2d(x, self.kernel, self.bias)
