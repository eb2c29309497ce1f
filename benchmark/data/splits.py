"""Splits: training, validation and test subjects of each fold.

Published splits are JSON files of subject ids with a digest. Rule splits (`balanced-K`, `leave-one-out`,
`patient-days`, `other-patients`, `four-folds`) are computed from the subjects and written into every record
by their digest. No subject is ever in two parts of a fold; `check_people` sees to it that no person is two
subjects.

A split of the kind `days` is of models that are made for each person: who is tested may train such a model,
too, on days that aren't tested (`data/patient_days.py`). Its other parts know none of the tested people.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from comface_bench.core.card import SplitKind
from comface_bench.core.digest import digest
from comface_bench.core.display import short_repr
from comface_bench.core.errors import SplitError
from comface_bench.core.files import replace_file
from comface_bench.core.names import did_you_mean, find_spellings
from comface_bench.core.problems import ProblemList
from comface_bench.core.unit import seed_for

if TYPE_CHECKING:
    from comface_bench.data.manifest import Manifest

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")

PatientRule = Literal["patient-days", "other-patients", "four-folds"]
Days = Mapping[str, int]
"""Patient → number of days with an image before and one after treatment."""

_FORM = 'It is JSON: {"name": …, "digest": …, "folds": [{"train": […], "validation": […], "test": […]}, …]}'

ADAPTED = 15 / 39
"""Share of the patients that have models of their own: 15, and 24 others (supplement, B.2)."""
ENOUGH_DAYS = 4
"""One is tested, and up to three train (supplement, B.2)."""


@dataclass(frozen=True)
class Fold:
    """Subjects of one fold, by part."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __repr__(self) -> str:
        sizes = (len(self.train), len(self.validation), len(self.test))
        return "<Fold: {} people train, {} validate, {} test>".format(*sizes)

    def subjects(self, part: Part) -> tuple[str, ...]:
        """Return the subjects of a part."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]


@dataclass(frozen=True)
class Split:
    """Folds over one set of subjects.

    Attributes:
        name: Letters, digits, `.`, `_` and `-`: it becomes part of file names.
        folds: The folds.
        source: Where the folds come from.
        covering: Every fold holds every subject; not so where another data set is tested, or where training
            people are left out.
        untested: Subjects that no fold tests, on purpose.
        kind: `subjects` tests people of whom no image trains. `days` tests days of people who train models of
            their own on other days; nobody of them is in another part.

    Raises:
        SplitError: The name can't be one, a part is empty, a subject is in two parts of a fold, the folds
            don't cover the same subjects though they should, or one is tested that mustn't be.
    """

    name: str
    folds: tuple[Fold, ...]
    source: str = ""
    covering: bool = True
    untested: frozenset[str] = frozenset()
    kind: SplitKind = "subjects"

    def __repr__(self) -> str:
        return short_repr("Split", self.name, f"{len(self.folds)} folds", self.source)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise SplitError(f"split {self.name!r}: a name has only letters, digits, `.`, `_` and `-`")
        if not self.folds:
            raise SplitError(f"split {self.name} has no fold")
        everyone = self.subjects
        for number, fold in enumerate(self.folds):
            listed = [subject for part in PARTS for subject in fold.subjects(part)]
            twice = sorted(subject for subject, times in Counter(listed).items() if times > 1)
            if twice:
                raise SplitError(f"split {self.name}, fold {number}: {', '.join(twice)} stand more than once")
            empty = [part for part in PARTS if not fold.subjects(part)]
            if empty:
                raise SplitError(f"split {self.name}, fold {number}: no subject in {', '.join(empty)}")
            if self.covering and set(listed) != everyone:
                missing = ", ".join(sorted(everyone - set(listed)))
                raise SplitError(f"split {self.name}, fold {number} lacks {missing}")
            if wrong := sorted(self.untested & set(fold.test)):
                raise SplitError(
                    f"split {self.name}, fold {number} tests {', '.join(wrong)}, who are untested"
                )
        if self.kind == "days" and (shared := self._tested & self._taught):
            raise SplitError(
                f"split {self.name} tests days of {', '.join(sorted(shared))}, who train in another fold"
            )

    @property
    def _tested(self) -> set[str]:
        return {subject for fold in self.folds for subject in fold.test}

    @property
    def _taught(self) -> set[str]:
        return {subject for fold in self.folds for subject in (*fold.train, *fold.validation)}

    @property
    def subjects(self) -> set[str]:
        """All subjects of all folds."""
        return {subject for fold in self.folds for part in PARTS for subject in fold.subjects(part)}

    @property
    def digest(self) -> str:
        """SHA-256 of the folds; the order of subjects within a part doesn't matter."""
        return split_digest([{part: sorted(fold.subjects(part)) for part in PARTS} for fold in self.folds])

    def check_tested_once(self) -> None:
        """Check that pooling the folds' test pairs counts every subject once, but for those `untested`.

        Raises:
            SplitError: A subject is tested in no fold, or in several.
        """
        tested = Counter(subject for fold in self.folds for subject in fold.test)
        wrong = sorted(subject for subject in self.subjects - self.untested if tested[subject] != 1)
        if wrong:
            raise SplitError(
                f"split {self.name} must test each subject once, but not so {_listed(wrong)}",
                "Put each subject into the test part of one fold.",
            )

    def keep_training(self, fraction: Fraction, seed_name: str) -> Split:
        """Return the split with only a part of each fold's training people; validation and test stay.

        A fold's people are put in an order that is drawn by its number and the data set; the first of them
        are kept, ⌈fraction · n⌉ of n, so that the people of a smaller fraction are among those of a larger.

        Args:
            fraction: Above 0, 1 at most. Exact, since 0.55 · 100 as floating point is more than 55.
            seed_name: Name that the seeds of the orders are derived from: the data set's.
        """
        folds = []
        for number, fold in enumerate(self.folds):
            order = sorted(fold.train)
            random.Random(seed_for("split", f"{seed_name}/train", number)).shuffle(order)  # noqa: S311 - no secret
            kept = order[: math.ceil(fraction * len(order))]
            folds.append(dataclasses.replace(fold, train=tuple(sorted(kept))))
        source = f"{self.source}, {float(fraction):g} of the training people"
        return dataclasses.replace(self, folds=tuple(folds), source=source, covering=False)

    def cross_dataset(self, here: str, there: str, subjects: Sequence[str]) -> Split:
        """Return the cross-dataset split: trained on this data set, tested on all subjects of another.

        Args:
            here: Name of this data set's folder, which its subjects' names get in front of them.
            there: That of the other data set, likewise. Both as `Manifest.join` has them.
            subjects: Those of the other data set.
        """

        def prefixed(folder: str, names: Sequence[str]) -> tuple[str, ...]:
            return tuple(f"{folder}/{name}" for name in names)

        tested = prefixed(there, subjects)
        folds = tuple(
            Fold(prefixed(here, fold.train), prefixed(here, fold.validation), tested) for fold in self.folds
        )
        return Split(self.name, folds, f"{self.source}, tested on {there}", covering=False)

    def check(self, subjects: Sequence[str], data: str) -> None:
        """Check that a data set holds exactly the split's subjects.

        Raises:
            SplitError: Names the subjects that one side lacks.
        """
        strangers = sorted(set(subjects) - self.subjects)
        missing = sorted(self.subjects - set(subjects))
        if strangers:
            raise SplitError(f"split {self.name} doesn't know {_listed(strangers)} of {data}")
        if missing:
            raise SplitError(f"{data} lacks {_listed(missing)} of split {self.name}")


