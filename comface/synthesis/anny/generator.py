"""The generator `anny`: rendered heads with exact attributes."""

from __future__ import annotations

import dataclasses
import functools
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from comface_bench.comface.synthesis.anny.ageless import AGELESS, untie
from comface_bench.comface.synthesis.anny.attributes import ATTRIBUTES, move
from comface_bench.comface.synthesis.anny.head_model import load_head
from comface_bench.comface.synthesis.anny.person import NECKLINES, State, draw_person, stream
from comface_bench.comface.synthesis.anny.renderer import render_record
from comface_bench.comface.synthesis.anny.scene import draw_view
from comface_bench.comface.synthesis.anny.warp_runtime import CPU, find_device
from comface_bench.comface.synthesis.generator import GeneratorCard
from comface_bench.core.errors import UsageError
from comface_bench.core.names import split_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from comface_bench.comface.synthesis.anny.person import Person
    from comface_bench.comface.synthesis.anny.scene import View

VERSION: Final = 3
"""Raised with any change of pixels."""

_LICENCE = "CC0-1.0: rendered by this project with anny (Apache-2.0) on MakeHuman's data (CC0)"
_PACKAGES = ("anny", "warp-lang", "numpy", "scipy", "pillow")
_KEY = "corpus"  # no subject of synthfaces has a key that begins so


@dataclasses.dataclass(frozen=True)
class AnnyIdentity:
    """An identity with its base state and its view.

    Attributes:
        seed, number: Seed and number that it was drawn by.
        person: The person.
        state: Age, slight expression and clothes.
        view: Pose, light, camera and background, constant unless nuisance is on.
    """

    seed: int
    number: int
    person: Person
    state: State
    view: View


class AnnyGenerator:
    """Renders anny's heads; a `Generator`.

    Args:
        size: Height and width of the images in pixels, 32 to 4096.
        nuisance: Pose, light, camera and background change from image to image of a record; if not, nothing
            but the attribute does, as in the paper's images.
        device: Device of the kernels: `cpu`, `cuda` or `cuda:N`; `auto` takes a GPU if there is one.
        ageless: Of `AGELESS`: in records of the attribute `age`, these are drawn for each image whatever the
            age.
        ageless_share: Share of the people for whom they are; for all others they go with the age.

    Raises:
        UsageError: The size or the share is out of range, a name isn't known, or the device isn't there.
        MissingExtraError: anny isn't installed; when the first image is asked for, or a GPU.
    """

    def __init__(
        self,
        size: int = 128,
        *,
        nuisance: bool = False,
        device: str = "cpu",
        ageless: tuple[str, ...] = (),
        ageless_share: float = 1.0,
    ) -> None:
        if not 32 <= size <= 4096:
            raise UsageError(f"-o size={size}: faces have 32 to 4096 pixels")
        if unknown := [name for name in ageless if name not in AGELESS]:
            raise UsageError(f"-o ageless={unknown[0]}: not one of {', '.join(AGELESS)}")
        if not 0 < ageless_share <= 1:
            raise UsageError(
                f"-o ageless_share={ageless_share:g}: a share of the people, above 0 and up to 1"
            )
        # In the table's order: one choice is one corpus, however it is typed.
        self._ageless = tuple(name for name in AGELESS if name in ageless)
        self._ageless_share = ageless_share
        self._size, self._nuisance, self._device = size, nuisance, find_device(device)

    @functools.cached_property
    def card(self) -> GeneratorCard:
        """Facts of this generator."""
        return GeneratorCard(
            name="anny",
            resolution=self._size,
            attributes=tuple(ATTRIBUTES),
            licence=_LICENCE,
            sources={name: _version(name) for name in _PACKAGES},
            options={
                "version": VERSION,
                "size": self._size,
                "nuisance": "on" if self._nuisance else "off",
                # Left out on processors, so that corpora begun before the option existed can be resumed.
                **({} if self._device == CPU else {"device": self._device.kind}),
                **(
                    {"ageless": list(self._ageless), "ageless_share": self._ageless_share}
                    if self._ageless
                    else {}
                ),
            },
        )

    def identities(self, seed: int, count: int, first: int = 0) -> list[AnnyIdentity]:
        """Draw identities; see `Generator.identities`."""
        return [_draw(seed, number) for number in range(first, first + count)]

    def render(self, identity: AnnyIdentity, attribute: str, alphas: Sequence[float]) -> NDArray[np.uint8]:
        """Render an identity with one attribute moved; see `Generator.render`.

        Raises:
            UsageError: An unknown attribute, or a value out of range.
        """
        if attribute not in ATTRIBUTES:
            raise UsageError(f"anny has no attribute {attribute!r}", f"It has {', '.join(ATTRIBUTES)}.")
        if not all(-5 <= alpha <= 5 for alpha in alphas):
            raise UsageError("α lies in −5 to 5")
        path = functools.partial(self._at, identity, attribute)
        views = [self._view(identity, attribute, alpha) for alpha in alphas]
        images = render_record(load_head(), path, list(alphas), views, self._size, self._device)
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def _at(self, identity: AnnyIdentity, attribute: str, alpha: float) -> tuple[Person, State]:
        person, state = move(identity.person, identity.state, attribute, alpha)
        key = (identity.seed, _KEY, identity.number)
        if not self._ageless or attribute != "age":
            return person, state
        if stream("ageless", *key).random() >= self._ageless_share:
            return person, state
        return untie(person, state, self._ageless, *key, round(10 * alpha))

    def _view(self, identity: AnnyIdentity, attribute: str, alpha: float) -> View:
        # The sensor's noise differs in each image.
        # The base image has one noise, whichever attribute it stands for.
        place = (attribute, round(10 * alpha)) if alpha else ("base", 0)
        key = (identity.seed, _KEY, identity.number, *place)
        random = stream("view", *key)
        if self._nuisance:
            return draw_view(random)
        return dataclasses.replace(identity.view, seed=int(random.integers(1 << 30)))


