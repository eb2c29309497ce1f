"""`comface-bench predict`: how much a quantity changed between photographs, by a record's models."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
from comface_bench.cli.output import check_output, make_folder, print_table
from comface_bench.cli.progress import progress_bar
from comface_bench.core.display import visible
from comface_bench.core.errors import DataFormatError, DataMissingError, UnlikePhotoError, UsageError

if TYPE_CHECKING:
    from comface_bench.execute.models import Estimate, Model

app = make_app()

_SIDES = ("first", "second")
"""Columns of a table of pairs."""
_NUMBERS = ("change", "low", "high", "spread")
_FACTS = {*_NUMBERS, "unit", "refused", "answers", "test_pairs", "test_people", "beyond"}
"""What answers say as CSV or JSON: no column of a table is called so."""
_PICTURES = {
    *(".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"),
    *(".webp", ".jp2", ".avif"),
}


@dataclass(frozen=True)
class _Pair:
    """Two photographs, and what a table says of them besides."""

    first: Path
    second: Path
    cells: dict[str, str] = field(default_factory=dict)


@app.command()
def predict(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="FIRST SECOND | PAIRS.csv | FOLDER",
            help="Two photographs of one person, the earlier first; a table with columns first and second; or"
            " a folder of one person's, or of a folder for each person: each photograph is compared with the"
            " first by name.",
            show_default=False,
        ),
    ],
    model: ModelRecord,
    checkpoint: Checkpoint = None,
    folds: ModelFolds = None,
    seeds: ModelSeeds = None,
    level: Level = 0.95,
    any_photo: AnyPhoto = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the answers as CSV.", show_default=False)
    ] = None,
    device: Device = "auto",
    plugin: Plugins = [],  # noqa: B006 - typer reads the default and never changes it
    no_plugins: NoPlugins = False,
    as_json: Json = False,
) -> None:
    """Estimate how much a quantity changed between photographs of one person.

    The answer is the mean of the record's models; its interval is that of the errors which the record
    measured at changes of that size. Photographs unlike the task's are refused. Exit status: 1 if any was.
    """
    from comface_bench.execute.models import load_model

    if out is not None:
        check_output(out)
    pairs = _read_pairs(photos)
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
    with progress_bar("photographs", quiet=as_json) as progress:
        found = loaded.predict_pairs(
            [(pair.first, pair.second) for pair in pairs],
            level=level,
            check=not any_photo,
            progress=progress,
        )
    if out is not None:
        from comface_bench.core.files import replace_file

        make_folder(out)
        replace_file(out, _as_csv(pairs, found).encode())
    if as_json:
        for pair, one in zip(pairs, found, strict=True):
            typer.echo(json.dumps(_facts(pair, one)))
    else:
        _print(pairs, found, loaded, level, out)
    if any(isinstance(one, UnlikePhotoError) for one in found):
        raise typer.Exit(1)


def _read_pairs(photos: Sequence[Path]) -> list[_Pair]:
    """Return the pairs that the words of the command line mean.

    Raises:
        UsageError: They mean none.
        DataMissingError: There is no such table or folder.
        DataFormatError: A table isn't one of pairs, or a folder has no two photographs.
    """
    if len(photos) == 2:
        return [_Pair(photos[0], photos[1])]
    (path,) = photos if len(photos) == 1 else (None,)
    if path is None:
        raise UsageError(
            f"{len(photos)} files", "Name two photographs, the earlier first; a table of pairs; or a folder."
        )
    if path.is_dir():
        return list(_read_folder(path))
    if path.suffix.lower() != ".csv":
        raise UsageError(f"one photograph, {path}", "Name two, the earlier first.")
    return _read_table(path)


def _read_folder(folder: Path) -> Iterator[_Pair]:
    """Yield a folder's pairs: each photograph with the first by name, person by person."""
    below = sorted(place for place in folder.iterdir() if place.is_dir())
    people = [folder, *below]
    found = False
    for place in people:
        files = sorted(file for file in place.iterdir() if file.suffix.lower() in _PICTURES)
        if place is folder and not below and len(files) > 2:
            typer.echo(
                f"{len(files)} photographs taken as one person's; a folder for each person parts them",
                err=True,
            )
        for later in files[1:]:
            found = True
            yield _Pair(files[0], later)
    if not found:
        raise DataFormatError(
            f"{folder} has no two photographs of one person",
            "Put one person's into it, or each person's into a folder of its own.",
        )


