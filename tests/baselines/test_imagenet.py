from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torchvision.transforms import Normalize

from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.engine.encoder import load_method


@pytest.fixture(scope="module")
def network():
    """Torchvision's ResNet-50 with classifier; its statistics are random too, unlike a fresh one's."""
    torch.manual_seed(3)
    network = torchvision.models.resnet50(weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    """The published layout: a plain state dict, classifier included."""
    path = tmp_path_factory.mktemp("imagenet") / "mine.pth"
    torch.save(network.state_dict(), path)
    yield path
    path.unlink()


def test_features_are_those_of_an_independent_network(network, file):
    encoder = load_method("imagenet", checkpoint=file)
    images = torch.rand((3, 3, 64, 80), generator=torch.Generator().manual_seed(0))
    pooled = []
    handle = network.avgpool.register_forward_hook(lambda *call: pooled.append(call[2].flatten(1)))
    with torch.no_grad():
        network(Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(images))
        found = encoder(images)
    handle.remove()
    assert found.shape == (3, 2048)
    assert pooled[0].std() > 0.1
    assert (found - pooled[0]).abs().max() < 1e-5 * pooled[0].abs().max()


def test_a_file_that_lacks_tensors_is_refused(network, tmp_path):
    path = tmp_path / "part.pth"
    torch.save(
        {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("layer4")}, path
    )
    with pytest.raises(WeightsFormatError, match=r"part\.pth doesn't fit the network: it lacks \d+: layer4"):
        load_method("imagenet", checkpoint=path)


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with pytest.raises(WeightsFormatError, match="wrong shape"):
        load_method("imagenet", checkpoint=path)


def test_a_truncated_file_is_refused(network, tmp_path):
    path = tmp_path / "cut.pth"
    torch.save({"conv1.weight": network.conv1.weight}, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsFormatError, match=r"cut\.pth can't be read"):
        load_method("imagenet", checkpoint=path)


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
