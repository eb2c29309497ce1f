"""The record of a run: one JSON per task × protocol × method, in every version of its form.

Models refuse unknown fields and numbers that aren't finite, and are frozen. A record is checked against
itself: no (fold, seed) twice, folds within the split, metrics as the task names them. Records of earlier
versions are read by way of `migrate`; only the newest is written. Each version has a JSON Schema in a file;
that of the newest is generated from the models.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import pydantic
from pydantic import Field

from comface_bench.core.card import MethodCard, TaskCard, card_digest, deciding_facts, facts
from comface_bench.core.digest import digest
from comface_bench.core.display import brief, html_facts, html_table, short_repr, with_unit
from comface_bench.core.errors import UsageError
from comface_bench.core.names import parse_name
from comface_bench.core.unit import unit_key
from comface_bench.stats.metrics import MetricValue, describe_metric

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


SCHEMA_VERSION: Final = 3

UNDERTRAINED: Final = "still improving at the last epoch"
"""What is said of a record whose heads were, for half or more of them."""

Aggregate = Literal["pooled", "fold-mean"]
Count = Annotated[int, Field(ge=0)]
Metrics = dict[str, MetricValue]
Numbers = Annotated[str, Field(pattern=r"^\d+(,\d+)*$")]
Measure = Annotated[float, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _as_json(facts: dict[str, Any]) -> dict[str, Any]:
    """Copy free-form facts as JSON has them, so that a record read back equals the one written."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
    except TypeError as error:
        raise ValueError(str(error)) from None
    return plain


Facts = Annotated[dict[str, Any], pydantic.AfterValidator(_as_json)]


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __repr__(self) -> str:
        return short_repr(type(self).__name__, *self._facts())

    def __str__(self) -> str:
        return repr(self)

    def _facts(self) -> Iterable[str]:
        """Return what `repr` says; `model_dump` has all fields."""
        said = ", ".join(f"{name}={brief(str(getattr(self, name)), 30)}" for name in type(self).model_fields)
        return [said]


class FoldSubjects(_Model):
    """Subjects of one fold that trained, validated and tested: their numbers, ascending, with commas between.

    Numbers are those of the predictions. A subject in two parts makes the record invalid.
    """

    train: Numbers
    validation: Numbers
    test: Numbers

    @classmethod
    def of(cls, train: Iterable[int], validation: Iterable[int], test: Iterable[int]) -> Self:
        """Write three sets of subjects' numbers."""
        parts = [",".join(map(str, sorted(part))) for part in (train, validation, test)]
        return cls(train=parts[0], validation=parts[1], test=parts[2])

    def numbers(self) -> set[int]:
        """Return the numbers of all its subjects."""
        parts = (self.train, self.validation, self.test)
        return {int(number) for part in parts for number in part.split(",")}

    @pydantic.model_validator(mode="after")
    def _apart(self) -> Self:
        listed = Counter(",".join((self.train, self.validation, self.test)).split(","))
        twice = sorted((number for number, count in listed.items() if count > 1), key=int)
        if twice:
            raise ValueError(f"subject {', '.join(twice)} in two parts of a fold")
        return self


class TaskAbout(_Model):
    """Prose of the task's card, as far as it was known when the record was written.

    Attributes:
        summary: What is estimated, in a sentence; empty if unknown, like every field here.
        licence: Of the data.
        source: Who made the data, and where they were published.
    """

    summary: str = ""
    licence: str = ""
    source: str = ""


class MethodAbout(_Model):
    """Prose of the method's card, as far as it was known when the record was written.

    Attributes:
        summary: What it is, in a sentence; empty if unknown, like every field here.
        licence: Of the weights, or of the code where there are none.
        source: Where the weights or the code come from.
        paper: Where the method was published, or the supplement's tables that have it.
        training_scale: How many images were seen in pre-training.
        training_source: The kind of data that were, such as `Face images`.
    """

    summary: str = ""
    licence: str = ""
    source: str = ""
    paper: str = ""
    training_scale: str = ""
    training_source: str = ""


