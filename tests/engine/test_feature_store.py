from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from comface_bench.core.events import Event
from comface_bench.engine.encoder import Encoder, ImageSource, encode
from comface_bench.engine.feature_store import FeatureStore

MakeEncoder = Callable[[], Encoder]
ROWS = np.arange(40)


class Counter:
    """Counts the images that go through backbones of this process."""

    def __init__(self) -> None:
        self.images = 0

    def count(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, Encoder) or type(module).__name__ in ("TinyNet", "Net"):
            self.images += len(inputs[0])

    def take(self) -> int:
        images, self.images = self.images, 0
        return images


@pytest.fixture
def counter() -> Iterator[Counter]:
    counter = Counter()
    handle = nn.modules.module.register_module_forward_hook(counter.count)
    yield counter
    handle.remove()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features"


@pytest.fixture
def events() -> list[Event]:
    return []


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.kind == "notice"]


def test_kept_features_are_those_that_were_encoded(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter, events: list[Event]
) -> None:
    rows = np.array([3, 1, 30, 3, 17])
    first = FeatureStore(make_encoder(), source, folder=folder)
    expected = {view: first.require(rows, view, "encoding").gather(rows) for view in ("plain", "mirrored", 2)}
    assert counter.take() == 3 * 4
    encoder = make_encoder().eval()
    assert torch.equal(
        expected["plain"], encode(encoder, source.plain, np.unique(rows), source.machine)[[1, 0, 3, 1, 2]]
    )
    assert not torch.equal(expected["plain"], expected["mirrored"])
    counter.take()
    second = FeatureStore(make_encoder(), source, events.append, folder)
    for view, values in expected.items():
        features = second.require(np.unique(rows)[::-1], view, "encoding")
        assert features.width == 8
        assert torch.equal(features.gather(rows), values)
    assert (counter.take(), second.encoded.per_second) == (0, None)
    assert len(notices(events)) == 1
    assert "comface-bench cache list" in notices(events)[0]
    with pytest.raises(IndexError):
        features.gather(np.array([0]))


def test_only_images_that_arent_kept_are_encoded(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter, events: list[Event]
) -> None:
    FeatureStore(make_encoder(), source, folder=folder).require(ROWS[:10], "plain", "encoding")
    counter.take()
    store = FeatureStore(make_encoder(), source, events.append, folder)
    features = store.require(ROWS[5:20], "plain", "encoding")
    assert counter.take() == store.encoded.images == 10
    assert [event.total for event in events if event.kind == "stage"] == [10]
    assert sum(event.amount for event in events if event.kind == "progress") == 10
    whole = FeatureStore(make_encoder(), source).require(ROWS, "plain", "").gather(ROWS)
    assert torch.allclose(features.gather(ROWS[5:20]), whole[5:20], atol=1e-6)


def test_without_augmentation_numbered_views_are_the_plain_one(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter
) -> None:
    for place in (folder, None):
        store = FeatureStore(make_encoder(), source, folder=place).with_views("none", 3)
        plain = store.require(ROWS[:10], "plain", "")
        views = [store.require(ROWS[:20], number, "") for number in (1, 2, 3)]
        assert counter.take() == 20
        assert torch.equal(views[2].gather(ROWS[:10]), plain.gather(ROWS[:10]))
    drawn = source.with_views("none", 3).augmented(ROWS, np.full(40, 2))
    assert torch.allclose(drawn, source.plain(ROWS), atol=1e-5)


def test_another_view_is_another_entry(
    source: ImageSource, make_encoder: MakeEncoder, folder: Path, counter: Counter
) -> None:
    store = FeatureStore(make_encoder(), source, folder=folder)
    for other, view in [
        (store, "plain"),
        (store, "mirrored"),
        (store, 1),
        (store, 2),
        (store.with_views("table-c", 8), 1),
        (store.with_views("table-d", 7), 1),
    ]:
        other.require(ROWS, view, "")
        assert counter.take() == len(ROWS), view
    assert store.with_views("table-c", 7).require(ROWS, 2, "").width == 8
    assert counter.take() == 0
    assert store.encoded.images == 6 * len(ROWS)