def split_digest(folds: Sequence[Mapping[str, Sequence[str]]]) -> str:
    """Return the SHA-256 of folds given as part → sorted subjects."""
    return digest(list(folds))


def read_split(path: Path) -> Split:
    """Read a split file and check its digest.

    Raises:
        SplitError: The file is malformed, its digest doesn't fit, or its folds overlap.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folds = tuple(Fold(*(_names(fold[part]) for part in PARTS)) for fold in content["folds"])
        untested = frozenset(_names(content.get("untested", [])))
        kind = content.get("kind", "subjects")
        if kind not in get_args(SplitKind):
            raise ValueError(f"its kind is {json.dumps(kind)[:40]}, not {' or '.join(get_args(SplitKind))}")
        covering = kind == "subjects" and not untested
        split = Split(content["name"], folds, content.get("source", ""), covering, untested, kind)
        stated = content["digest"]
    except OSError as error:
        hint = "Name a split file, or a rule: -o split=balanced-4"
        raise SplitError(f"{path}: can't be read: {error.strerror}", hint) from error
    except KeyError as error:
        raise SplitError(f"{path}: not a split file: {error} is missing", _FORM) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise SplitError(f"{path}: not a split file: {error}", _FORM) from error
    except SplitError as error:
        hint = "Correct the file: each fold holds every subject once, in train, validation or test."
        raise SplitError(f"{path}: {error.message}", hint) from error
    if split.digest != stated:
        raise SplitError(
            f"{path}: its folds have digest {split.digest}, not {stated}",
            "Take the file as it was given out; if the folds are changed on purpose, correct its digest.",
        )
    return split


def _names(listed: object) -> tuple[str, ...]:
    """Return a part's subjects as a split file lists them."""
    if isinstance(listed, list) and all(isinstance(name, str) for name in listed):
        return tuple(listed)
    raise TypeError(f"a part of a fold is {json.dumps(listed)[:40]}, not a list of names in quotes")