class TaskInfo(_Model):
    """The task: quantity, images, split and metrics.

    Attributes:
        name: Name of the task, such as `age` or `disfa-au12`.
        card: The card's declared facts.
        card_digest: Digest of the card.
        about: The card's prose.
        data: Name of the data set.
        target: Name of the quantity whose change is estimated.
        unit: Unit of the target, such as `kg`; also of MAE and RMSE.
        metrics: Names of the metrics, the primary one first.
        aggregate: Which summary counts: all folds pooled, or the mean over folds that share test pairs.
        manifest_digest: Digest of the data set's table.
        split: Name of the split.
        split_digest: Digest of the split's folds.
        folds: How many folds the split has.
        fold_subjects: Who is in which part of each fold; empty in records of before it was kept.
    """

    name: str
    card: Facts
    card_digest: str
    about: TaskAbout = TaskAbout()
    data: str
    target: str
    unit: str
    metrics: list[str]
    aggregate: Aggregate
    manifest_digest: str
    split: str
    split_digest: str
    folds: Annotated[int, Field(ge=1, le=100_000)]
    fold_subjects: list[FoldSubjects] = []

    def _facts(self) -> Iterable[str]:
        return [
            self.name,
            f"change of {with_unit(self.target, self.unit, ' in ')}",
            self.data,
            f"{self.folds} folds",
        ]

    @pydantic.model_validator(mode="after")
    def _all_folds(self) -> Self:
        if self.fold_subjects and len(self.fold_subjects) != self.folds:
            raise ValueError(f"{len(self.fold_subjects)} folds have subjects, not {self.folds}")
        return self


class MethodInfo(_Model):
    """The method: the backbone that encoded the images.

    Attributes:
        name: Name of the method, options included, such as `scratch+backbone=resnet18`.
        card: The card's declared facts.
        card_digest: Digest of the card.
        about: The card's prose; in a submission, what its note says.
        options: The method's options as resolved.
        checkpoint_digest: Of the weights: of the tensors of a safetensors file (of its bytes in records of
            epoch 1), of any other file's bytes; None where the method needs none.
        feature_dim: Length of a feature.
        parameters: Number of the backbone's parameters.
    """

    name: str
    card: Facts
    card_digest: str
    about: MethodAbout = MethodAbout()
    options: Facts
    checkpoint_digest: str | None
    feature_dim: Count
    parameters: Count

    def _facts(self) -> Iterable[str]:
        return [self.name, f"{self.feature_dim} features", f"{self.parameters:,} parameters"]


class ProtocolInfo(_Model):
    """The protocol: every hyper-parameter as resolved, and their digest."""

    name: str
    values: Facts
    digest: str

    def _facts(self) -> Iterable[str]:
        return [self.name, f"{len(self.values)} values"]


class UnitResult(_Model):
    """Outcome of one fold with one seed.

    Attributes:
        fold: Index of the fold.
        seed: The user's seed.
        key: The unit's key.
        metrics: Metrics of the test predictions.
        constant: Metrics of the no-change baseline (ŷ = 0) on the same pairs.
        n_pairs: Number of test pairs.
        n_subjects: Number of test subjects.
        best_epoch: Selected epoch, counted from 1; 0 is the untrained start.
        validation_curve: Validation loss per epoch, in the target's unit.
        seconds: Wall clock.
        peak_memory_mb: Highest memory of the device, None where unknown.
        details: Further facts of this run, such as the precision used.
        predictions_digest: Digest of the unit's rows in the predictions file.
    """

    fold: Count
    seed: Count
    key: str
    metrics: Metrics
    constant: Metrics
    n_pairs: Count
    n_subjects: Count
    best_epoch: Count
    validation_curve: list[float]
    seconds: Measure
    peak_memory_mb: Measure | None
    details: dict[str, str | int | float | bool | None] = {}
    predictions_digest: Sha256

    def _facts(self) -> Iterable[str]:
        return [
            f"fold {self.fold}, seed {self.seed}",
            describe_metrics(self.metrics),
            f"{self.n_pairs:,} pairs of {self.n_subjects:,} people",
        ]


class Failure(_Model):
    """A unit that ended without a result: the error's class, its message and the next command to type."""

    fold: Count
    seed: Count
    key: str
    error: str
    message: str
    hint: str

    def _facts(self) -> Iterable[str]:
        return [f"fold {self.fold}, seed {self.seed}", f"{self.error}: {self.message}"]


