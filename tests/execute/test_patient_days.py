"""Models of patients' own days and models of other patients, from the request to records and pages."""

from __future__ import annotations

import dataclasses
import re

import pytest

from comface_bench.core.errors import SplitError, UsageError
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.leaderboards import build
from comface_bench.results.store import ResultStore
from comface_bench.results.validation import check_record, recompute_record, validate_record

PATIENTS = [f"P{number:02d}" for number in range(13)]
TASK = "edema-a+pairs=pre-post-same-day+split="
SMALL = {"image_size": "16", "epochs": "1"}


@pytest.fixture
def request_of(make_edema, plugin, tmp_path):
    make_edema(tmp_path / "data" / "Edema-A", PATIENTS, days=("1", "2", "3", "4"))

    def make(protocol="patient-specific", tasks=("edema-a",), options=SMALL, **changes):
        facts = {"data": tmp_path / "data", "results": tmp_path / "results", "device": "cpu"}
        facts |= {"plugin_files": [plugin], "use_plugins": False}
        return Request(["tiny"], list(tasks), protocol, options, **{**facts, **changes})

    return make


def run(request):
    finished = run_plan(make_plan(request), request)
    assert not finished.failed
    return finished.records


def test_a_record_says_who_pre_trained_who_was_tested_and_which_days_trained(request_of, tmp_path):
    (record,) = run(request_of(options={**SMALL, "days": "2"}, seeds=[0, 1]))
    assert record.task.name == f"{TASK}patient-days"
    assert record.protocol.name == "patient-specific+days=2+epochs=1+image_size=16"
    assert record.protocol.values["split_kind"] == "days"
    (fold,) = record.task.fold_subjects
    assert [len(part.split(",")) for part in (fold.train, fold.validation, fold.test)] == [6, 2, 5]
    assert (record.summary.n_subjects, record.summary.n_pairs) == (5, 20)
    drawn = [unit.details["days_trained"] for unit in record.units]
    assert all(len(days.split()) == 20 for days in drawn)
    assert drawn[0] != drawn[1]
    path = ResultStore(tmp_path / "results").record_path(record.task.name, record.protocol.name, "tiny")
    assert validate_record(path) == []
    assert recompute_record(path) == []
    assert make_plan(request_of(options={**SMALL, "days": "2"}, seeds=[0, 1])).cells[0].missing == ()
    (page,) = [
        page for page in build(tmp_path / "results", tmp_path / "board") if page.name.endswith("size=16.md")
    ]
    assert "the model of each tested day is made of other days of the same person" in page.read_text()


def faults_of(record):
    return [fault.message for fault in check_record(record) if "days_trained" in fault.place]


def with_days(record, days):
    (unit,) = record.units
    details = {**unit.details, "days_trained": days}
    return record.model_copy(update={"units": [unit.model_copy(update={"details": details})]})


@pytest.fixture(scope="module")
def days_record(make_edema, write_plugin, tmp_path_factory):
    """A record of one unit, whose models are of two days each; nothing changes it."""
    folder = tmp_path_factory.mktemp("days")
    plugin = write_plugin(folder)
    make_edema(folder / "data" / "Edema-A", PATIENTS, days=("1", "2", "3", "4"))
    options = {**SMALL, "days": "2", "epochs": "0"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFACE_CACHE", str(folder / "cache"))
        (record,) = run(
            Request(
                ["tiny"], ["edema-a"], "patient-specific", options, data=folder / "data", device="cpu",
                results=folder / "results", plugin_files=[plugin], use_plugins=False,
            )
        )  # fmt: skip
    assert faults_of(record) == []
    return record


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda days: days.replace("<", "<9,", 1), "3 days of subject"),
        (lambda days: re.sub(r":0<\d,\d", ":0<0,1", days, count=1), "is tested by a model that it trained"),
        (lambda days: f"{days} 77:0<1,2", "subject 77 isn't one that the fold tests"),
        (lambda days: "yes", "not of the form"),
        (lambda days: "", "which days trained isn't there"),
        (
            lambda days: " ".join(
                one for one in days.split() if one.partition(":")[0] != days.partition(":")[0]
            ),
            "who is tested, aren't there",
        ),
    ],
)
def test_a_record_that_says_otherwise_is_not_valid(days_record, change, said):
    (fault,) = faults_of(with_days(days_record, change(days_record.units[0].details["days_trained"])))
    assert said in fault


