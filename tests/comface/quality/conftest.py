"""A small corpus of faces that a recogniser can learn, and a small recogniser of it."""

import numpy as np
import pytest
import torch
from torch import nn

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.quality import recogniser
from comface_bench.comface.quality.recogniser import IdentityNetwork, RecogniserTraining, train_recogniser
from comface_bench.comface.quality.score_store import write_quality
from comface_bench.comface.synthesis.generator import GeneratorCard

SIDE = 32


class Patches:
    """Each identity is a pattern of coloured patches; α adds noise until nothing is left of it."""

    card = GeneratorCard("patches", SIDE, ("noise",), "CC0-1.0", {}, {})

    def identities(self, seed, count, first=0):
        return [(seed, first + number) for number in range(count)]

    def render(self, identity, attribute, alphas):
        own = np.random.default_rng(identity).uniform(0, 255, (3, 4, 4)).repeat(8, 1).repeat(8, 2)
        images = []
        for alpha in alphas:
            noise = np.random.default_rng([*identity, round(10 * alpha) + 50]).uniform(0, 255, own.shape)
            share = (alpha + 5) / 10
            images.append((1 - share) * own + share * noise)
        return np.stack(images).astype(np.uint8)


@pytest.fixture(scope="session")
def patches():
    return Patches


@pytest.fixture(scope="session")
def make_patches():
    """Generate a corpus of patches."""

    def make(root, *plan, card=Patches.card, generator=Patches, **options):
        plan = CorpusPlan(*plan, **options)
        generate(root, generator, Description.of(card, plan, suffix="png"))
        return root

    return make


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


@pytest.fixture
def scored(tmp_path, make_patches):
    root = make_patches(tmp_path / "scored", 0, ("noise",), 3, alphas=4)
    write_quality(root, np.linspace(0.8, 0.9, 12, dtype=np.float32).reshape(3, 4), {})
    return root