class Summary(_Model):
    """The record's units taken together.

    Attributes:
        pooled: All folds of one seed pooled, then the metric, then the mean over seeds.
        fold_mean: Mean of the units' metrics.
        constant: The no-change baseline, aggregated as the task says.
        n_pairs: Number of distinct test pairs.
        n_subjects: Number of distinct test subjects.
        folds_done: Folds with a result for every seed that occurs.
        seeds: Seeds that occur.
        complete: True if no unit failed and all folds of the split are done for every seed.
    """

    pooled: Metrics
    fold_mean: Metrics
    constant: Metrics
    n_pairs: Count
    n_subjects: Count
    folds_done: list[int]
    seeds: list[int]
    complete: bool

    def _facts(self) -> Iterable[str]:
        return [
            describe_metrics(self.pooled),
            f"{self.n_pairs:,} pairs of {self.n_subjects:,} people",
            f"{len(self.folds_done)} folds done",
        ]


class Provenance(_Model):
    """Origin of a record: its kind, an ISO date, the tool's version and the command."""

    kind: Literal["ours", "submitted", "paper"]
    created: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}")]
    tool_version: str
    command: str | None


class Record(_Model):
    """All that one method's run on one task under one protocol left, but for the predictions beside it.

    Attributes:
        schema_version: Of this form.
        task, method, protocol: What was estimated, by what, trained how.
        units: Finished units, by seed and fold.
        failures: Units that ended without a result, likewise.
        summary: The units taken together.
        environment: What it ran on.
        provenance: Where it comes from.
        predictions_digest: SHA-256 of the predictions file's bytes; None in records of version 1.
        digest: SHA-256 of this record's own text without this field; None if it was read from a file of an
            earlier version, which has another text.
    """

    schema_version: Literal[3] = SCHEMA_VERSION
    task: TaskInfo
    method: MethodInfo
    protocol: ProtocolInfo
    units: list[UnitResult]
    failures: list[Failure]
    summary: Summary
    environment: Facts
    provenance: Provenance
    predictions_digest: Sha256 | None
    digest: Sha256 | None = None

    def seal(self) -> Self:
        """Return the record with the digest of its own text, so that every byte of it counts."""
        return self.model_copy(update={"digest": self.text_digest()})

    def text_digest(self) -> str:
        """Return the SHA-256 of the record's text without its own digest."""
        return text_digest(self.model_dump())

    def unit_key(self, fold: int, seed: int) -> str:
        """Return the key that a unit of this record must have: the digest of all that decides its result.

        Raises:
            KeyError: The record's cards or protocol lack a fact that they must have.
            TypeError: A fact isn't of its kind.
            UsageError: The task's name isn't made of its card's name and options.
        """
        return stored_unit_key(dict(self.task), dict(self.method), dict(self.protocol), fold, seed)

    def _facts(self) -> Iterable[str]:
        task, summary = self.task, self.summary
        return [
            f"{self.method.name} · {task.name} · {self.protocol.name}",
            describe_metrics(self.primary, task.unit),
            f"{len(summary.folds_done)}/{task.folds} folds",
            f"{len(self.failures)} failed" if self.failures else "",
        ]

    def _repr_html_(self) -> str:
        task, summary = self.task, self.summary
        rows = []
        for name, found in self.primary.items():
            heading, value = describe_metric(name, found, task.unit)
            constant = summary.constant.get(name)
            rows.append(
                [heading, value, "—" if constant is None else describe_metric(name, constant, task.unit)[1]]
            )
        folds = f"{len(summary.folds_done)} of {task.folds}"
        facts = {
            "task": f"{task.name}: {task.about.summary}" if task.about.summary else task.name,
            "protocol": self.protocol.name,
            "folds done": f"{folds}, {len(self.failures)} units failed" if self.failures else folds,
            "test pairs": f"{summary.n_pairs:,} of {summary.n_subjects:,} people",
            "made": f"{self.provenance.created[:10]}, {self.provenance.kind}",
        }
        made = html_table(["metric", "value", "no change"], rows, numbers=("value", "no change"))
        return html_facts(self.method.name, facts) + made

    @property
    def primary(self) -> Metrics:
        """The summary that counts for this task: pooled, or the mean over folds."""
        return self.summary.pooled if self.task.aggregate == "pooled" else self.summary.fold_mean

    @property
    def no_better_than_baseline(self) -> bool:
        """True if the MAE is no smaller than the no-change baseline's; False if either has no value."""
        error, baseline = self.primary.get("mae"), self.summary.constant.get("mae")
        if error is None or baseline is None or error.value is None or baseline.value is None:
            return False
        return error.value >= baseline.value

    @property
    def undertrained(self) -> bool:
        """True if half or more of the units that have a validation curve are best at its last epoch."""
        trained = [unit for unit in self.units if unit.validation_curve]
        last = sum(unit.best_epoch == len(unit.validation_curve) for unit in trained)
        return bool(trained) and 2 * last >= len(trained)

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        places = [(unit.fold, unit.seed) for unit in self.units]
        places += [(failure.fold, failure.seed) for failure in self.failures]
        if len(set(places)) < len(places):
            raise ValueError("a fold and seed occur twice")
        if any(fold >= self.task.folds for fold, _ in places):
            raise ValueError(f"a fold is outside the split's {self.task.folds}")
        names = set(self.task.metrics)
        for unit in self.units:
            if set(unit.metrics) != names or set(unit.constant) != names:
                raise ValueError(f"the metrics of fold {unit.fold}, seed {unit.seed} aren't the task's")
        return self


