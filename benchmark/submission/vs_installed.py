"""A record against this installation: its task, data, split, protocol and method. No plugin is loaded."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pydantic

from comface_bench.core.card import CHIPS, MethodCard, card_digest, facts, fixed_facts
from comface_bench.core.digest import digest
from comface_bench.core.errors import BenchError, UsageError
from comface_bench.core.names import (
    differing,
    differing_task_options,
    format_name,
    method_options,
    parse_name,
)
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.registry import Registry, method_registry, task_registry
from comface_bench.core.unit import ENGINE_EPOCH
from comface_bench.submission.package import name_problem, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comface_bench.core.card import Checkpoint, TaskCard
    from comface_bench.core.registry import Entry
    from comface_bench.data.manifest import Manifest
    from comface_bench.data.splits import Split
    from comface_bench.data.task import Task
    from comface_bench.results.predictions import Prediction
    from comface_bench.results.schema import MethodInfo, Record, TaskInfo
    from comface_bench.submission.package import FieldProblem


OTHER_RELEASE: Final = "made by another release of comface-bench, or changed"

Tables = dict[tuple[str, Path], "Manifest"]
"""Data sets that were read, by loader and folder; several tasks share them."""

_LOOKALIKE = str.maketrans("015", "ols", "_.-,=")
_CARD = pydantic.TypeAdapter(MethodCard)
_PLAUSIBLE = {"feature_dim": (1, 10**7), "parameters": (0, 10**12)}
"""Least and most that a network may have; no number may stretch a page."""


class Installation:
    """The tasks and methods of this installation, read once for all records of a package.

    Args:
        data: Data root of tasks whose data don't ship; without one, their data aren't looked at.
    """

    def __init__(self, data: Path | None = None) -> None:
        self._data = data
        self._tables: Tables = {}

    @cached_property
    def tasks(self) -> Registry[TaskCard]:
        """The tasks that come with the package."""
        return task_registry(plugins=False)

    @cached_property
    def methods(self) -> Registry[MethodCard]:
        """The methods that come with the package."""
        return method_registry(plugins=False)

    def compare(
        self, record: Record, rows: Sequence[Prediction], unchecked: list[str]
    ) -> Iterator[FieldProblem]:
        """Yield what differs between a record, sound in itself, and what is known here.

        Args:
            record: The record.
            rows: Its predictions.
            unchecked: Receives what can't be checked.
        """
        bad_names = list(_check_names(record))
        yield from bad_names
        if bad_names:
            return
        yield from method_vs_installed(record.method, self.methods, unchecked)
        base, _ = parse_name(record.task.name)
        # Only fixed names are looked up: `csv:FILE` would open a file of the stranger's choice.
        if base not in self.tasks.names():
            yield "task.name", f"no task here is called {quote(base)}"
            return
        entry = self.tasks.get(base)
        yield from task_vs_installed(record.task, entry, rows, self._data, self._tables, unchecked)
        method = find_method(record.method.name, self.methods)
        own_head = (
            method.card.pretrained_head if method else record.method.card.get("pretrained_head") is True
        )
        yield from protocol_vs_installed(record, entry.card, own_head, known_chip(record.method, method))
        yield from check_leak(record, entry.card)


def check_leak(record: Record, task: TaskCard) -> Iterator[FieldProblem]:
    """Yield a finding if the method was trained on labels of the people that the task tests."""
    labels = record.method.card.get("labels_of")
    leaked = sorted(set(task.overlaps) & set(labels if isinstance(labels, list) else ()))
    if leaked:
        yield "method.card.labels_of", f"trained on the labels of {', '.join(leaked)}, which the task tests"


def _check_names(record: Record) -> Iterator[FieldProblem]:
    for field, name in (
        ("task.name", record.task.name),
        ("method.name", record.method.name),
        ("protocol.name", record.protocol.name),
    ):
        if problem := name_problem(name):
            yield field, problem
            continue
        try:
            parse_name(name)
        except UsageError as error:
            yield field, error.message


def same_card(stored: Mapping[str, Any], card: MethodCard | TaskCard) -> bool:
    """Return whether a stored card has the fields of a card, and all of them but what it offers are equal.

    What a card merely offers, such as one more split, may differ between releases.
    """
    offered = facts(card)
    wanted = fixed_facts(offered, type(card))
    if set(stored) != set(offered):
        return False
    plain = {name: value for name, value in stored.items() if name in wanted}
    offers = [(stored[name], value) for name, value in offered.items() if name not in wanted]
    return digest(plain) == digest(wanted) and all(
        type(one) is type(other) and is_offer(one) for one, other in offers
    )


def is_offer(value: object) -> bool:
    """Return whether something is a list of texts, or such lists by name."""
    if isinstance(value, dict):
        return all(isinstance(listed, list) and is_offer(listed) for listed in value.values())
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def find_method(name: str, methods: Registry[MethodCard]) -> Entry[MethodCard] | None:
    """Return the method that a name means here, or None."""
    base, _ = parse_name(name)
    if base not in methods.names() and _family_of(base, methods) is None:
        return None
    try:
        return methods.get(base)
    except (BenchError, ImportError):  # a family's library may lack the model, or not be installed
        return None


def method_vs_installed(
    info: MethodInfo, methods: Registry[MethodCard], unchecked: list[str]
) -> Iterator[FieldProblem]:
    """Yield (field, what is wrong) of a method; `unchecked` receives what can't be known here."""
    base, _ = parse_name(info.name)
    for field, (least, most) in _PLAUSIBLE.items():
        if not least <= getattr(info, field) <= most:
            yield f"method.{field}", f"{getattr(info, field)} isn't plausible"
    entry = find_method(info.name, methods)
    if entry is not None:
        known = _card_of_file(info, entry, unchecked)
        if info.card_digest != card_digest(known) or not same_card(info.card, known):
            yield (
                "method.card",
                f"{base} is a method of this installation, with another card: {OTHER_RELEASE}",
            )
            return
        yield from _check_options(info, known)
        yield from _check_weights(info, entry, unchecked)
        return
    if (family := _family_of(base, methods)) is not None:
        yield "method.name", f"{family} has no such model here"
    elif near := next((name for name in methods.names() if _look_alike(name, base)), None):
        yield "method.name", f"looks like {near}, which is another method"
    unchecked.append(f"method {base}: not one of this installation; its card is the submitter's word")
    card = read_card(info.card)
    if card is None or card_digest(card) != info.card_digest:
        yield "method.card", f"not a method's card: {OTHER_RELEASE}"
        return
    yield from _check_options(info, card)