def write_split(split: Split, path: Path) -> None:
    """Write a split file, with its digest."""
    content = {
        "name": split.name,
        "source": split.source,
        "digest": split.digest,
        **({"kind": split.kind} if split.kind != "subjects" else {}),
        **({"untested": sorted(split.untested)} if split.untested else {}),
        "folds": [{part: sorted(fold.subjects(part)) for part in PARTS} for fold in split.folds],
    }
    replace_file(path, f"{json.dumps(content, indent=1)}\n".encode())


def balanced_split(name: str, weights: Mapping[str, int], folds: int, seed_name: str) -> Split:
    """Split subjects into folds whose weights (numbers of pairs) are nearly equal.

    Subjects are shuffled by the seed of `seed_name`, then placed heaviest first into the lightest
    group. Fold k tests group k. Its validation part is taken from the other subjects: each group
    gives its every fourth subject, so about a quarter of what isn't tested chooses the epoch.

    Args:
        name: Name of the split.
        weights: Subject → number of pairs.
        folds: Number of folds, at least 2.
        seed_name: Name that the shuffle's seed is derived from.

    Raises:
        SplitError: There are too few subjects.
    """
    if folds < 2:
        raise SplitError(f"split {name}: there must be at least 2 folds")
    if len(weights) < 2 * folds:
        raise SplitError(f"split {name}: {len(weights)} subjects are too few for {folds} folds")
    order = sorted(weights)
    random.Random(seed_for("split", seed_name)).shuffle(order)  # noqa: S311 - no secret
    groups: list[list[str]] = [[] for _ in range(folds)]
    for subject in sorted(order, key=lambda subject: -weights[subject]):
        lightest = min(groups, key=lambda group: (sum(weights[member] for member in group), len(group)))
        lightest.append(subject)
    made = []
    for number in range(folds):
        rest = [subject for group in groups[number + 1 :] + groups[:number] for subject in group]
        made.append(_with_validation(rest, groups[number]))
    return Split(name, tuple(made), f"rule balanced-{folds}, seed of {seed_name!r}")


def leave_one_out_split(name: str, weights: Mapping[str, int]) -> Split:
    """Test each subject in a fold of its own; every fourth of the others validates.

    Raises:
        SplitError: There are fewer than three subjects.
    """
    order = sorted(weights)
    if len(order) < 3:
        raise SplitError(f"split {name}: {len(order)} subjects are too few to leave one out")
    made = []
    for number, subject in enumerate(order):
        made.append(_with_validation(order[number + 1 :] + order[:number], [subject]))
    return Split(name, tuple(made), "rule leave-one-out")