def describe_metrics(metrics: Metrics, unit: str = "", most: int = 2) -> str:
    """Return the first metrics as a text, such as `MAE 7.354 years, r 0.719`."""
    shown = [" ".join(describe_metric(name, found, unit)) for name, found in list(metrics.items())[:most]]
    return ", ".join(shown)


def header_digest(task: TaskInfo, method: MethodInfo, protocol: ProtocolInfo) -> str:
    """Digest what makes two runs the same record: names, and all but fold and seed that decides predictions.

    Metrics, units and other descriptions are no part of it, nor is anything measured.
    """
    return digest(
        {
            "task": {name: getattr(task, name) for name in _SAME_TASK}
            | {"card": deciding_facts(task.card, TaskCard)},
            "method": {name: getattr(method, name) for name in _SAME_METHOD}
            | {"card": deciding_facts(method.card, MethodCard)},
            "protocol": protocol.model_dump(exclude={"values"}),
        }
    )


_SAME_TASK = ("name", "manifest_digest", "split", "split_digest", "folds")
_SAME_METHOD = ("name", "options", "checkpoint_digest")


def describe_card(card: TaskCard) -> dict[str, Any]:
    """Return the fields of `TaskInfo` that say what the card of a task says."""
    return {
        "card": _as_json(facts(card)),
        "card_digest": card_digest(card),
        "about": TaskAbout(summary=card.summary, licence=card.licence, source=card.source),
        "data": card.data,
        "target": card.target,
        "unit": card.unit,
        "metrics": list(card.metrics),
        "aggregate": card.aggregate,
    }


def update_task(task: TaskInfo, card: TaskCard) -> TaskInfo:
    """Return a task with what its card says now, if that decides the same predictions as the stored card."""
    same = deciding_facts(task.card, TaskCard) == deciding_facts(_as_json(facts(card)), TaskCard)
    return task.model_copy(update=describe_card(card)) if same else task


def update_method(method: MethodInfo, card: MethodCard) -> MethodInfo:
    """Return a method with what its card says now, as `update_task` does for a task."""
    same = deciding_facts(method.card, MethodCard) == deciding_facts(_as_json(facts(card)), MethodCard)
    return method.model_copy(update=describe_method_card(card)) if same else method


def describe_method_card(card: MethodCard) -> dict[str, Any]:
    """Return the fields of `MethodInfo` that say what the card of a method says."""
    about = {name: getattr(card, name) for name in MethodAbout.model_fields}
    return {
        "card": _as_json(facts(card)),
        "card_digest": card_digest(card),
        "about": MethodAbout(**about),
    }


def dump_json(model: pydantic.BaseModel) -> str:
    """Write a model in its one textual form: keys in the model's order, indent 1, floats exact.

    Raises:
        ValueError: A number isn't finite.
    """
    return _text(model.model_dump())


def text_digest(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's text without its own digest, from the record as JSON has it."""
    facts = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(_text(facts).encode()).hexdigest()


def _text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=1, allow_nan=False) + "\n"


class NewerVersionError(ValueError):
    """A record was written by a later comface-bench than this one."""


