"""A data root and a plugin with tiny methods, for running the whole chain in a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comface_bench.execute.plan import Request

TINY = """
import torch
from comface_bench.core.card import MethodCard, Preprocess


def card(name, **facts):
    return MethodCard(name=name, version=1, build=":build", backbone="tiny", preprocess=Preprocess(),
                      options={"mode": (name,)}, **facts)


CARDS = (card("tiny", drawn=True), card("flat"), card("broken"), card("liar", feature_dim=5))


def build(options, weights, seed):
    torch.manual_seed(seed)
    if options["mode"] == "broken":
        raise RuntimeError("wires crossed")
    pool = torch.nn.AdaptiveAvgPool2d(1)
    layers = [torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten()]
    if options["mode"] == "flat":
        layers[0].weight.data.zero_()
        layers[0].requires_grad_(False)
    return torch.nn.Sequential(*layers)
"""


@pytest.fixture
def data(make_ages: Callable[..., Path], tmp_path: Path) -> Path:
    return make_ages(tmp_path / "data")


@pytest.fixture(scope="session")
def write_plugin() -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "tiny_methods.py"
        path.write_text(TINY)
        return path

    return write


@pytest.fixture
def plugin(write_plugin: Callable[[Path], Path], tmp_path: Path) -> Path:
    return write_plugin(tmp_path)


@pytest.fixture
def make_request(data: Path, plugin: Path, tmp_path: Path) -> Callable[..., Request]:
    def make(**changes: Any) -> Request:
        facts: dict[str, Any] = {
            "methods": ["tiny"],
            "tasks": ["age"],
            "protocol": "linear",
            "options": {},
            "data": data,
            "results": tmp_path / "results",
            "plugin_files": [plugin],
            "use_plugins": False,
            "device": "cpu",
        }
        facts |= changes
        small = {
            "split": "balanced-4",
            "image_size": "16",
            "epochs": "2",
            "pairs_per_epoch": "16",
            "learning_rate": "0.01",
        }
        facts["options"] = small | facts["options"]
        return Request(**facts)

    return make