def patient_split(
    name: str, rule: PatientRule, tested: int | None, days: Days, weights: Mapping[str, int], seed_name: str
) -> Split:
    """Test some of the patients, the same ones under each rule, so that their own models meet other models.

    They are drawn by the seed of `seed_name` among those with the most days, of which more than `ENOUGH_DAYS`
    count no more.

    - `patient-days`: one fold of the kind `days`. All others pre-train, but for every fourth, who validates.
    - `other-patients`: four folds, each of which tests a quarter of them. All folds train on the others
      alone, of whom another quarter validates in each: no model knows any of those who are tested.
    - `four-folds`: the folds of `balanced-4`, of which only they are tested. In each fold, those of them whom
      another fold tests train or validate with everybody else. A fold that would test nobody is left out.

    Args:
        name: Name of the split.
        rule: One of the above.
        tested: How many patients are tested; None takes `ADAPTED` of all, rounded.
        days: How many days of each patient have an image before and one after treatment.
        weights: Patient → number of pairs.
        seed_name: Name that seeds are derived from.

    Raises:
        SplitError: There are too few patients, or too few have two such days.
    """
    able, least = sum(count > 1 for count in days.values()), 1 if rule == "patient-days" else 4
    wanted, most = round(ADAPTED * len(days)) if tested is None else tested, min(able, len(days) - 4)
    if not least <= wanted <= most:
        raise SplitError(
            f"split {name}: {wanted} patients can't be tested. There are {len(days)}, of whom {able} have two"
            " days with images of both phases, and 4 others are needed at least",
            f"Say how many: -o split={rule}-N, N from {least} to {most}"
            if least <= most
            else "Add patients with at least two days, each with images of phase pre and of phase post.",
        )
    order = sorted(days)
    random.Random(seed_for("split", f"{seed_name}/patients")).shuffle(order)  # noqa: S311 - no secret
    order.sort(key=lambda patient: -min(days[patient], ENOUGH_DAYS))
    chosen, others = order[:wanted], order[wanted:]
    source = f"rule {rule}, {wanted} of {len(days)} patients, seed of {seed_name!r}"
    untested = frozenset(others)
    if rule == "patient-days":
        return Split(name, (_with_validation(others, chosen),), source, untested=untested, kind="days")
    if rule == "four-folds":
        folds = tuple(
            Fold(fold.train, fold.validation, tuple(patient for patient in fold.test if patient in chosen))
            for fold in balanced_split(name, weights, 4, seed_name).folds
            if not untested.issuperset(fold.test)
        )
    else:
        quarters = [others[number::4] for number in range(4)]
        folds = tuple(
            Fold(_ascending(set(others) - set(quarter)), _ascending(quarter), _ascending(chosen[number::4]))
            for number, quarter in enumerate(quarters)
        )
    return Split(name, folds, source, covering=False, untested=untested)


