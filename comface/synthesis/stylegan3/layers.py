"""Layers of StyleGAN3's networks, with the names that NVIDIA's files have, and the memory that they share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comface_bench.comface.synthesis.stylegan3.filters import CLAMP, filtered_leaky_relu, layer_filters

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.stylegan3.schedule import FeatureSpec, LayerSpec


class Workspace:
    """Two blocks of memory, for a layer's convolution and for its result.

    At 1024 pixels, getting new memory of the system takes longer than filling it.

    Args:
        sizes: Numbers in either block, for one image.
    """

    def __init__(self, sizes: tuple[int, int]) -> None:
        self._sizes = sizes
        self._blocks: dict[int, Tensor] = {}

    def take(self, number: int, shape: tuple[int, int, int, int], like: Tensor) -> Tensor:
        """Return a tensor on a block, with channels last; its content is left over from before.

        Args:
            number: Of the block.
            shape: (N, C, H, W).
            like: A tensor of the type and the device.
        """
        n, c, h, w = shape
        block = self._blocks.get(number)
        wanted = n * self._sizes[number]
        if block is None or len(block) < wanted or (block.dtype, block.device) != (like.dtype, like.device):
            # Memory that inference mode gives could not be written to outside of it.
            with torch.inference_mode(False):
                block = self._blocks[number] = torch.empty(wanted, dtype=like.dtype, device=like.device)
        return block[: math.prod(shape)].view(n, h, w, c).permute(0, 3, 1, 2)


EPSILON: Final = 1e-8


class Dense(nn.Module):
    """A fully connected layer with equalised learning rate: (N, inputs) → (N, outputs).

    Args:
        inputs, outputs: Sizes.
        rate: Factor of the learning rate, which divides what is stored.
    """

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self._scale, self._rate = rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, shape (N, outputs)."""
        return F.linear(x, self.weight * self._scale, self.bias * self._rate)


class Layer(nn.Module):
    """A convolution modulated by a code, and, unless it makes colours, a filtered leaky ReLU.

    Args:
        plan: Its place in the schedule.
        latent: Size of a code.
    """

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, plan: LayerSpec, latent: int) -> None:
        super().__init__()
        inputs, outputs = plan.before.channels, plan.after.channels
        self.plan = plan
        self.affine = Dense(latent, inputs)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, plan.kernel, plan.kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.register_buffer("magnitude_ema", torch.empty(()))
        if not plan.rgb:
            up, down = (plan.up_taps,), (plan.down_taps,) * (2 if plan.radial else 1)
            self.register_buffer("up_filter", torch.empty(up))
            self.register_buffer("down_filter", torch.empty(down))

    def design_filters(self) -> dict[str, Tensor]:
        """Return the filters that the schedule asks for, by name; they lie on the CPU."""
        if self.plan.rgb:
            return {}
        return dict(zip(("up_filter", "down_filter"), layer_filters(self.plan), strict=True))

    def modulate(self, code: Tensor) -> Tensor:
        """Return the convolution's kernels for codes (N, latent): (N, outputs, inputs, k, k).

        The magnitude of a layer's features, which training follows with a moving average, is divided out as
        it was stored.
        """
        style = self.affine(code)
        if self.plan.rgb:
            kernels = self.weight * (style / math.sqrt(self.weight[0].numel()))[:, None, :, None, None]
        else:
            weight = self.weight * self.weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
            # Over each style alone, not over the batch: an image mustn't depend on what else is made with it.
            # Demodulation takes the factor out again.
            style = style * style.square().mean(1, keepdim=True).rsqrt()
            kernels = weight * style[:, None, :, None, None]
            kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + EPSILON).rsqrt()
        found: Tensor = kernels * self.magnitude_ema.rsqrt()
        return found

    def forward(self, x: Tensor, code: Tensor, space: Workspace) -> Tensor:
        """Return the features, or colours, that follow.

        Args:
            x: (N, inputs, size, size), channels last.
            code: (N, latent).
            space: Memory for the features; those of two layers ago are written over.
        """
        plan, outputs, size = self.plan, len(self.bias), self.plan.inner_size
        inner = space.take(0, (len(x), outputs, size, size), x)
        for image, kernel, target in zip(x, self.modulate(code), inner, strict=True):
            if plan.kernel == 1:
                # One product of matrices, of pixels and of channels.
                torch.addmm(self.bias, _pixels(image), kernel.flatten(1).t(), out=_pixels(target))
            else:
                kernel = kernel.contiguous(memory_format=torch.channels_last)
                target.copy_(F.conv2d(image[None], kernel, self.bias, padding=plan.kernel - 1)[0])
        if plan.rgb:
            return inner.clamp(-CLAMP, CLAMP)
        out = space.take(1, (len(x), outputs, plan.after.size, plan.after.size), x)
        return filtered_leaky_relu(inner, plan, self.up_filter, self.down_filter, out)


def _pixels(image: Tensor) -> Tensor:
    """View an image (C, H, W) with channels last as a matrix (H·W, C)."""
    return image.permute(1, 2, 0).view(-1, len(image))


class FourierInput(nn.Module):
    """From a code (N, latent) to features (N, C, size, size) made of C sine waves.

    Args:
        stage: Sampling of the features.
        latent: Size of a code.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, stage: FeatureSpec, latent: int) -> None:
        super().__init__()
        channels = stage.channels
        self.stage = stage
        self.affine = Dense(latent, 4)
        self.weight = nn.Parameter(torch.empty(channels, channels))
        self.register_buffer("transform", torch.empty(3, 3))
        self.register_buffer("freqs", torch.empty(channels, 2))
        self.register_buffer("phases", torch.empty(channels))

    def forward(self, code: Tensor, transform: Tensor | None = None) -> Tensor:
        """Return features.

        Args:
            code: (N, latent).
            transform: (3, 3), from places (x, y, 1) in the image, in widths of it from its middle, to those
                that are shown there; by default the stored one.
        """
        transform = self.transform if transform is None else transform.to(self.transform)
        moved = self._place(code) @ transform
        # A wave along f at phase p, seen at M·(x, y, 1), is one along Mᵣᵀ·f at phase p + f·Mₜ.
        phases = self.phases + (self.freqs @ moved[:, :2, 2:])[..., 0]
        freqs = self.freqs @ moved[:, :2, :2]
        # Waves that were enlarged out of the band fade away towards half the rate.
        room = self.stage.rate / 2 - self.stage.cutoff
        amplitudes = (1 - (freqs.norm(dim=2) - self.stage.cutoff) / room).clamp(0, 1)
        x = self._grid() @ freqs[:, None].transpose(2, 3) + phases[:, None, None]
        x = torch.sin(2 * math.pi * x) * amplitudes[:, None, None]
        features: Tensor = x @ (self.weight / math.sqrt(len(self.weight))).t()
        return features.permute(0, 3, 1, 2)

    def _place(self, code: Tensor) -> Tensor:
        """Return the rotation and the translation that a code asks for, (N, 3, 3)."""
        placement = self.affine(code)
        cos, sin, x, y = (placement / placement[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
        move = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], 1).view(-1, 3, 3)
        return turn @ move

    def _grid(self) -> Tensor:
        """Return the samples' places (x, y), shape (size, size, 2), in widths of the image."""
        size = self.stage.size
        line = (torch.arange(size).to(self.freqs) + 0.5 - size / 2) / self.stage.rate
        y, x = torch.meshgrid(line, line, indexing="ij")
        return torch.stack([x, y], 2)
