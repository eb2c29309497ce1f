"""The generators by name."""

from __future__ import annotations

import importlib
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
