"""`comface-bench data`: checks of data sets; `data prepare` is a group below it."""

from __future__ import annotations

import dataclasses
import shlex
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from comface_bench.cli import prepare
from comface_bench.cli.commands import Data, Group, Json, NoPlugins, Plugins, complete_task, make_app
from comface_bench.cli.output import format_count, print_facts, print_json, print_table, show_path
from comface_bench.cli.progress import progress_bar
from comface_bench.core.display import with_unit

if TYPE_CHECKING:
    from comface_bench.core.problems import Problem
    from comface_bench.data.check import Bin, DataCheck, SubjectCount

app = make_app(Group)
app.add_typer(prepare.app, name="prepare")

_MOST_PROBLEMS = 100
"""Number of problems that are printed; further ones are counted."""


@app.callback()
def _data() -> None:
    """Check and prepare data sets."""


@app.command()
def check(
    task: Annotated[
        str,
        typer.Argument(help="Task whose data are checked.", autocompletion=complete_task, show_default=False),
    ],
    data: Data = None,
    option: Annotated[
        list[str],
        typer.Option(
            "-o",
            "--option",
            metavar="KEY=VALUE",
            help="Set split, or what the task takes; repeatable.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    subjects: Annotated[
        bool, typer.Option("--subjects", help="Print the counts of each subject, too.")
    ] = False,
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Look a task's data over: counts, labels, folds, and everything that is wrong (exit status 2)."""
    from comface_bench.core.names import parse_options
    from comface_bench.core.registry import task_registry
    from comface_bench.data.check import check_data

    name = "+".join([task, *(f"{key}={value}" for key, value in parse_options(option).items())])
    registry = task_registry(plugin, not no_plugins)
    with progress_bar("opening images", as_json) as progress:
        found = check_data(name, data, registry, progress)
    if as_json:
        print_json({"ok": not found.problems, **dataclasses.asdict(found), "grey_images": found.grey_images})
    else:
        _print(found, subjects)
        _print_problems(found.problems)
        if not found.problems:
            words = ["run", "--method", "comface", "--task", name, "--protocol", "probe"]
            words += ["--data", show_path(data)] if data is not None else []
            words += [word for file in plugin for word in ("--plugin", show_path(file))]
            typer.echo(f"\nnext: comface-bench {shlex.join(words)}")
    if found.problems:
        raise typer.Exit(2)


def _print(found: DataCheck, subjects: bool) -> None:
    print_facts(
        [
            ("task", found.task),
            ("data", found.data),
            ("images", f"{found.images:,}{_unlabelled(found)}"),
            ("subjects", f"{len(found.per_subject):,}"),
            ("images per subject", _spread(found)),
            (
                "pairs",
                f"{found.pairs:,} within subjects, {found.zero_change_pairs:,} of them with zero change",
            ),
            ("grey images", f"{found.grey_images:,}"),
            ("colour images", f"{sum(found.modes.values()) - found.grey_images:,}"),
            ("colour modes", ", ".join(f"{mode} {count:,}" for mode, count in found.modes.items())),
            ("image sizes", _sizes(found)),
            *_label_facts(found),
            ("manifest digest", found.manifest_digest),
            ("split", found.split),
            ("split digest", found.split_digest),
            ("no-change baseline", _constant(found)),
            ("notes", "\n".join(found.notes)),
        ]
    )
    if found.folds:
        typer.echo("")
        _print_folds(found)
    if found.labels is not None:
        typer.echo("")
        _print_histogram(found.target, found.labels.histogram)
    if subjects and found.per_subject:
        typer.echo("")
        _print_subjects(found.per_subject)


def _label_facts(found: DataCheck) -> list[tuple[str, str]]:
    labels = found.labels
    if labels is None:
        return []
    low, high = labels.range
    return [
        (found.target, with_unit(f"{low:g} to {high:g}", found.unit)),
        ("first image", f"{labels.first[0]}: {labels.first[1]:g}"),
        ("last image", f"{labels.last[0]}: {labels.last[1]:g}"),
    ]


def _spread(found: DataCheck) -> str:
    counts = [count.labelled for count in found.per_subject.values()]
    if not counts:
        return ""
    return f"{min(counts)} to {max(counts)}, median {statistics.median(counts):g}"


def _sizes(found: DataCheck) -> str:
    if found.image_sizes is None:
        return ""
    small, big = found.image_sizes
    return f"{small[0]}×{small[1]} to {big[0]}×{big[1]} pixels"


def _constant(found: DataCheck) -> str:
    if found.constant_mae is None:
        return ""
    return f"MAE {with_unit(f'{found.constant_mae:.2f}', found.unit)} over all test pairs"


def _print_folds(found: DataCheck) -> None:
    print_table(
        ["fold", "train", "validation", "test subjects", "test pairs"],
        [
            [str(number), str(fold.train), str(fold.validation), str(fold.test), f"{fold.test_pairs:,}"]
            for number, fold in enumerate(found.folds)
        ],
        numbers=("fold", "train", "validation", "test subjects", "test pairs"),
    )


def _print_histogram(target: str, histogram: tuple[Bin, ...]) -> None:
    largest = max(part.count for part in histogram)
    print_table(
        [target, "images", ""],
        [[_span(part), f"{part.count:,}", "█" * round(30 * part.count / largest)] for part in histogram],
        numbers=(target, "images"),
    )


def _print_subjects(counts: Mapping[str, SubjectCount]) -> None:
    headings = ["subject", "images", "labelled", "training pairs", "test pairs"]
    print_table(
        headings,
        [
            [subject, *(f"{number:,}" for number in dataclasses.astuple(count))]
            for subject, count in counts.items()
        ],
        numbers=headings[1:],
    )


def _print_problems(problems: tuple[Problem, ...]) -> None:
    if not problems:
        return
    typer.echo(f"\nerror: {format_count(len(problems), 'problem')}", err=True)
    for number, problem in enumerate(problems[:_MOST_PROBLEMS]):
        typer.echo(str(problem), err=True)
        following = problems[number + 1] if number + 1 < len(problems) else None
        # A remedy of several problems in a row is printed once, below the last.
        if problem.remedy and (following is None or following.remedy != problem.remedy):
            typer.echo(f"  {problem.remedy}", err=True)
    if (more := len(problems) - _MOST_PROBLEMS) > 0:
        typer.echo(f"… and {more:,} more; --json lists them all", err=True)


def _unlabelled(found: DataCheck) -> str:
    missing = found.images - found.labelled
    return f", {missing:,} of them without a label" if missing else ""


def _span(part: Bin) -> str:
    return f"{part.low:g}" if part.low == part.high else f"{part.low:.4g} to {part.high:.4g}"
