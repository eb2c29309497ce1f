"""The histogram of a corpus's scores (as the supplement's Figure D)."""

from __future__ import annotations

import importlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from comface_bench.core.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def load_matplotlib() -> Any:
    """Import what draws pictures into files.

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
    """Draw the report's histogram into a file; its suffix gives the format.

    Args:
        report: As `write_quality` returns it.
        out: File to write.
    """
    edges, counts = report["histogram"]["edges"], report["histogram"]["counts"]
    figure = load_matplotlib().Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    widths = [high - low for low, high in pairwise(edges)]
    shares = [count / report["images"] for count in counts]
    axes.bar(edges[:-1], shares, widths, align="edge", edgecolor="white")
    axes.set(xlabel="quality score v", ylabel="share of images", xlim=(0, 1))
    figure.savefig(out)
