"""Directions of attributes in a generator's latent space W: the normals of InterFaceGAN's boundaries."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from comface_bench.core.errors import UsageError, WeightsFormatError, WeightsMissingError
from comface_bench.core.weights import weights_digest, weights_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from comface_bench.comface.synthesis.known_boundaries import BoundaryFile, BoundarySpec

LATENT: Final = 512
"""Dimension of W in both StyleGANs."""

_SHIPPED = Path(__file__).parent / "boundary_files"


@dataclass(frozen=True, eq=False)
class Boundary:
    """A direction, checked.

    Attributes:
        attribute: Its name.
        direction: Shape (512,), as stored.
        norm: Its length as stored.
        sources: SHA-256 of each file that it is made of, by file name.
        note: What is special about it, or empty.
    """

    attribute: str
    direction: NDArray[np.float64]
    norm: float
    sources: dict[str, str]
    note: str = ""

    @property
    def unit(self) -> NDArray[np.float64]:
        """The direction at length 1."""
        return self.direction / self.norm


def direction_folders(generator: str, chosen: Path | None = None) -> list[Path]:
    """Return where a generator's directions may lie, in the order in which they are looked for.

    Args:
        generator: Its name, and that of its folder in the weights folder.
        chosen: A folder of the user's, looked at first.

    Raises:
        UsageError: The user's isn't a folder.
    """
    if chosen is not None and not chosen.is_dir():
        raise UsageError(f"boundaries={chosen} is no folder", "Say where it is: -o boundaries=DIR")
    return [*([chosen] if chosen else []), weights_folder() / generator]


def find_boundaries(
    specs: Iterable[BoundarySpec], folders: Sequence[Path] = (), wanted: Sequence[str] | None = None
) -> dict[str, Boundary]:
    """Read the directions of attributes.

    Args:
        specs: Those that the generator knows.
        folders: Where files may lie, looked at in this order; then come the ones that ship.
        wanted: Names of the attributes that must be there; None takes all whose files are.

    Returns:
        Attribute → direction, in the order of `specs`, or of `wanted`.

    Raises:
        UsageError: Nobody knows a wanted attribute.
        WeightsMissingError: Files of wanted attributes aren't there; all of them are named.
        WeightsFormatError: A file holds no direction.
    """
    known = {spec.attribute: spec for spec in specs}
    for attribute in wanted or ():
        if attribute not in known:
            raise UsageError(f"nobody knows a direction of {attribute!r}", f"There are {', '.join(known)}.")
    found: dict[str, Boundary] = {}
    absent: list[BoundaryFile] = []
    for attribute in known if wanted is None else wanted:
        spec = known[attribute]
        files = (spec.main, *spec.orthogonal_to)
        paths = [path for file in files if (path := _find(file, folders))]
        if len(paths) == len(files):
            found[attribute] = _make(spec, paths)
        elif wanted is not None:
            absent += [file for file in files if not _find(file, folders)]
    if absent:
        raise _missing([name for name in wanted or () if name not in found], absent, folders)
    return found


def read_direction(path: Path) -> NDArray[np.float64]:
    """Read a direction from a .npy file, of which nothing is run.

    Returns:
        Shape (512,), with the length that it is stored at.

    Raises:
        WeightsFormatError: It isn't an array of shape (1, 512) or (512,), of finite floating-point numbers
            that aren't all 0.
    """
    try:
        # Mapped: a header can't ask for more memory than the file has bytes.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise WeightsFormatError(f"{path} is no .npy file of numbers: {error}") from error
    if (
        not isinstance(array, np.ndarray)
        or array.dtype.kind != "f"
        or array.shape not in ((1, LATENT), (LATENT,))
    ):
        told = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise WeightsFormatError(f"{path} holds {told}, not a direction of shape (1, {LATENT})")
    direction = np.array(array, np.float64).reshape(LATENT)
    if not np.isfinite(direction).all() or not direction.any():
        raise WeightsFormatError(f"{path} holds numbers that aren't finite, or only zeros")
    return direction


def project_out(direction: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make a direction (512,) orthogonal to all `others` (N, 512), and give it length 1."""
    basis, _ = np.linalg.qr(others.T)
    rest = direction - basis @ (basis.T @ direction)
    return np.asarray(rest / np.linalg.norm(rest))


def _find(file: BoundaryFile, folders: Sequence[Path]) -> Path | None:
    places = [*folders, *([_SHIPPED / file.folder] if file.folder else [])]
    return next((place / file.file for place in places if (place / file.file).is_file()), None)


def _missing(
    attributes: Sequence[str], absent: Sequence[BoundaryFile], folders: Sequence[Path]
) -> WeightsMissingError:
    places = " or ".join(map(str, folders)) or "any folder"
    names = ", ".join(file.file for file in absent)
    sources = list(dict.fromkeys(file.source for file in absent))
    if len(absent) == 1:
        message, hint = f"{attributes[0]} needs {names}, which isn't in {places}", f"Get it from {sources[0]}"
        return WeightsMissingError(
            message, f"{hint}\nand put it there, or name its folder: -o boundaries=DIR"
        )
    message = f"{len(attributes)} attributes need {len(absent)} files that aren't in {places}: {names}"
    return WeightsMissingError(
        message,
        f"Get them from {' and '.join(sources)}\nand put them there, or name their folder: -o boundaries=DIR",
    )


def _make(spec: BoundarySpec, paths: Sequence[Path]) -> Boundary:
    directions = [read_direction(path) for path in paths]
    sources, notes = {}, [spec.note] if spec.note else []
    for file, path in zip((spec.main, *spec.orthogonal_to), paths, strict=True):
        sources[file.file] = weights_digest(path)
        if file.sha256 and sources[file.file] != file.sha256:
            notes.append(f"{file.file} isn't the published file, whose SHA-256 is {file.sha256}")
            warnings.warn(f"{path} isn't the published file: its SHA-256 differs", stacklevel=4)
    direction = directions[0]
    if spec.orthogonal_to:
        direction = project_out(direction, np.stack(directions[1:]))
    return Boundary(spec.attribute, direction, float(np.linalg.norm(direction)), sources, "; ".join(notes))
