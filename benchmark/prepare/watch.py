"""Progress of a preparation."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""


def ignore(*_: object) -> None:
    """Do nothing: the default of callbacks."""
