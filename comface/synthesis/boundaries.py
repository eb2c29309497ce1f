"""Directions of attributes in a generator's latent space W: the normals of InterFaceGAN's boundaries.

The files that ship lie in `boundary_files`, under their authors' names and licences (MIT).
"""

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

_INTERFACEGAN = "https://github.com/genforce/interfacegan (commit 8da3fc0), folder boundaries"
_PLUS_PLUS = "https://github.com/younesbelkada/interfacegan (commit 9d8df61)"
_WEIGHT = "https://github.com/aekpalakorn/StyleGAN-Facial-Weight (commit 5222232), folder StyleGAN1"
_EDITING = "https://github.com/yuval-alaluf/stylegan3-editing (its Drive folder 'Aligned FFHQ')"
_3DGANTEX = "https://github.com/rohit7044/3DGANTex (commit 4b703c8)"


@dataclass(frozen=True)
class BoundaryFile:
    """A published file of a direction.

    Attributes:
        file: Its name.
        source: Its publisher.
        sha256: Its digest, or empty if unknown.
        folder: Folder of `boundary_files` that it ships in, or empty.
    """

    file: str
    source: str
    sha256: str = ""
    folder: str = ""


@dataclass(frozen=True)
class BoundarySpec:
    """Recipe for the direction of one attribute.

    Attributes:
        attribute: Its name.
        main: The file.
        orthogonal_to: Files whose directions are projected out of it before it gets unit length again.
        note: A remark for readers of a corpus, such as that it is a stand-in.
    """

    attribute: str
    main: BoundaryFile
    orthogonal_to: tuple[BoundaryFile, ...] = ()
    note: str = ""


def _plus_plus(attribute: str, sha256: str) -> BoundaryFile:
    return BoundaryFile(f"boundary_{attribute}.npy", _PLUS_PLUS, sha256, "interfacegan-plus-plus")


STYLEGAN_BOUNDARIES: Final = (
    BoundarySpec("weight", BoundaryFile("weight_orth_mouth.npy", _WEIGHT)),
    BoundarySpec(
        "age",
        BoundaryFile(
            "stylegan_ffhq_age_w_boundary.npy",
            _INTERFACEGAN,
            "f92c72c6621fd9630a2100168462a15a531bee410099847fdcdf844159eb7e30",
            "interfacegan",
        ),
    ),
    BoundarySpec(
        "smile",
        BoundaryFile(
            "stylegan_ffhq_smile_w_boundary.npy",
            _INTERFACEGAN,
            "5a729c200c2c933806116cb77624ccedbd6fce21aa98fca8be49aeaa35caa1c7",
            "interfacegan",
        ),
    ),
    BoundarySpec(
        "weight-chubby",
        _plus_plus("Chubby", "f53fab18a91cc07a286c90fd6eac0eee53eb1527ea4c07884c0dd9f0383dff23"),
        (
            _plus_plus("Smiling", "46da261091bee338eb6ba765016327893170fb741eac2287d8b29261a6d61a98"),
            _plus_plus(
                "Mouth_Slightly_Open", "ad3d92eba684c42ffa10010b8f73a8922eac7d7f7e3db6899b0f6d14d9af9c41"
            ),
            _plus_plus("Young", "5e41d8fba84f3753190f1f703b32c407e893e7edcea94877c7123481ce6eb446"),
            _plus_plus("Gender", "180e40636d196836e7c141331a693ddf8556caa058dae89dfd8341e779b84380"),
        ),
        "stand-in for weight: Chubby made orthogonal to Smiling, Mouth_Slightly_Open, Young and Gender",
    ),
)
"""Directions for StyleGAN on FFHQ at 1024, in W before truncation."""

CELEBA_ATTRIBUTES: Final = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
"""CelebA's 40 attributes, in its order."""

_STYLEGAN3_DIGESTS: Final = {
    "Male": "c3e8f18e1c2f917727ab07684e33b9d96c02638abc800a00e735e76e996af7db",
    "Smiling": "d27b8250bf7e1668b37fb081a753bf547091da0bb15adf1d26a94b92041af5c0",
    "age": "b353180dc759befca41b709cbd2ada4fdd1fc5ce86e6474516e484d885ea2f15",
    "pose": "a551a7ddd96aa341dc4a6593f4f74738a2efc0c1e300df411f27e9faa8818605",
}

STYLEGAN3_BOUNDARIES: Final = tuple(
    BoundarySpec(
        attribute,
        BoundaryFile(
            f"{attribute}_boundary.npy",
            _3DGANTEX if attribute in _STYLEGAN3_DIGESTS else _EDITING,
            _STYLEGAN3_DIGESTS.get(attribute, ""),
            "3dgantex" if attribute in _STYLEGAN3_DIGESTS else "",
        ),
    )
    for attribute in (*CELEBA_ATTRIBUTES, "age", "pose")
)
"""Directions for StyleGAN3-R on aligned FFHQ at 1024, in W after truncation: CelebA's 40, age and pose."""

LATENT_SIZE: Final = 512
"""Dimension of W in both StyleGANs."""

_SHIPPED = Path(__file__).parent / "boundary_files"


@dataclass(frozen=True, eq=False)
class Boundary:
    """A checked direction.

    Attributes:
        attribute: Its name.
        direction: Shape (512,), as stored.
        norm: Its length as stored.
        sources: SHA-256 of each file that it is made of, by file name.
        note: A remark, or empty.
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
    """Return the folders of a generator's directions, in the order of the search.

    Args:
        generator: Its name, and that of its folder in the weights folder.
        chosen: A folder of the user's, searched first.

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
        folders: Folders of files, searched in this order; then come the ones that ship.
        wanted: Names of the attributes that must be there; None takes all whose files are.

    Returns:
        Attribute → direction, in the order of `specs`, or of `wanted`.

    Raises:
        UsageError: A wanted attribute is unknown.
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
    """Read a direction from a .npy file without running code from it.

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
        or array.shape not in ((1, LATENT_SIZE), (LATENT_SIZE,))
    ):
        kind = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise WeightsFormatError(f"{path} holds {kind}, not a direction of shape (1, {LATENT_SIZE})")
    direction = np.array(array, np.float64).reshape(LATENT_SIZE)
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
