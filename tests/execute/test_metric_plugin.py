"""A metric of a plugin file: one entry, which appears in records, intervals, tests and pages."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from comface_bench.core.errors import DuplicateNameError, UnknownNameError
from comface_bench.core.events import Event
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.leaderboards import build
from comface_bench.results.schema import Record
from comface_bench.results.store import ResultStore
from comface_bench.results.validation import recompute_record, validate_record
from comface_bench.stats.metrics import METRICS, compute_metrics, metric_registry

MakeRequest = Callable[..., Request]

CLOSE = """
import dataclasses

import numpy as np

from comface_bench.stats.metrics import MetricCard
from comface_bench.tasks.fgnet import CARD as AGE

CLOSE = MetricCard.mean_of(
    NAME,
    "Close (%)",
    lambda y, yhat: np.abs(y - yhat) <= 20,
    percent=True,
    digits=1,
    low=0.0,
    high=1.0,
    summary="share of pairs within twenty years",
)
TASK = dataclasses.replace(AGE, name="age-close", metrics=("mae", NAME))
CARDS = (CLOSE, TASK)
"""


@pytest.fixture
def make_close(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "close", file: str = "close.py") -> Path:
        path = tmp_path / file
        path.write_text(CLOSE.replace("NAME", repr(name)))
        return path

    return make


def test_one_entry_appears_in_records_and_pages(
    make_request: MakeRequest, plugin: Path, make_close: Callable[..., Path], tmp_path: Path
) -> None:
    request = make_request(tasks=["age-close"], plugin_files=[plugin, make_close()])
    (record,) = run_plan(make_plan(request), request).records
    rows = ResultStore(request.results).load_predictions(record)
    close = np.mean([abs(row.y - row.yhat) <= 20 for row in rows])
    assert record.task.metrics == ["mae", "close"]
    assert record.summary.pooled["close"].value == pytest.approx(close)
    assert record.summary.constant["close"].value == pytest.approx(
        np.mean([abs(row.y) <= 20 for row in rows])
    )
    assert all(set(unit.metrics) == {"mae", "close"} for unit in record.units)
    pages = {page.name: page.read_text() for page in build(request.results, tmp_path / "board", html=True)}
    (line,) = [
        line for line in csv.DictReader(pages["leaderboard.csv"].splitlines()) if line["metric"] == "close"
    ]
    assert float(line["value"]) == pytest.approx(close)
    assert float(line["low"]) - 1e-9 <= close <= float(line["high"]) + 1e-9
    document = json.loads(pages["leaderboard.json"])
    (board,) = document["boards"]
    assert board["metrics"][:2] == ["mae", "close"]
    for suffix in (".md", ".html"):
        (page,) = [
            text for name, text in pages.items() if name.startswith("linear+") and name.endswith(suffix)
        ]
        assert "Close (%)" in page
        assert f"{100 * close:.1f}" in page


def test_an_edited_metric_is_computed_anew_without_a_run(
    make_request: MakeRequest, plugin: Path, make_close: Callable[..., Path]
) -> None:
    path = make_close()
    request = make_request(tasks=["age-close"], plugin_files=[plugin, path])

    def run() -> tuple[Record, list[Event]]:
        events: list[Event] = []
        (record,) = run_plan(make_plan(request), request, events.append).records
        return record, [event for event in events if event.kind in ("unit", "notice")]

    first, events = run()
    assert [event.kind for event in events] == ["unit"] * 4
    assert run() == (first, [])
    path.write_text(path.read_text().replace("<= 20", "<= 5"))
    second, (notice,) = run()
    assert "close computes other numbers now" in notice.text
    rows = ResultStore(request.results).load_predictions(second)
    close = np.mean([abs(row.y - row.yhat) <= 5 for row in rows])
    assert second.summary.pooled["close"].value == pytest.approx(close)
    assert second.summary.pooled["close"] != first.summary.pooled["close"]
    assert second.summary.pooled["mae"] == first.summary.pooled["mae"]
    (file,) = ResultStore(request.results).paths()
    assert validate_record(file) == recompute_record(file) == []
    assert run() == (second, [])


def test_a_derived_form_gives_the_intervals_and_p_values_of_a_declared_one(tmp_path: Path) -> None:
    from comface_bench.results.predictions import Prediction
    from comface_bench.stats.bootstrap import Resamples, score
    from comface_bench.stats.predictions import PredictionSet
    from comface_bench.stats.significance import Swaps, swap_test

    path = tmp_path / "again.py"
    path.write_text(
        "import numpy as np\nfrom comface_bench.stats.metrics import MetricCard\n"
        "CARD = MetricCard.mean_of('again', 'MAE', lambda y, yhat: np.abs(y - yhat), has_unit=True)\n"
    )
    metric_registry([path], plugins=False).names()
    random, names = np.random.default_rng(2), ["mae", "again"]
    truth = random.normal(0, 9, 40)
    methods = {
        method: PredictionSet.of(
            [
                Prediction(str(i), i // 4, i % 2, 0, y, y + random.normal(0, noise))
                for i, y in enumerate(truth)
            ],
            "pooled",
        )
        for method, noise in (("a", 2.0), ("b", 3.0))
    }
    subjects = methods["a"].subjects
    found = score(methods, names, Resamples.draw(subjects, "d", 200))
    for method in methods:
        assert np.allclose(found["again"].draws[method], found["mae"].draws[method], rtol=1e-12)
    p = swap_test(methods["a"], methods["b"], names, Swaps.draw(subjects, "d"))
    assert p["again"] == p["mae"]
    assert p["mae"].value is not None


def test_the_derived_form_under_weights_is_the_metric_of_repeated_rows(
    make_close: Callable[..., Path],
) -> None:
    from comface_bench.stats.predictions import Part
    from comface_bench.stats.weighted import SubjectSums

    metric_registry([make_close()], plugins=False).get("close")
    random = np.random.default_rng(1)
    subject = np.repeat(np.arange(6), 7)
    y, yhat = random.normal(0, 12, (2, len(subject)))
    weights = random.integers(0, 3, (20, 6)).astype(float)
    found = SubjectSums.of(Part(subject, y, yhat), ["close", "mae"]).metrics(weights, ["close", "mae"])
    for row, times in enumerate(weights.astype(int)):
        again = compute_metrics(
            np.repeat(y, times[subject]), np.repeat(yhat, times[subject]), ["close", "mae"]
        )
        for name in ("close", "mae"):
            expected = again[name].value
            assert found[name][row] == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_two_metrics_of_one_name_are_an_error_that_names_both(
    make_request: MakeRequest, plugin: Path, make_close: Callable[..., Path]
) -> None:
    path, other = make_close("mae"), make_close("close", "other.py")
    with pytest.raises(DuplicateNameError, match=rf"two metrics are called 'mae': .*comface-bench.*{path}"):
        make_plan(make_request(plugin_files=[plugin, path]))
    with pytest.raises(DuplicateNameError, match=r"two metrics are called 'close'"):
        metric_registry([make_close("close", "one.py"), other], plugins=False).names()


def test_a_metric_that_is_gone_is_no_metric(
    make_close: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    metric_registry([make_close("seldom", "seldom.py")], plugins=False).names()
    assert "seldom" in METRICS
    assert METRICS["seldom"].title == "Close (%)"
    for name in [name for name in sys.modules if name.startswith("comface_bench_plugin_seldom")]:
        monkeypatch.delitem(sys.modules, name)
    assert "seldom" not in METRICS
    with pytest.raises(UnknownNameError, match="no metric is called 'seldom'"):
        compute_metrics([1.0], [2.0], ["seldom"])
