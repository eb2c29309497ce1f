"""`edema-a2b`: the models of `edema-a`, each tested on all of Edema-B, and the mean of their metrics."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections import defaultdict

import numpy as np
import pytest

import comface_bench
from comface_bench.core.errors import DataMissingError, UsageError
from comface_bench.core.registry import task_registry
from comface_bench.data.check import check_data
from comface_bench.data.task import load_task, open_task
from comface_bench.results.store import ResultStore

IN_A = [f"P{number}" for number in range(8)]
# P1 and P2 are other people than those of Edema-A.
IN_B = ["P1", "P2", "Q1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_edema):
    root = tmp_path_factory.mktemp("data")
    make_edema(root / "Edema-A", IN_A)
    make_edema(root / "Edema-B", IN_B, days=("3", "4", "5"), seed=1000)
    return root


@pytest.fixture(scope="module")
def across(root):
    return load_task("edema-a2b", data=root)


@pytest.fixture(scope="module")
def within(root):
    return load_task("edema-a", data=root)


def images(task, rows):
    """Names in their own data set."""
    return [task.table.images[row].removeprefix("Edema-A/") for row in rows]


def test_the_card():
    card = task_registry(plugins=False).get("edema-a2b").card
    assert (card.data, card.test_data, card.seeds_of) == ("Edema-A", "Edema-B", "edema-a")
    assert card.aggregate == "fold-mean"
    assert (card.train_pairs, card.test_pairs) == ("all", "pre-post")
    assert (card.family, card.metrics[0]) == ("weight", "mae")
    assert "acc" in card.metrics


@pytest.mark.parametrize("split", ["balanced-4", "balanced-2", "leave-one-out"])
def test_folds_train_and_validate_as_edema_a_does_and_test_everyone_of_b(root, split):
    within, across = (load_task(f"{name}+split={split}", data=root) for name in ("edema-a", "edema-a2b"))
    assert len(across.folds) == len(within.folds)
    for one, other in zip(across.folds, within.folds, strict=True):
        assert one.train == tuple(f"Edema-A/{patient}" for patient in other.train)
        assert one.validation == tuple(f"Edema-A/{patient}" for patient in other.validation)
        assert one.test == ("Edema-B/P1", "Edema-B/P2", "Edema-B/Q1")


def test_the_two_sets_may_lie_deeper(root, tmp_path, across):
    (tmp_path / "h").symlink_to(root)
    entry = task_registry(plugins=False).get("edema-a2b")
    card = dataclasses.replace(entry.card, data="h/Edema-A", test_data="h/Edema-B")
    deeper = open_task(dataclasses.replace(entry, card=card), {}, tmp_path)
    assert deeper.table.digest == across.table.digest
    assert deeper.split.subjects == across.split.subjects == set(across.table.subjects)
    assert len(deeper.pairs(0)) == len(across.pairs(0))
    assert len(deeper.pairs(0, "train")) > 0


def test_patients_of_one_name_are_kept_apart(across):
    table = across.table
    assert table.joined
    assert set(table.subjects) == {f"Edema-A/{name}" for name in IN_A} | {f"Edema-B/{name}" for name in IN_B}
    for image, subject in zip(table.images, table.subjects, strict=True):
        assert image.partition("/")[0] == subject.partition("/")[0]
    for fold in range(4):
        for part in ("train", "validation", "test"):
            pairs = across.pairs(fold, part)
            assert [table.subjects[row] for row in pairs.x] == [table.subjects[row] for row in pairs.y]


@pytest.mark.parametrize("fold", range(4))
def test_training_draws_and_validation_pairs_are_those_of_edema_a(across, within, fold):
    for repetition, epoch in ((0, 1), (0, 2), (3, 1)):
        mine = across.draw(fold, repetition, epoch, 64)
        theirs = within.draw(fold, repetition, epoch, 64)
        assert images(across, mine.x) == images(within, theirs.x)
        assert images(across, mine.y) == images(within, theirs.y)
        assert mine.target.tolist() == theirs.target.tolist()
    mine, theirs = across.pairs(fold, "validation"), within.pairs(fold, "validation")
    assert images(across, mine.x) == images(within, theirs.x)
    assert mine.target.tolist() == theirs.target.tolist()


def test_every_fold_tests_all_pre_post_pairs_of_b(across):
    phases = np.array(across.table.phases)
    expected = {
        frozenset((f"Edema-B/images/{patient}_{pre}_pre.jpg", f"Edema-B/images/{patient}_{post}_post.jpg"))
        for patient in IN_B
        for pre in (3, 4, 5)
        for post in (3, 4, 5)
    }
    for fold in range(4):
        pairs = across.pairs(fold)
        found = [
            frozenset((across.table.images[x], across.table.images[y]))
            for x, y in zip(pairs.x, pairs.y, strict=True)
        ]
        assert len(found) == len(expected)
        assert set(found) == expected
        assert (phases[pairs.x] != phases[pairs.y]).all()
        assert pairs.x.tolist() == across.pairs(0).x.tolist()


def test_the_digest_knows_both_sets(root, tmp_path, across):
    shutil.copytree(root, tmp_path / "data")
    path = tmp_path / "data" / "Edema-B" / "manifest.csv"
    path.write_text(path.read_text().replace(",53\n", ",53.5\n", 1))
    assert load_task("edema-a2b", data=root).table.digest == across.table.digest
    assert load_task("edema-a2b", data=tmp_path / "data").table.digest != across.table.digest


def test_data_check_counts_both_sets(root):
    found = check_data("edema-a2b", root)
    assert found.problems == ()
    assert found.images == 8 * 4 + 3 * 6
    assert [fold.test for fold in found.folds] == [3, 3, 3, 3]
    assert [fold.test_pairs for fold in found.folds] == [27, 27, 27, 27]
    assert found.per_subject["Edema-A/P1"].images == 4
    assert found.per_subject["Edema-B/P1"].images == 6


@pytest.mark.parametrize("missing", ["Edema-A", "Edema-B"])
def test_a_missing_set_is_named(root, tmp_path, missing):
    shutil.copytree(root, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / missing)
    with pytest.raises(DataMissingError) as caught:
        load_task("edema-a2b", data=tmp_path / "data")
    folder = tmp_path / "data" / missing
    assert caught.value.message == f"task edema-a2b needs {folder}, which doesn't exist"
    assert "docs/datasets/" in caught.value.hint


def test_problems_of_both_sets_are_reported(root, tmp_path):
    shutil.copytree(root, tmp_path / "data")
    for name in ("Edema-A", "Edema-B"):
        path = tmp_path / "data" / name / "manifest.csv"
        path.write_text(path.read_text() + "x.jpg,P9,1,during,60\n")
    places = [problem.where for problem in check_data("edema-a2b", tmp_path / "data").problems]
    assert places == [
        f"{tmp_path / 'data' / 'Edema-A' / 'manifest.csv'}:34",
        f"{tmp_path / 'data' / 'Edema-B' / 'manifest.csv'}:20",
    ]


def test_there_is_no_fifth_fold(across):
    with pytest.raises(UsageError, match="task edema-a2b has no fold 4"):
        across.pairs(4)


TINY = """
import torch
from comface_bench.core.card import MethodCard, Preprocess

