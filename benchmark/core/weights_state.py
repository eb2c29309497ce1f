"""The state of each method's file, as far as it can be told without reading what hasn't changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from comface_bench.core.card import MethodCard
from comface_bench.core.ledger import KnownDigest, read_ledger
from comface_bench.core.registry import Entry
from comface_bench.core.weights import (
    is_direct,
    locate_file,
    published_digest,
    weights_digest,
    weights_folder,
    weights_target,
)

DigestState = Literal["published ok", "recorded", "recorded, now differs", "not checked", "not recorded", ""]


class WeightsState(NamedTuple):
    """A method's file.

    Attributes:
        method: Name of the method.
        file: Name of the file.
        path: Where it is, or where it belongs.
        state: `present` or `missing`.
        size: Bytes, None where it is missing.
        digest: `published ok`: it has the digest that its authors publish; `recorded`: it is what it was
            at first use; `not checked`: nobody has used it yet; `not recorded`: it lies outside the
            weights folder; empty where it is missing.
        licence: Its licence.
        get: A command or an address.
    """

    method: str
    file: str
    path: Path
    state: Literal["present", "missing"]
    size: int | None
    digest: DigestState
    licence: str
    get: str


def list_states(entries: Iterable[Entry[MethodCard]]) -> list[WeightsState]:
    """Return the states of all methods that have a file; one that changed since its first use is read.

    Raises:
        WeightsFormatError: The folder's ledger is malformed.
    """
    notes = read_ledger(weights_folder())
    return [_state(entry, notes) for entry in entries if entry.card.checkpoint is not None]


def _state(entry: Entry[MethodCard], notes: dict[str, KnownDigest]) -> WeightsState:
    card, checkpoint = entry.card, entry.card.checkpoint
    assert checkpoint is not None
    path = locate_file(entry)
    return WeightsState(
        method=card.name,
        file=path.name if path else checkpoint.file,
        path=path or weights_target(card),
        state="present" if path else "missing",
        size=path.stat().st_size if path else None,
        digest=_digest_state(path, card, notes) if path else "",
        licence=card.licence,
        get=f"comface-bench weights fetch {card.name}"
        if is_direct(checkpoint.url)
        else checkpoint.url or card.source,
    )


def _digest_state(path: Path, card: MethodCard, notes: dict[str, KnownDigest]) -> DigestState:
    assert card.checkpoint is not None
    if not path.is_relative_to(weights_folder()):
        return "not recorded"
    note = notes.get(path.relative_to(weights_folder()).as_posix())
    if note is None:
        return "not checked"
    if not note.is_of(path) and weights_digest(path) != note.sha256:
        return "recorded, now differs"
    as_published = path.name == Path(card.checkpoint.file).name
    published = published_digest(card.checkpoint) if as_published else ""
    if not published:
        return "recorded"
    return "published ok" if note.published == published else "not checked"
