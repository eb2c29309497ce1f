"""Generators that make a face from a latent code w: the part that both StyleGANs share.

A `GeneratorFamily` names the rest: checkpoint, directions, truncated layers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self

import numpy as np
import PIL
import torch
import torch.nn.functional as F

from comface_bench.comface.synthesis.boundaries import LATENT_SIZE, direction_folders, find_boundaries
from comface_bench.comface.synthesis.checkpoints import find_checkpoint, read_checkpoint
from comface_bench.comface.synthesis.editing import Editing
from comface_bench.comface.synthesis.generator import ALPHAS, PEOPLE, GeneratorCard
from comface_bench.core.errors import UsageError, WeightsFormatError
from comface_bench.core.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from comface_bench.comface.synthesis.boundaries import BoundarySpec
    from comface_bench.comface.synthesis.checkpoints import PublishedCheckpoint


class LatentNetwork(Protocol):
    """A network that makes images of codes, ready for inference, on the CPU at first."""

    @property
    def resolution(self) -> int:
        """Height and width of the images in pixels."""

    @property
    def layers(self) -> int:
        """Number of layers that take a code."""

    @property
    def mean(self) -> Tensor:
        """Mean of w, (512,)."""

    @property
    def mapping(self) -> Callable[[Tensor], Tensor]:
        """From z to w that isn't truncated, both (N, 512)."""

    @property
    def synthesis(self) -> Callable[[Tensor], Tensor]:
        """From codes (N, layers, 512) to images (N, 3, R, R), about −1 to 1."""

    def to(self, device: torch.device) -> Self:
        """Move to a device."""


@dataclasses.dataclass(frozen=True)
class GeneratorFamily:
    """Facts and functions of one kind of latent generator.

    Attributes:
        published: Its checkpoint; its name is the generator's.
        licence: Of the images.
        boundaries: The directions that are known.
        editing: Defaults.
        load: From tensors by name and the file that they come from to the network.
        facts: Further facts for the card.
    """

    published: PublishedCheckpoint
    licence: str
    boundaries: tuple[BoundarySpec, ...]
    editing: Editing
    load: Callable[[Mapping[str, Tensor], Path], LatentNetwork]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_EDITING: Final = tuple(field.name for field in dataclasses.fields(Editing))


@dataclasses.dataclass(frozen=True, eq=False)
class LatentIdentity:
    """An identity: a code that isn't truncated.

    Attributes:
        seed, number: Seed and number that it was drawn by.
        w: Shape (512,), float32.
    """

    seed: int
    number: int
    w: NDArray[np.float32]


