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
    """Draw identities as bars, as the paper does, and images as a line; the file's suffix gives the format.

    Args:
        report: As `write_quality` returns it.
        out: File to write.
    """
    figure = load_matplotlib().Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    people, images = report["identities"], report["images"]
    edges = people["histogram"]["edges"]
    widths = [high - low for low, high in pairwise(edges)]
    axes.bar(edges[:-1], _shares(people), widths, align="edge", edgecolor="white", label="identities (mean)")
    axes.stairs(_shares(images), edges, color="black", label="images")
    axes.set(xlabel="quality score v", ylabel="share", xlim=(0, 1))
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(out)


def _shares(spread: Mapping[str, Any]) -> list[float]:
    return [count / spread["count"] for count in spread["histogram"]["counts"]]
