"""A record against others of its task: those on the board, and those in the same package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from comface_bench.core.card import TaskCard, deciding_facts
from comface_bench.core.errors import ResultError
from comface_bench.core.names import parse_name
from comface_bench.results.record import load_record
from comface_bench.results.store import ResultStore, file_stem
from comface_bench.submission.package import RECORD, as_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from comface_bench.results.predictions import Prediction
    from comface_bench.results.schema import Record, TaskInfo
    from comface_bench.submission.package import FieldProblem


FoldAndSeed = tuple[int, int]

_FEWEST_PAIRS = 5
"""Pairs below which two series may be alike by chance."""
_COPY_TOLERANCE = 1e-9
"""Largest difference from 1 of the correlation of a copy."""


class RecordPredictions(NamedTuple):
    """The predictions of one record.

    Attributes:
        label: Names the record in messages.
        task: The task's name.
        units: By fold and seed, the pairs, true and estimated changes, by pair; float64 (pairs,).
    """

    label: str
    task: str
    units: Mapping[FoldAndSeed, tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]]


def collect_predictions(label: str, task: str, rows: Iterable[Prediction]) -> RecordPredictions:
    """Group a record's rows by fold and seed, ordered by pair."""
    units: dict[FoldAndSeed, list[Prediction]] = {}
    for row in rows:
        units.setdefault((row.fold, row.seed), []).append(row)
    found = {}
    for unit, listed in units.items():
        listed.sort(key=lambda row: row.pair_id)
        found[unit] = (
            tuple(row.pair_id for row in listed),
            np.array([row.y for row in listed], dtype=np.float64),
            np.array([row.yhat for row in listed], dtype=np.float64),
        )
    return RecordPredictions(label, task, found)


def check_plausibility(
    own: RecordPredictions, others: Sequence[RecordPredictions], exact: bool = False
) -> Iterator[FieldProblem]:
    """Yield predictions that no method makes: the truth itself, a constant, or another record's.

    Args:
        own: Predictions of the record in question.
        others: Predictions of other records; only ones of the same task count.
        exact: The protocol draws nothing, so that all seeds of a fold may have the same answers.
    """
    for (fold, seed), (pairs, y, yhat) in sorted(own.units.items()):
        place = f"predictions, fold {fold}, seed {seed}"
        if np.ptp(yhat) == 0:
            yield place, f"suspicious: every answer is {float(yhat[0])!r}"
            continue
        if np.array_equal(y, yhat):
            yield place, "suspicious: every answer is the true change"
        elif _is_affine_copy(y, yhat):
            yield place, "suspicious: the answers are the true changes, scaled or shifted"
        for source in others:
            if source.task != own.task:
                continue
            for (other_fold, other_seed), (other_pairs, _, other) in sorted(source.units.items()):
                if other_pairs == pairs and _is_affine_copy(yhat, other):
                    where = f"fold {other_fold}, seed {other_seed} of {source.label}"
                    yield place, f"suspicious: the answers of {where}, perhaps scaled or shifted"
                    break
        for (other_fold, other_seed), (other_pairs, _, other) in sorted(own.units.items()):
            if (
                not (exact and other_fold == fold)
                and (other_fold, other_seed) < (fold, seed)
                and other_pairs == pairs
                and _is_affine_copy(yhat, other)
            ):
                yield place, f"suspicious: the answers of seed {other_seed} once more"
                break


def _is_affine_copy(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Return whether one series is the other, up to scale and shift."""
    if len(one) < _FEWEST_PAIRS or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.array_equal(one, other)
    with np.errstate(all="ignore"):
        # Scaled first: squares of the largest numbers overflow.
        a, b = (series / np.abs(series).max() for series in (one, other))
        a, b = a - a.mean(), b - b.mean()
        r = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    return bool(abs(r) >= 1 - _COPY_TOLERANCE)


class Peer(NamedTuple):
    """A record of the same task, with its name for messages and its predictions."""

    label: str
    record: Record
    predictions: RecordPredictions


def read_peers(results: Path, task: str, unchecked: list[str]) -> list[Peer]:
    """Read the board's records of a task.

    Args:
        results: Folder of the board's records.
        task: The task's name.
        unchecked: Receives the names of records that can't be read.
    """
    peers = []
    store, folder = ResultStore(results), file_stem(task)
    for path in store.paths():
        if path.relative_to(results).parts[0] != folder:
            continue
        label = path.relative_to(results).as_posix().removesuffix(RECORD)
        try:
            record = store.load_at(path)
            rows = store.load_predictions(record)
        except ResultError:
            unchecked.append(f"the board's record {label}, which can't be read")
            continue
        peers.append(Peer(label, record, collect_predictions(label, record.task.name, rows)))
    return peers


def check_beside(record: Record, own: RecordPredictions, peers: Sequence[Peer]) -> Iterator[FieldProblem]:
    """Compare a record with others of its task; what lies at its own place is passed over."""
    others = [peer for peer in peers if peer.label != own.label]
    exact = "epochs" not in record.protocol.values  # as `probe`
    yield from check_plausibility(own, [peer.predictions for peer in others], exact)
    for peer in others:
        task = peer.record.task
        if peer.record.provenance.kind == "ours" and task.split == record.task.split:
            if _decided(task) != _decided(record.task):
                yield "task.card", f"decides other predictions than that of the board's {peer.label}"
            for field in ("manifest_digest", "split_digest"):
                if getattr(task, field) != getattr(record.task, field):
                    yield f"task.{field}", f"not that of the board's {peer.label}"
        if (task.manifest_digest, task.split_digest) == (
            record.task.manifest_digest,
            record.task.split_digest,
        ):
            yield from _check_true_changes(own, peer)


def check_destination(
    record: Record, stem: str, data: bytes, results: Path, unchecked: list[str]
) -> Iterator[FieldProblem]:
    """Check that a record's place on the board is free, and that no other method has its name there."""
    there = results / f"{stem}{RECORD}"
    folder = results
    for part in f"{stem}{RECORD}".split("/"):
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if part not in names and (near := {name.lower(): name for name in names}.get(part.lower())):
            yield "", f"differs from the board's {as_plain(near)} only in upper and lower case"
        folder /= part
    if there.exists() and there.read_bytes() != data:
        try:
            if load_record(there).provenance.kind == "ours":
                yield "", "the board has this row already, measured by its maintainers"
        except ResultError as error:
            message = error.message.removeprefix(f"{there}: ")
            yield "", f"the board has this row already, which can't be told apart: {message}"
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


def _decided(task: TaskInfo) -> dict[str, Any]:
    return deciding_facts(task.card, TaskCard)


def _check_true_changes(own: RecordPredictions, peer: Peer) -> Iterator[FieldProblem]:
    known = {fold: (pairs, y) for (fold, _), (pairs, y, _) in peer.predictions.units.items()}
    for (fold, seed), (pairs, y, _) in sorted(own.units.items()):
        if fold in known and not (known[fold][0] == pairs and np.array_equal(known[fold][1], y)):
            place = f"predictions, fold {fold}, seed {seed}"
            yield place, f"other pairs or true changes than in {peer.label}"
