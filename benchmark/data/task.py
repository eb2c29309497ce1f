"""Tasks at run time: a card together with its data, folds and pairs."""

from __future__ import annotations

import contextlib
import importlib.resources
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.core.card import PairRule, TaskCard, data_location, data_root
from comface_bench.core.display import html_facts, short_repr, with_unit
from comface_bench.core.errors import DataFormatError, DataMissingError, SplitError, UsageError
from comface_bench.core.names import (
    TASK_OPTIONS,
    differing_task_options,
    format_name,
    parse_name,
    task_options,
)
from comface_bench.core.problems import ProblemList
from comface_bench.core.registry import Entry, Registry, task_registry
from comface_bench.core.unit import seed_for
from comface_bench.data.manifest import Manifest
from comface_bench.data.pairs import PairList, PairSampler
from comface_bench.data.patient_days import paired_days
from comface_bench.data.splits import (
    PARTS,
    Fold,
    Part,
    Split,
    check_people,
    names_rule,
    read_split,
    rule_split,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


_MANY = 8
"""People from which on folds of several are advised."""
_ADVICE_ON_PAIRS: Mapping[PairRule, str] = {
    "all": "Pairs are of two labelled images of one person: add such images.",
    "pre-post": "Pairs are of an image of phase pre and one of phase post of one person: add such images.",
    "pre-post-same-day": "Pairs are of an image of phase pre and one of phase post with the same session:"
    " give images that belong together one session, such as the day, or take any: -o pairs=pre-post",
}
"""What to do where nobody has a pair of a rule."""


@dataclass(frozen=True, eq=False)
class Task:
    """A task with its data.

    Attributes:
        card: Declared facts.
        chosen: All options as resolved, the split's name among them.
        table: The manifest.
        split: The folds.
    """

    card: TaskCard
    chosen: Mapping[str, str]
    table: Manifest
    split: Split

    def __repr__(self) -> str:
        change = f"change of {with_unit(self.card.target, self.card.unit, ' in ')}"
        return short_repr("Task", self.name, change, self.table.size_text, f"{len(self.folds)} folds")

    def _repr_html_(self) -> str:
        shown = {
            "task": self.card.summary,
            "change of": with_unit(self.card.target, self.card.unit, ", "),
            "data": f"{self.table.name}: {self.table.size_text}",
            "folds": f"{len(self.folds)}, split {self.split.name}",
            "licence": self.card.licence,
        }
        return html_facts(self.name, shown)

    @property
    def name(self) -> str:
        """The task's name with the options that differ from its defaults."""
        return format_name(self.card.name, differing_task_options(self.card, self.chosen))

    @property
    def seed_name(self) -> str:
        """Name that head draws and dropout are seeded by; pairs are seeded by the data set."""
        return self.card.seeds_of or self.card.name

    @property
    def manifest(self) -> Any:
        """The manifest as a pandas table: image, subject, session, phase and one column per label."""
        return self.table.frame

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The folds, each with its train, validation and test subjects."""
        return self.split.folds

    @cached_property
    def labels(self) -> NDArray[np.float64]:
        """The target's label of each image; NaN where an image has none."""
        return self.table.target(self.card.target, self.card.label_range)

    @cached_property
    def sampler(self) -> PairSampler:
        """Sampler of the task's pairs."""
        return PairSampler(self.table, self.labels)

    def pairs(self, fold: int, part: Part = "test") -> PairList:
        """Return the fixed pairs of a part: all that the rule allows, or the card's cap on them.

        For `train` this lists the pairs that epochs are drawn from, under the same cap.
        """
        if (fold, part) not in self._pairs:
            self._pairs[fold, part] = self._list_pairs(fold, part)
        return self._pairs[fold, part]

    @cached_property
    def _pairs(self) -> dict[tuple[int, Part], PairList]:
        # A record's heads, checks and results all ask for the same few lists.
        return {}

    def _list_pairs(self, fold: int, part: Part) -> PairList:
        if not 0 <= fold < len(self.folds):
            raise UsageError(
                f"task {self.name} has no fold {fold}", f"Its folds are 0 to {len(self.folds) - 1}."
            )
        if part not in PARTS:
            raise UsageError(f"a fold has no part {part!r}", f"Its parts: {', '.join(PARTS)}")
        rule = self.card.train_pairs if part == "train" else self.card.test_pairs
        subjects = self.folds[fold].subjects(part)
        # One seed for all folds and parts: a subject's pairs are the same wherever it stands, and tasks on
        # the same data set test the same ones.
        seed = seed_for("pairs", self.card.data)
        sampler = self.sampler  # Before the try: a label out of range is another matter than a lack of pairs.
        try:
            return sampler.list_pairs(subjects, rule, self.card.test_pairs_per_subject, seed)
        except DataFormatError as error:
            own = {subject for one in self.folds for subject in (*one.train, *one.validation)}
            raise DataFormatError(
                f"{self.name}, fold {fold}, {part}: {error.message} (subjects {', '.join(subjects[:5])})",
                advise_split(self.card, sampler, own),
            ) from error

    def changes_in_training(self, fold: int) -> bool:
        """Return whether the label of any training pair of a fold changes."""
        groups = self.sampler.groups(self.folds[fold].train, self.card.train_pairs)
        sides = ((group.first, group.first if group.second is None else group.second) for group in groups)
        return any(np.ptp(self.labels[np.concatenate(both)]) > 0 for both in sides)

    def draw(self, fold: int, repetition: int, epoch: int, count: int) -> PairList:
        """Draw the training pairs of one epoch (1-based).

        The draw is seeded by the data set, not by the target: tasks that label the same images, as action
        units do, train on the same pairs, so that an image is rendered and encoded once for all of them.
        """
        seed = seed_for("pairs", f"{self.card.data}/epoch {epoch}", fold, repetition)
        return self.sampler.draw(self.folds[fold].train, self.card.train_pairs, count, seed)

    def draw_identity(self, fold: int, repetition: int) -> Hashable:
        """Return what decides `draw` beside epoch and count: where that is equal, so are x and y."""
        labelled = np.isnan(self.labels).tobytes()
        return (self.card.data, self.folds[fold].train, self.card.train_pairs, labelled, fold, repetition)

    def epoch_length(self, fold: int) -> int:
        """Return the training pairs of an epoch that follows the data, at least one.

        They are `pairs_per_image` of the card for each image of the fold's training part that has a label.
        """
        images = self.sampler.count_images(self.folds[fold].train)
        return max(1, round(self.card.pairs_per_image * images))


def load_task(name: str, data: Path | str | None = None, registry: Registry[TaskCard] | None = None) -> Task:
    """Load a task's manifest and folds.

    Args:
        name: Name of the task, options included (`age+split=leave-one-out`).
        data: Data root; see `data_root`.
        registry: Where to look the name up; the built-in tasks and installed plugins by default.

    Raises:
        UnknownNameError: No task has that name.
        DataMissingError: The data set isn't there; the message says how to get it.
        DataFormatError: It is there but malformed.
        DataProblemsError: A person seems to be two subjects, or a picture stands twice, and isn't meant to.
        SplitError: The folds don't fit the data.
        UsageError: An option that the task doesn't take.
    """
    base, options = parse_name(name)
    entry = (registry or task_registry()).get(base)
    return open_task(entry, options, Path(data) if data is not None else None)


def open_task(
    entry: Entry[TaskCard],
    options: Mapping[str, str],
    data: Path | None,
    manifests: dict[tuple[str, Path], Manifest] | None = None,
) -> Task:
    """Load the task of a registry entry; `manifests` keeps tables that several tasks share."""
    card, chosen = configure(entry, options)
    manifests = {} if manifests is None else manifests

    def table_of(folder: Path, name: str) -> Manifest:
        key = table_key(entry, card, folder)
        if key not in manifests:
            manifests[key] = read_manifest(entry, card, folder, name)
        return manifests[key]

    own = table = table_of(data_location(card, data), card.data)
    if card.test_data is not None:
        tested = table_of(data_root(data) / card.test_data, card.test_data)
        table = Manifest.join(own, tested)
    problems = ProblemList()
    check_people(table, card.target, chosen.get("allow", ""), problems)
    problems.raise_any()
    split = find_split(chosen["split"], card, own)
    chosen["split"] = split.name
    if card.aggregate == "pooled":
        split.check_tested_once()
    if "train_fraction" in chosen:
        split = split.keep_training(Fraction(chosen["train_fraction"]), card.data)
        _check_training_pairs(card, split, own)
    if card.test_data is not None:
        split = split.cross_dataset(own.root.name, tested.root.name, tested.subject_names)
    if split.kind == "days" and card.test_pairs != "pre-post-same-day":
        raise SplitError(
            f"split {split.name} tests one day at a time, but pairs of {card.name} may lie on two",
            "Test pairs of one day: -o pairs=pre-post-same-day",
        )
    return Task(card, chosen, table, split)


def _check_training_pairs(card: TaskCard, split: Split, table: Manifest) -> None:
    """Check that the training people who are left have pairs.

    Raises:
        SplitError: Those of a fold have none.
    """
    labels = table.target(card.target, card.label_range)
    counts = PairSampler(table, labels).counts(card.train_pairs)
    for number, fold in enumerate(split.folds):
        if not any(counts[subject] for subject in fold.train):
            raise SplitError(
                f"{card.name}, fold {number}: {split.source} are {', '.join(fold.train)}, who have no pair",
                "Take a larger part of them: -o train_fraction=0.25",
            )


def configure(entry: Entry[TaskCard], options: Mapping[str, str]) -> tuple[TaskCard, dict[str, str]]:
    """Return a task's card under its options, and all options as resolved.

    Raises:
        UsageError: The task doesn't take an option, or not that value.
    """
    chosen = task_options(entry.card, options)
    own = {key: value for key, value in chosen.items() if key not in TASK_OPTIONS}
    change = entry.hook("configure") if entry.card.options else None
    return (change(entry.card, own) if change else entry.card), chosen


def table_key(entry: Entry[TaskCard], card: TaskCard, place: Path) -> tuple[str, Path]:
    """Return what tells tables apart: the loader, and the folder or file that it reads."""
    # Loaders of two plugins may have one name, and a plugin's file other text than a moment ago.
    module = f"{entry.module}@{entry.source}" if card.read.startswith(":") else ""
    return f"{module}{card.read}", place


def read_manifest(
    entry: Entry[TaskCard],
    card: TaskCard,
    place: Path,
    name: str,
    problems: ProblemList | None = None,
) -> Manifest:
    """Read a data set by its task's loader.

    Args:
        entry: Where the loader is declared.
        card: The task's card.
        place: Folder or file that holds the data.
        name: Name of the data set.
        problems: As `Manifest.from_rows` takes it.

    Raises:
        DataMissingError: There is nothing at `place`; the message says how to get the data.
        DataProblemsError: The data are malformed.
    """
    if not place.exists():
        how = card.how_to_get or "Point --data at the folder that holds it."
        if outer := [folder for folder in place.resolve().parents[:2] if folder.name == place.name]:
            how = f"--data names the folder that holds {place.name}: --data {outer[0].parent}"
        raise DataMissingError(f"task {card.name} needs {place}, which doesn't exist", how)
    root = place if place.is_dir() else place.parent
    return Manifest.from_rows(name, root, entry.resolve(card.read)(place), problems)


def find_split(name: str, card: TaskCard, table: Manifest) -> Split:
    """Read or compute the folds that a split's name, rule or file stands for.

    Raises:
        SplitError: There is no such split, or it doesn't fit the subjects.
    """
    try:
        split = read_split(Path(name)) if name.endswith(".json") else _named_split(name, card, table)
        split.check(table.subject_names, card.data)
    except SplitError as error:
        if error.hint:
            raise
        labels = table.target(card.target, card.label_range)
        advice = advise_split(card, PairSampler(table, labels), table.subject_names)
        raise SplitError(error.message, advice) from error
    if name.endswith(".json"):
        _check_own_name(split, name, card, table)
    return split


def _named_split(name: str, card: TaskCard, table: Manifest) -> Split:
    """Read or compute the folds that a published split's name, or a rule's, stands for.

    Raises:
        SplitError: There is no such split, or too few subjects for the rule.
    """
    published = Path(str(importlib.resources.files("comface_bench.tasks"))) / "splits" / f"{name}.json"
    if name in card.splits and published.is_file():
        return read_split(published)
    labels = table.target(card.target, card.label_range)
    days = {subject: len(own) for subject, own in paired_days(table, labels).items()}
    return rule_split(name, PairSampler(table, labels).counts(), card.data, days, card.splits)


def _check_own_name(split: Split, file: str, card: TaskCard, table: Manifest) -> None:
    """Check that the folds of a file don't bear the name of other folds, with whose results theirs would mix.

    Raises:
        SplitError: They do.
    """
    if split.name not in card.splits and not names_rule(split.name):
        return
    with contextlib.suppress(SplitError):
        if _named_split(split.name, card, table).digest == split.digest:
            return
    raise SplitError(
        f"{file}: its folds aren't those of {split.name}, whose name they bear",
        'Give them a name of their own in the file, such as "name": "mine"; the digest stays.',
    )


def advise_split(card: TaskCard, sampler: PairSampler, subjects: Collection[str]) -> str:
    """Return the remedy for folds that don't fit: a rule by which each part of each fold has pairs.

    Args:
        card: The task.
        sampler: Of its pairs.
        subjects: Those that folds are made of.
    """
    sizes = {rule: sampler.counts(rule) for rule in ("all", card.train_pairs, card.test_pairs)}
    weights = {subject: sizes["all"][subject] for subject in subjects}
    if not any(sizes[card.test_pairs][subject] for subject in subjects):
        return _ADVICE_ON_PAIRS[card.test_pairs]
    rules = ["balanced-4", "leave-one-out", "balanced-3", "balanced-2"]
    # Few people are all needed for training.
    for name in rules if len(subjects) >= _MANY else rules[1:]:
        try:
            split = rule_split(name, weights, card.data)
        except SplitError:
            continue
        # Where another data set is tested, any test part will do.
        parts = PARTS if card.test_data is None else PARTS[:2]
        rule_of = {part: card.train_pairs if part == "train" else card.test_pairs for part in parts}
        if all(
            any(sizes[rule][subject] for subject in fold.subjects(part))
            for fold in split.folds
            for part, rule in rule_of.items()
        ):
            return f"Folds that fit: -o split={name}"
    if card.test_data is None and (lone := sorted(s for s in subjects if not sizes[card.test_pairs][s])):
        return f"Add images of people who have no pair, or take them out: {', '.join(lone)}"
    return "Add people with several images each: one at least trains, one validates and one is tested."
