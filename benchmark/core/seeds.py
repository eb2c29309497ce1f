"""Seeds by named purpose.

A seed depends on what it is for, the task, the fold and the repetition, and on nothing else.
The method is deliberately no axis: all methods see the same pairs, views and head draw, which
makes paired comparisons sharp, and any unit can be run alone.
"""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

Purpose = Literal["split", "pairs", "augment", "backbone", "head", "dropout"]


def seed_for(purpose: Purpose, task: str, fold: int | None = None, repetition: int | None = None) -> int:
    """Derive the seed of one purpose.

    Args:
        purpose: What the random numbers are for; purposes never share a stream.
        task: Name of the task, or of the data set where tasks share a draw.
        fold: Fold index, or None where all folds share the draw.
        repetition: Index of the repetition (the user's `--seeds`), or None where all share it.

    Returns:
        An integer in [0, 2**63), the same on every machine.

    Raises:
        ValueError: The purpose isn't one of the named ones.
    """
    if purpose not in get_args(Purpose):
        raise ValueError(f"unknown seed purpose {purpose!r}; one of {', '.join(get_args(Purpose))}")
    text = "\x1f".join(["comface-bench", purpose, task, str(fold), str(repetition)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
