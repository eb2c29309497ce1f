"""Renderer of a person whose attributes vary; whatever stays the same is computed once.

`Renderer(head, path, device)` takes a path through people and states, `path(alpha) -> (person, state)`;
`path(0)` is the base. `render(alphas, views, size)` returns images, each of which depends on `path`, its
alpha, its view, `size` and the device alone. `render_record(head, path, alphas, views, size, device)` does so
in one call, and `render(head, person, state, view, size)` for one face.

Shapes, strands and colours are computed on the processor, whatever the device, which rasterises, shades and
applies the camera response.

Anything in `Person` and `State` may vary along the path. On one core at 128 pixels, geometry (expressions,
weight, shape) and colours cost next to nothing more, `State.years` a few milliseconds, and what the strands
depend on (`strand_set.HAIR_PARAMETERS`: hairstyle, length, volume, curl, brows, beard and so on) 20 to 30 ms,
since they are generated anew.

Ambient light is exact at alphas −5, 0 and 5 and interpolated between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from comface_bench.comface.synthesis.anny.arrays import srgb_to_linear
from comface_bench.comface.synthesis.anny.hair_roots import depth_behind_hairline, hairline_recession
from comface_bench.comface.synthesis.anny.head_model import add_clothes, depth_below_neckline
from comface_bench.comface.synthesis.anny.identity_cache import IdentityCache
from comface_bench.comface.synthesis.anny.labels import sagging
from comface_bench.comface.synthesis.anny.material_params import material_params, wrinkle_depths
from comface_bench.comface.synthesis.anny.render_pipeline import RenderInputs, render_images
from comface_bench.comface.synthesis.anny.scene import draw_background
from comface_bench.comface.synthesis.anny.uv_maps import face_uv_maps
from comface_bench.comface.synthesis.anny.warp_runtime import CPU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comface_bench.comface.synthesis.anny.arrays import Floats, Pixels
    from comface_bench.comface.synthesis.anny.head_model import HeadModel
    from comface_bench.comface.synthesis.anny.person import Person, State
    from comface_bench.comface.synthesis.anny.scene import View
    from comface_bench.comface.synthesis.anny.warp_runtime import Device


AttributePath = Callable[[float], tuple["Person", "State"]]
"""From alpha in [−5, 5] to a person and a state."""

_END = 5.0
_SCALP_DARKNESS = {"shaved": 0.45, "buzz": 0.97}
_latest_identity: list[IdentityCache] = []


class Renderer:
    """Renders the people and states of a path.

    Args:
        head: The head model.
        path: From alpha in [−5, 5] to a person and a state.
        device: Where the kernels run.
    """

    def __init__(self, head: HeadModel, path: AttributePath, device: Device = CPU) -> None:
        self._head, self._path, self._device = head, path, device
        self._identity = _cached_identity(head, *path(0.0), device)
        self._light: dict[float, tuple[Floats, Floats]] = {}
        self._memory: dict[str, tuple[object, Any]] = {}

    def render(self, alphas: Sequence[float], views: Sequence[View], size: int) -> Pixels:
        """Return images (K, size, size, 3) at K alphas, each in its view."""
        images, step = np.empty((len(alphas), size, size, 3), np.uint8), self._device.batch(size)
        for start in range(0, len(alphas), step):
            some = slice(start, start + step)
            inputs = [self._inputs(alpha) for alpha in alphas[some]]
            backgrounds = [self._background(view) for view in views[some]]
            images[some] = render_images(self._head, inputs, backgrounds, views[some], size, self._device)
        return images

    def _inputs(self, alpha: float) -> RenderInputs:
        head, identity = self._head, self._identity
        person, state = self._path(alpha)
        years = state.years
        bare = identity.vertices(person, state)
        cover = self._memoized("cloth", state.neckline, lambda: depth_below_neckline(head, state.neckline))
        points = add_clothes(bare, identity.normals, cover)
        transfer, visibility = self._ambient_light(alpha)
        strand_set = identity.strand_set(person)
        segments = self._memoized(
            "segments",
            (strand_set.key, person.hairline, person.baldness, person.ageing_rate, years),
            lambda: strand_set.visible_segments(person, years),
        )
        widths = self._memoized("widths", (strand_set.key, years), lambda: strand_set.widths_at(years))
        colour_key = (strand_set.key, person.hair, person.skin, person.grey_onset, years)
        strand_colours = self._memoized("colours", colour_key, lambda: strand_set.colours(person, years))
        strands, colours, depth, kinds = identity.strand_geometry(
            strand_set, segments, widths, strand_colours, bare, person, years
        )
        back = hairline_recession(person, years)
        hair = self._memoized(
            "hair",
            (person.hairline, back),
            lambda: depth_behind_hairline(head.canonical, head.masks[:, 2], person.hairline, back),
        )
        attributes = np.empty((len(points), 4), np.float32)
        attributes[:, 0], attributes[:, 1], attributes[:, 2] = hair, cover, head.subdivision @ visibility
        thin = np.clip(sagging(years, person.ageing_rate) * person.baldness / 8, 0, 0.8)
        attributes[:, 3] = (
            _SCALP_DARKNESS.get(person.hairstyle, 0.95)
            * (0.5 + 0.5 * float(np.clip(years / 3, 0, 1)))
            * (1 - thin * np.clip((head.canonical[:, 1] - 78) / 4, 0, 1))
        )
        depths = wrinkle_depths(person, state)
        eye_centre, eye_distance = identity.eyes(points)
        return RenderInputs(
            points=points,
            normals=head.normals(points),
            attributes=attributes,
            transfer=transfer,
            strands=strands,
            colours=colours,
            depth=depth,
            kinds=kinds,
            eye_centre=eye_centre,
            eye_distance=eye_distance,
            eyelids=identity.eyelid_parabolas(points),
            material=material_params(head, person, state),
            wrinkle_map=self._memoized(
                "wrinkles", depths.tobytes(), lambda: face_uv_maps().wrinkle_map(depths)
            ),
            skin_level=float(srgb_to_linear(identity.person.skin)[1]),
        )

    def _background(self, view: View) -> Floats:
        key = (view.background, view.environment.kind)
        background: Floats = self._memoized("background", key, lambda: draw_background(view))
        return background

    def _memoized(self, name: str, key: object, make: Callable[[], Any]) -> Any:
        """Return the value made for `key` the last time, or make it."""
        if name not in self._memory or self._memory[name][0] != key:
            self._memory[name] = key, make()
        return self._memory[name][1]

    def _ambient_light(self, alpha: float) -> tuple[Floats, Floats]:
        """Return the radiance transfer and the ambient visibility, interpolated between three alphas."""
        for key in (0.0, float(np.sign(alpha)) * _END):
            if key not in self._light:
                self._light[key] = self._identity.ambient_light(*self._path(key))
        base, end = self._light[0.0], self._light[float(np.sign(alpha)) * _END]
        if base is end or alpha == 0:
            return base
        share = np.float32(abs(alpha) / _END)
        return base[0] + share * (end[0] - base[0]), base[1] + share * (end[1] - base[1])


def _cached_identity(head: HeadModel, person: Person, state: State, device: Device) -> IdentityCache:
    """Return the cache of an identity, kept while records of one identity follow each other."""
    if _latest_identity:
        kept = _latest_identity[0]
        if kept.head is head and (kept.person, kept.state, kept.device) == (person, state, device):
            return kept
    _latest_identity[:] = [IdentityCache(head, person, state, device)]
    return _latest_identity[0]


def render_record(
    head: HeadModel,
    path: AttributePath,
    alphas: Sequence[float],
    views: Sequence[View],
    size: int,
    device: Device = CPU,
) -> Pixels:
    """Return images (K, size, size, 3) of a path at K alphas, each in a view of its own or all in one."""
    shown = views if len(views) > 1 else [views[0]] * len(alphas)
    return Renderer(head, path, device).render(alphas, shown, size)


def render(head: HeadModel, person: Person, state: State, view: View, size: int) -> Pixels:
    """Return the image (size, size, 3) of a person in a state, a function of the arguments alone."""
    images: Pixels = Renderer(head, lambda _: (person, state)).render([0.0], [view], size)[0]
    return images
