"""`probe` against ridge on listed pairs: estimates, chosen strength and validation error of whole units."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from comface_bench.core.errors import UnitError
from comface_bench.core.protocol import resolve_protocol
from comface_bench.data.task import load_task
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.jobs import Job, RunContext
from comface_bench.engine.probe import FLOOR, TIED, run, solve_jobs
from comface_bench.engine.ridge import STRENGTHS


def listed(task, fold, part):
    """All pairs of a part by the rule alone, one by one, without the product's own enumeration."""
    table, subjects = task.table, set(task.folds[fold].subjects(part))
    rule = task.card.train_pairs if part == "train" else task.card.test_pairs
    x, y = [], []
    for i in range(len(table)):
        for j in range(len(table)):
            if table.subjects[i] != table.subjects[j] or table.subjects[i] not in subjects:
                continue
            if rule == "all" and i < j:
                x.append(i)
                y.append(j)
            phases = table.phases[i] == "pre" and table.phases[j] == "post"
            same = rule == "pre-post" or table.sessions[i] == table.sessions[j]
            if rule != "all" and phases and same:
                x.append(i)
                y.append(j)
    return np.array(x), np.array(y)


def by_listing(task, fold, features, scale):
    """Strength, validation error and estimates of the test pairs, from listed differences."""
    if scale == "spread":
        features = features / spreads(task, fold, features)
    d, t = {}, {}
    for part in ("train", "validation"):
        x, y = listed(task, fold, part)
        d[part], t[part] = features[y] - features[x], task.labels[y] - task.labels[x]
    moment = d["train"].T @ d["train"]
    largest = np.linalg.eigvalsh(moment)[-1]
    solved = []
    for strength in STRENGTHS:
        # Solved in the smaller space: the dual where there are fewer pairs than features.
        ridge = strength * largest
        if len(d["train"]) < features.shape[1]:
            gram = d["train"] @ d["train"].T + ridge * np.eye(len(d["train"]))
            w = d["train"].T @ np.linalg.solve(gram, t["train"])
        else:
            w = np.linalg.solve(moment + ridge * np.eye(len(moment)), d["train"].T @ t["train"])
        error = np.abs(t["validation"] - d["validation"] @ w).mean()
        solved.append((strength, error, w))
    lowest = min(error for _, error, _ in solved)
    best = [one for one in solved if one[1] <= lowest * (1 + TIED)][-1]
    pairs = task.pairs(fold, "test")
    return best[0], best[1], (features[pairs.y] - features[pairs.x]) @ best[2]


def spreads(task, fold, features):
    """Each feature's root mean square deviation within training people, with the floor."""
    squares, count = 0.0, 0
    for subject in task.folds[fold].train:
        rows = [row for row, name in enumerate(task.table.subjects) if name == subject]
        assert task.card.train_pairs == "all"
        if len(rows) > 1:
            squares = squares + ((features[rows] - features[rows].mean(axis=0)) ** 2).sum(axis=0)
            count += len(rows)
    found = np.sqrt(squares / count)
    return np.maximum(found, FLOOR * np.sqrt(np.mean(found**2)))


@pytest.fixture(params=["age", "edema"])
def some_task(request, make_ages, make_edema, draw_image, tmp_path):
    if request.param == "age":
        root = make_ages(tmp_path, subjects=13, ages=(2, 9, 31))
        draw_image(root / "FGNET" / "images" / "014A05.JPG", seed=14)  # a subject with one image
        return load_task("age+split=balanced-3", root)
    make_edema(tmp_path / "Edema-A", patients=[f"P{number}" for number in range(9)], days=("1", "2", "3"))
    return load_task("edema-a", tmp_path)


