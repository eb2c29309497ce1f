from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from comface_bench.core.errors import WeightsFormatError
from comface_bench.engine.encoder import load_method

PADDING = {"torch": "around", "tf": "after"}


@pytest.fixture(scope="module")
def tensors(draw_resnet):
    return draw_resnet(5, classes=1000, scale=0.3)


@pytest.fixture(scope="module")
def pictures(photos):
    return photos(96)


@pytest.fixture(scope="module")
def file(tensors, lay_out, temporary):
    with temporary(lay_out("simclr", tensors)) as path:
        yield path


@pytest.fixture(scope="module")
def expected(tensors, pictures, reference):
    """The authors' input is RGB in [0, 1] and nothing else."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).double() / 255
    return {pool: reference(tensors, images, pool=padding) for pool, padding in PADDING.items()}


@pytest.mark.parametrize("pool", PADDING)
def test_features_are_the_authors(pool, file, pictures, expected, as_input, distance):
    with torch.no_grad():
        found = load_method("simclr", checkpoint=file, pool=pool)(as_input(pictures))
    assert found.shape == (2, 2048)
    assert expected[pool].std() > 0.1
    assert distance(found, expected[pool]) < 1e-4


def test_the_converters_pool_is_the_default(file, pictures, expected, as_input, distance):
    with torch.no_grad():
        assert distance(load_method("simclr", checkpoint=file)(as_input(pictures)), expected["torch"]) < 1e-4


def test_pools_and_statistics_matter(file, pictures, expected, as_input, distance):
    assert distance(expected["tf"], expected["torch"]) > 1e-2
    with torch.no_grad():
        found = load_method("simclr", checkpoint=file, preprocess="imagenet")(as_input(pictures))
    assert distance(found, expected["torch"]) > 1e-2


def test_a_legacy_file_is_read_too(tensors, pictures, expected, lay_out, temporary, as_input, distance):
    with temporary(lay_out("simclr", tensors), "legacy") as path, torch.no_grad():
        assert distance(load_method("simclr", checkpoint=path)(as_input(pictures)), expected["torch"]) < 1e-4


def test_the_layout_is_the_converters(tensors, lay_out):
    names = list(lay_out("simclr", tensors)["state_dict"])
    assert set(names) == set(tensors)
    assert names.index("layer2.0.downsample.1.weight") < names.index("layer2.0.conv1.weight")
    assert names.index("layer1.2.bn3.weight") < names.index("layer2.0.downsample.0.weight")


def test_order_tells_its_file_from_imagenets(hollow_resnet, lay_out, save, tmp_path):
    tensors = hollow_resnet(classes=1000)
    ours = save(lay_out("simclr", tensors), tmp_path / "resnet50-1x.pth")
    theirs = save(lay_out("imagenet", tensors), tmp_path / "imagenet.pth")
    with pytest.raises(WeightsFormatError, match=r"resnet50-1x\.pth isn't imagenet's: .* simclr-converter's"):
        load_method("imagenet", checkpoint=ours)
    with pytest.raises(WeightsFormatError, match=r"imagenet\.pth isn't simclr's: .* torchvision's") as caught:
        load_method("simclr", checkpoint=theirs)
    assert caught.value.hint.endswith("comface-bench weights convert FILE")
    load_method("simclr", checkpoint=ours)
    load_method("imagenet", checkpoint=theirs)


@pytest.mark.parametrize("method", ["simclr", "imagenet"])
def test_a_sorted_file_is_taken_for_what_it_is_called(method, hollow_resnet, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file({name: tensor.clone() for name, tensor in hollow_resnet(classes=1000).items()}, path)
    load_method(method, checkpoint=path)
