"""Somebody who sits for pictures: what stays from image to image is made once.

`Sitter(head, at, device)` takes a path through people and states, `at(alpha) -> (person, state)`; `at(0)` is
the base. `shoot(alphas, views, size)` renders images, each of which depends on `at`, its alpha, its view,
`size` and the device alone. `render_record(head, at, alphas, views, size, device)` does so in one go, and
`render(head, person, state, view, size)` for one face.

Shapes, strands and colours are found on the processor, whatever the device, which draws, shades and develops.

What changes along the path may be anything in `Person` and `State`. On one core at 128 pixels, geometry
(expressions, weight, shape) and colours cost next to nothing more, `State.years` a few milliseconds, and what
the strands depend on (`coat.GROWTH`: cut, length, volume, curl, brows, beard and so on) 20 to 30 ms, since
they grow again.

Ambient light is exact at alphas −5, 0 and 5 and interpolated between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.comface.synthesis.anny.atlas import face_atlas
from comface_bench.comface.synthesis.anny.backdrop import draw_backdrop
from comface_bench.comface.synthesis.anny.bust import Bust
from comface_bench.comface.synthesis.anny.geometry import cloth_cover, dress
from comface_bench.comface.synthesis.anny.hair import hair_cover, receded
from comface_bench.comface.synthesis.anny.labels import sagging
from comface_bench.comface.synthesis.anny.look import fold_depths, look_of
from comface_bench.comface.synthesis.anny.noise import linear
from comface_bench.comface.synthesis.anny.picture import Subject, take
from comface_bench.comface.synthesis.anny.warping import CPU

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from comface_bench.comface.synthesis.anny.arrays import Floats, Pixels
    from comface_bench.comface.synthesis.anny.body import Head
    from comface_bench.comface.synthesis.anny.person import Person
    from comface_bench.comface.synthesis.anny.state import State
    from comface_bench.comface.synthesis.anny.view import View
    from comface_bench.comface.synthesis.anny.warping import Device

    Path = Callable[[float], tuple[Person, State]]

_END = 5.0
_SCALP = {"shaved": 0.45, "buzz": 0.97}
_latest: list[Bust] = []


class Sitter:
    """Renders the people and states of a path.

    Args:
        head: The head model.
        at: From alpha in [−5, 5] to a person and a state.
        device: Where it renders.
    """

    def __init__(self, head: Head, at: Path, device: Device = CPU) -> None:
        self._head, self._at, self._device = head, at, device
        self._bust = _bust(head, *at(0.0), device)
        self._light: dict[float, tuple[Floats, Floats]] = {}
        self._latest: dict[str, tuple[object, Any]] = {}

    def shoot(self, alphas: Sequence[float], views: Sequence[View], size: int) -> Pixels:
        """Return images (K, size, size, 3) at K alphas, each in its view."""
        images, step = np.empty((len(alphas), size, size, 3), np.uint8), self._device.batch(size)
        for start in range(0, len(alphas), step):
            some = slice(start, start + step)
            subjects = [self._subject(alpha) for alpha in alphas[some]]
            backdrops = [self._backdrop(view) for view in views[some]]
            images[some] = take(self._head, subjects, backdrops, views[some], size, self._device)
        return images

    def _subject(self, alpha: float) -> Subject:
        head, bust = self._head, self._bust
        person, state = self._at(alpha)
        years = state.years
        bare = bust.shape(person, state)
        cover = self._keep("cloth", state.neckline, lambda: cloth_cover(head, state.neckline))
        points = dress(bare, bust.normals, cover)
        matrix, openness = self._lit(alpha)
        coat = bust.coat(person)
        segments = self._keep(
            "standing",
            (coat.key, person.hairline, person.baldness, person.pace, years),
            lambda: coat.standing(person, years),
        )
        tints = (coat.key, person.hair, person.skin, person.grey_onset, years)
        tinted = self._keep("colours", tints, lambda: coat.colours(person, years))
        strands, colours, depth, kinds = bust.strands(coat, segments, tinted, bare, person, years)
        back = receded(person, years)
        hair = self._keep(
            "hair",
            (person.hairline, back),
            lambda: hair_cover(head.canonical, head.masks[:, 2], person.hairline, back),
        )
        extra = np.empty((len(points), 4), np.float32)
        extra[:, 0], extra[:, 1], extra[:, 2] = hair, cover, head.refine @ openness
        thin = np.clip(sagging(years, person.pace) * person.baldness / 8, 0, 0.8)
        extra[:, 3] = (
            _SCALP.get(person.cut, 0.95)
            * (0.5 + 0.5 * float(np.clip(years / 3, 0, 1)))
            * (1 - thin * np.clip((head.canonical[:, 1] - 78) / 4, 0, 1))
        )
        depths = fold_depths(person, state)
        middle, between = bust.eyes(points)
        return Subject(
            points=points,
            normals=head.normals(points),
            extra=extra,
            transfer=matrix,
            strands=strands,
            colours=colours,
            depth=depth,
            kinds=kinds,
            middle=middle,
            between=between,
            lids=bust.lids(points),
            look=look_of(head, person, state),
            folds=self._keep("folds", depths.tobytes(), lambda: face_atlas().folded(depths)),
            tone=float(linear(bust.person.skin)[1]),
        )

    def _backdrop(self, view: View) -> Floats:
        key = (view.backdrop, view.around.kind)
        backdrop: Floats = self._keep("backdrop", key, lambda: draw_backdrop(view))
        return backdrop

    def _keep(self, name: str, key: object, make: Callable[[], Any]) -> Any:
        """Return what was made for `key` the last time, or make it."""
        if name not in self._latest or self._latest[name][0] != key:
            self._latest[name] = key, make()
        return self._latest[name][1]

    def _lit(self, alpha: float) -> tuple[Floats, Floats]:
        """Return the transfer of ambient light and the openness, interpolated between three alphas."""
        for key in (0.0, float(np.sign(alpha)) * _END):
            if key not in self._light:
                self._light[key] = self._bust.light(*self._at(key))
        base, end = self._light[0.0], self._light[float(np.sign(alpha)) * _END]
        if base is end or alpha == 0:
            return base
        share = np.float32(abs(alpha) / _END)
        return base[0] + share * (end[0] - base[0]), base[1] + share * (end[1] - base[1])


def _bust(head: Head, person: Person, state: State, device: Device) -> Bust:
    """Return the bust of a person, kept while records of one identity follow each other."""
    if _latest:
        kept = _latest[0]
        if kept.head is head and (kept.person, kept.state, kept.device) == (person, state, device):
            return kept
    _latest[:] = [Bust(head, person, state, device)]
    return _latest[0]


def render_record(
    head: Head,
    at: Path,
    alphas: Sequence[float],
    views: Sequence[View],
    size: int,
    device: Device = CPU,
) -> Pixels:
    """Return images (K, size, size, 3) of a path at K alphas, each in a view of its own or all in one."""
    shown = views if len(views) > 1 else [views[0]] * len(alphas)
    return Sitter(head, at, device).shoot(alphas, shown, size)


def render(head: Head, person: Person, state: State, view: View, size: int) -> Pixels:
    """Return the image (size, size, 3) of a person in a state, a function of the arguments alone."""
    images: Pixels = Sitter(head, lambda _: (person, state)).shoot([0.0], [view], size)[0]
    return images
