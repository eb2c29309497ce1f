"""What all figures by matplotlib share: the optional import, texts that stay texts, bytes that stay equal."""

from __future__ import annotations

import importlib
import io
from typing import Any

from comface_bench.core.display import visible
from comface_bench.core.errors import MissingExtraError

STYLE = {"svg.hashsalt": "comface-bench", "svg.fonttype": "none"}
"""Settings under which an SVG holds its texts, and has the same bytes for the same figure and release."""


def load_matplotlib(missing: str, instead: str = "", module: str = "matplotlib.figure") -> Any:
    """Import a module of matplotlib.

    Args:
        missing: What is said where it isn't installed.
        instead: What else can be done then, behind how to install it.
        module: Its name.

    Raises:
        MissingExtraError: It isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(missing, f"pip install 'comface-bench[plots]'{instead}") from error


def plain_text(text: str) -> str:
    """Keep a text from being read as mathematics, and make what can't be seen in it visible."""
    return visible(text).replace("$", r"\$")


def svg_bytes(figure: Any) -> bytes:
    """Return a figure as SVG, without a date; called under `STYLE`."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
