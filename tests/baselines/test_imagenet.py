from __future__ import annotations

import pytest
import torch

from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.engine.encoder import load_method


@pytest.fixture(scope="module")
def tensors(draw_resnet):
    return draw_resnet(3, classes=1000)


@pytest.fixture(scope="module")
def pictures(photos):
    return photos(96)


@pytest.fixture(scope="module")
def expected(tensors, pictures, reference):
    """ImageNet's usual input, RGB, after which torchvision's network runs."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).double() / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1).double()
    return reference(tensors, (images - mean) / std)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_features_are_the_authors(form, tensors, pictures, expected, lay_out, temporary, as_input, distance):
    with temporary(lay_out("imagenet", tensors), form) as path, torch.no_grad():
        found = load_method("imagenet", checkpoint=path)(as_input(pictures))
    assert found.shape == (2, 2048)
    assert expected.std() > 0.1
    assert distance(found, expected) < 1e-4


def test_images_may_be_of_any_shape(tensors, lay_out, temporary):
    with temporary(lay_out("imagenet", tensors)) as path:
        encoder = load_method("imagenet", checkpoint=path)
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 64, 80)).shape == (1, 2048)


def test_missing_weights_name_file_folder_and_address(own_folders):
    with pytest.raises(WeightsMissingError) as caught:
        load_method("imagenet")
    told = str(caught.value)
    assert "resnet50_ram-a26f946b.pth" in told
    assert str(own_folders / "weights") in told
    assert "https://github.com/huggingface/pytorch-image-models/releases/" in told


def test_another_file_under_the_published_name_is_refused(own_folders):
    (own_folders / "weights" / "resnet50_ram-a26f946b.pth").write_bytes(b"other")
    with pytest.raises(WeightsFormatError, match="but the authors publish a26f946b"):
        load_method("imagenet")
