from __future__ import annotations

import pytest
import torch

from comface_bench.engine.encoder import load_method


@pytest.fixture(scope="module")
def tensors(draw_resnet):
    return draw_resnet(7)


@pytest.fixture(scope="module")
def pictures(photos):
    return photos(96)


@pytest.fixture(scope="module")
def expected(tensors, pictures, reference):
    """The authors' own standard deviation of red, and torchvision's network."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).double() / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.228, 0.224, 0.225]]).view(2, 1, 3, 1, 1).double()
    return reference(tensors, (images - mean) / std)


@pytest.mark.parametrize(("layout", "form"), [("swav", "zip"), ("swav", "legacy"), ("swav, training", "zip")])
def test_features_are_the_authors(
    layout, form, tensors, pictures, expected, lay_out, temporary, as_input, distance
):
    with temporary(lay_out(layout, tensors), form) as path, torch.no_grad():
        found = load_method("swav", checkpoint=path)(as_input(pictures))
    assert found.shape == (2, 2048)
    assert expected.std() > 0.1
    assert distance(found, expected) < 1e-4
