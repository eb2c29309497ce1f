"""Runs on aligned faces: what is recorded and said, by a finder without dlib and by dlib itself."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from comface_bench.core.card import CHIPS
from comface_bench.core.errors import MissingExtraError, WeightsMissingError
from comface_bench.core.events import Event
from comface_bench.data import alignment
from comface_bench.data.faces import Box, DlibPoints
from comface_bench.execute.models import load_model
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import Finished, run_plan
from comface_bench.results.store import ResultStore

MakeRequest = Callable[..., Request]

PLUGIN = """
import torch
from comface_bench.core.card import MethodCard, Preprocess


def card(name, **facts):
    return MethodCard(name=name, version=1, build=":build", backbone="tiny", preprocess=Preprocess(), **facts)


CARDS = (card("plain"), card("arced", chip="arcface"))


def build(options, weights, seed):
    torch.manual_seed(0)
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten())
"""

ALIGNED = {"align": "five-points"}


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "two_methods.py"
    path.write_text(PLUGIN)
    return path


class BrightFinder:
    """Finds the face of dark pictures at the second look, that of very dark ones never."""

    asked = 0

    def look(self, rgb: NDArray[np.uint8], doublings: int, threshold: float = 0.0) -> list[Box]:
        type(self).asked += 1
        dark = int(rgb.mean() < 60) + int(rgb.mean() < 35)
        return [Box(2, 2, 16, 16)] if dark <= doublings else []

    def points(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float64]:
        return np.array(CHIPS["dlib"].points) * box.width + [box.x, box.y]

    def describe(self) -> dict[str, str | int]:
        return {"name": "bright", "version": 3}


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> type[BrightFinder]:
    monkeypatch.setattr(BrightFinder, "asked", 0)
    monkeypatch.setattr(alignment, "open_finder", BrightFinder)
    return BrightFinder


def run(request: Request, events: list[Event]) -> Finished:
    return run_plan(make_plan(request), request, events.append)


@pytest.mark.parametrize("protocol", ["probe", "linear", "finetune", "quick"])
def test_runs_record_how_faces_were_come_by(
    make_request: MakeRequest, finder: type[BrightFinder], protocol: str
) -> None:
    few = {"split": "balanced-4", "image_size": "16"}
    changes: dict[str, Any] = {"methods": ["plain"], "protocol": protocol, "folds": [0]}
    request = make_request(**changes, options=ALIGNED)
    if protocol == "probe":
        request = Request(**{**vars(request), "options": few | ALIGNED})
    events: list[Event] = []
    (record,) = run(request, events).records
    assert "align=five-points" in record.protocol.name
    assert record.protocol.values["align"]["chip"] == "dlib"
    # Eight people at 2, 9, 31 and 60 years; the older, the brighter.
    said = {"faces_found": 16, "faces_second_pass": 8, "faces_fixed_box": 8, "face_finder": "bright 3"}
    assert said.items() <= record.units[0].details.items()
    assert "faces: found 16, second pass 8, fixed box 8" in [
        event.text for event in events if event.kind == "notice"
    ]
    assert record.provenance.command is not None
    assert "align=five-points" in record.provenance.command

    asked = finder.asked
    events.clear()
    (again,) = run(Request(**{**vars(request), "again": True}), events).records
    assert finder.asked == asked  # The store has the chips.
    assert again.units[0].metrics == record.units[0].metrics
    assert said.items() <= again.units[0].details.items()


def test_chips_part_rows_keys_and_features(make_request: MakeRequest, finder: type[BrightFinder]) -> None:
    probe: dict[str, Any] = {"protocol": "probe", "methods": ["plain", "arced"]}

    def keys(options: dict[str, str]) -> tuple[list[str], Finished]:
        request = Request(**{**vars(make_request(**probe)), "options": options})
        plan = make_plan(request)
        return [cell.units[0].key() for cell in plan.cells], run_plan(plan, request)

    few = {"split": "balanced-4", "image_size": "16"}
    whole, of_photos = keys(few)
    faces, of_faces = keys(few | ALIGNED)
    assert len({*whole, *faces}) == 4
    assert not (of_photos.failed or of_faces.failed)
    values = [record.summary.pooled["mae"].value for record in (*of_photos.records, *of_faces.records)]
    # One network: the same of whole photographs, another of each chip.
    assert values[0] == values[1]
    assert len(set(values[1:])) == 3
    assert [record.protocol.values["align"]["chip"] for record in of_faces.records] == ["dlib", "arcface"]


def test_what_is_missing_is_said_before_anything_runs(
    make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = make_request(methods=["plain"], options=ALIGNED)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dlib", None)
        with pytest.raises(MissingExtraError) as lacking:
            run(request, [])
        assert "comface-bench[prepare]" in lacking.value.hint
    pytest.importorskip("dlib")
    with pytest.raises(WeightsMissingError) as missing:
        run(request, [])
    assert "weights fetch five-points" in missing.value.hint
    assert not list((tmp_path / "results").rglob("*.json"))


def test_dlib_aligns_rendered_faces(
    make_request: MakeRequest, small_predictor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin, with real files, of what `test_real_files` does with dlib's own points."""
    monkeypatch.setattr(alignment, "open_finder", lambda: DlibPoints(small_predictor))
    request = make_request(methods=["plain"], tasks=["synth-weight"], protocol="probe", folds=[0])
    request = Request(**{**vars(request), "data": None, "options": {"image_size": "32"} | ALIGNED})
    (record,) = run(request, []).records
    details = record.units[0].details
    found, second, fixed = (details[f"faces_{way}"] for way in ("found", "second_pass", "fixed_box"))
    assert isinstance(found, int)
    assert isinstance(second, int)
    assert isinstance(fixed, int)
    assert found > 7 * (second + fixed)
    assert fixed < 10


def test_a_model_of_another_chip_is_loaded_and_answers(
    make_request: MakeRequest, finder: type[BrightFinder], plugin: Path, tmp_path: Path
) -> None:
    request = make_request(methods=["arced"], protocol="probe", folds=[0])
    few = {"split": "balanced-4", "image_size": "16"}
    (record,) = run(Request(**{**vars(request), "options": few | ALIGNED}), []).records
    assert record.protocol.values["align"]["chip"] == "arcface"
    assert "chip" not in record.method.card
    store = ResultStore(tmp_path / "results")
    path = store.record_path(record.task.name, record.protocol.name, "arced")
    model = load_model(path, plugin_files=[plugin], use_plugins=False, device="cpu", find_faces=False)
    # The photographs that it's given count as chips, which these aren't, so no stored answer is theirs.
    images = sorted((tmp_path / "data" / "FGNET" / "images").iterdir())
    (found,) = model.predict_pairs([(images[0], images[1])], check=False)
    assert found.unit == "years"