def migrate(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the facts of a record to the newest version; those of the newest come back as they are.

    Args:
        facts: A record's JSON, parsed. What is of no version is left as it is, for the schema to refuse.

    Raises:
        NewerVersionError: The version is newer than any known here.
    """
    current = dict(facts)
    version = current.get("schema_version")
    if type(version) is not int:
        return current
    if version > SCHEMA_VERSION:
        raise NewerVersionError(f"a record of version {version}; this comface-bench knows {SCHEMA_VERSION}")
    for step in range(version, SCHEMA_VERSION):
        if step not in _STEPS:
            return dict(facts)
        current = _STEPS[step](current)
    return current


def _from_1(facts: dict[str, Any]) -> dict[str, Any]:
    """Version 2 has digests of the whole record and of its predictions file, which version 1 doesn't."""
    return {**facts, "schema_version": 2, "predictions_digest": None, "digest": None}


def _from_2(facts: dict[str, Any]) -> dict[str, Any]:
    """Version 3 has the cards' prose, and keys of what decides a prediction and nothing else."""
    current = {**facts, "schema_version": 3, "digest": None}
    try:
        parts = _key_parts(facts["task"], facts["method"], facts["protocol"])
        for block in ("units", "failures"):
            current[block] = [_with_new_key(unit, parts) for unit in facts[block]]
    except (LookupError, TypeError, AttributeError, ValueError, UsageError, RecursionError):
        # Keys that can't be worked out stay as they are: nothing vouches for these units.
        pass
    return current


def _with_new_key(unit: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Give a unit or failure its key of version 3, if its key is the one that version 2 gave it."""
    place = {"fold": unit["fold"], "seed": unit["seed"]}
    if unit["key"] != _key_until_2(**parts, **place):
        return unit
    return {**unit, "key": unit_key(**parts, **place)}


def _key_until_2(*, task: Mapping[str, Any], method: Mapping[str, Any], **rest: Any) -> str:
    """Return a unit's key by the rule of versions 1 and 2: every fact of the cards but what they offer."""
    cards = {"task": task, "method": method}
    kept = {
        name: {key: value for key, value in card.items() if key not in ("splits", "options")}
        for name, card in cards.items()
    }
    return digest({**rest, **kept})


_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}
"""By the version that a step starts from."""


def stored_unit_key(
    task: Mapping[str, Any], method: Mapping[str, Any], protocol: Mapping[str, Any], fold: int, seed: int
) -> str:
    """Return the key that a unit must have, worked out from what its record holds.

    Args:
        task: This block of the record, as JSON has it.
        method: Likewise.
        protocol: Likewise.
        fold: Index of the fold.
        seed: The user's seed.

    Raises:
        KeyError: A card or the protocol lacks a fact that it must have.
        TypeError: A fact isn't of its kind.
        UsageError: The task's name isn't made of its card's name and options.
    """
    return unit_key(**_key_parts(task, method, protocol), fold=fold, seed=seed)


def _key_parts(
    task: Mapping[str, Any], method: Mapping[str, Any], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    values = dict(protocol["values"])
    return {
        "engine_epoch": values.pop("engine_epoch"),
        "task": task["card"],
        "task_options": _task_options(task),
        "method": method["card"],
        "method_options": method["options"],
        "protocol": values,
        "manifest": task["manifest_digest"],
        "split": task["split_digest"],
        "checkpoint": method["checkpoint_digest"],
    }


def _task_options(task: Mapping[str, Any]) -> dict[str, str]:
    """Return all options of a task: those in its name, the defaults of the others, and the split."""
    _, named = parse_name("task" + task["name"].removeprefix(task["card"]["name"]))
    defaults = {key: accepted[0] for key, accepted in task["card"]["options"].items() if accepted}
    return {**defaults, **named, "split": task["split"]}


def generate_schema() -> str:
    """Return the JSON Schema (draft 2020-12) of records of the newest version, as its file holds it."""
    facts = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Record.model_json_schema()}
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def read_schema(version: int | None = None) -> str:
    """Return the JSON Schema of a version of records; the newest by default.

    Raises:
        UsageError: There is no such version.
    """
    folder = resources.files(__package__) / "schemas"
    found = {
        int(match[1]): file
        for file in folder.iterdir()
        if (match := re.fullmatch(r"record-v(\d+)\.json", file.name))
    }
    chosen = max(found) if version is None else version
    if chosen not in found:
        raise UsageError(
            f"records have no version {chosen}", f"Versions: {', '.join(map(str, sorted(found)))}"
        )
    return found[chosen].read_text(encoding="utf-8")
