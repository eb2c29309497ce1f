from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torchvision.transforms import Normalize

from comface_bench.engine.encoder import load_method

BGR_MEAN = np.array([91.4953, 103.8827, 131.0912])


@pytest.fixture(scope="module")
def tensors(draw_resnet):
    # Inputs reach from −131 to 164.
    return draw_resnet(4, classes=8631, scale=70.0)


@pytest.fixture(scope="module")
def encoder(tensors, lay_out, temporary):
    with temporary(lay_out("vggface2", tensors), "python2") as path:
        return load_method("vggface2", checkpoint=path)


def authors_input(pictures):
    """BGR, 0–255, minus the mean, as their data loader makes it of RGB pictures; float64."""
    shifted = pictures[:, :, :, ::-1].astype(np.float64) - BGR_MEAN
    return torch.from_numpy(shifted.transpose(0, 3, 1, 2).copy())


def naive(tensors):
    """Torchvision's network with the same tensors: it loads without a word."""
    network = torchvision.models.resnet50(weights=None, num_classes=8631)
    network.load_state_dict(tensors, strict=True)
    network.fc = torch.nn.Identity()
    return network.eval()


# At 224 pixels the authors' pooling window of 7×7 is the whole map; they take no other size, we do.
@pytest.mark.parametrize("size", [224, 96])
def test_features_are_the_authors(size, encoder, tensors, photos, reference, as_input, distance):
    pictures = photos(size)
    expected = reference(tensors, authors_input(pictures), pool="none", halved_by="conv1")
    with torch.no_grad():
        found = encoder(as_input(pictures))
    assert found.shape == (2, 2048)
    assert expected.std() > 0.1
    assert distance(found, expected) < 1e-4


def test_the_naive_ways_to_load_it_give_other_features(encoder, tensors, photos, as_input, distance):
    pictures = photos(96)
    given = as_input(pictures)
    network = naive(tensors)
    with torch.no_grad():
        right = encoder(given)
        topology = network(authors_input(pictures).float())
        statistics = load_imagenet_statistics(encoder, given)
        order = encoder(given.flip(1))
        both = network(Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(given))
    for wrong in (topology, statistics, order, both):
        assert distance(wrong, right) > 1e-2


def load_imagenet_statistics(encoder, given):
    return encoder.backbone(Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(given))


def test_the_option_feeds_imagenets_statistics(encoder, tensors, photos, lay_out, temporary, as_input):
    given = as_input(photos(96))
    with temporary(lay_out("vggface2", tensors), "python2") as path, torch.no_grad():
        found = load_method("vggface2", checkpoint=path, preprocess="imagenet")(given)
        assert (found - load_imagenet_statistics(encoder, given)).abs().max() < 1e-5
