"""Models of patients' own days: what they are, and that no tested day had a part in them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from comface_bench.core.card import NO_AUGMENTATION
from comface_bench.core.errors import DataFormatError, SplitError, UnitError
from comface_bench.core.events import ignore
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.registry import task_registry
from comface_bench.core.weights import cache_folder
from comface_bench.data.augment import image_key
from comface_bench.data.image_store import open_image_store
from comface_bench.data.manifest import Manifest
from comface_bench.data.task import Task, configure, find_split, load_task
from comface_bench.engine import checkpoint
from comface_bench.engine.encoder import ImageSource
from comface_bench.engine.feature_files import list_entries
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.jobs import Job, RunContext
from comface_bench.engine.patient_specific import STRENGTHS, Patients, run
from comface_bench.engine.precision import Machine

NAME = "edema-a+pairs=pre-post-same-day+split=patient-days"
DAYS = ("1", "2", "3", "4")


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """Thirteen patients on four days, five of whom are tested; the heavier, the brighter."""
    root, random = tmp_path_factory.mktemp("patients"), np.random.default_rng(0)
    rows = ["image,patient,day,phase,weight_kg"]
    for number in range(13):
        shade = random.uniform(0.4, 1.0, 3)
        for day in DAYS:
            dry = 50 + number + random.normal(0, 0.4)
            for phase, kg in (("pre", dry + random.uniform(1, 4)), ("post", dry)):
                name = f"images/P{number:02d}_{day}_{phase}.png"
                pixels = random.integers(0, 30, (20, 20, 3)) + 20 * (kg - 47 - number) * shade
                (root / "Edema-A" / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "Edema-A" / name)
                rows.append(f"{name},P{number:02d},{day},{phase},{kg:.2f}")
    (root / "Edema-A" / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def task(tree):
    return load_task(NAME, tree)


@pytest.fixture
def source(task, tmp_path):
    store = open_image_store(task.table, 19, cache=tmp_path / "cache")
    keys = np.array([image_key(name) for name in store.names], dtype=np.uint64)
    return ImageSource(store, keys, 16, NO_AUGMENTATION, 0, Machine(torch.device("cpu"), "float32"))


@pytest.fixture
def call_run(task, source, make_encoder, tmp_path):
    """Run a unit; returns its outcome. No features and no state are left of the run before, unless asked."""

    def run_unit(
        task=task, source=source, report=ignore, shared=False, resume=False, encoder=None, **options
    ):
        values = {"image_size": 16, "epochs": 2, "batch_size": 9, "learning_rate": 0.003, "queue": 20}
        texts = {key: str(value) for key, value in (values | options).items()}
        protocol = resolve_protocol("patient-specific", "weight", texts)
        encoder = encoder or make_encoder()
        features = FeatureStore(encoder, source)
        state = tmp_path / "states" / "unit.pt"
        if not resume:
            state.unlink(missing_ok=True)
        if not shared:
            for entry in list_entries(cache_folder() / "features"):
                assert entry.remove()
        context = RunContext(encoder, protocol, source, features, report, state, "key")
        (outcome,) = run([Job(task, 0, 0, "unit")], context)
        return outcome

    return run_unit


def relabelled(task, change):
    """The same task with other labels, by row."""
    labels = task.labels.copy()
    for row, value in change.items():
        labels[row] = value
    table = dataclasses.replace(task.table, labels={"weight_kg": labels})
    return dataclasses.replace(task, table=table)


def solve(features, labels, rows, strength):
    """The ridge solution over all pairs of some rows, pair by pair."""
    pairs = [(i, j) for i in rows for j in rows if i < j]
    x = np.array([features[j] - features[i] for i, j in pairs])
    y = np.array([labels[j] - labels[i] for i, j in pairs])
    moments = x.T @ x
    penalty = strength * np.linalg.eigvalsh(moments)[-1] * np.eye(x.shape[1])
    return np.linalg.solve(moments + penalty, x.T @ y)


def days_trained(task, outcome):
    """What a unit says of its models: (subject, day) → days."""
    table, found = task.table, {}
    for text in outcome.details["days_trained"].split():
        subject, day, trained = re.fullmatch(r"(\d+):(\d+)<([\d,]+)", text).groups()
        found[table.subject_names[int(subject)], DAYS[int(day)]] = [
            DAYS[int(one)] for one in trained.split(",")
        ]
    return found


@pytest.mark.parametrize("days", [1, 2, 3])
def test_estimates_are_those_of_ridge_on_the_days_that_the_unit_names(
    task, source, make_encoder, call_run, days
):
    outcome = call_run(epochs=0, days=days)
    with torch.inference_mode():
        features = make_encoder().eval()(source.plain(np.arange(len(task.table)))).double().numpy()
    table, labels, pairs = task.table, task.labels, task.pairs(0, "test")
    trained = days_trained(task, outcome)
    assert set(trained) == {(subject, day) for subject in task.folds[0].test for day in DAYS}
    assert len(pairs) == len(trained) == outcome.details["models"] == 20
    for x, y, predicted in zip(pairs.x, pairs.y, outcome.predictions, strict=True):
        subject, day = table.subjects[x], table.sessions[x]
        assert (table.subjects[y], table.sessions[y]) == (subject, day)
        own = trained[subject, day]
        assert len(own) == days
        assert day not in own
        rows = [r for r in range(len(table)) if table.subjects[r] == subject and table.sessions[r] in own]
        weight = solve(features, labels, rows, outcome.details["ridge_strength"])
        assert predicted == pytest.approx((features[y] - features[x]) @ weight, rel=1e-5, abs=1e-7)


def test_the_strength_is_the_best_of_the_validation_patients(task, source, make_encoder, call_run):
    outcome = call_run(epochs=0, days=3)
    with torch.inference_mode():
        features = make_encoder().eval()(source.plain(np.arange(len(task.table)))).double().numpy()
    table, labels, pairs = task.table, task.labels, task.pairs(0, "validation")
    errors = []
    for strength in STRENGTHS:
        total = 0.0
        for x, y, target in zip(pairs.x, pairs.y, pairs.target, strict=True):
            day = (table.subjects[x], table.sessions[x])
            rows = [
                r for r in range(len(table)) if table.subjects[r] == day[0] and table.sessions[r] != day[1]
            ]
            total += abs((features[y] - features[x]) @ solve(features, labels, rows, strength) - target)
        errors.append(total / len(pairs))
    assert outcome.details["validation_error"] == pytest.approx(min(errors), rel=1e-5)
    assert outcome.details["ridge_strength"] == STRENGTHS[int(np.argmin(errors))]


SHOWN = st.dictionaries(
    st.tuples(st.sampled_from("ABCDEFGHIJ"), st.sampled_from("1234")),
    st.sampled_from([("pre", "post")] * 4 + [("pre", "pre", "post"), ("post",), ("pre", None)]),
    min_size=12,
)


@given(SHOWN, st.integers(1, 3), st.integers(0, 3), st.sampled_from(["patient-days", "patient-days-2"]))
def test_no_tested_day_enters_training_or_pre_training(shown, days, seed, rule):
    rows = [(subject, day, phase) for (subject, day), phases in shown.items() for phase in phases]
    subjects, sessions, phases = zip(*rows, strict=True)
    names = tuple(f"{number:03d}" for number in range(len(rows)))
    labels = {"weight_kg": 60.0 + np.arange(len(rows)) / 50}
    table = Manifest("d", Path(), names, subjects, sessions, phases, labels, contents=names)
    try:
        card, chosen = configure(task_registry().get("edema-a"), {"pairs": "pre-post-same-day"})
        one = Task(card, chosen, table, find_split(rule, card, table))
        patients = Patients.of(Job(one, 0, seed, "unit"), days)
        tested = one.pairs(0, "test")
    except (SplitError, DataFormatError, UnitError):
        assume(False)
    place = [(subjects[row], sessions[row]) for row in range(len(rows))]
    scored = {place[row] for row in (*tested.x, *tested.y)}
    pre_training = {place[row] for row in patients.pretraining}
    assert {subject for subject, _ in scored} == set(one.folds[0].test)
    assert not {subject for subject, _ in scored} & {subject for subject, _ in pre_training}
    # Each tested day has one model, and that saw neither the day nor anybody else.
    assert [(model.subject, model.tested) for model in patients.tested] == sorted(scored)
    for model in patients.tested:
        learnt = {place[row] for row in model.train_rows}
        assert learnt == {(model.subject, day) for day in model.trained}
        assert (model.subject, model.tested) not in learnt
        assert len(learnt) == days
        assert {place[row] for row in model.test_rows} == {(model.subject, model.tested)}
    for model in (*patients.epochs, *patients.strengths):
        assert model.subject in one.folds[0].validation
        assert model.tested not in model.trained


def test_only_other_patients_pre_train(task, source, call_run):
    seen = []

    class Watched(ImageSource):
        def augmented(self, rows, views):
            seen.append((np.array(rows), np.array(views)))
            return super().augmented(rows, views)

    watched = Watched(**{field.name: getattr(source, field.name) for field in dataclasses.fields(source)})
    outcome = call_run(source=watched, epochs=3)
    rows, views = (np.concatenate([part[place] for part in seen]) for place in (0, 1))
    teachers = {task.table.subjects[row] for row in rows}
    assert teachers == set(task.folds[0].train)
    assert not teachers & {*task.folds[0].test, *task.folds[0].validation}
    # Each image twice an epoch, but for a lone last one; no view of an image is shown again.
    assert outcome.details["images_pretrained"] == 48 == len(set(rows))
    assert len(rows) == 3 * 2 * 48
    assert len(set(zip(rows, views, strict=True))) == len(rows)


def test_a_tested_day_tells_its_own_model_nothing(task, call_run):
    plain = call_run(days=3)
    subject, pairs = task.folds[0].test[0], task.pairs(0, "test")
    rows = [
        r
        for r in range(len(task.table))
        if task.table.subjects[r] == subject and task.table.sessions[r] == "2"
    ]
    changed = relabelled(task, {rows[0]: 80.0, rows[1]: 40.0})
    outcome = call_run(task=changed, days=3)
    here = np.isin(pairs.x, rows)
    assert here.sum() == 1
    assert np.array_equal(outcome.predictions[here], plain.predictions[here])
    # It trains the models of that patient's other days, and nobody else's.
    own = np.array([task.table.subjects[x] == subject for x in pairs.x])
    assert (outcome.predictions[own & ~here] != plain.predictions[own & ~here]).all()
    assert np.array_equal(outcome.predictions[~own], plain.predictions[~own])
    assert outcome.validation_curve == plain.validation_curve


def test_a_tested_patient_pre_trains_and_chooses_nothing(task, call_run):
    plain = call_run(days=1)
    tested = set(task.folds[0].test)
    change = {row: 60.0 + row % 7 for row, name in enumerate(task.table.subjects) if name in tested}
    outcome = call_run(task=relabelled(task, change), days=1)
    assert outcome.validation_curve == plain.validation_curve
    assert outcome.details["ridge_strength"] == plain.details["ridge_strength"]
    # Weights and phases of those who pre-train do count.
    teachers = set(task.folds[0].train)
    change = {row: 60.0 + row % 7 for row, name in enumerate(task.table.subjects) if name in teachers}
    other = call_run(task=relabelled(task, change), days=1)
    assert other.validation_curve != plain.validation_curve
    equal = [call_run(task=one, days=1, weight_bandwidth="none") for one in (task, relabelled(task, change))]
    assert equal[0].validation_curve == equal[1].validation_curve != plain.validation_curve


def test_two_runs_are_bit_equal_and_settings_share_one_pre_training(task, call_run):
    first = {days: call_run(days=days) for days in (1, 3)}
    notices = []
    shared = [
        call_run(days=days, shared=bool(place), report=notices.append) for place, days in enumerate((3, 1))
    ]
    for outcome, days in zip(shared, (3, 1), strict=True):
        assert np.array_equal(outcome.predictions, first[days].predictions)
        assert outcome.validation_curve == first[days].validation_curve
        assert outcome.best_epoch == first[days].best_epoch
    assert [outcome.details["pretrained_earlier"] for outcome in shared] == [False, True]
    stages = [event.text for event in notices if event.kind == "stage"]
    assert stages.count("pre-training, epoch 1") == 1
    assert first[1].validation_curve == first[3].validation_curve
    assert not np.array_equal(first[1].predictions, first[3].predictions)


@pytest.mark.parametrize("other", ["weights", "task", "pairs", "learning_rate"])
def test_another_pre_training_is_not_taken_for_this_one(task, make_encoder, call_run, other):
    plain = call_run(days=2)
    encoder, changed, options = make_encoder(), task, {}
    if other == "weights":
        with torch.no_grad():
            next(encoder.parameters()).add_(0.01)
    elif other == "task":
        teacher = task.table.subjects.index(task.folds[0].train[0])
        changed = relabelled(task, {teacher: 80.0})
    elif other == "pairs":  # by which epochs are chosen
        changed = dataclasses.replace(task, card=dataclasses.replace(task.card, test_pairs_per_subject=2))
    else:
        options = {"learning_rate": 0.002}
    outcome = call_run(task=changed, encoder=encoder, shared=True, days=2, **options)
    assert not outcome.details["pretrained_earlier"]
    assert outcome.validation_curve != plain.validation_curve


@pytest.mark.parametrize("name", ["entry.json", "*.part"])
def test_what_is_damaged_is_pre_trained_again(call_run, name):
    plain = call_run(days=2)
    (entry,) = list_entries(cache_folder() / "features")
    assert entry.find_damaged() == []
    (path,) = entry.path.glob(name)
    content = path.read_bytes()
    if name == "entry.json":
        path.write_bytes(content.replace(b'"best_epoch": ', b'"best_epoch": 1'))
    else:
        path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    again = call_run(days=2, shared=True)
    assert not again.details["pretrained_earlier"]
    assert np.array_equal(again.predictions, plain.predictions)
    assert call_run(days=2, shared=True).details["pretrained_earlier"]


def test_nothing_is_kept_where_features_take_no_room(call_run, monkeypatch):
    monkeypatch.setenv("COMFACE_FEATURES_GB", "0")
    call_run()
    assert not call_run(shared=True).details["pretrained_earlier"]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("last", [1, 2])
def test_a_unit_killed_after_an_epoch_goes_on_to_the_same_result(call_run, last, monkeypatch):
    monkeypatch.setattr(checkpoint, "SAVE_INTERVAL_S", 0.0)

    def kill(event):
        if event.kind == "epoch" and event.epoch == last:
            raise KilledError

    with pytest.raises(KilledError):
        call_run(report=kill)
    events = []
    resumed = call_run(report=events.append, resume=True)
    trained = [
        event.epoch for event in events if event.kind == "stage" and event.text.startswith("pre-training")
    ]
    assert trained == [2][last - 1 :]
    unbroken = call_run()
    assert np.array_equal(resumed.predictions, unbroken.predictions)
    assert resumed.validation_curve == unbroken.validation_curve
    assert resumed.best_epoch == unbroken.best_epoch


def test_the_best_epoch_is_tested(call_run):
    outcome = call_run(epochs=3, learning_rate=0.01)
    curve = outcome.validation_curve
    assert outcome.best_epoch == curve.index(min(curve)) + 1
    until = call_run(epochs=outcome.best_epoch, learning_rate=0.01)
    assert np.array_equal(until.predictions, outcome.predictions)


def test_too_many_days_and_features_that_are_all_alike_say_so(call_run, make_encoder):
    with pytest.raises(DataFormatError, match=r"P\d+ has 4 days with images of both phases") as caught:
        call_run(days=4)
    assert "-o days=3" in caught.value.hint
    encoder = make_encoder()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    with pytest.raises(UnitError, match="all training pairs have equal features"):
        call_run(epochs=0, encoder=encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(UnitError, match="features aren't finite"):
        call_run(epochs=0, encoder=encoder)
