"""A small corpus of faces that a recogniser can learn, and a small recogniser of it."""

import pytest
import torch
from torch import nn

from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.quality import recogniser
from comface_bench.comface.quality.recogniser import IdentityNetwork, RecogniserTraining, train_recogniser

SIDE = 32


@pytest.fixture(scope="session")
def root(tmp_path_factory, make_patches):
    return make_patches(tmp_path_factory.mktemp("quality") / "corpus", 0, ("noise",), 8, alphas=11)


@pytest.fixture(scope="session")
def small_network():
    """Build a recogniser as `build_network` does, on three convolutions instead of ResNet-18."""

    def build(identities, seed):
        torch.manual_seed(seed)
        layers = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        backbone = nn.Sequential(*layers, nn.Flatten())  # identities differ by place: no pooling
        return IdentityNetwork(backbone, 64 * (SIDE // 8) ** 2, identities)

    return build


@pytest.fixture(scope="session")
def trained(root, small_network):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, Corpus(root) as corpus:
        patch.setattr(recogniser, "build_network", small_network)
        network = train_recogniser(corpus, RecogniserTraining(steps=60, batch=8, size=SIDE))[0]
    torch.set_num_threads(threads)
    return network
