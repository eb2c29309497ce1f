"""A record's method and protocol against those of this installation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pydantic

from comface_bench.core.card import MethodCard, card_digest, facts
from comface_bench.core.digest import digest
from comface_bench.core.errors import BenchError
from comface_bench.core.names import format_name, parse_name
from comface_bench.core.options import differing, method_options
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.unit import ENGINE_EPOCH
from comface_bench.submission.card_here import OTHER_RELEASE, same_card

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comface_bench.core.card import TaskCard
    from comface_bench.core.registry import Entry, Registry
    from comface_bench.results.schema import MethodInfo, Record

Problem = tuple[str, str]

_LOOKALIKE = str.maketrans("015", "ols", "_.-,=")
_CARD = pydantic.TypeAdapter(MethodCard)
_PLAUSIBLE = {"feature_dim": (1, 10**7), "parameters": (0, 10**12)}
"""Least and most that a network may have; no number may stretch a page."""


def find_method(name: str, methods: Registry[MethodCard]) -> Entry[MethodCard] | None:
    """Return the method that a name means here, or None."""
    base, _ = parse_name(name)
    if base not in methods.names() and _family_of(base, methods) is None:
        return None
    try:
        return methods.get(base)
    except (BenchError, ImportError):  # a family's library may lack the model, or not be installed
        return None


def check_method(info: MethodInfo, methods: Registry[MethodCard], unchecked: list[str]) -> Iterator[Problem]:
    """Yield (field, what is wrong) of a method; `unchecked` is told what can't be known here."""
    base, _ = parse_name(info.name)
    for field, (least, most) in _PLAUSIBLE.items():
        if not least <= getattr(info, field) <= most:
            yield f"method.{field}", f"{getattr(info, field)} isn't plausible"
    entry = find_method(info.name, methods)
    if entry is not None:
        if info.card_digest != card_digest(entry.card) or not same_card(info.card, entry.card):
            yield (
                "method.card",
                f"{base} is a method of this installation, with another card: {OTHER_RELEASE}",
            )
            return
        yield from _check_options(info, entry.card)
        yield from _check_weights(info, entry, unchecked)
        return
    if (family := _family_of(base, methods)) is not None:
        yield "method.name", f"{family} has no such model here"
    elif near := next((name for name in methods.names() if _alike(name, base)), None):
        yield "method.name", f"looks like {near}, which is another method"
    unchecked.append(f"method {base}: not one of this installation; its card is the submitter's word")
    card = read_card(info.card)
    if card is None or card_digest(card) != info.card_digest:
        yield "method.card", f"not a method's card: {OTHER_RELEASE}"
        return
    yield from _check_options(info, card)


def read_card(stored: Mapping[str, Any]) -> MethodCard | None:
    """Read a stranger's card back, every fact of its declared type; None if it isn't one."""
    try:
        card = _CARD.validate_json(json.dumps({**stored, "build": ""}), strict=True)
    except pydantic.ValidationError:
        return None
    return card if digest(facts(card)) == digest(stored) else None


def check_protocol(record: Record, task: TaskCard, own_head: bool) -> Iterator[Problem]:
    """Yield (field, what is wrong) of a protocol: its name must mean these values here."""
    name, overrides = parse_name(record.protocol.name)
    try:
        protocol = resolve_protocol(name, task.family, overrides, own_head)
    except BenchError as error:
        yield "protocol.name", error.message
        return
    if protocol.name != record.protocol.name:
        yield "protocol.name", f"this protocol is called {protocol.name}"
    expected = json.loads(json.dumps({**protocol.facts(), "engine_epoch": ENGINE_EPOCH}))
    values = record.protocol.values
    for key in sorted(set(expected) | set(values)):
        if key not in expected or key not in values or digest(expected[key]) != digest(values[key]):
            yield f"protocol.values.{key}", f"not what {protocol.name} means for {record.task.name} here"


def _family_of(base: str, methods: Registry[MethodCard]) -> str | None:
    return next((f.prefix for f in methods.families() if base.startswith(f.prefix)), None)


def _check_options(info: MethodInfo, card: MethodCard) -> Iterator[Problem]:
    """Options are offered by the card, and the name shows those that differ from its defaults."""
    if not all(isinstance(value, str) for value in info.options.values()):
        yield "method.options", "a value is no text"
        return
    try:
        complete = method_options(card, info.options)
    except BenchError as error:
        yield "method.options", error.message
        return
    if complete != info.options:
        yield "method.options", "an option isn't there"
    own = info.options.get("checkpoint")
    if own is not None and own != (info.checkpoint_digest or "")[:12]:
        yield "method.options.checkpoint", "not the first twelve digits of checkpoint_digest"
    base, _ = parse_name(info.name)
    if info.name != (wanted := format_name(base, differing(card, info.options))):
        yield "method.name", f"with these options it is called {wanted}"


def _check_weights(info: MethodInfo, entry: Entry[MethodCard], unchecked: list[str]) -> Iterator[Problem]:
    card = entry.card
    if "checkpoint" in info.options:
        unchecked.append(f"method {info.name}: its weights, which are the submitter's own")
    elif entry.hook("find_weights") or (card.checkpoint and not card.checkpoint.sha256):
        if info.checkpoint_digest is not None:
            unchecked.append(f"method {info.name}: whether its weights are the authors'")
    elif card.checkpoint is None:
        if info.checkpoint_digest is not None:
            yield "method.checkpoint_digest", "a method that needs no weights has some"
    elif not (info.checkpoint_digest or "").startswith(card.checkpoint.sha256):
        yield "method.checkpoint_digest", f"not the weights that the authors of {card.name} publish"


def _alike(one: str, other: str) -> bool:
    """Tell whether two names are one to a hasty eye."""
    return one.lower().translate(_LOOKALIKE) == other.lower().translate(_LOOKALIKE)
