from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torchvision.transforms import Normalize

from comface_bench.baselines.networks import build_backbone, feature_width
from comface_bench.comface.model import ComFace
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.engine.encoder import load_method


@pytest.fixture(scope="module")
def model():
    return ComFace(build_backbone("resnet18", 4), feature_width("resnet18")).eval()


def load(path):
    return load_method("comface+backbone=resnet18", checkpoint=path)


def test_backbone_and_head_are_those_of_the_file(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "comface.safetensors")
    encoder = load(tmp_path / "comface.safetensors")
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.backbone(Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(images))
        found = encoder(images)
    assert found.shape == (2, 512)
    assert (found - expected).abs().max() < 1e-5
    assert torch.equal(encoder.head_weight, model.head.weight[0])


@pytest.mark.parametrize("part", ["backbone.layer4", "projector", "head"])
def test_a_part_of_a_file_is_refused(model, tmp_path, part):
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(part)}
    save_file(kept, tmp_path / "comface.safetensors")
    with pytest.raises(WeightsFormatError, match=f"lacks .*{part}"):
        load(tmp_path / "comface.safetensors")


def test_a_file_of_another_backbone_is_refused(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "comface.safetensors")
    with pytest.raises(WeightsFormatError, match="doesn't fit the network"):
        load_method("comface", checkpoint=tmp_path / "comface.safetensors")


def test_missing_weights_are_said_plainly():
    with pytest.raises(WeightsMissingError, match="ships no weights for resnet50") as caught:
        load_method("comface")
    assert "-o checkpoint=FILE" in caught.value.hint
    assert "--method scratch" in caught.value.hint
