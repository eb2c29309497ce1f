"""Files of studies, a data root and a plugin of tiny methods."""

from pathlib import Path

import pytest

TINY = """
import torch
from comface_bench.core.card import MethodCard, Preprocess


def card(name, **facts):
    return MethodCard(name=name, version=1, build=":build", backbone="tiny", preprocess=Preprocess(),
                      options={"mode": (name,)}, **facts)


CARDS = (card("tiny", drawn=True), card("flat"), card("taught", supervision=("age",)))


def build(options, weights, seed):
    torch.manual_seed(seed)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    layers = [torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten()]
    if options["mode"] == "flat":
        layers[0].weight.data.zero_()
    return torch.nn.Sequential(*layers)
"""


@pytest.fixture
def data(make_ages, tmp_path):
    return make_ages(tmp_path / "data")


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "tiny_methods.py"
    path.write_text(TINY)
    return path


@pytest.fixture
def write_study(tmp_path: Path):
    """Write a study's file: `write_study(text)` returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "own.toml"
        path.write_text(text)
        return path

    return write
