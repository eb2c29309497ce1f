"""SER-FIQ: quality of a face image as the robustness of its embedding under dropout (supplement, C.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from comface_bench.comface.quality.recogniser import load_images, prefetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.corpus.read import Corpus
    from comface_bench.comface.quality.recogniser import IdentityNetwork

PASSES = 100
_BATCH_SIZE = 128  # images at once, unless a record has more


def estimate_quality(
    corpus: Corpus,
    network: IdentityNetwork,
    size: int,
    passes: int = PASSES,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Estimate each image's robustness q, on the network's device.

    Args:
        corpus: Opened for reading.
        network: Trained, in eval mode.
        size: Height and width in pixels that it was trained at.
        passes: Stochastic passes of each image, 2 or more.
        progress: Called with (images done, images in all).

    Returns:
        q in [0, 1], shape (records, images of a record); the same for the same arguments.
    """
    count = corpus.description.plan.alphas
    found = np.empty((len(corpus), count), np.float32)
    together = max(1, _BATCH_SIZE // count)
    groups = [range(at, min(at + together, len(corpus))) for at in range(0, len(corpus), together)]

    def read(group: range) -> Tensor:
        return load_images(corpus, [(number, index) for number in group for index in range(count)], size)

    for group, images in zip(groups, prefetch(read, groups), strict=True):
        features = network.features(images)
        for place, number in enumerate(group):
            # Seeded by record, so that each can be estimated alone.
            random = torch.Generator().manual_seed(number)
            own = features[place * count : (place + 1) * count]
            found[number] = robustness(network.repeat(own, passes, random)).cpu().numpy()
        if progress:
            progress(group.stop * count, found.size)
    return found


def robustness(embeddings: Tensor) -> Tensor:
    """Return q = 2·sigmoid(−d) in [0, 1], d the mean Euclidean distance of all pairs of embeddings.

    Args:
        embeddings: T stochastic embeddings of each of N images, shape (T, N, E), T ≥ 2; scaled to unit length
            here.

    Returns:
        Shape (N,).

    Source:
        P. Terhörst et al., "SER-FIQ", CVPR 2020.
    """
    unit = torch.nn.functional.normalize(embeddings.float(), dim=2).transpose(0, 1)
    passes = unit.shape[1]
    # Distances straight from differences: the shortcut by inner products loses small ones.
    distances = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum(dim=(1, 2)) / (passes * (passes - 1))
    return 2 * torch.sigmoid(-mean)
