"""Files that the StyleGANs require from their authors, looked up without opening a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from comface_bench.comface.synthesis.boundaries import (
    STYLEGAN3_BOUNDARIES,
    STYLEGAN_BOUNDARIES,
    direction_folders,
    find_boundaries,
)
from comface_bench.comface.synthesis.checkpoints import (
    STYLEGAN3_CHECKPOINT,
    STYLEGAN_CHECKPOINT,
    find_checkpoint,
)
from comface_bench.core.errors import WeightsMissingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.comface.synthesis.boundaries import BoundarySpec
    from comface_bench.comface.synthesis.checkpoints import PublishedCheckpoint

PUBLISHED_FILES: Final[dict[str, tuple[PublishedCheckpoint, tuple[BoundarySpec, ...]]]] = {
    "stylegan": (STYLEGAN_CHECKPOINT, STYLEGAN_BOUNDARIES),
    "stylegan3": (STYLEGAN3_CHECKPOINT, STYLEGAN3_BOUNDARIES),
}
"""Generator → its checkpoint and the directions that are known; generators of no files aren't here."""


def missing_files(name: str, options: Mapping[str, str]) -> list[WeightsMissingError]:
    """Return an error for a missing checkpoint and one for all missing directions; an empty list if none.

    Args:
        name: Of a generator.
        options: As `open_generator` takes them; `attributes` says which directions are needed.

    Raises:
        UsageError: The folder of directions is none, or a direction is unknown.
    """
    if name not in PUBLISHED_FILES:
        return []
    published, specs = PUBLISHED_FILES[name]
    wanted = options["attributes"].split(",") if "attributes" in options else None
    found = []
    try:
        find_checkpoint(published, _path(options, "checkpoint"))
    except WeightsMissingError as error:
        found.append(error)
    try:
        find_boundaries(specs, direction_folders(name, _path(options, "boundaries")), wanted)
    except WeightsMissingError as error:
        found.append(error)
    return found


def require_files(name: str, options: Mapping[str, str]) -> None:
    """Make sure that all files are there; arguments and further errors as for `missing_files`.

    Raises:
        WeightsMissingError: Some aren't; all of them are named, each with its source.
    """
    if found := missing_files(name, options):
        first, *others = found
        raise WeightsMissingError(first.message, "\n".join([first.hint, *map(str, others)]))


def available_directions(name: str, options: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the attributes whose files are there, and those whose files aren't; two empty lists for others.

    Raises:
        UsageError: The folder of directions isn't one.
    """
    if name not in PUBLISHED_FILES:
        return [], []
    specs = PUBLISHED_FILES[name][1]
    found = find_boundaries(specs, direction_folders(name, _path(options, "boundaries")))
    return list(found), [spec.attribute for spec in specs if spec.attribute not in found]


def _path(options: Mapping[str, str], key: str) -> Path | None:
    return Path(options[key]) if key in options else None
