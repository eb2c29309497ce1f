"""Verifying a method's file: readable, the published one, and unchanged since its first use."""

from __future__ import annotations

from pathlib import Path

from comface_bench.core.card import MethodCard
from comface_bench.core.weights import check_weights, weights_digest
from comface_bench.weights.read import read_tensors


def verify_weights(path: Path, card: MethodCard, accept: bool = False) -> str:
    """Verify a method's file, and say in a few words what is known of it.

    Args:
        path: The file.
        card: The method.
        accept: As `check_weights` takes it.

    Raises:
        WeightsFormatError: The file can't be read, isn't the published one, or has changed.
    """
    tensors = read_tensors(path)
    published = check_weights(path, card, accept)
    digest = f"SHA-256 {weights_digest(path)}"
    told = f"as published ({published})" if published else digest
    return f"{path.name}, {len(tensors)} tensors, {told}"