class LatentGenerator:
    """A `Generator` of a family, which subclasses name.

    Args:
        checkpoint: Its weights; by default those in the weights folder.
        boundaries: A folder of directions, looked at before the family's folder in the weights folder and
            before those that ship.
        attributes: Names that must be there; by default all whose files are.
        editing: Truncation and edits of codes; by default the family's.
        size: Height and width of the images that `render` returns, in pixels; the mean of whole blocks.
        crop: Side of the square in the middle that is kept, a multiple of `size`; 0 keeps all.
        batch: Images that are made at once. It is among the options that decide the images: their last bits
            depend on it.
        device: Device, as torch names it; `auto` takes a GPU if there is one.

    Raises:
        WeightsMissingError: The checkpoint, or the file of a wanted direction, isn't there.
        WeightsFormatError: A file can't be read, or doesn't fit.
        UsageError: An option can't be taken.
    """

    family: ClassVar[GeneratorFamily]

    def __init__(
        self,
        *,
        checkpoint: Path | None = None,
        boundaries: Path | None = None,
        attributes: Sequence[str] | None = None,
        editing: Editing | None = None,
        size: int = 256,
        crop: int = 0,
        batch: int = 1,
        device: str = "auto",
    ) -> None:
        family = self.family
        folders = direction_folders(family.published.generator, boundaries)
        self._editing = editing or family.editing
        known = [spec.attribute for spec in family.boundaries]
        if strange := [name for name in self._editing.layers if name not in known]:
            meant = did_you_mean(strange[0], known)
            raise UsageError(
                f"layers of {strange[0]!r}: nobody knows its direction.{meant}",
                f"There are {', '.join(known)}.",
            )
        self._path = find_checkpoint(family.published, checkpoint)
        self._boundaries = find_boundaries(family.boundaries, folders, attributes)
        self._device = _choose_device(device)
        loaded = read_checkpoint(self._path)
        self._digest = loaded.sha256
        network = self._place(family.load(loaded.tensors, self._path))
        self._network: LatentNetwork | None = network
        # Of the mean code, which a training has to itself and every form of its file holds to the bit.
        self._people = hashlib.sha256(network.mean.float().cpu().numpy().tobytes()).hexdigest()
        self._editing.check_layers(network.layers)
        self._crop = crop or network.resolution
        if size < 1 or batch < 1 or self._crop % size or self._crop > network.resolution or crop < 0:
            raise UsageError(
                f"size={size} crop={self._crop} batch={batch} can't be",
                f"crop is a multiple of size and at most {network.resolution}; batch is 1 or more.",
            )
        self._size, self._batch = size, batch

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Self:
        """Make the generator from options as the command line has them.

        Raises:
            UsageError: An option isn't known, or its text isn't understood.
            BenchError: As the class says.
        """
        readers: dict[str, Callable[[str], Any]] = {
            "checkpoint": Path,
            "boundaries": Path,
            "attributes": partial(str.split, sep=","),
            "size": int,
            "crop": int,
            "batch": int,
            "device": str,
        }
        taken: dict[str, Any] = {}
        for key, text in options.items():
            if key not in readers and key not in _EDITING:
                raise UsageError(
                    f"-o {key}={text}: {cls.family.published.generator} takes no {key!r}",
                    f"It takes {', '.join([*readers, *_EDITING])}.",
                )
            try:
                if key in readers:
                    taken[key] = readers[key](text)
            except ValueError:
                raise UsageError(f"-o {key}={text} isn't a whole number") from None
        editing = cls.family.editing.changed({key: text for key, text in options.items() if key in _EDITING})
        return cls(editing=editing, **taken)

    @property
    def card(self) -> GeneratorCard:
        """Facts of this generator."""
        editing, count = self._editing, self._ready().layers
        boundaries = {
            name: {
                "layers": list(editing.layers.get(name, (0, count - 1))),
                # Its last digits differ from machine to machine, and say nothing.
                "norm": round(boundary.norm, 6),
                **({"note": boundary.note} if boundary.note else {}),
            }
            for name, boundary in self._boundaries.items()
        }
        sources = {self._path.name: self._digest, PEOPLE: self._people}
        for boundary in self._boundaries.values():
            sources |= boundary.sources
        return GeneratorCard(
            name=self.family.published.generator,
            resolution=self._size,
            attributes=tuple(self._boundaries),
            licence=self.family.licence,
            sources={
                **sources,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "pillow": PIL.__version__,
            },
            options={
                "psi": editing.psi,
                "truncated": editing.truncated,
                "order": editing.order,
                "unit": editing.unit,
                "boundaries": boundaries,
                "size": self._size,
                "crop": self._crop,
                "batch": self._batch,
                "device": self._device.type,
                **self.family.facts,
            },
        )

    def identities(self, seed: int, count: int, first: int = 0) -> list[LatentIdentity]:
        """Draw identities: z from a normal distribution, by a stream of each one's own, then w."""
        mapping = self._ready().mapping
        found = []
        with _repeatable():
            for number in range(first, first + count):
                z = torch.from_numpy(draw_latent(self.family.published.generator, seed, number))
                # One by one: sums in a batch may be added in another order.
                w = mapping(z[None].to(self._device))[0].cpu().numpy()
                found.append(LatentIdentity(seed, number, w))
        return found

    def render(self, identity: LatentIdentity, attribute: str, alphas: Sequence[float]) -> NDArray[np.uint8]:
        """Render an identity with one attribute moved; see `Generator`."""
        if attribute not in self._boundaries:
            raise UsageError(
                f"{self.card.name} has no attribute {attribute!r}", f"It has {', '.join(self._boundaries)}."
            )
        if not all(ALPHAS[0] <= alpha <= ALPHAS[-1] for alpha in alphas):
            raise UsageError(f"α is {ALPHAS[0]:g} to {ALPHAS[-1]:g}")
        images = np.empty((len(alphas), 3, self._size, self._size), np.uint8)
        network = self._ready()
        with _repeatable():
            w = torch.from_numpy(identity.w).to(self._device)
            codes = self._editing.codes(w, network.mean, self._boundaries[attribute], alphas, network.layers)
            for start in range(0, len(alphas), self._batch):
                part = codes[start : start + self._batch]
                # Filled up: an image mustn't depend on how many others are made with it.
                filler = part[-1:].expand(self._batch - len(part), -1, -1)
                made = network.synthesis(torch.cat([part, filler]))
                images[start : start + len(part)] = downsample(made, self._crop, self._size)[
                    : len(part)
                ].cpu()
        return images

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": None}

    def _ready(self) -> LatentNetwork:
        """Return the network; an instance that was pickled reads it again."""
        if self._network is None:
            loaded = read_checkpoint(self._path)
            if loaded.sha256 != self._digest:
                raise WeightsFormatError(f"{self._path} has changed since this generator was made")
            self._network = self._place(self.family.load(loaded.tensors, self._path))
        return self._network

    def _place(self, network: LatentNetwork) -> LatentNetwork:
        if len(network.mean) != LATENT_SIZE:
            raise WeightsFormatError(
                f"{self._path.name} has codes of {len(network.mean)} numbers, not {LATENT_SIZE}"
            )
        return network.to(self._device)


def draw_latent(generator: str, seed: int, number: int) -> NDArray[np.float32]:
    """Draw z of an identity, shape (512,), from a normal distribution.

    Args:
        generator: Name; each generator has streams of its own.
        seed: 0 or more.
        number: Of the identity, 0 or more; the stream begins at this place of a counter of 256 bits.
    """
    text = f"{generator}\x1f{seed}"
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    random = np.random.Generator(np.random.Philox(counter=number << 128, key=key))
    return random.standard_normal(LATENT_SIZE).astype(np.float32)


def downsample(images: Tensor, crop: int, size: int) -> Tensor:
    """Cut out the middle, take the mean of whole blocks, and round to 8 bits.

    Args:
        images: (N, 3, R, R), where −1 is black and 1 is white; what lies outside is clipped first.
        crop: Side of the square that is kept.
        size: Side of the result, which divides `crop`.

    Returns:
        uint8 (N, 3, size, size).
    """
    edge = (images.shape[-1] - crop) // 2
    images = images[:, :, edge : edge + crop, edge : edge + crop].clamp(-1, 1)
    means = F.avg_pool2d(images, crop // size)
    return ((means + 1) * 127.5 + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device={name} isn't there: {str(error).splitlines()[0]}") from error
    return device


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Compute without gradients, in full float32, by algorithms that give the same bits each time."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    products, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
    with torch.inference_mode(), flags:
        products.allow_tf32 = False
        try:
            yield
        finally:
            products.allow_tf32 = before
