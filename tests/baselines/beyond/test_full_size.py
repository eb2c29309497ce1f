"""The transformers beyond the paper at their real size, which the other tests shrink."""

from __future__ import annotations

import pytest
import timm
import torch

from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import load_method

TIMM_NAMES = {
    "dinov2": "vit_base_patch14_reg4_dinov2.lvd142m",
    "dinov3": "vit_base_patch16_dinov3.lvd1689m",
    "siglip2": "vit_base_patch16_siglip_224.v2_webli",
    "pecore": "vit_pe_core_base_patch16_224.fb",
    "clip-dfn": "vit_base_patch16_clip_224.dfn2b",
    "maeface": "vit_base_patch16_224.mae",
    "fsfm": "vit_base_patch16_224.mae",
}


@pytest.mark.slow
@pytest.mark.parametrize("method", TIMM_NAMES)
def test_timms_whole_network_is_taken(tmp_path, faces, method):
    torch.manual_seed(0)
    whole = timm.create_model(TIMM_NAMES[method], pretrained=False).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    encoder = load_method(method, checkpoint=tmp_path / "whole.pth")
    own = encoder.backbone.state_dict()
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in own.items())
    with torch.no_grad():
        features = encoder(faces(112))
    card = method_registry(plugins=False).get(method).card
    assert features.shape == (2, card.feature_dim) == (2, 768)
    assert torch.isfinite(features).all()
    (tmp_path / "whole.pth").unlink()
