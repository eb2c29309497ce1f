"""From stored images to features: plain or augmented views, encoded in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from comface_bench.core.augmentation import Augmentation
from comface_bench.data import augment
from comface_bench.engine.encoder import Encoder
from comface_bench.engine.precision import Machine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comface_bench.data.image_store import ImageStore

ENCODE_BATCH = 64


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Renders views of a data set's images on the run's device.

    Attributes:
        store: Decoded images.
        keys: 64-bit key of each image, uint64 (number of images,).
        size: Side of the rendered images in pixels.
        augmentation: Of augmented views.
        seed: Of augmented views.
        machine: Device and precision.
    """

    store: ImageStore
    keys: NDArray[np.uint64]
    size: int
    augmentation: Augmentation
    seed: int
    machine: Machine

    def plain(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images without augmentation, float32 (n, 3, size, size) in [0, 1]."""
        return augment.resize(self._gather(rows), self.size)

    def augmented(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Return augmented views, float32 (n, 3, size, size) in [0, 1].

        A view is a pure function of (seed, image, view number).
        """
        return augment.render(
            self._gather(rows), self.augmentation, self.seed, self.keys[rows], views, self.size
        )

    def _gather(self, rows: NDArray[np.int64]) -> Tensor:
        return self.store.gather(rows).to(self.machine.device, non_blocking=True)


def encode(
    encoder: Encoder,
    render: Callable[[NDArray[np.int64]], Tensor],
    rows: NDArray[np.int64],
    machine: Machine,
    tick: Callable[[int], None] | None = None,
) -> Tensor:
    """Encode images once each with a frozen encoder.

    Args:
        encoder: In eval mode.
        render: From manifest rows to images.
        rows: Which images, int64 (n,).
        machine: Device and precision.
        tick: Called with the number of images of each batch.

    Returns:
        Features, float32 (n, D), on the CPU.
    """
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), ENCODE_BATCH):
            batch = rows[start : start + ENCODE_BATCH]
            images = render(batch)
            with machine.autocast():
                features = encoder(images)
            parts.append(features.float().cpu())
            if tick is not None:
                tick(len(batch))
    return torch.cat(parts)


def state_digest(module: nn.Module) -> str:
    """Return a SHA-256 over every parameter and buffer, bit for bit."""
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