def test_who_is_tested_pre_trains_in_no_fold(days_record):
    (fold,) = days_record.task.fold_subjects
    tested, *rest = fold.test.split(",")
    for part in ("train", "validation"):
        people = ",".join(sorted([*getattr(fold, part).split(","), tested], key=int))
        other = fold.model_copy(update={part: people, "test": ",".join(rest)})
        task = days_record.task.model_copy(update={"fold_subjects": [fold, other]})
        (fault,) = faults_of(days_record.model_copy(update={"task": task}))
        assert fault == f"subject {tested} is tested, and pre-trains in another fold"


def test_models_of_others_are_tested_on_the_same_pairs(request_of, tmp_path):
    store, tested, numbers = ResultStore(tmp_path / "results"), {}, set()
    for protocol, split in (
        ("patient-specific", "patient-days"),
        ("probe", "other-patients"),
        ("probe", "four-folds"),
    ):
        options = {"image_size": "16"} | ({} if protocol == "probe" else {"epochs": "0"})
        (record,) = run(request_of(protocol, [TASK + split], options))
        assert record.summary.complete
        tested[split] = {(row.pair_id, row.y) for row in store.load_predictions(record)}
        folds = record.task.fold_subjects
        numbers |= {number for fold in folds for number in fold.test.split(",")}
        if split == "other-patients":
            taught = {number for fold in folds for number in f"{fold.train},{fold.validation}".split(",")}
            assert len(folds) == 4
            assert not taught & numbers
    assert len(numbers) == 5
    assert tested["patient-days"] == tested["other-patients"] == tested["four-folds"]
    assert len(tested["patient-days"]) == 20


def test_protocols_keep_to_their_kind_of_split(request_of, make_ages, tmp_path):
    for protocol, split in (("linear", "patient-days"), ("probe", "patient-days-4")):
        with pytest.raises(UsageError, match="trains on other people only") as caught:
            make_plan(request_of(protocol, [TASK + split], {}))
        assert "-o split=other-patients" in caught.value.hint
    with pytest.raises(UsageError, match="keeps people apart") as caught:
        make_plan(request_of(options={"split": "balanced-4"}))
    assert "-o split=patient-days" in caught.value.hint
    with pytest.raises(SplitError, match="pairs of edema-a may lie on two") as caught:
        make_plan(request_of(options={"pairs": "pre-post"}))
    assert "-o pairs=pre-post-same-day" in caught.value.hint
    make_ages(tmp_path / "data")
    with pytest.raises(SplitError, match="0 have two days with images of both phases"):
        make_plan(request_of(tasks=["age"]))


def test_a_pattern_means_the_tasks_that_have_days(request_of, make_ages, tmp_path):
    make_ages(tmp_path / "data")
    plan = make_plan(request_of(tasks=["*"]))
    assert [cell.task.card.name for cell in plan.cells] == ["edema-a", "synth-weight"]
    assert any(
        skip.label == "age" and "two days" in skip.reason.replace("two\n", "two ") for skip in plan.skips
    )


def test_a_split_file_says_who_is_tested(request_of, tmp_path):
    from comface_bench.data.splits import Fold, Split, write_split

    fold = Fold(tuple(PATIENTS[:6]), tuple(PATIENTS[6:9]), tuple(PATIENTS[9:]))
    split = Split("ours", (fold,), untested=frozenset(PATIENTS[:9]), kind="days")
    write_split(split, tmp_path / "ours.json")
    (record,) = run(request_of(options={**SMALL, "epochs": "0", "split": str(tmp_path / "ours.json")}))
    assert record.task.name == f"{TASK}ours"
    assert record.task.fold_subjects[0].test == "9,10,11,12"
    assert dataclasses.replace(split, name="other").digest == record.task.split_digest


def test_models_that_nobody_can_use_keep_no_unit_running(request_of):
    asked = request_of(options={**SMALL, "epochs": "0"}, save_models=True)
    (record,) = run(asked)
    (cell,) = make_plan(asked).cells
    assert len(record.units) == len(cell.finished) == 1
    assert cell.missing == cell.unsaved == ()
