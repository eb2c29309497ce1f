"""Memory that is used again for each layer and image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


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
            like: Has the type and the device.
        """
        n, c, h, w = shape
        block = self._blocks.get(number)
        wanted = n * self._sizes[number]
        if block is None or len(block) < wanted or (block.dtype, block.device) != (like.dtype, like.device):
            # Memory that inference mode gives could not be written to outside of it.
            with torch.inference_mode(False):
                block = self._blocks[number] = torch.empty(wanted, dtype=like.dtype, device=like.device)
        return block[: math.prod(shape)].view(n, h, w, c).permute(0, 3, 1, 2)
