"""`comface-bench cache`: what runs keep in order not to make it again."""

from __future__ import annotations

import datetime
import fnmatch
import time
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from comface_bench.cli.commands import Group, Json, make_app
from comface_bench.cli.output import print_json, print_table
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from comface_bench.data.changes import KeptTable
    from comface_bench.data.image_store import StoredImages
    from comface_bench.engine.feature_files import FeatureEntry

app = make_app(Group)

Patterns = Annotated[
    list[str],
    typer.Argument(
        metavar="[PATTERN]...",
        help="Methods, data sets or keys, such as 'timm/*'; the start of a key is enough. All by default.",
        show_default=False,
    ),
]
Features = Annotated[bool, typer.Option("--features", help="Features only.")]
Images = Annotated[bool, typer.Option("--images", help="Images only.")]
Tables = Annotated[bool, typer.Option("--tables", help="Tables of data only: what later runs compare with.")]


class Kept(NamedTuple):
    """Something that is kept, with what the tables say of it."""

    kind: str
    stored: StoredImages | FeatureEntry | KeptTable

    @property
    def facts(self) -> dict[str, str]:
        """Its columns as text."""
        about = self.stored.about
        used = datetime.datetime.fromtimestamp(self.stored.used, datetime.UTC)
        return {
            "kind": self.kind,
            "key": self.stored.key[:12],
            "data set": str(about.get("data", "")),
            "method": str(about.get("method", "")),
            "view": str(about.get("view", "")),
            "pixels": str(about.get("image_size", "")),
            "size": _size(self.stored.size),
            "last used": f"{used:%Y-%m-%d %H:%M}",
        }

    def fits(self, pattern: str) -> bool:
        """Return whether a pattern means it."""
        about = self.stored.about
        names = (str(about.get("data", "")), str(about.get("method", "")), self.stored.key)
        return any(fnmatch.fnmatchcase(name, pattern) for name in names) or self.stored.key.startswith(
            pattern
        )

    def as_json(self) -> dict[str, object]:
        """Return its facts for programs; sizes are bytes, times seconds since 1970."""
        stored = self.stored
        facts = {"kind": self.kind, "key": stored.key, "bytes": stored.size, "used": stored.used}
        return {**facts, "path": str(stored.path), "about": dict(stored.about)}


@app.callback()
def _cache() -> None:
    """List, verify and clear what runs keep: images, features of frozen backbones, tables of data.

    Images and features can be made again, and are, when they are needed. Tables say what changed in a data
    set since it was run; those of former data can't be made again.
    """


@app.command("list")
def list_kept(
    patterns: Patterns = [],  # noqa: B006 - typer reads the default and never changes it
    features: Features = False,
    images: Images = False,
    tables: Tables = False,
    as_json: Json = False,
) -> None:
    """List what is kept: of which data set and method, its size, when it was last used."""
    from comface_bench.core.weights import cache_folder
    from comface_bench.engine.feature_files import LIMIT, list_entries, read_limit

    kept, limit = _find(patterns, features, images, tables), read_limit()
    if as_json:
        rows = [one.as_json() for one in kept]
        print_json({"folder": str(cache_folder()), "features_limit": limit, "kept": rows})
        return
    typer.echo(f"folder: {cache_folder()}\n")
    _print(kept)
    # The limit is of all features, whichever are listed.
    taken = sum(entry.size for entry in list_entries(cache_folder() / "features"))
    typer.echo(f"\nfeatures: {_size(taken)} of {_size(limit)} at most ({LIMIT}=…, in GB)")


@app.command()
def verify(
    patterns: Patterns = [],  # noqa: B006 - typer reads the default and never changes it
    features: Features = False,
    images: Images = False,
    tables: Tables = False,
    as_json: Json = False,
) -> None:
    """Read what is kept and compare its checksums (exit status 1 if something is damaged).

    Nothing is removed. A run that meets something damaged makes it again.
    """
    kept = _find(patterns, features, images, tables)
    states = {one: one.stored.find_damaged() for one in kept}
    damaged = [path for paths in states.values() for path in paths or ()]
    if as_json:
        words = {
            one: "not known" if paths is None else "damaged" if paths else "whole"
            for one, paths in states.items()
        }
        print_json([one.as_json() | {"state": words[one]} for one in kept])
    else:
        for path in damaged:
            typer.echo(f"damaged: {path}")
        unknown = [one for one, paths in states.items() if paths is None]
        for one in unknown:
            typer.echo(f"not known, since it is of an earlier version: {one.stored.path}")
        whole = sum(paths == [] for paths in states.values())
        typer.echo(f"{whole} of {len(kept)} whole")
    if damaged:
        raise typer.Exit(1)


@app.command()
def clear(
    patterns: Patterns = [],  # noqa: B006 - typer reads the default and never changes it
    older_than: Annotated[
        float | None,
        typer.Option(metavar="DAYS", help="Only what wasn't used for so many days.", show_default=False),
    ] = None,
    features: Features = False,
    images: Images = False,
    tables: Tables = False,
    as_json: Json = False,
) -> None:
    """Remove kept images and features, or tables (--tables); what a run is writing stays (exit status 1)."""
    if older_than is not None and not older_than >= 0:
        raise UsageError(f"--older-than {older_than:g} is no number of days", "For example: --older-than 30")
    kept = _find(patterns, features, images, tables)
    if not tables:
        kept = [one for one in kept if one.kind != "tables"]
    if older_than is not None:
        kept = [one for one in kept if time.time() - one.stored.used >= older_than * 86_400]
    left = [one for one in kept if not one.stored.remove()]
    gone = [one for one in kept if one not in left]
    if as_json:
        print_json({"removed": [one.as_json() for one in gone], "left": [one.as_json() for one in left]})
    else:
        _print(gone)
        typer.echo(f"\nremoved: {_size(sum(one.stored.size for one in gone))}")
        for one in left:
            typer.echo(f"in use, or not ours to remove: {one.stored.path}")
    if left:
        raise typer.Exit(1)


def _find(patterns: list[str], features: bool, images: bool, tables: bool) -> list[Kept]:
    """Return what is kept and meant, images first."""
    from comface_bench.core.weights import cache_folder
    from comface_bench.data.changes import list_tables
    from comface_bench.data.image_store import list_stores
    from comface_bench.engine.feature_files import list_entries

    if features + images + tables > 1:
        raise UsageError("--features, --images and --tables exclude each other", "Name one of them, or none.")
    every = not (features or images or tables)
    kept: list[Kept] = []
    if every or images:
        kept += [Kept("images", one) for one in list_stores(cache_folder() / "images")]
    if every or features:
        kept += [Kept("features", one) for one in list_entries(cache_folder() / "features")]
    if every or tables:
        kept += [Kept("tables", one) for one in list_tables(cache_folder() / "tables")]
    for pattern in patterns:
        if not any(one.fits(pattern) for one in kept):
            raise UsageError(
                f"nothing that is kept fits {pattern!r}", "See what is: comface-bench cache list"
            )
    return [one for one in kept if not patterns or any(one.fits(pattern) for pattern in patterns)]


def _print(kept: list[Kept]) -> None:
    if not kept:
        typer.echo("nothing")
        return
    rows = [one.facts for one in kept]
    print_table(list(rows[0]), [list(row.values()) for row in rows], numbers=["pixels", "size"])


def _size(size: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"
