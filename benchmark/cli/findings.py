"""Printing what checks and comparisons of result files came to."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING

import typer

from comface_bench.cli.tables import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.core.findings import Finding
    from comface_bench.results.comparison import Pairs, RecordDifference


def print_findings(found: Sequence[Finding], records: int, good: str, as_json: bool) -> None:
    """Print findings, each hint once, and how many there are; exit with status 1 if there are any.

    Args:
        found: Of all records.
        records: How many records were checked.
        good: What they are if nothing was found.
        as_json: Print one JSON document instead.

    Raises:
        typer.Exit: Something was found.
    """
    if as_json:
        facts = [dataclasses.asdict(finding) for finding in found]
        print_json({"ok": not found, "records": records, "findings": facts})
    else:
        for finding in found:
            typer.echo(plain(str(finding)))
        for hint in dict.fromkeys(finding.hint for finding in found if finding.hint):
            typer.echo(f"  {plain(hint)}")
        wrong = "1 thing is wrong" if len(found) == 1 else f"{len(found)} things are wrong"
        typer.echo(f"{counted(records, 'record')}: {wrong if found else good}")
    if found:
        raise typer.Exit(1)


def print_differences(found: Sequence[RecordDifference], as_json: bool) -> None:
    """Print differences under the record that they are of; exit with status 1 if there are any.

    Raises:
        typer.Exit: There are differences.
    """
    if as_json:
        print_json({"equal": not found, "differences": [dataclasses.asdict(item) for item in found]})
    else:
        for record, items in groupby(found, key=lambda item: item.record):
            typer.echo(plain(f"{record}:"))
            for item in items:
                typer.echo(plain(f"  {_describe(item)}"))
        typer.echo(counted(len(found), "difference") if found else "equal")
    if found:
        raise typer.Exit(1)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as `1 record` or `2 records`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def plain(text: str) -> str:
    """Escape what a terminal would obey: names in a stranger's file may hold anything."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _describe(item: RecordDifference) -> str:
    if not item.field:
        side = "only in the first" if item.b is None else "only in the second"
        return f"{item.unit}: {side}" if item.unit else side
    place = f"{item.unit}: {item.field}" if item.unit else item.field
    if item.pairs is not None:
        return f"{place}: {_describe_pairs(item.pairs)}"
    size = f" (differs by {item.size:.6g})" if item.size is not None else ""
    return f"{place}: {item.a!r} and {item.b!r}{size}"


def _describe_pairs(pairs: Pairs) -> str:
    told = [f"{counted(pairs.shared, 'pair')} in both"]
    told += [f"{pairs.only_a} only in the first"] if pairs.only_a else []
    told += [f"{pairs.only_b} only in the second"] if pairs.only_b else []
    told += [f"{pairs.other_y} with another true change"] if pairs.other_y else []
    return ", ".join([*told, f"{pairs.other_yhat} answered otherwise, by up to {pairs.largest:.6g}"])
