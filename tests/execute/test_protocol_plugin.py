"""A protocol of a plugin file: one card with its own settings and its own engine function."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comface_bench.cli.main import main
from comface_bench.core.errors import DuplicateNameError, PluginError, UsageError
from comface_bench.core.protocol import protocol_names, protocol_registry
from comface_bench.core.unit import ENGINE_EPOCH
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.leaderboards import build
from comface_bench.results.store import ResultStore
from comface_bench.results.validation import recompute_record, validate_record

RIDGE = """
from dataclasses import dataclass, field
from typing import Literal

from comface_bench.core.protocol import Protocol, ProtocolCard


@dataclass(frozen=True, kw_only=True)
class Ridge(Protocol):
    image_size: int = field(metadata={"least": 16})
    strength: float = field(metadata={"between": (0, 1e9)})
    resize: Literal["squash", "crop"]
    precision: Literal["auto", "float32", "bfloat16"]


CARD = ProtocolCard(
    name=NAME,
    run=":solve",
    trains="head",
    settings=Ridge,
    values={"image_size": 16, "resize": "squash", "precision": "auto"},
    by_family={family: {"strength": 1.0} for family in ("expression", "weight", "custom")}
    | {"age": {"strength": 1e-3}},
    together=True,
    order=15,
    summary="the exact solution on frozen features",
)


def solve(jobs, context):
    import numpy as np
    import torch

    from comface_bench.engine.encoder import encode
    from comface_bench.engine.jobs import Outcome

    context.encoder.eval()
    rows = np.arange(len(context.images.keys))
    features = encode(context.encoder, context.images.plain, rows, context.images.machine).double().numpy()
    outcomes = []
    for job in jobs:
        train, test = job.task.pairs(job.fold, "train"), job.task.pairs(job.fold, "test")
        x = features[train.y] - features[train.x]
        square = x.T @ x + context.protocol.strength * np.eye(x.shape[1])
        weight = np.linalg.solve(square, x.T @ train.target)
        outcomes.append(Outcome((features[test.y] - features[test.x]) @ weight, 0, [], 0.0, 0.0))
    return outcomes[:LAST]
"""

MakeRequest = Callable[..., Request]


@pytest.fixture
def make_ridge(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "ridge", last: str = "None", text: str = RIDGE) -> Path:
        path = tmp_path / f"{name}_protocol.py"
        path.write_text(text.replace("NAME", repr(name)).replace("LAST", last))
        return path

    return make


@pytest.fixture
def request_of(make_request: MakeRequest, plugin: Path, make_ridge: Callable[..., Path]) -> MakeRequest:
    def make(**changes: Any) -> Request:
        request = make_request(**{"protocol": "ridge", "plugin_files": [plugin, make_ridge()], **changes})
        # The other options of the tiny request are those of a training.
        options = {"split": "balanced-4"} | changes.get("options", {})
        return dataclasses.replace(request, options=options)

    return make


def test_it_runs_with_its_own_settings_and_function(request_of: MakeRequest, tmp_path: Path) -> None:
    request = request_of(seeds=[0, 1])
    finished = run_plan(make_plan(request), request)
    (record,) = finished.records
    assert not finished.failed
    assert record.summary.complete
    assert record.protocol.name == "ridge"
    values = {"name": "ridge", "trains": "head", "image_size": 16, "strength": 1e-3, "resize": "squash"}
    assert record.protocol.values == {**values, "precision": "auto", "engine_epoch": ENGINE_EPOCH}
    rows = ResultStore(request.results).load_predictions(record)
    errors = np.array([abs(row.y - row.yhat) for row in rows])
    assert errors.mean() < 0.7 * np.mean([abs(row.y) for row in rows])
    assert make_plan(request).cells[0].missing == ()
    path = ResultStore(request.results).record_path(record.task.name, "ridge", "tiny")
    assert validate_record(path) == []
    assert recompute_record(path) == []
    pages = [page.name for page in build(request.results, tmp_path / "board", html=True)]
    assert {"ridge.md", "ridge.html"} <= set(pages)


def test_its_settings_are_options_and_decide_the_key(request_of: MakeRequest) -> None:
    (standard,) = make_plan(request_of()).cells
    (other,) = make_plan(request_of(options={"strength": "2.5"})).cells
    assert other.protocol.name == "ridge+strength=2.5"
    assert other.protocol.facts()["strength"] == 2.5
    assert {unit.key() for unit in standard.units}.isdisjoint(unit.key() for unit in other.units)
    for options, told in (
        ({"strength": "0"}, "not between 0 and 1e"),
        ({"epochs": "3"}, "nothing takes 'epochs'"),
    ):
        with pytest.raises(UsageError, match=told):
            make_plan(request_of(options=options))


def test_a_function_that_forgets_a_unit_fails_all_of_its_call(
    request_of: MakeRequest, plugin: Path, make_ridge: Callable[..., Path]
) -> None:
    request = request_of(plugin_files=[plugin, make_ridge("short", last="-1")], protocol="short")
    finished = run_plan(make_plan(request), request)
    assert len(finished.failed) == 4
    assert "returned 3 outcomes for 4 jobs" in str(finished.failed[0][1])


def test_it_stands_in_lists_and_is_shown(
    make_ridge: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_ridge()
    registry = protocol_registry([path], plugins=False)
    assert protocol_names(registry) == ["probe", "linear", "ridge", "finetune", "quick", "patient-specific"]
    with pytest.raises(SystemExit):
        main(["list", "protocols", "--json", "--plugin", str(path), "--no-plugins"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["protocols"]}
    assert rows["ridge"] == {
        "name": "ridge",
        "origin": str(path),
        "summary": "the exact solution on frozen features",
    }
    with pytest.raises(SystemExit):
        main(["show", "ridge", "--plugin", str(path), "--no-plugins", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["summary"] == "the exact solution on frozen features"
    assert shown["values"]["weight"]["strength"] == 1.0


def test_a_second_protocol_of_one_name_is_an_error_that_names_both(make_ridge: Callable[..., Path]) -> None:
    path = make_ridge("linear")
    with pytest.raises(DuplicateNameError, match=rf"two protocols are called 'linear': .*{path}"):
        protocol_registry([path], plugins=False).names()


def test_a_card_that_does_not_fit_its_settings_says_so(
    request_of: MakeRequest, plugin: Path, make_ridge: Callable[..., Path]
) -> None:
    text = RIDGE.replace('"precision": "auto"', '"precision": "auto", "depth": 3')
    path = make_ridge("deep", text=text)
    with pytest.raises(PluginError, match="protocol deep and its settings differ in depth"):
        make_plan(request_of(plugin_files=[plugin, path], protocol="deep"))
    with pytest.raises(PluginError, match="lack precision, resize"):
        from comface_bench.core.protocol import Protocol, ProtocolCard

        @dataclasses.dataclass(frozen=True, kw_only=True)
        class Bare(Protocol):
            image_size: int

        ProtocolCard(name="bare", run=":f", trains="head", settings=Bare, values={})
