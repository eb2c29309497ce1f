"""The contract of a task, checked on its data or on the miniature that its module can write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from comface_bench.contract.rules import RuleOutcome
from comface_bench.core.card import TaskCard, data_location
from comface_bench.core.errors import DataMissingError
from comface_bench.core.names import parse_name
from comface_bench.core.registry import Entry, Registry
from comface_bench.data.check import DataCheck, check_data
from comface_bench.data.splits import PARTS
from comface_bench.data.task import Task, configure, open_task
from comface_bench.stats.metrics import METRICS


def check_task_contract(name: str, data: Path | None, registry: Registry[TaskCard]) -> list[RuleOutcome]:
    """Check everything that the harness takes for granted of a task.

    Args:
        name: Name of the task, options included.
        data: Data root, or None to let the module's `write_example(folder)` make a miniature of the data
            set; without that function, the default data root.
        registry: Where to look the name up.

    Raises:
        DataMissingError: There are neither data nor a `write_example`.
        BenchError: The name or an option is wrong.
    """
    base, options = parse_name(name)
    entry = registry.get(base)
    with _example(entry, data) as root:
        card, _ = configure(entry, options)
        place = data_location(card, root)
        before = _listing(place)
        found = check_data(name, root, registry)
        findings = [
            RuleOutcome("metrics are known", ", ".join(name for name in card.metrics if name not in METRICS)),
            RuleOutcome(
                "the data have no problem",
                "; ".join(str(problem) for problem in found.problems[:3]),
                f"{found.images} images, {len(found.per_subject)} subjects, {found.pairs} pairs",
            ),
        ]
        if not found.problems:
            findings += _check_task(open_task(entry, options, root), found)
        written = sorted(set(_listing(place).items()) ^ set(before.items()))
        findings.append(
            RuleOutcome("reading leaves the data as they are", ", ".join(name for name, _ in written[:3]))
        )
    return findings


def _check_task(task: Task, before: DataCheck) -> list[RuleOutcome]:
    """Check a task on its second reading; the first was that of `check_data`."""
    digests = (task.table.digest, task.split.digest)
    same = digests == (before.manifest_digest, before.split_digest)
    return [
        RuleOutcome("two readings agree", "" if same else "their digests differ", task.table.digest[:12]),
        # No split that isn't so can be made.
        RuleOutcome("folds are apart by subject", detail=f"{len(task.folds)} folds"),
        RuleOutcome("pairs stay within a subject, and targets are differences", _wrong_pairs(task)),
    ]


def _wrong_pairs(task: Task) -> str:
    for number, fold in enumerate(task.folds):
        for part in PARTS:
            pairs = task.pairs(number, part)
            for x, y, target in zip(pairs.x, pairs.y, pairs.target, strict=True):
                subjects = {task.table.subjects[x], task.table.subjects[y]}
                if len(subjects) != 1 or not subjects <= set(fold.subjects(part)):
                    return f"fold {number}, {part}: rows {x} and {y}"
                if target != task.labels[y] - task.labels[x]:
                    return f"fold {number}, {part}: the target of rows {x} and {y}"
    return ""


@contextmanager
def _example(entry: Entry[TaskCard], data: Path | None) -> Iterator[Path | None]:
    write = entry.hook("write_example")
    if data is not None or write is None:
        yield data
        return
    with tempfile.TemporaryDirectory() as folder:
        place = data_location(entry.card, Path(folder))
        place.mkdir(parents=True)
        write(place)
        if not any(place.iterdir()):
            raise DataMissingError(f"write_example of {entry.card.name} wrote nothing into its folder")
        yield Path(folder)


def _listing(place: Path) -> Mapping[str, tuple[int, int]]:
    if not place.is_dir():
        return {}
    return {
        path.relative_to(place).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in place.rglob("*")
        if path.is_file()
    }
