"""The scores that are kept beside a corpus: are they its own and whole, and what they make of each person."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.comface.corpus.layout import Layout, corpus_digest
from comface_bench.core.digest import digest_file
from comface_bench.core.errors import DataFormatError, DataMissingError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from comface_bench.comface.corpus.read import Corpus


def read_quality(corpus: Corpus, root: Path) -> NDArray[np.float32]:
    """Read the scores v of a corpus, shape (records, images of a record).

    Raises:
        DataMissingError: They haven't been estimated.
        DataFormatError: They aren't this corpus's, or aren't what was written.
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
    """Return what is wrong with a corpus's scores and their report: file and message; none if they're whole.

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
    except (OSError, ValueError, KeyError, TypeError):
        return faults
    if not own:
        faults.append(
            (layout.quality, "not of this corpus: its images are others than those that were scored")
        )
    return faults


def identity_scores(
    corpus: Corpus, scores: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return each identity's mean score, which `min_quality` filters by.

    Args:
        corpus: Opened for reading.
        scores: v of its images, shape (records, images of a record).

    Returns:
        Mean scores in the order of the identities' numbers, shape (I,), and which of them each record
        shows, shape (R,).
    """
    which = np.unique(corpus.identities, return_inverse=True)[1]
    # Each record has as many images, so the mean over records is that over images.
    means = np.bincount(which, scores.mean(axis=1, dtype=np.float64)) / np.bincount(which)
    return means, which
