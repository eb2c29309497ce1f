"""Stored cards against those of this installation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from comface_bench.core.card import deciding_facts, facts
from comface_bench.core.digest import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.core.card import MethodCard, TaskCard

OTHER_RELEASE: Final = "made by another release of comface-bench, or changed"


def same_card(stored: Mapping[str, Any], card: MethodCard | TaskCard) -> bool:
    """Tell whether a stored card has the fields of a card, and what decides a result is equal.

    What a card merely offers, such as one more split, may differ between releases.
    """
    wanted, offered = deciding_facts(card), facts(card)
    if set(stored) != set(offered):
        return False
    plain = {name: value for name, value in stored.items() if name in wanted}
    offers = [(stored[name], value) for name, value in offered.items() if name not in wanted]
    return digest(plain) == digest(wanted) and all(
        type(one) is type(other) and is_offer(one) for one, other in offers
    )


def is_offer(value: object) -> bool:
    """Tell whether something is a list of texts, or such lists by name."""
    if isinstance(value, dict):
        return all(isinstance(listed, list) and is_offer(listed) for listed in value.values())
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
