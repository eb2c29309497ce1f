"""The generators by name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from comface_bench.core.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comface_bench.comface.synthesis.generator import Generator

_HERE = "comface_bench.comface.synthesis"

GENERATORS: Final = {
    "anny": f"{_HERE}.anny.generator",
    "stylegan": f"{_HERE}.stylegan.generator",
    "stylegan3": f"{_HERE}.stylegan3.generator",
}
"""Name → module with `make(options)`."""

PLACES: Final = ("checkpoint", "boundaries")
"""Options of generators that say where files lie; what is in them, their cards say by digest."""

MACHINE: Final = ("device", "batch")
"""Options that can move the last bits of an image, and no more."""

ELSEWHERE: Final = (*PLACES, *MACHINE)
"""Options that may be other where a corpus is gone on with."""


def open_generator(name: str, options: Mapping[str, str]) -> Generator:
    """Make a generator.

    Args:
        name: Key of `GENERATORS`.
        options: The generator's own options, as the command line has them.

    Raises:
        UnknownNameError: There is no such generator.
        UsageError: The generator doesn't take an option or a value.
        WeightsMissingError: It needs a checkpoint that isn't there.
        MissingExtraError: It needs a package that isn't installed.
    """
    if name not in GENERATORS:
        raise UnknownNameError(f"unknown generator {name!r}", f"One of {', '.join(GENERATORS)}.")
    generator: Generator = importlib.import_module(GENERATORS[name]).make(options)
    return generator


def with_whole_paths(options: Mapping[str, str]) -> dict[str, str]:
    """Make the paths among a generator's options absolute, so that they hold in any folder."""
    return {
        key: str(Path(text).expanduser().absolute()) if key in PLACES else text
        for key, text in options.items()
    }
