"""Where weights lie: the weights folder, and which file a method needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from comface_bench.core.card import MethodCard
from comface_bench.core.digest import digest_file
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.core.registry import Entry


def cache_folder() -> Path:
    """Return the folder for what can be made again: COMFACE_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("COMFACE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "comface-bench"


def weights_folder() -> Path:
    """Return the weights folder: COMFACE_WEIGHTS, else `weights` in the cache folder."""
    return Path(os.environ.get("COMFACE_WEIGHTS") or cache_folder() / "weights")


def find_weights(entry: Entry[MethodCard], options: Mapping[str, str]) -> Path | None:
    """Return the weights file of a method, or None if it needs none.

    The option `checkpoint` names a file; else the method's module may know better (`find_weights` of
    its own); else it is the card's file in the weights folder.

    Raises:
        WeightsMissingError: The file isn't there; the message says what to put where.
        WeightsFormatError: The file isn't the published one.
    """
    card = entry.card
    if "checkpoint" in options:
        chosen = Path(options["checkpoint"])
        if not chosen.is_file():
            raise WeightsMissingError(f"{card.name}: checkpoint {chosen} doesn't exist")
        return chosen
    own = entry.hook("find_weights")
    if own is not None:
        found = own(card, options)
        assert found is None or isinstance(found, Path)
        return found
    if card.checkpoint is None:
        return None
    path = weights_folder() / card.checkpoint.file
    if not path.is_file():
        raise WeightsMissingError(
            f"{card.name} needs {card.checkpoint.file}, which isn't in {weights_folder()}",
            f"Get it from {card.checkpoint.url}\nand put it there, or name it: -o checkpoint=FILE",
        )
    check_digest(path, card.checkpoint.sha256, card.name)
    return path


def check_digest(path: Path, published: str, name: str) -> None:
    """Check a file against a published SHA-256 or its leading digits; an empty one passes.

    Raises:
        WeightsFormatError: They differ.
    """
    if published and not (found := digest_file(path)).startswith(published):
        raise WeightsFormatError(
            f"{name}: {path.name} has SHA-256 {found}, but the authors publish {published}…",
            "It is another file or a broken download: get it again.",
        )
