"""`synth corpus --dry-run`: what a corpus would hold, take and miss."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import typer

from comface_bench.cli.tables import print_facts, print_json
from comface_bench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.cli.corpus_plan import Choice
    from comface_bench.comface.corpus.layout import Description, Layout

_LATENT_SIDE = 256  # of a StyleGAN's images, unless its options say another


def planned(choice: Choice, encoded: Mapping[str, Any]) -> Description:
    """Describe a corpus whose generator may lack files.

    Args:
        choice: What is to be made.
        encoded: `suffix`, `quality` and `records_per_shard`.

    Raises:
        UsageError: An option can't be taken.
    """
    from comface_bench.comface.corpus.layout import Description
    from comface_bench.comface.synthesis.generator import open_generator
    from comface_bench.comface.synthesis.requirements import available_directions, missing_files

    name, arguments = choice.generator, choice.arguments
    if not missing_files(name, arguments):
        card = open_generator(name, arguments).card
        return Description.of(card, choice.plan(card.attributes), arguments=arguments, **encoded)
    size = arguments.get("size", str(_LATENT_SIDE))
    if not size.isdecimal():
        raise UsageError(f"-o size={size} isn't a whole number")
    facts = {"name": name, "resolution": int(size)}
    plan = choice.plan(tuple(available_directions(name, arguments)[0]))
    return Description(facts, plan, arguments, **encoded)


def say_forecast(layout: Layout, description: Description, as_json: bool) -> None:
    """Print what a corpus would be.

    Raises:
        UsageError: The folder holds another corpus.
        typer.Exit: Status 2: files are missing, or there isn't room.
    """
    from comface_bench.comface.corpus.size_estimate import estimate_size
    from comface_bench.comface.synthesis.generator import open_generator
    from comface_bench.comface.synthesis.requirements import missing_files

    _require_same(layout, description)
    name, arguments = str(description.generator["name"]), description.arguments
    missing = missing_files(name, arguments)
    found = estimate_size(layout, description, None if missing else open_generator(name, arguments))
    if as_json:
        told = [{"message": error.message, "hint": error.hint} for error in missing]
        print_json({**dataclasses.asdict(found), "fits": found.fits, "missing": told})
    else:
        print_facts(
            [
                ("generator", found.generator),
                ("attributes", f"{len(found.attributes)}: {', '.join(found.attributes)}"),
                ("records", f"{found.records:,}"),
                ("images", f"{found.images:,}" + _done(found.images_done)),
                ("pairs", f"{found.pairs:,} in an epoch"),
                ("shards", f"{found.shards:,}"),
                ("an image", f"{found.image_bytes:,} bytes, from {found.measured_on}"),
                ("expected", f"{_size(found.bytes)}" + _left(found.bytes, found.bytes_left)),
                ("free", f"{_size(found.bytes_free)}" + ("" if found.fits else ": NOT ENOUGH")),
                ("missing", "\n".join(str(error) for error in missing) or "nothing"),
            ]
        )
    if missing or not found.fits:
        raise typer.Exit(2)


def _require_same(layout: Layout, description: Description) -> None:
    if not layout.description.exists():
        return
    found = layout.read()
    # The generator's facts aren't compared: without its files they aren't known.
    keys = ("plan", "suffix", "quality", "records_per_shard")
    other = [key for key in keys if getattr(found, key) != getattr(description, key)]
    if other:
        raise UsageError(
            f"{layout.root} holds a corpus of other {', '.join(other)}",
            "Give the same options to go on with it, or name another folder with --out.",
        )


def _done(images: int) -> str:
    return f", {images:,} of them done" if images else ""


def _left(whole: int, left: int) -> str:
    return f", {_size(left)} of it to come" if left < whole else ""


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
