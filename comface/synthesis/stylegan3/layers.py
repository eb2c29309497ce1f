"""The parts of StyleGAN3's networks, with the names that NVIDIA's files have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comface_bench.comface.synthesis.stylegan3.filters import layer_filters
from comface_bench.comface.synthesis.stylegan3.resampling import CLAMP, filter_leaky_relu

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.stylegan3.schedule import LayerPlan
    from comface_bench.comface.synthesis.stylegan3.workspace import Workspace

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
        """Return the layer's answer, shape (N, outputs)."""
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

    def __init__(self, plan: LayerPlan, latent: int) -> None:
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
            # Over each style alone, not over the batch: an image mustn't hang on what else is made with it.
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
            space: Where features are written to; what lay there two layers ago is written over.
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
        return filter_leaky_relu(inner, plan, self.up_filter, self.down_filter, out)


def _pixels(image: Tensor) -> Tensor:
    """View an image (C, H, W) with channels last as a matrix (H·W, C)."""
    return image.permute(1, 2, 0).view(-1, len(image))