CARD = MethodCard("tiny", 1, build=":build", backbone="tiny", preprocess=Preprocess(), drawn=True)


def build(options, weights, seed):
    torch.manual_seed(seed)
    pool = torch.nn.AdaptiveAvgPool2d(2)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), pool, torch.nn.Flatten())
"""


def run(method, task, root, results, protocol="quick"):
    plugin = results.parent / "tiny_method.py"
    plugin.write_text(TINY)
    tiny = {"image_size": 16, "epochs": 2, "pairs_per_epoch": 16, "batch_size": 8, "learning_rate": 1e-3}
    # Some processors compute bfloat16 convolutions of so few pixels to NaN now and then.
    tiny["precision"] = "float32"
    return comface_bench.run(
        method, task, protocol, data=root, results=results, device="cpu", plugins=[plugin], **tiny
    )


def plain_metrics(rows):
    """MAE, Pearson's r and sign agreement in per cent, written out."""
    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    mean, mean_hat = sum(y) / len(y), sum(yhat) / len(yhat)
    shared = sum((a - mean) * (b - mean_hat) for a, b in zip(y, yhat, strict=True))
    spread = math.sqrt(sum((a - mean) ** 2 for a in y) * sum((b - mean_hat) ** 2 for b in yhat))
    right = sum(a * b > 0 for a, b in zip(y, yhat, strict=True))
    moved = sum(a != 0 for a in y)
    return {
        "mae": sum(abs(a - b) for a, b in zip(y, yhat, strict=True)) / len(y),
        "pearson": shared / spread,
        "acc": right / moved,
    }


@pytest.mark.parametrize(
    ("method", "folds"),
    [("tiny", 4), pytest.param("scratch+backbone=resnet18", 2, marks=pytest.mark.slow)],
)
def test_a_run_has_the_models_of_edema_a_and_the_mean_of_their_tests(root, tmp_path, method, folds):
    across, within = (
        run(method, f"{task}+split=balanced-{folds}", root, tmp_path / "results")
        for task in ("edema-a2b", "edema-a")
    )
    assert across.summary.complete
    for one, other in zip(across.units, within.units, strict=True):
        assert one.fold == other.fold
        assert one.validation_curve == other.validation_curve
        assert one.best_epoch == other.best_epoch
        assert one.key != other.key
        assert (one.n_pairs, one.n_subjects) == (27, 3)
    by_fold = defaultdict(list)
    for row in ResultStore(tmp_path / "results").load_predictions(across):
        by_fold[row.fold].append(row)
    assert sorted(by_fold) == list(range(folds))
    expected = [plain_metrics(rows) for rows in by_fold.values()]
    for name in ("mae", "pearson", "acc"):
        mean = sum(metrics[name] for metrics in expected) / folds
        assert across.primary[name].value == pytest.approx(mean, rel=1e-9)
        assert across.primary[name] == across.summary.fold_mean[name]
    # All pairs are the same in each fold, so the summary counts them once.
    assert (across.summary.n_pairs, across.summary.n_subjects) == (27, 3)
    assert within.primary["mae"] == within.summary.pooled["mae"]


def test_a_linear_run_has_the_heads_of_edema_a(root, tmp_path):
    across, within = (
        run("tiny", task, root, tmp_path / "results", "linear") for task in ("edema-a2b", "edema-a")
    )
    for mine, theirs in zip(across.units, within.units, strict=True):
        assert mine.validation_curve == pytest.approx(theirs.validation_curve, rel=1e-6)
