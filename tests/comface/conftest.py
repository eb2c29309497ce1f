"""A corpus of plain images."""

from __future__ import annotations

import numpy as np
import pytest

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.corpus.score_store import write_quality
from comface_bench.comface.synthesis.generator import GeneratorCard


class Grey:
    """Plain grey images: 100 + 10·α for `light`, 100 for `none`."""

    card = GeneratorCard("grey", 4, ("light", "none"), "CC0-1.0", {}, {})

    def identities(self, seed, count, first=0):
        return list(range(first, first + count))

    def render(self, identity, attribute, alphas):
        levels = [100 + (10 * alpha if attribute == "light" else 0) for alpha in alphas]
        return np.stack([np.full((3, 4, 4), round(level), np.uint8) for level in levels])


@pytest.fixture(scope="session")
def grey_generator():
    return Grey


@pytest.fixture(scope="session")
def grey_corpus(tmp_path_factory):
    """Three people, two attributes, the whole grid; nobody changes it."""
    root, plan = tmp_path_factory.mktemp("corpus") / "grey", CorpusPlan(0, ("light", "none"), 3, alphas=101)
    generate(root, Grey, Description.of(Grey.card, plan, suffix="png"))
    with Corpus(root) as corpus:
        yield corpus


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


@pytest.fixture
def scored(tmp_path, make_patches):
    root = make_patches(tmp_path / "scored", 0, ("noise",), 3, alphas=4)
    write_quality(root, np.linspace(0.8, 0.9, 12, dtype=np.float32).reshape(3, 4), {})
    return root
