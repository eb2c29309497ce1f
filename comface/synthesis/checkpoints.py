"""Checkpoints of the published generators: file names, sources, licences, look-up and safe reading.

The authors' files are pickles with code inside; `weights.read` takes the tensors out of them and runs
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from comface_bench.core.errors import WeightsMissingError
from comface_bench.core.weights import weights_digest, weights_folder
from comface_bench.weights.convert import converted_name
from comface_bench.weights.read import read_tensors

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A generator's checkpoint as its authors publish it.

    Attributes:
        generator: Name of the generator, and of its folder in the weights folder.
        files: Names under which the same weights are known; the authors' own comes first.
        url: Source of the first.
        licence: Of the weights.
    """

    generator: str
    files: tuple[str, ...]
    url: str
    licence: str


class GeneratorCheckpoint(NamedTuple):
    """A checkpoint that was read: where it lies, its SHA-256, and its tensors by name."""

    path: Path
    sha256: str
    tensors: dict[str, Tensor]


def find_checkpoint(published: PublishedCheckpoint, chosen: Path | None = None) -> Path:
    """Return the path of a generator's checkpoint.

    Args:
        published: The checkpoint, in its folder in the weights folder or in that folder itself: the
            file that `comface-bench weights convert` makes of it, or else the published one.
        chosen: A file of the user's, which is taken instead.

    Raises:
        WeightsMissingError: There is none; the message says what to get, from where, and where to put it.
    """
    if chosen is not None:
        if not chosen.is_file():
            raise WeightsMissingError(
                f"{published.generator}: checkpoint {chosen} doesn't exist",
                "Say where it is: -o checkpoint=FILE",
            )
        return chosen
    folder = weights_folder() / published.generator
    names = dict.fromkeys([*(converted_name(name) for name in published.files), *published.files])
    for place in (folder, folder.parent):
        for name in names:
            if (place / name).is_file():
                return place / name
    own, *others = published.files
    also = f" ({' or '.join(others)} will do, too)" if others else ""
    raise WeightsMissingError(
        f"{published.generator} needs {own}{also}, which isn't there: {folder / own}",
        f"Get it from {published.url} (licence: {published.licence})\n"
        "and put it there, or name it: -o checkpoint=FILE",
    )


def read_checkpoint(path: Path) -> GeneratorCheckpoint:
    """Read a generator's checkpoint: safetensors, a state dict of torch, or NVIDIA's pickle.

    Returns:
        Tensors under the names of the file. Of NVIDIA's pickles they are those of the averaged generator:
        `synthesis.L0_36_1024.weight` of StyleGAN3's G_ema, `synthesis/4x4/Const/const` of StyleGAN's Gs.

    Raises:
        WeightsFormatError: The file would have to run something, which it names; or it is damaged.
    """
    return GeneratorCheckpoint(path, weights_digest(path), read_tensors(path))


STYLEGAN_CHECKPOINT: Final = PublishedCheckpoint(
    "stylegan",
    ("karras2019stylegan-ffhq-1024x1024.pkl", "stylegan_ffhq.pth"),
    "https://drive.google.com/uc?id=1MEGjdvVpUsu1jB4zrXZN7Y4kBBOzizDQ",
    "CC BY-NC 4.0",
)

STYLEGAN3_CHECKPOINT: Final = PublishedCheckpoint(
    "stylegan3",
    ("stylegan3-r-ffhq-1024x1024.pkl", "sg3-r-ffhq-1024.pt"),
    "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/"
    "stylegan3-r-ffhq-1024x1024.pkl",
    "NVIDIA Source Code License (research and evaluation only)",
)
