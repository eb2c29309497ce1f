"""What the package itself knows of methods: prose that records don't hold."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from comface_bench.core.registry import method_registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.core.card import MethodCard


def known_card(method: str) -> MethodCard | None:
    """Return the package's own card of a method, options or not; None for a name that it doesn't know."""
    return _cards().get(method.partition("+")[0])


@functools.cache
def _cards() -> Mapping[str, MethodCard]:
    return {entry.card.name: entry.card for entry in method_registry(plugins=False).declared()}
