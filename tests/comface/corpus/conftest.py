"""A generator that costs nothing: each image is noise of its identity, attribute and α."""

import zlib

import numpy as np
import pytest

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.synthesis.generator import GeneratorCard

CARD = GeneratorCard("noise", 8, ("age", "smile", "weight"), "CC0-1.0", {"noise": "1"}, {"strength": 1.0})


class Noise:
    card = CARD

    def __init__(self):
        self.rendered = 0

    def identities(self, seed, count, first=0):
        return [(seed, first + number) for number in range(count)]

    def render(self, identity, attribute, alphas):
        self.rendered += len(alphas)
        images = []
        for alpha in alphas:
            key = zlib.crc32(repr((identity, attribute, round(alpha * 10))).encode())
            images.append(np.random.default_rng(key).integers(0, 256, (3, 8, 8), np.uint8))
        return np.stack(images)


@pytest.fixture
def generator():
    return Noise()


@pytest.fixture
def describe():
    def describe(identities=4, alphas=5, records_per_shard=5, suffix="png", **plan):
        plan = CorpusPlan(3, plan.pop("attributes", CARD.attributes), identities, alphas=alphas, **plan)
        return Description.of(CARD, plan, records_per_shard=records_per_shard, suffix=suffix)

    return describe


@pytest.fixture
def corpus(tmp_path, generator, describe):
    generate(tmp_path / "corpus", lambda: generator, describe())
    return tmp_path / "corpus"
