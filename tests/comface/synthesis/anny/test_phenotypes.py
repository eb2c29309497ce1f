from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.slow
def test_heads_are_annys() -> None:
    anny = pytest.importorskip("anny")
    from scipy.spatial import cKDTree

    from comface_bench.comface.synthesis.anny.body import load_head

    head = load_head()
    model = anny.Anny(
        rig="makehuman", topology="makehuman", local_changes="all", facial_actions="all", phenotypes="all"
    )
    random = np.random.default_rng(0)
    shapes = model.blendshapes.numpy()
    for _ in range(3):
        names = ("gender", "muscle", "weight", "african", "asian", "caucasian")
        phenotype = {name: float(random.random()) for name in names} | {"age": float(random.uniform(-0.3, 1))}
        changes = {"nose-hump-incr": -0.4, "l-eye-bag-incr": 0.3}
        rows = model.get_phenotype_blendshape_coefficients(**phenotype, local_changes=changes)
        x, y, z = (model.template_vertices.numpy() + np.einsum("k,kvc->vc", rows[0].numpy(), shapes)).T
        base = head.base(head.weights(phenotype, changes, {}))
        away, _ = cKDTree(np.stack([x, z, -y], axis=1) * 100).query(base)
        assert away.max() < 0.03, "cm: reducing the shapes may lose so much"
