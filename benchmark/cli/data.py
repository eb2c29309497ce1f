"""`comface-bench data`: data sets."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from comface_bench.cli.bars import counted
from comface_bench.cli.complete import complete_task
from comface_bench.cli.groups import Group, make_app
from comface_bench.cli.options import Data, Json, NoPlugins, Plugins
from comface_bench.cli.tables import print_facts, print_json, print_table

if TYPE_CHECKING:
    from comface_bench.data.check import Bin, DataCheck

app = make_app(Group)


@app.callback()
def _data() -> None:
    """Check data sets."""


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
            "-o", "--option", metavar="KEY=VALUE", help="Set split; repeatable.", show_default=False
        ),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Count images, subjects, pairs and folds of a task's data set; exit status 2 on any problem."""
    from comface_bench.core.options import parse_options
    from comface_bench.core.registry import task_registry
    from comface_bench.data.check import check_data
    from comface_bench.data.task import load_task

    name = "+".join([task, *(f"{key}={value}" for key, value in parse_options(option).items())])
    loaded = load_task(name, data, task_registry(plugin, not no_plugins))
    with counted("opening images", as_json) as progress:
        found = check_data(loaded, progress)
    if as_json:
        print_json({**dataclasses.asdict(found), "grey_images": found.grey_images})
        return
    _print(found)


def _print(found: DataCheck) -> None:
    least, median, most = found.images_per_subject
    low, high = found.label_range
    (small, big) = found.image_sizes
    print_facts(
        [
            ("task", found.task),
            ("data", found.data),
            ("images", f"{found.images:,}{_unlabelled(found)}"),
            ("subjects", f"{found.subjects:,}"),
            ("images per subject", f"{least} to {most}, median {median:g}"),
            (
                "pairs",
                f"{found.pairs:,} within subjects, {found.zero_change_pairs:,} of them with zero change",
            ),
            ("grey images", f"{found.grey_images:,}"),
            ("colour images", f"{found.images - found.grey_images:,}"),
            ("colour modes", ", ".join(f"{mode} {count:,}" for mode, count in found.modes.items())),
            ("image sizes", f"{small[0]}×{small[1]} to {big[0]}×{big[1]} pixels"),
            (found.target, f"{low:g} to {high:g} {found.unit}"),
            ("first image", f"{found.first[0]}: {found.first[1]:g}"),
            ("last image", f"{found.last[0]}: {found.last[1]:g}"),
            ("manifest digest", found.manifest_digest),
            ("split", found.split),
            ("split digest", found.split_digest),
            ("constant answer", f"MAE {found.constant_mae:.2f} {found.unit} over all test pairs"),
        ]
    )
    typer.echo("")
    print_table(
        ["fold", "train", "validation", "test subjects", "test pairs"],
        [
            [str(number), str(fold.train), str(fold.validation), str(fold.test), f"{fold.test_pairs:,}"]
            for number, fold in enumerate(found.folds)
        ],
        numbers=("fold", "train", "validation", "test subjects", "test pairs"),
    )
    typer.echo("")
    largest = max(part.count for part in found.histogram)
    print_table(
        [found.target, "images", ""],
        [
            [_span(part), f"{part.count:,}", "█" * round(30 * part.count / largest)]
            for part in found.histogram
        ],
        numbers=(found.target, "images"),
    )


def _unlabelled(found: DataCheck) -> str:
    missing = found.images - found.labelled
    return f", {missing:,} of them without a label" if missing else ""


def _span(part: Bin) -> str:
    return f"{part.low:g}" if part.low == part.high else f"{part.low:.4g} to {part.high:.4g}"
