"""Quality scores stored beside a corpus: calibration, report, integrity, means of identities, histogram."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from comface_bench.comface.corpus.layout import Layout, corpus_digest
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.corpus.shard import npy_bytes
from comface_bench.core.digest import digest_file
from comface_bench.core.errors import DataFormatError, DataMissingError, MissingExtraError, UnitError
from comface_bench.core.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


THRESHOLDS = (0.0, 0.1, 0.2, 0.4, 0.6)
"""Those of the supplement's Table H."""
_MIDDLE_QUANTILE, _UPPER_QUANTILE = 0.5, 0.9
_UPPER_SCORE = 0.8


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Spreads q over [0, 1]: v = sigmoid(slope·(q − middle)).

    The authors' constants belong to their network; these are fitted to a corpus: the median becomes 0.5, and
    the 90th percentile 0.8.

    Attributes:
        slope, middle: As above.
    """

    slope: float
    middle: float

    @classmethod
    def fit(cls, robust: NDArray[np.floating[Any]]) -> Self:
        """Fit to the q of a corpus, of any shape.

        Raises:
            UnitError: Too many q are equal to rank the images.
        """
        quantiles = np.quantile(robust.astype(np.float64), (_MIDDLE_QUANTILE, _UPPER_QUANTILE))
        middle, upper = (float(value) for value in quantiles)
        if upper <= middle:
            raise UnitError(
                "most images have the same robustness, so there is nothing to tell them apart by",
                "Look at them: comface-bench synth sheets DIR --out sheets\n"
                "If they do differ, train the recogniser longer: comface-bench synth quality DIR --steps N",
            )
        return cls(math.log(_UPPER_SCORE / (1 - _UPPER_SCORE)) / (upper - middle), middle)

    def apply(self, robust: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return v in [0, 1] for q, of the same shape."""
        v = 1 / (1 + np.exp(-self.slope * (robust.astype(np.float64) - self.middle)))
        found: NDArray[np.float32] = v.astype(np.float32)
        return found

    def as_json(self) -> dict[str, Any]:
        """Return plain facts."""
        return dataclasses.asdict(self)


def write_quality(root: Path, robust: NDArray[np.float32], facts: dict[str, Any]) -> dict[str, Any]:
    """Store scores v beside a corpus, with a report on its identities and its images.

    Both have a histogram and the share above each threshold. A filter keeps identities, by their mean
    score; images of one person can be better and worse.

    Args:
        root: The corpus's folder.
        robust: q as `estimate_quality` returns it, shape (records, images of a record).
        facts: Further entries of the report: how the network was trained.

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
        "identities": _distribution(means),
        "images": _distribution(scores),
        "corpus": corpus_digest(layout),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    replace_file(layout.quality, data)
    replace_file(layout.quality_report, (json.dumps(report, indent=1) + "\n").encode())
    return report


def read_quality(corpus: Corpus, root: Path) -> NDArray[np.float32]:
    """Read the scores v of a corpus, shape (records, images of a record).

    Raises:
        DataMissingError: They haven't been estimated.
        DataFormatError: They aren't this corpus's, or were changed.
    """
    layout, again = Layout(root), f"comface-bench synth quality {root}"
    if not layout.quality.exists():
        raise DataMissingError(f"{root}: quality hasn't been estimated", again)
    if found := quality_faults(layout):
        path, message = found[0]
        raise DataFormatError(f"{path}: {message}", again)
    scores: NDArray[np.float32] = np.load(layout.quality, mmap_mode="r", allow_pickle=False)
    if scores.shape != (len(corpus), corpus.description.plan.alphas) or scores.dtype != np.float32:
        raise DataFormatError(f"{layout.quality}: not of this corpus", again)
    return scores


def quality_faults(layout: Layout) -> list[tuple[Path, str]]:
    """Return the faults of a corpus's scores and their report, as (file, message); none if they're whole.

    A corpus without either has no fault; neither has one whose own shards can't be read, here.
    """
    paths = (layout.quality, layout.quality_report)
    absent = [path for path in paths if not path.exists()]
    if absent:
        return (
            [] if len(absent) == len(paths) else [(absent[0], "missing, while the other of the two is there")]
        )
    try:
        report: Any = json.loads(layout.quality_report.read_text(encoding="utf-8"))
    except ValueError as error:
        return [(layout.quality_report, str(error))]
    if not isinstance(report, dict) or not {"sha256", "corpus"} <= set(report):
        return [(layout.quality_report, "not a report of this version")]
    faults = []
    if digest_file(layout.quality) != report["sha256"]:
        faults.append((layout.quality, f"not the scores that {layout.quality_report.name} was written with"))
    try:
        own = report["corpus"] == corpus_digest(layout)
    except (DataMissingError, DataFormatError):
        return faults
    if not own:
        faults.append(
            (layout.quality, "not of this corpus: its images are others than those that were scored")
        )
    return faults


def identity_scores(
    corpus: Corpus, scores: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return each identity's mean score, the one that `min_quality` filters by.

    Args:
        corpus: Opened for reading.
        scores: v of its images, shape (records, images of a record).

    Returns:
        Mean scores in the order of the identities' numbers, shape (I,), and the row of each record's identity
        among them, shape (R,).
    """
    which = np.unique(corpus.identities, return_inverse=True)[1]
    # Each record has as many images, so the mean over records is that over images.
    means = np.bincount(which, scores.mean(axis=1, dtype=np.float64)) / np.bincount(which)
    return means, which


def load_matplotlib() -> Any:
    """Import matplotlib's figures, which are drawn into files.

    Raises:
        MissingExtraError: matplotlib isn't installed.
    """
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingExtraError(
            "a histogram needs matplotlib", "pip install 'comface-bench[plots]'"
        ) from error


def draw_histogram(report: Mapping[str, Any], out: Path) -> None:
    """Draw the scores of identities as bars (the supplement's Figure D) and those of images as a line.

    Args:
        report: As `write_quality` returns it.
        out: File to write; its suffix gives the format.
    """
    figure = load_matplotlib().Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    people, images = report["identities"], report["images"]
    edges = people["histogram"]["edges"]
    widths = [high - low for low, high in pairwise(edges)]
    axes.bar(
        edges[:-1], _bin_shares(people), widths, align="edge", edgecolor="white", label="identities (mean)"
    )
    axes.stairs(_bin_shares(images), edges, color="black", label="images")
    axes.set(xlabel="quality score v", ylabel="share", xlim=(0, 1))
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(out)


def _distribution(scores: NDArray[Any]) -> dict[str, Any]:
    counts, edges = np.histogram(scores, bins=20, range=(0, 1))
    return {
        "count": int(scores.size),
        "mean": float(scores.mean()),
        "histogram": {"edges": [round(float(edge), 2) for edge in edges], "counts": counts.tolist()},
        "share_kept": {f"{level:g}": float((scores >= level).mean()) for level in THRESHOLDS},
    }


def _bin_shares(distribution: Mapping[str, Any]) -> list[float]:
    return [count / distribution["count"] for count in distribution["histogram"]["counts"]]
