"""What runs share by the feature store."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from comface_bench.core.events import Event
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import Finished, run_plan

MakeRequest = Callable[..., Request]

PLUGIN = """
import torch
from comface_bench.core.card import MethodCard, Preprocess

CARDS = (MethodCard(name="sturdy", version=1, build=":build", backbone="tiny", preprocess=Preprocess(),
                    pretrained_head=True),)


class Sturdy(torch.nn.Sequential):
    head_weight = torch.tensor([0.1, 0.2, 0.3, 0.4])


def build(options, weights, seed):
    torch.manual_seed(0)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return Sturdy(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten())
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "sturdy_method.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def encoded() -> Iterator[list[int]]:
    """Count images of data that go through the backbone; it is measured with grey ones, which are none."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if type(module).__name__ == "Sturdy" and inputs[0].std(dim=(2, 3)).max() > 0:
            counts.append(len(inputs[0]))

    handle = nn.modules.module.register_module_forward_hook(count)
    yield counts
    handle.remove()


@pytest.fixture
def run(make_request: MakeRequest) -> Callable[..., Finished]:
    def run(events: list[Event] | None = None, **changes: Any) -> Finished:
        request = make_request(methods=["sturdy"], **changes)
        plan = make_plan(request)
        assert sum(len(cell.missing) for cell in plan.cells) > 0
        finished = run_plan(plan, request, (events if events is not None else []).append)
        assert not finished.failed
        return finished

    return run


def test_what_the_backbone_doesnt_see_sends_no_image_through_it(
    run: Callable[..., Finished], encoded: list[int]
) -> None:
    first = run()
    assert sum(encoded) > 0
    assert all(unit.details["images_per_second"] for unit in first.records[0].units)
    encoded.clear()
    events: list[Event] = []
    second = run(events, options={"learning_rate": "0.002"})
    assert encoded == []
    assert any("cache list" in event.text for event in events if event.kind == "notice")
    assert all(unit.details["images_per_second"] is None for unit in second.records[0].units)
    for changed in (
        {"loss": "l2"},
        {"optimizer": "sgd"},
        {"batch_size": "3"},
        {"head_start": "pretrained"},
        {"epochs": "1"},
    ):
        run(options=changed)
        assert encoded == [], changed
    run(again=True)
    assert sum(encoded) > 0, "of a plugin: it may call code that its features' key doesn't know"


def test_other_folds_and_repetitions_encode_what_was_not_encoded(
    run: Callable[..., Finished], encoded: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folds=[0])
    run(folds=[1, 2], seeds=[0, 1])
    run(seeds=[0, 1], results=tmp_path / "others")
    piecemeal = sum(encoded)
    encoded.clear()
    monkeypatch.setenv("COMFACE_CACHE", str(tmp_path / "cache"))
    run(again=True, seeds=[0, 1])
    assert piecemeal == sum(encoded) <= 32 * 3


def test_a_run_on_kept_features_equals_the_one_that_kept_them(
    run: Callable[..., Finished], encoded: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = run()
    encoded.clear()
    again = run(results=tmp_path / "others")
    assert encoded == []
    monkeypatch.setenv("COMFACE_FEATURES_GB", "0")
    never_kept = run(again=True)
    assert sum(encoded) > 0
    for other in (again, never_kept):
        for one, two in zip(kept.records[0].units, other.records[0].units, strict=True):
            assert one.predictions_digest == two.predictions_digest
            assert one.validation_curve == two.validation_curve
