"""What a folder of results tells of earlier runs."""

import dataclasses

import pytest

from comface_bench.core.digest import digest
from comface_bench.core.unit import ENGINE_EPOCH, Unit
from comface_bench.results.history import PastSeconds, explain_misses
from comface_bench.results.store import ResultStore


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path)


@pytest.fixture
def make_unit(made):
    def make(fold=0, seed=0, **changes):
        facts = {
            "task": made.task,
            "task_options": {"split": "folds-4"},
            "method": made.method,
            "method_options": {"backbone": "resnet18"},
            "protocol": made.protocol,
            "manifest_digest": digest("manifest"),
            "split_digest": digest("split"),
        }
        return Unit(fold=fold, seed=seed, **(facts | changes))

    return make


def fill(store, made, seconds=1.5, places=((0, 0),), **header):
    with store.open(*made.header(**header)) as writer:
        for fold, seed in places:
            unit, rows = made.run(fold, seed)
            writer.add(unit.model_copy(update={"seconds": seconds}), rows)
        return writer


def test_units_that_found_their_features_are_no_measure_of_time(store, made, make_unit):
    def add(fold, seconds, details):
        with store.open(*made.header()) as writer:
            unit, rows = made.run(fold, 0)
            writer.add(unit.model_copy(update={"seconds": seconds, "details": details}), rows)

    add(0, 0.1, {"units_sharing_features": 1, "images_per_second": None})
    name = make_unit().protocol.name
    assert PastSeconds(store, [name]).estimate(make_unit(3)) is None
    add(1, 90.0, {"units_sharing_features": 1, "images_per_second": 12.5})
    assert PastSeconds(store, [name]).estimate(make_unit(3)) == 90
    add(2, 30.0, {})
    assert PastSeconds(store, [name]).estimate(make_unit(3)) == 60


def explain(store, *units):
    return list(explain_misses(store, units, lambda _: "").values())


def test_what_never_ran(store, made, make_unit):
    assert explain(store, make_unit(0), make_unit(1)) == ["never run", "never run"]
    fill(store, made)
    assert explain(store, make_unit(1)) == ["never run"]


def test_what_is_known_of_a_change_of_the_data_is_added(store, made, make_unit):
    fill(store, made)
    for changes, reason in (
        ({"manifest_digest": digest("other")}, "the data changed (2 images added)"),
        ({"split_digest": digest("other")}, "the folds changed"),
    ):
        unit = make_unit(**changes)
        assert explain_misses(store, [unit], lambda _: "2 images added") == {unit.key(): reason}


def test_what_failed_before(store, made, make_unit):
    fill(store, made, places=[(0, 0)]).fail(made.failure(1))
    assert explain(store, make_unit(1), make_unit(2)) == ["failed before: loss isn't finite", "never run"]
    changed = explain(store, make_unit(1, manifest_digest=digest("other")))
    assert changed == ["failed before, and the data changed: loss isn't finite"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (lambda made: {"manifest_digest": digest("other")}, "the data changed"),
        (lambda made: {"split_digest": digest("other")}, "the folds changed"),
        (lambda made: {"checkpoint_digest": digest("other")}, "the weights changed"),
        (lambda made: {"task": dataclasses.replace(made.task, version=2)}, "the task's card changed"),
        (lambda made: {"method": dataclasses.replace(made.method, version=2)}, "the method's card changed"),
        (
            lambda made: {"protocol": dataclasses.replace(made.protocol, epochs=4, batch_size=7)},
            "the protocol's epochs, batch_size changed",
        ),
        (
            lambda made: {"manifest_digest": digest("other"), "checkpoint_digest": digest("other")},
            "the data, the weights changed",
        ),
    ],
)
def test_what_changed_since(store, made, make_unit, changes, reason):
    fill(store, made)
    (found,) = explain(store, make_unit(**changes(made)))
    assert sorted(found.removesuffix(" changed").split(", ")) == sorted(
        reason.removesuffix(" changed").split(", ")
    )
    assert found.endswith(" changed")


def test_an_engine_of_another_epoch(store, made, make_unit, monkeypatch):
    fill(store, made)
    for module in ("core.unit", "results.history"):
        monkeypatch.setattr(f"comface_bench.{module}.ENGINE_EPOCH", 99)
    assert explain(store, make_unit()) == [f"the engine (epoch {ENGINE_EPOCH} → 99) changed"]


def test_predictions_and_records_that_were_changed(store, made, make_unit):
    fill(store, made)
    path = store.record_path("age", "linear", "scratch")
    assert explain(store, make_unit()) == ["its predictions were changed or lost"]
    path.write_text(path.read_text().replace("1.5", "1.25", 1))
    assert explain(store, make_unit())[0].startswith("its record can't be used: ")


def test_estimates_come_from_the_nearest_units(store, made, make_unit):
    fill(store, made, 8.0, [(0, 0), (1, 0), (2, 0)])
    fill(store, made, 20.0, [(0, 0), (1, 0)], task="age-2")
    fill(store, made, 100.0, [(0, 0)], task="age-2", method="other")
    fill(store, made, 4.0, [(0, 0)], protocol="quick")
    broken = store.record_path("age", "linear", "broken")
    broken.write_text("{")
    past = PastSeconds(store, {"linear"})
    assert past.estimate(make_unit(3, 5)) == 8.0
    other = [dataclasses.replace(card, name="new") for card in (made.task, made.method)]
    assert past.estimate(make_unit(task=other[0])) == 8.0  # of this method: 8, 8, 8, 20, 20
    assert past.estimate(make_unit(method=other[1])) == 14.0  # of all: these, and 100
    unseen = dataclasses.replace(made.protocol, name="finetune")
    assert past.estimate(make_unit(protocol=unseen)) is None
    assert past.estimate(make_unit(protocol=dataclasses.replace(unseen, name="quick"))) is None
