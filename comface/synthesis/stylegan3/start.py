"""What StyleGAN3 starts from: waves, turned and moved as the code says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from comface_bench.comface.synthesis.stylegan3.layers import Dense

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.stylegan3.schedule import Stage


class FourierInput(nn.Module):
    """From a code (N, latent) to features (N, C, size, size) made of C sine waves.

    Args:
        stage: What the features are.
        latent: Size of a code.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, stage: Stage, latent: int) -> None:
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
        """Return the turn and the move that a code asks for, (N, 3, 3)."""
        told = self.affine(code)
        cos, sin, x, y = (told / told[:, :2].norm(dim=1, keepdim=True)).unbind(1)
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