def _read_table(path: Path) -> list[_Pair]:
    """Read a table of pairs; names of files are relative to its folder, other columns are kept."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataMissingError(f"there is no table {path}") from None
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{path} isn't UTF-8: {error}", "Save it as CSV in UTF-8.") from None
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise DataFormatError(f"{path} is no CSV: {error}") from None
    if not rows or not {*_SIDES} <= rows[0].keys():
        found = next(csv.reader(io.StringIO(text, newline="")), [])
        raise DataFormatError(
            f"{path} has no pairs under the columns first and second; it has {', '.join(found) or 'none'}",
            "Its first line: first,second. Then a line a pair: two files, relative to the table's folder.",
        )
    if taken := sorted(_FACTS & rows[0].keys()):
        raise DataFormatError(
            f"{path} has columns that answers have: {', '.join(taken)}", "Give them other names."
        )
    pairs = []
    for number, row in enumerate(rows, start=2):
        first, second = (row[side] for side in _SIDES)
        if not first or not second or None in row or None in row.values():
            raise DataFormatError(f"{path}: pair {number - 1} has too few or too many cells")
        others = {name: cell for name, cell in row.items() if name not in _SIDES}
        pairs.append(_Pair(path.parent / first, path.parent / second, others))
    return pairs


def _facts(pair: _Pair, found: Estimate | UnlikePhotoError) -> dict[str, object]:
    """Return what is said of a pair, for programs."""
    named = {"first": str(pair.first), "second": str(pair.second), **pair.cells}
    if isinstance(found, UnlikePhotoError):
        return {**named, "refused": found.message}
    return {
        **named,
        "change": found.change,
        "low": found.low,
        "high": found.high,
        "unit": found.unit,
        "spread": found.spread,
        "answers": list(found.answers),
        "test_pairs": found.pairs,
        "test_people": found.people,
        "beyond": found.beyond,
    }


def _as_csv(pairs: Sequence[_Pair], found: Sequence[Estimate | UnlikePhotoError]) -> str:
    others = list(pairs[0].cells)
    stream = io.StringIO()
    writer = csv.DictWriter(
        stream, [*_SIDES, *others, *_NUMBERS, "unit", "refused"], extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(_facts(pair, one) for pair, one in zip(pairs, found, strict=True))
    return stream.getvalue()


def _print(
    pairs: Sequence[_Pair],
    found: Sequence[Estimate | UnlikePhotoError],
    model: Model,
    level: float,
    out: Path | None,
) -> None:
    record, estimates = model.record, [one for one in found if not isinstance(one, UnlikePhotoError)]
    if len(pairs) == 1 and estimates:
        single = estimates[0]
        typer.echo(visible(f"{record.task.target}: {single}"))
        typer.echo(
            f"{level:.0%} interval by the errors of {single.pairs} test pairs of {single.people} people with"
            f" estimates of about that size; {_describe_answers(single)}"
        )
    elif out is None and estimates:
        rows = [
            [str(one.first), str(one.second), *(f"{value:+.3f}" for value in (one.change, one.low, one.high))]
            for one in estimates
        ]
        change = f"change ({estimates[0].unit})" if estimates[0].unit else "change"
        headings = ["first", "second", visible(change), "low", "high"]
        print_table(headings, rows, headings[2:])
    for one in found:
        if isinstance(one, UnlikePhotoError):
            typer.echo(f"refused: {one.message}", err=True)
    hints = dict.fromkeys(one.hint for one in found if isinstance(one, UnlikePhotoError) and one.hint)
    for hint in hints:
        typer.echo(hint, err=True)
    if beyond := sum(one.beyond for one in estimates):
        typer.echo(
            f"{beyond} of {len(estimates)} estimates are larger than any that was tested: take them with care"
        )
    if out is not None:
        typer.echo(f"{out}: {len(estimates)} of {len(pairs)} pairs answered")


def _describe_answers(one: Estimate) -> str:
    if len(one.answers) == 1:
        return "one model answered"
    low, high = min(one.answers), max(one.answers)
    return f"{len(one.answers)} models answered {low:+.3g} to {high:+.3g}"
