"""The quality of every image of a corpus, kept beside it with a report (supplement, C.1 and Table H)."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from comface_bench.comface.corpus.index import npy_bytes
from comface_bench.comface.corpus.layout import Layout, corpus_digest
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.quality.images import ahead, load_images
from comface_bench.comface.quality.kept import identity_scores
from comface_bench.comface.quality.score import Calibration, robustness
from comface_bench.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.quality.network import IdentityNetwork

PASSES = 100
THRESHOLDS = (0.0, 0.1, 0.2, 0.4, 0.6)
"""Those of the supplement's Table H."""
_BATCH = 128  # images at once, unless a record has more


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
        passes: Stochastic passes of each image.
        progress: Called with (images done, images in all).

    Returns:
        q in [0, 1], shape (records, images of a record); the same for the same arguments.
    """
    count = corpus.description.plan.alphas
    found = np.empty((len(corpus), count), np.float32)
    together = max(1, _BATCH // count)
    groups = [range(at, min(at + together, len(corpus))) for at in range(0, len(corpus), together)]

    def read(group: range) -> Tensor:
        return load_images(corpus, [(number, index) for number in group for index in range(count)], size)

    for group, images in zip(groups, ahead(read, groups), strict=True):
        features = network.features(images)
        for place, number in enumerate(group):
            # Seeded by record, so that each can be estimated alone.
            random = torch.Generator().manual_seed(number)
            own = features[place * count : (place + 1) * count]
            found[number] = robustness(network.repeat(own, passes, random)).cpu().numpy()
        if progress:
            progress(group.stop * count, found.size)
    return found


def write_quality(root: Path, robust: NDArray[np.float32], facts: dict[str, Any]) -> dict[str, Any]:
    """Keep scores v beside a corpus, and a report on its identities and its images.

    Both have a histogram and the share above each threshold. A filter keeps identities, by their mean
    score; images of one person can be better and worse.

    Args:
        root: The corpus's folder.
        robust: q as `estimate_quality` returns it.
        facts: What else the report says: how the network was trained.

    Returns:
        The report.

    Raises:
        UnitError: Most q are equal.
    """
    calibration = Calibration.fit(robust)
    scores = calibration.apply(robust)
    layout, data = Layout(root), npy_bytes(scores)
    with Corpus(root) as corpus:
        means, _ = identity_scores(corpus, scores)
    report = {
        **facts,
        "calibration": calibration.as_json(),
        "mean_robustness": float(robust.mean()),
        "identities": _spread(means),
        "images": _spread(scores),
        "corpus": corpus_digest(layout),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    replace_file(layout.quality, data)
    replace_file(layout.quality_report, (json.dumps(report, indent=1) + "\n").encode())
    return report


def _spread(scores: NDArray[Any]) -> dict[str, Any]:
    counts, edges = np.histogram(scores, bins=20, range=(0, 1))
    return {
        "count": int(scores.size),
        "mean": float(scores.mean()),
        "histogram": {"edges": [round(float(edge), 2) for edge in edges], "counts": counts.tolist()},
        "share_kept": {f"{level:g}": float((scores >= level).mean()) for level in THRESHOLDS},
    }
