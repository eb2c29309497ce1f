"""The catalogue: every method's facts, and the committed page as fresh as the cards."""

from pathlib import Path

import pytest

from comface_bench.core.card import Preprocess
from comface_bench.core.registry import method_registry
from comface_bench.leaderboards.catalogue import catalogue_page, describe_input


def test_the_committed_page_is_fresh():
    page = Path(__file__).parents[2] / "docs" / "catalogue.md"
    command = "python -m comface_bench.leaderboards.catalogue > docs/catalogue.md"
    assert page.read_text() == catalogue_page(), f"run: {command}"


def test_every_method_is_there_once():
    page = catalogue_page()
    for name in method_registry(plugins=False).names():
        assert page.count(f"\n## {name}\n") == 1


def test_the_papers_methods_are_all_there():
    paper = "scratch imagenet vggface2 simclr mocov2 swav barlowtwins bulat farl pcl stablerep comface"
    assert set(paper.split()) <= set(method_registry(plugins=False).names())


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        (None, "as the library's own configuration says"),
        (
            Preprocess((91, 103, 131), (1, 1, 1), "BGR", 255.0, 224),
            "BGR, 0 to 255, mean 91, 103, 131, std 1, 1, 1; 224 pixels only, others are resized",
        ),
        (
            Preprocess((0, 0, 0), (1, 1, 1), multiple=14),
            "RGB, 0 to 1, mean 0, 0, 0, std 1, 1, 1; sides in multiples of 14",
        ),
    ],
)
def test_input_in_words(preprocess, said):
    assert describe_input(preprocess) == said