def _card_of_file(info: MethodInfo, entry: Entry[MethodCard], unchecked: list[str]) -> MethodCard:
    """Return the installed card, with what only weights of the submitter's own can say taken from the record.

    What the method itself has seen and was taught stays: such weights can only have seen more.
    """
    card, stored = entry.card, read_card(info.card)
    if stored is None or not _says_itself(info, entry):
        return card
    kept = ("trained_on", "labels_of", "supervision")
    if any({*getattr(card, name)} - {*getattr(stored, name)} for name in kept):
        return card
    # Prose, as the installed card has it, is no part of what is compared.
    found = dataclasses.replace(card, **{name: getattr(stored, name) for name in entry.hook("OF_WEIGHTS")})
    if found != card:
        unchecked.append(f"method {info.name}: where its weights started, which is the submitter's word")
    return found


def known_chip(info: MethodInfo, entry: Entry[MethodCard] | None) -> str | None:
    """Return a method's chip for aligned faces; None where only weights of the submitter's own can say it."""
    return None if entry is None or _says_itself(info, entry) else entry.card.chip


def _says_itself(info: MethodInfo, entry: Entry[MethodCard]) -> bool:
    """Return whether weights of the submitter's own may hold another network than the method's."""
    return "checkpoint" in info.options and entry.hook("configure_method") is not None


def read_card(stored: Mapping[str, Any]) -> MethodCard | None:
    """Read a stranger's card back, every fact of its declared type; None if it isn't one."""
    try:
        card = _CARD.validate_json(json.dumps({**stored, "build": ""}), strict=True)
    except pydantic.ValidationError:
        return None
    return card if digest(facts(card)) == digest(stored) else None


def protocol_vs_installed(
    record: Record, task: TaskCard, own_head: bool, chip: str | None
) -> Iterator[FieldProblem]:
    """Yield (field, what is wrong) of a protocol: its name must mean these values here.

    Args:
        record: The record.
        task: Card of its task.
        own_head: Whether the method brings a pair head.
        chip: The method's for aligned faces; None where it isn't known here, so that it may be any.
    """
    name, overrides = parse_name(record.protocol.name)
    align = record.protocol.values.get("align")
    if chip is None and isinstance(align, dict):
        chip = str(align.get("chip", ""))
    try:
        protocol = resolve_protocol(
            name, task.family, overrides, own_head, chip=next(iter(CHIPS)) if chip is None else chip
        )
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


def _check_options(info: MethodInfo, card: MethodCard) -> Iterator[FieldProblem]:
    """Check that the card offers the options, and that the name shows those that differ from its defaults."""
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


def _check_weights(
    info: MethodInfo, entry: Entry[MethodCard], unchecked: list[str]
) -> Iterator[FieldProblem]:
    card = entry.card
    if "checkpoint" in info.options:
        unchecked.append(f"method {info.name}: its weights, which are the submitter's own")
    elif entry.hook("find_weights") or (card.checkpoint and not _names_bytes(card.checkpoint)):
        if info.checkpoint_digest is not None:
            unchecked.append(f"method {info.name}: whether its weights are the authors'")
    elif card.checkpoint is None:
        if info.checkpoint_digest is not None:
            yield "method.checkpoint_digest", "a method that needs no weights has some"
    elif not (info.checkpoint_digest or "").startswith(card.checkpoint.sha256):
        yield "method.checkpoint_digest", f"not the weights that the authors of {card.name} publish"


def _names_bytes(checkpoint: Checkpoint) -> bool:
    """Return whether a record's digest of a file can be the published one, which is that of its bytes."""
    return bool(checkpoint.sha256) and not checkpoint.file.endswith(".safetensors")