def _ascending(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def names_rule(name: str) -> bool:
    """Return whether a name is that of a rule, as `rule_split` takes it."""
    rule, _, count = name.rpartition("-")
    return name in ("leave-one-out", *get_args(PatientRule)) or (
        rule in ("balanced", *get_args(PatientRule)) and count.isdecimal()
    )


def rule_split(
    name: str,
    weights: Mapping[str, int],
    seed_name: str,
    days: Days | None = None,
    offered: Iterable[str] = (),
) -> Split:
    """Compute the split that a rule's name stands for.

    Args:
        name: Of the rule, such as `balanced-4`.
        weights: Subject → number of pairs.
        seed_name: Name that draws are seeded by.
        days: As `patient_split` takes it; None where there are no days.
        offered: Names of further splits, which may have been meant.

    Raises:
        SplitError: The name is no rule, or there are too few subjects.
    """
    rule, _, count = name.rpartition("-")
    if rule == "balanced" and count.isdecimal():
        return balanced_split(name, weights, int(count), seed_name)
    if name == "leave-one-out":
        return leave_one_out_split(name, weights)
    for known in get_args(PatientRule):
        if name == known or (rule == known and count.isdecimal()):
            tested = int(count) if rule == known else None
            return patient_split(name, known, tested, days or {}, weights, seed_name)
    near = did_you_mean(
        name, dict.fromkeys([*offered, "balanced-4", "leave-one-out", *get_args(PatientRule)])
    )
    raise SplitError(
        f"no split is called {name!r}.{near}",
        "Rules: balanced-4 (any number), leave-one-out; for patients with days also"
        f" {', '.join(get_args(PatientRule))}",
    )


def _with_validation(rest: Sequence[str], test: Sequence[str]) -> Fold:
    validation = rest[1::4]
    return Fold(tuple(sorted(set(rest) - set(validation))), tuple(sorted(validation)), tuple(sorted(test)))


def _listed(subjects: Sequence[str]) -> str:
    shown = ", ".join(subjects[:5])
    return (
        f"subject {shown}" if len(subjects) == 1 else f"subjects {shown}{' …' if len(subjects) > 5 else ''}"
    )


def check_people(
    table: Manifest,
    target: str,
    allowed: str,
    problems: ProblemList,
    equal: Iterable[Sequence[int]] | None = None,
) -> list[str]:
    """Check that no person is two subjects, and that no picture shows two people or has two labels.

    Args:
        table: The data set.
        target: The label that one picture can't have twice.
        allowed: Value of the option `allow`: what is meant and no problem.
        problems: Receives each name that seems to be another spelling of one, and, by subjects, equal images
            of two people or with two labels.
        equal: Groups of rows whose images are equal; by default those whose files are.

    Returns:
        Notes on equal images that are no problem: those whose labels agree, and frames of one video, since a
        camera that stalls repeats a frame.
    """
    places = table.places or table.images
    labels = table.labels.get(target)
    spellings = find_spellings(table.subjects) if "alike-subjects" not in allowed else []
    clashes: dict[tuple[str, str], list[tuple[int, int]]] = {}
    notes: Counter[str] = Counter()
    pairs = _find_repeats(table.contents) if equal is None else _pair_up(equal)
    labelled: dict[int, int] = {}
    for first, row in pairs:
        people = table.subjects[first], table.subjects[row]
        rows = first, row
        if labels is not None and people[0] == people[1] and labels[row] == labels[row]:
            # One without a label says nothing of the labels of the others: they are held to each other.
            rows = labelled.setdefault(first, first if labels[first] == labels[first] else row), row
        differ = labels is not None and abs(labels[rows[0]] - labels[rows[1]]) > 0
        if people[0] != people[1] or (differ and not table.video):
            if "equal-images" not in allowed:
                clashes.setdefault(people, []).append(rows)
        else:
            stalled = f", with another {target}, as where a camera stalls" if differ else ""
            notes[f"images that equal another one of the same person{stalled}"] += 1
    meant = [kind for kind, found in (("alike-subjects", spellings), ("equal-images", clashes)) if found]
    option = f"-o allow={'-and-'.join(sorted({*meant, *allowed.split('-and-')} - {'', 'none'}))}"
    for name, other in spellings:
        first, row = table.subjects.index(name), table.subjects.index(other)
        problems.add(
            places[row],
            f"subject {other!r} seems to be {name!r} ({places[first]}) in another spelling",
            "Write each name in one way: a person who counts as two is both trained on and tested."
            f" If they are two people: {option}",
        )
    for people, found in clashes.items():
        first, row = found[0]
        image = table.images[row] if table.images[row] != places[row] else "this image"
        if people[0] != people[1]:
            what = f"of {people[1]} is the same picture as {table.images[first]} of {people[0]}"
        else:
            here, there = (table.labels[target][place] for place in (row, first))
            what = (
                f"is the same picture as {table.images[first]}, but its {target} is {here:g}, not {there:g}"
            )
        more = f" (and {len(found) - 1:,} more such images)" if found[1:] else ""
        problems.add(
            places[row],
            f"{image} {what}{more}",
            f"Take out the one that is wrong. If both are meant: {option}",
        )
    return [f"{what}: {count:,}" for what, count in notes.items()]


def _find_repeats(contents: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield each row whose content an earlier row has, as (first such row, row)."""
    first: dict[str, int] = {}
    for row, content in enumerate(contents):
        if (before := first.setdefault(content, row)) != row:
            yield before, row


def _pair_up(groups: Iterable[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Yield each row of a group but the first, as (first row of the group, row)."""
    for first, *others in groups:
        for row in others:
            yield first, row
