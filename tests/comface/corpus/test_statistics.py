"""Statistics of a corpus by attribute."""

import pytest

from comface_bench.comface.corpus.statistics import describe_corpus


def test_statistics_are_of_the_pictures(grey_corpus):
    light, none = describe_corpus(grey_corpus)
    assert (light.attribute, light.records, light.images, light.pairs) == ("light", 3, 303, 150)
    assert light.brightness == 100 and light.change == 100 and light.near == 1
    assert none.change == 0 and none.brightness == 100
    assert light.kilobytes == pytest.approx(len(grey_corpus.read(0, 50)) / 1000)
