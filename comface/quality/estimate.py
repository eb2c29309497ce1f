"""The quality of every image of a corpus, kept beside it; and a filter by it (supplement, Table H)."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from comface_bench.comface.corpus.index import npy_bytes
from comface_bench.comface.corpus.layout import Layout
from comface_bench.comface.quality.score import Calibration, robustness
from comface_bench.comface.quality.train import load_images
from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from comface_bench.comface.corpus.read import Corpus
    from comface_bench.comface.quality.network import IdentityNetwork

PASSES = 100
THRESHOLDS = (0.0, 0.1, 0.2, 0.4, 0.6)
"""Those of the supplement's Table H."""
_BATCH = 64


def estimate_quality(
    corpus: Corpus,
    network: IdentityNetwork,
    size: int,
    passes: int = PASSES,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Estimate each image's robustness q.

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
    random = torch.Generator()
    for number in range(len(corpus)):
        # Seeded by record, so that each can be estimated alone.
        random.manual_seed(number)
        for start in range(0, count, _BATCH):
            places = [(number, index) for index in range(start, min(start + _BATCH, count))]
            embeddings = network.stochastic(load_images(corpus, places, size), passes, random)
            found[number, start : start + len(places)] = robustness(embeddings).numpy()
        if progress:
            progress((number + 1) * count, found.size)
    return found


def write_quality(root: Path, robust: NDArray[np.float32], facts: dict[str, Any]) -> dict[str, Any]:
    """Keep scores v beside a corpus, and a report with their histogram and shares above each threshold.

    Args:
        root: The corpus's folder.
        robust: q as `estimate_quality` returns it.
        facts: What else the report says: how the network was trained.

    Returns:
        The report.

    Raises:
        ValueError: All q are equal.
    """
    calibration = Calibration.fit(torch.from_numpy(robust).flatten())
    scores = calibration.apply(torch.from_numpy(robust)).numpy()
    layout, data = Layout(root), npy_bytes(scores)
    counts, edges = np.histogram(scores, bins=20, range=(0, 1))
    report = {
        **facts,
        "calibration": calibration.as_json(),
        "images": int(scores.size),
        "mean_robustness": float(robust.mean()),
        "histogram": {"edges": [round(float(edge), 2) for edge in edges], "counts": counts.tolist()},
        "share_kept": {f"{level:g}": float((scores >= level).mean()) for level in THRESHOLDS},
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    replace_file(layout.quality, data)
    replace_file(layout.quality_report, (json.dumps(report, indent=1) + "\n").encode())
    return report


def read_quality(corpus: Corpus, root: Path) -> NDArray[np.float32]:
    """Read the scores v of a corpus, shape (records, images of a record).

    Raises:
        DataMissingError: They haven't been estimated.
        DataFormatError: They aren't this corpus's.
    """
    layout, shape = Layout(root), (len(corpus), corpus.description.plan.alphas)
    try:
        scores: NDArray[np.float32] = np.load(layout.quality, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataMissingError(
            f"{root}: quality hasn't been estimated", f"comface-bench synth quality {root}"
        ) from None
    except (ValueError, EOFError) as error:
        raise DataFormatError(f"{layout.quality}: {error}", f"comface-bench synth quality {root}") from None
    if scores.shape != shape or scores.dtype != np.float32:
        raise DataFormatError(f"{layout.quality}: not of this corpus", f"comface-bench synth quality {root}")
    return scores
