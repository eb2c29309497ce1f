"""`comface-bench explain`: which regions of two photographs moved the estimate of a record's models."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comface_bench.cli.commands import (
    AnyPhoto,
    Checkpoint,
    Device,
    Json,
    Level,
    ModelFolds,
    ModelRecord,
    ModelSeeds,
    NoPlugins,
    Plugins,
    make_app,
    parse_numbers,
)
from comface_bench.cli.output import check_output, make_folder
from comface_bench.cli.progress import progress_bar
from comface_bench.core.display import visible, with_unit
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from comface_bench.execute.explanation import Explanation

app = make_app()


class Method(StrEnum):
    """How regions are weighed."""

    occlusion = "occlusion"
    gradients = "gradients"


@app.command()
def explain(
    first: Annotated[
        Path, typer.Argument(metavar="FIRST", help="The earlier photograph.", show_default=False)
    ],
    second: Annotated[
        Path, typer.Argument(metavar="SECOND", help="The later one, of the same person.", show_default=False)
    ],
    model: ModelRecord,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Write the picture: .png, .jpg, .svg or .pdf (extra: plots).",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(help="Hide regions one by one, or integrate gradients over them."),
    ] = Method.occlusion,
    window: Annotated[
        float | None,
        typer.Option(
            help="Side of a region as a share of the photograph's [default: 0.2].", show_default=False
        ),
    ] = None,
    stride: Annotated[
        float | None,
        typer.Option(help="From one region to the next, likewise [default: 0.05].", show_default=False),
    ] = None,
    checkpoint: Checkpoint = None,
    folds: ModelFolds = None,
    seeds: ModelSeeds = None,
    level: Level = 0.95,
    any_photo: AnyPhoto = False,
    device: Device = "auto",
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
    as_json: Json = False,
) -> None:
    """Show which regions of two photographs moved the estimate of the change between them.

    What a region adds is the estimate less that with the region blurred, the mean of the record's models.
    Photographs unlike the task's are refused, as by predict.
    """
    from comface_bench.engine.attribution import choose_shares
    from comface_bench.execute.explanation import check_format
    from comface_bench.execute.models import load_model

    if out is not None:
        check_format(out)
        check_output(out)
    elif not as_json:
        raise UsageError("no file for the picture", "Name one: --out FILE.png; or numbers alone: --json")
    choose_shares(window, stride)
    loaded = load_model(
        model,
        checkpoint=checkpoint,
        folds=None if folds is None else parse_numbers(folds, "--folds"),
        seeds=None if seeds is None else parse_numbers(seeds, "--seeds"),
        device=device,
        find_faces=not any_photo,
        plugin_files=plugin,
        use_plugins=not no_plugins,
    )
    with progress_bar("images", quiet=as_json) as progress:
        found = loaded.explain(
            first,
            second,
            method=method.value,
            window=window,
            stride=stride,
            level=level,
            check=not any_photo,
            progress=progress,
        )
    if out is not None:
        make_folder(out)
        found.save(out)
    if as_json:
        typer.echo(json.dumps(found.describe()))
        return
    typer.echo(visible(str(found)))
    for side, name in enumerate(("first", "second")):
        typer.echo(visible(_describe(found, side, name)))
    typer.echo(out)


def _describe(found: Explanation, side: int, name: str) -> str:
    effect, across, down = found.find_strongest(side)
    return (
        f"{name}: the strongest region, {across:.0%} from the left and {down:.0%} from the top, adds"
        f" {with_unit(f'{effect:+.3g}', found.unit)}"
    )
