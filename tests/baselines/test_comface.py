from __future__ import annotations

import pytest
import torch

from comface_bench.comface.weights import shipped_weights
from comface_bench.core.errors import WeightsMissingError
from comface_bench.engine.encoder import load_method


def test_weights_ship_and_load_out_of_the_box(draw_images):
    path = shipped_weights("resnet18")
    assert path is not None
    assert path.stat().st_size <= 25e6
    assert path.with_suffix(".md").is_file()
    encoder = load_method("comface")
    with torch.no_grad():
        features = encoder(draw_images(64))
    assert features.shape == (2, 512)
    assert torch.isfinite(features).all()
    for target in ("age", "weight_kg", "au12", "pspi"):
        assert encoder.own_head(target).shape == (512,)


def test_a_backbone_without_weights_is_said_plainly():
    with pytest.raises(WeightsMissingError, match="not for resnet50") as caught:
        load_method("comface+backbone=resnet50")
    assert "-o checkpoint=FILE" in caught.value.hint
    assert "--method scratch" in caught.value.hint