@pytest.mark.parametrize("width", [5, 90])
@pytest.mark.parametrize("scale", ["shared", "spread"])
def test_units_equal_ridge_on_listed_pairs(some_task, width, scale):
    task = some_task
    random = np.random.default_rng(3)
    features = random.normal(size=(len(task.table), width)) * random.uniform(0.001, 2, width) + 7
    features += np.outer(np.nan_to_num(task.labels), random.normal(size=width)) / 40
    features[1] = features[0]
    protocol = resolve_protocol("probe", task.card.family, {"scale": scale})
    jobs = [Job(task, fold, 0, f"fold {fold}") for fold in range(len(task.folds))]
    rows = np.arange(len(task.table))
    for job, choice in zip(jobs, solve_jobs(jobs, features, rows, protocol), strict=True):
        strength, error, expected = by_listing(task, job.fold, features, scale)
        assert choice.strength == strength
        assert choice.error == pytest.approx(error, rel=1e-8)
        pairs = task.pairs(job.fold, "test")
        found = choice.estimates[pairs.y] - choice.estimates[pairs.x]
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_targets_together_equal_each_alone(make_disfa, tmp_path):
    subjects = [f"SN{number:03d}" for number in range(1, 10)]
    make_disfa(tmp_path / "DISFA", subjects, frames=(1, 2, 3, 4, 5), lines=6)
    tasks = [load_task(f"disfa-au{unit}+split=balanced-3", tmp_path) for unit in (1, 12)]
    features = np.random.default_rng(0).normal(size=(len(tasks[0].table), 6))
    protocol, rows = resolve_protocol("probe", "expression"), np.arange(len(tasks[0].table))
    jobs = [Job(task, fold, 0, "") for task in tasks for fold in range(3)]
    together = solve_jobs(jobs, features, rows, protocol)
    for job, choice in zip(jobs, together, strict=True):
        (alone,) = solve_jobs([job], features, rows, protocol)
        assert choice.strength == alone.strength
        np.testing.assert_allclose(choice.estimates, alone.estimates, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("features", [4, 60])
@pytest.mark.parametrize("images", [slice(None, None, 2), slice(0, 1), slice(-1, None)])
@pytest.mark.parametrize("scale", ["shared", "spread"])
def test_features_that_are_not_finite_fail_the_unit_and_say_so(task, scale, images, features, wrong):
    """However many there are: solvers raise at some sizes, and answer in NaN at others."""
    protocol = resolve_protocol("probe", "age", {"scale": scale})
    rows = np.arange(len(task.table))
    values = np.random.default_rng(0).normal(size=(len(rows), features))
    values[images, 0] = wrong
    (choice,) = solve_jobs([Job(task, 0, 0, "unit")], values, rows, protocol)
    assert str(choice).startswith("unit: the network's features aren't finite\nCheck the backbone's weights")


def test_equal_features_fail_the_unit_and_say_why(task):
    protocol = resolve_protocol("probe", "age")
    rows = np.arange(len(task.table))
    (choice,) = solve_jobs([Job(task, 0, 0, "unit")], np.ones((len(rows), 4)), rows, protocol)
    assert isinstance(choice, UnitError)
    assert "equal features" in str(choice)


@pytest.mark.parametrize("mirror", ["none", "mean", "beside"])
def test_a_run_encodes_images_and_their_mirror_images(task, source, make_encoder, tmp_path, mirror):
    protocol = resolve_protocol("probe", "age", {"image_size": "16", "mirror": mirror})
    encoder = make_encoder()
    context = RunContext(
        encoder,
        protocol,
        source,
        FeatureStore(encoder, source),
        lambda event: None,
        tmp_path / "state",
        "key",
    )
    jobs = [Job(task, fold, 0, "") for fold in range(2)]
    outcomes = run(jobs, context)
    rows = np.arange(len(task.table))
    with torch.inference_mode():
        one = encoder(source.plain(rows)).double().numpy()
        two = encoder(source.plain(rows).flip(3)).double().numpy()
    features = {"none": one, "mean": (one + two) / 2, "beside": np.hstack([one, two])}[mirror]
    for job, outcome in zip(jobs, outcomes, strict=True):
        _, error, expected = by_listing(task, job.fold, features, "shared")
        np.testing.assert_allclose(outcome.predictions, expected, rtol=1e-5, atol=1e-5)
        assert outcome.details["validation_error"] == pytest.approx(error, rel=1e-6)
        assert (outcome.best_epoch, outcome.validation_curve) == (0, [])


def test_a_backbone_that_changes_is_an_error(task, source, make_encoder, tmp_path):
    encoder = make_encoder()
    forward = encoder.backbone.forward

    def drifting(images):
        with torch.no_grad():
            encoder.backbone.layers[3].bias += 1
        return forward(images)

    encoder.backbone.forward = drifting
    protocol = replace(resolve_protocol("probe", "age"), image_size=16)
    context = RunContext(
        encoder,
        protocol,
        source,
        FeatureStore(encoder, source),
        lambda event: None,
        tmp_path / "state",
        "key",
    )
    with pytest.raises(UnitError, match="changed"):
        run([Job(task, 0, 0, "")], context)


def test_a_run_under_probe_leaves_a_valid_record_and_a_page(make_ages, tmp_path, call):
    data = make_ages(tmp_path / "data", subjects=12, ages=(3, 11, 24, 50))
    words = ["--method", "scratch+backbone=resnet18", "--task", "age+split=balanced-4", "--protocol", "probe"]
    results = ["--results", tmp_path / "results"]
    status, out, err = call("run", *words, "-o", "image_size=32", "--data", data, *results)
    assert status == 0, err
    assert "4/4" in out
    assert call("results", "validate", *results)[0] == 0
    assert call("results", "recompute", *results)[0] == 0
    status, out, _ = call("run", *words, "-o", "image_size=32", "--data", data, *results, "--dry-run")
    assert (status, "0 to run" in out) == (0, True)
    pages = list((tmp_path / "results" / "leaderboard").rglob("probe+image_size=32.md"))
    assert len(pages) == 1
