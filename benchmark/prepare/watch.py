"""Watching: what a preparation tells while it works."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""


def ignore(*_: object) -> None:
    """Take no notice."""