def make(options: Mapping[str, str]) -> AnnyGenerator:
    """Make the generator from options as the command line has them.

    They are `size`, `nuisance=off|on`, `device`, `ageless=NAME,NAME` and `ageless_share`.

    Raises:
        UsageError: Another option, a value that isn't taken, or a device that isn't there.
        MissingExtraError: A GPU is asked for, and warp isn't installed.
    """
    given: dict[str, Any] = {}
    for name, text in options.items():
        if name == "size" and text.isdecimal():
            given["size"] = int(text)
        elif name == "nuisance" and text in ("on", "off"):
            given["nuisance"] = text == "on"
        elif name == "device":
            given["device"] = text
        elif name == "ageless":
            given["ageless"] = tuple(split_list([text]))
        elif name == "ageless_share" and _is_number(text):
            given["ageless_share"] = float(text)
        else:
            raise UsageError(
                f"anny doesn't take -o {name}={text}",
                "It takes size=PIXELS, nuisance=off|on, device=cpu|cuda|cuda:N|auto, ageless=NAME,NAME and"
                " ageless_share=SHARE.",
            )
    if "ageless_share" in given and not given.get("ageless"):
        raise UsageError(
            f"-o ageless_share={options['ageless_share']} is a share of nothing",
            f"Say what is untied from the age for them: -o ageless= one or more of {', '.join(AGELESS)}",
        )
    return AnnyGenerator(**given)


def _draw(seed: int, number: int) -> AnnyIdentity:
    key = (_KEY, seed, number)
    random = stream("moment", *key)
    # Mostly adults; children too, as attributes of shape and colour are theirs as well.
    years = float(random.uniform(4, 17) if random.random() < 0.12 else random.uniform(18, 72))
    smile = float(random.random() < 0.4) * float(random.uniform(0.3, 1.8))
    state = State(
        years=years,
        units={6: smile / 2, 12: smile},
        gaze=(float(random.normal(0, 0.05)), float(random.normal(0, 0.04))),
        cloth=tuple(
            float(value)
            for value in np.clip(random.uniform(0.08, 0.75) + random.normal(0, 0.1, 3), 0.03, 0.9)
        ),  # type: ignore[arg-type]
        neckline=str(random.choice(NECKLINES)),
    )
    return AnnyIdentity(seed, number, draw_person(*key), state, draw_view(stream("camera", *key)))


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