def _look_alike(one: str, other: str) -> bool:
    """Return whether two names are easily mistaken for each other."""
    return one.lower().translate(_LOOKALIKE) == other.lower().translate(_LOOKALIKE)


def task_vs_installed(
    info: TaskInfo,
    entry: Entry[TaskCard],
    rows: Sequence[Prediction],
    data: Path | None,
    tables: Tables,
    unchecked: list[str],
) -> Iterator[FieldProblem]:
    """Yield (field, what is wrong) of a task.

    Args:
        info: As the record has it.
        entry: The task of that name here.
        rows: The record's predictions.
        data: Data root of what doesn't ship; None looks at shipped data only.
        tables: Data sets read so far.
        unchecked: Receives what can't be checked.
    """
    from comface_bench.data.task import configure

    _, options = parse_name(info.name)
    if options.setdefault("split", info.split) != info.split or info.split not in entry.card.splits:
        yield "task.split", f"{quote(info.split)} isn't a split that {entry.card.name} offers"
        return
    try:
        card, chosen = configure(entry, options)
    except BenchError as error:
        yield "task.name", error.message
        return
    if info.name != (wanted := format_name(card.name, differing_task_options(card, chosen))):
        yield "task.name", f"with these options it is called {wanted}"
    if info.card_digest != card_digest(card) or not same_card(info.card, card):
        yield "task.card", f"not the card of {card.name} here: {OTHER_RELEASE}"
        return
    if info.folds != len(info.fold_subjects):
        yield "task.folds", f"{info.folds}, but subjects of {len(info.fold_subjects)} folds are listed"
        return
    task = open_installed_task(entry, options, data, tables, unchecked)
    if task is None:
        yield from check_split_file(info, card, unchecked)
    elif info.manifest_digest != task.table.digest:
        yield "task.manifest_digest", f"not the data that {card.name} has here"
    else:
        yield from _check_folds(info, task.split, task.table.subject_names)
        yield from _check_true_changes(task, info, rows)


def open_installed_task(
    entry: Entry[TaskCard], options: dict[str, str], data: Path | None, tables: Tables, unchecked: list[str]
) -> Task | None:
    """Open a task with its data; where that fails, `unchecked` receives the reason."""
    from comface_bench.data.task import open_task

    name = entry.card.name
    if not entry.card.ships and data is None:
        unchecked.append(f"{name}: manifest digest and true changes, because its data aren't here")
        return None
    try:
        return open_task(entry, options, data, tables)
    except BenchError as error:
        unchecked.append(f"{name}: manifest digest and true changes ({error.message})")
        return None


def check_split_file(info: TaskInfo, card: TaskCard, unchecked: list[str]) -> Iterator[FieldProblem]:
    """Compare with a published split where the data aren't here; subjects are numbered by their names."""
    from comface_bench.data.splits import read_split

    published = Path(str(importlib.resources.files("comface_bench.tasks"))) / "splits" / f"{info.split}.json"
    if card.test_data is not None or not published.is_file():
        unchecked.append(
            f"{info.name}: digest and subjects of split {info.split}, which follow from the data"
        )
        return
    split = read_split(published)
    subjects = sorted(split.subjects)
    if (fraction := parse_name(info.name)[1].get("train_fraction")) is not None:
        split = split.keep_training(Fraction(fraction), card.data)
    yield from _check_folds(info, split, subjects)


def _check_folds(info: TaskInfo, split: Split, subjects: Sequence[str]) -> Iterator[FieldProblem]:
    from comface_bench.data.splits import PARTS
    from comface_bench.results.schema import FoldSubjects

    if info.split_digest != split.digest:
        yield "task.split_digest", f"not the published folds of {info.split}"
    if info.folds != len(split.folds):
        yield "task.folds", f"{info.folds}, but {info.split} has {len(split.folds)}"
        return
    number = {subject: place for place, subject in enumerate(subjects)}
    for place, (fold, stored) in enumerate(zip(split.folds, info.fold_subjects, strict=True)):
        expected = FoldSubjects.of(*([number[name] for name in fold.subjects(part)] for part in PARTS))
        if stored != expected:
            yield f"task.fold_subjects.{place}", f"not the subjects of fold {place} of {info.split}"


def _check_true_changes(task: Task, info: TaskInfo, rows: Sequence[Prediction]) -> Iterator[FieldProblem]:
    """Compare pairs, subjects and true changes with those that the task has."""
    stored: dict[tuple[int, int], set[tuple[str, int, float]]] = {}
    for row in rows:
        stored.setdefault((row.fold, row.seed), set()).add((row.pair_id, row.subject, row.y))
    for (fold, seed), pairs in sorted(stored.items()):
        if fold >= min(info.folds, len(task.folds)):
            continue
        listed = task.pairs(fold, "test")
        names = task.sampler.identifiers(listed)
        truth = {
            (name, int(subject), float(target))
            for name, subject, target in zip(names, listed.subject, listed.target, strict=True)
        }
        if pairs != truth:
            count = len(pairs ^ truth)
            yield f"predictions, fold {fold}, seed {seed}", f"{count} pairs or true changes aren't the task's"
