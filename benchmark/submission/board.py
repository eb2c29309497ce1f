"""A record against others of its task: those on the board, and those in the same package."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from comface_bench.core.errors import ResultError
from comface_bench.core.names import parse_name
from comface_bench.results.predictions import read_predictions
from comface_bench.results.record import load_record
from comface_bench.results.store import RecordFiles, ResultStore, file_stem
from comface_bench.submission.answers import Answers, check_answers, collect_answers
from comface_bench.submission.package import RECORD
from comface_bench.submission.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from comface_bench.results.schema import Record

Problem = tuple[str, str]


class Peer(NamedTuple):
    """A record of the same task: its name for messages, what it says, and its answers."""

    label: str
    record: Record
    answers: Answers


def read_peers(results: Path, task: str, unchecked: list[str]) -> list[Peer]:
    """Read the board's records of a task.

    Args:
        results: Folder of the board's records.
        task: The task's name.
        unchecked: Told of records that can't be read.
    """
    peers = []
    folder = file_stem(task)
    for path in ResultStore(results).paths():
        if path.relative_to(results).parts[0] != folder:
            continue
        label = path.relative_to(results).as_posix().removesuffix(RECORD)
        try:
            record = load_record(path)
            rows = read_predictions(RecordFiles(path).predictions)
        except ResultError:
            unchecked.append(f"the board's record {label}, which can't be read")
            continue
        peers.append(Peer(label, record, collect_answers(label, record.task.name, rows)))
    return peers


def check_beside(record: Record, answers: Answers, peers: Sequence[Peer]) -> Iterator[Problem]:
    """Compare a record with others of its task; what lies at its own place is passed over."""
    others = [peer for peer in peers if peer.label != answers.label]
    yield from check_answers(answers, [peer.answers for peer in others])
    for peer in others:
        task = peer.record.task
        if peer.record.provenance.kind == "ours" and task.split == record.task.split:
            for field in ("card_digest", "manifest_digest", "split_digest"):
                if getattr(task, field) != getattr(record.task, field):
                    yield f"task.{field}", f"not that of the board's {peer.label}"
        if (task.manifest_digest, task.split_digest) == (
            record.task.manifest_digest,
            record.task.split_digest,
        ):
            yield from _check_truth(answers, peer)


def check_place(
    record: Record, stem: str, data: bytes, results: Path, unchecked: list[str]
) -> Iterator[Problem]:
    """Check that a record may go where its name puts it on the board, and that the name is its own."""
    there = results / f"{stem}{RECORD}"
    folder = results
    for part in f"{stem}{RECORD}".split("/"):
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if part not in names and (near := {name.lower(): name for name in names}.get(part.lower())):
            yield "", f"differs from the board's {plain(near)} only in upper and lower case"
        folder /= part
    if there.exists() and there.read_bytes() != data and load_record(there).provenance.kind == "ours":
        yield "", "the board has this row already, measured by its maintainers"
    base, _ = parse_name(record.method.name)
    for path in ResultStore(results).paths():
        name = path.name.removesuffix(RECORD)
        if path == there or name.split("+")[0].lower() != file_stem(base).lower():
            continue
        label = path.relative_to(results).as_posix().removesuffix(RECORD)
        try:
            other = load_record(path)
        except ResultError:
            unchecked.append(f"the board's record {label}, which can't be read")
            continue
        if other.method.card_digest != record.method.card_digest:
            yield "method.card_digest", f"another method has this name on the board: {label}"
            return


def _check_truth(answers: Answers, peer: Peer) -> Iterator[Problem]:
    known = {fold: (pairs, y) for (fold, _), (pairs, y, _) in peer.answers.units.items()}
    for (fold, seed), (pairs, y, _) in sorted(answers.units.items()):
        if fold in known and not (known[fold][0] == pairs and np.array_equal(known[fold][1], y)):
            place = f"predictions, fold {fold}, seed {seed}"
            yield place, f"other pairs or true changes than in {peer.label}"
