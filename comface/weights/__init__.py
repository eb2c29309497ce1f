"""The weights that ship, each with its model card."""

from __future__ import annotations

from pathlib import Path


def shipped_weights(backbone: str) -> Path | None:
    """Return the weights that ship for a backbone, or None."""
    path = Path(__file__).parent / f"comface-{backbone}.safetensors"
    return path if path.is_file() else None
