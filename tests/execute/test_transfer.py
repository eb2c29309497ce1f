"""The transfer bench: numbers against listed pairs and resampled people, who is kept apart, the command."""

import json

import numpy as np
import pytest

from comface_bench.core.errors import UsageError
from comface_bench.core.protocol import resolve_protocol
from comface_bench.data.task import load_task
from comface_bench.execute.transfer import (
    SILENT,
    Fit,
    RenderedFaces,
    choose_images,
    find_silent,
    fit_rendered_head,
    measure_regions,
    measure_transfer,
    solve_probe,
)
from comface_bench.stats.bootstrap import Resamples

AGES = (3, 9, 17, 30, 44, 60)


def draw_faces(seed, people, shared, own=0.3, width=7):
    """Features of people at `AGES`: age times `shared`, what is the person's, and noise."""
    random = np.random.default_rng(seed)
    who, years = np.repeat(np.arange(people), len(AGES)), np.tile(np.array(AGES, float), people)
    features = years[:, None] * shared + random.normal(0, 5, (people, width))[who]
    return features + random.normal(0, own * 30, features.shape), years, who


@pytest.fixture
def rendered():
    direction = np.array([0.5, -0.3, 0.2, 0, 0, 0, 0])
    return RenderedFaces("drawn", *draw_faces(1, 12, direction))


@pytest.fixture
def task(make_ages, tmp_path):
    return load_task("age+split=balanced-4", make_ages(tmp_path, subjects=12, ages=AGES))


@pytest.fixture
def photographs(task):
    """Of the task's images: age shows in the first feature only, and the second is silent."""
    direction = np.array([0.5, 0, 0, 0, 0, 0, 0])
    features, years, _ = draw_faces(2, 12, direction)
    features[:, 1] *= 0.01
    assert np.array_equal(years, task.labels)
    return features


PLAIN = Fit()


def measure(task, photographs, rendered, fit=PLAIN):
    probe = solve_probe(task, photographs, resolve_protocol("probe", "age"))
    return measure_transfer(task, photographs, probe, rendered, fit)


def all_pairs(people, chosen, keep=lambda gap: True, labels=None):
    rows = [np.flatnonzero(people == one) for one in chosen]
    pairs = [(x, y) for own in rows for x in own for y in own if x < y]
    return np.array([(x, y) for x, y in pairs if labels is None or keep(abs(labels[y] - labels[x]))])


@pytest.mark.parametrize("largest", [None, 20.0])
def test_the_rendered_head_is_that_of_listed_pairs(rendered, largest):
    fitted = fit_rendered_head(rendered, largest)
    assert sorted(set(rendered.people[fitted.held_out])) == [3, 7, 11]
    pairs = all_pairs(
        rendered.people,
        sorted(set(range(12)) - {3, 7, 11}),
        lambda gap: largest is None or gap <= largest,
        rendered.labels,
    )
    d = rendered.features[pairs[:, 1]] - rendered.features[pairs[:, 0]]
    t = rendered.labels[pairs[:, 1]] - rendered.labels[pairs[:, 0]]
    tested = all_pairs(rendered.people, [3, 7, 11])
    largest_value = np.linalg.eigvalsh(d.T @ d)[-1]
    for strength, weight, error in zip(fitted.strengths, fitted.weights, fitted.errors, strict=True):
        # Least squares with a row for each weight: a ridge without its normal equations.
        rows = np.vstack([d, np.sqrt(strength * largest_value) * np.eye(7)])
        expected = np.linalg.lstsq(rows, np.concatenate([t, np.zeros(7)]), rcond=None)[0]
        assert weight == pytest.approx(expected, rel=1e-6, abs=1e-9)
        residual = rendered.labels - rendered.features @ expected
        assert error == pytest.approx(np.abs(residual[tested[:, 1]] - residual[tested[:, 0]]).mean())
    assert fitted.errors[fitted.best] == fitted.errors.min()


def by_hand(task, folds, weight, features, resampled=False):
    """Correlation, error and slope with intervals, person by person."""
    estimates = features @ weight
    y, yhat, who = [], [], []
    for fold in folds:
        pairs = task.pairs(fold, "test")
        y.append(task.labels[pairs.y] - task.labels[pairs.x])
        yhat.append(estimates[pairs.y] - estimates[pairs.x])
        who.append(pairs.subject)
    y, yhat, who = map(np.concatenate, (y, yhat, who))

    def values(y, yhat):
        return np.corrcoef(y, yhat)[0, 1], np.abs(y - yhat).mean(), (y * yhat).sum() / (y**2).sum()

    drawn = [(0.0, 0.0, 0.0)]
    if resampled:
        resamples = Resamples.draw(np.unique(who), task.card.data)
        places = np.searchsorted(resamples.subjects, who)
        rows = [np.repeat(np.arange(len(y)), counts[places].astype(int)) for counts in resamples.counts]
        drawn = [values(y[some], yhat[some]) for some in rows]
    return values(y, yhat), np.quantile(drawn, [0.025, 0.975], axis=0), len(np.unique(who)), len(y)


def test_answers_and_intervals_are_those_by_hand(task, photographs, rendered):
    found = measure(task, photographs, rendered)
    fitted = fit_rendered_head(rendered)
    head = found.heads[1]
    assert head.name == "rendered head" and head.strength == fitted.strengths[fitted.best]
    for answers, folds in ((head.chosen_on, [0]), (head.reported, [1, 2, 3])):
        exact, ends, *counts = by_hand(
            task, folds, fitted.weights[fitted.best], photographs, resampled=folds != [0]
        )
        assert [answers.people, answers.pairs] == counts
        measured = (answers.pearson, answers.mae, answers.slope)
        assert [one.value for one in measured] == pytest.approx(exact, rel=1e-9)
        if folds != [0]:
            assert [(one.low, one.high) for one in measured] == [
                pytest.approx(pair, rel=1e-9) for pair in ends.T.tolist()
            ]
    assert found.heads[0].reported.people + found.heads[0].chosen_on.people == 12
    assert found.images == 72 and found.people == 12


def test_a_gain_is_paired_by_people(task, photographs, rendered):
    direction = np.array([0.1, 0.4, 0, 0, 0, 0, 0])
    worse = measure(task, photographs, RenderedFaces("worse", *draw_faces(1, 12, direction)))
    better = measure(task, photographs, rendered)
    one, two = better.heads[1].reported, worse.heads[1].reported
    gain = one.gain_over(two)
    assert gain.value == pytest.approx(one.pearson.value - two.pearson.value) and gain.value > 0
    assert len(one.draws) == 2000
    ends = np.quantile(one.draws - two.draws, [0.025, 0.975])
    assert (gain.low, gain.high) == pytest.approx(tuple(ends))
    assert np.quantile(one.draws, [0.025, 0.975]) == pytest.approx([one.pearson.low, one.pearson.high])
    itself = one.gain_over(one)
    assert (itself.value, itself.low, itself.high) == (0, 0, 0)


def test_the_probe_beside_it_is_that_of_runs(call, make_ages, tmp_path):
    root = make_ages(tmp_path / "data", subjects=12, ages=AGES)
    where = ("--task", "age+split=balanced-4", "--data", root)
    settings = ("-o", "image_size=20", "--method", "scratch+backbone=resnet18")
    code, out, err = call(
        "synth", "transfer", make_ages(tmp_path / "drawn", 8, AGES), *where, *settings, "--json"
    )
    assert code == 0, err
    (report,) = json.loads(out)
    results = tmp_path / "results"
    assert call("run", *where, *settings, "--protocol", "probe", "--results", results)[0] == 0
    (record,) = results.glob("**/scratch*.json")
    units = json.loads(record.read_text())["units"]
    each = [unit["metrics"]["mae"]["value"] for unit in units]
    assert report["heads"][0]["chosen_on"]["mae"]["value"] == pytest.approx(each[0], rel=1e-6)
    assert report["heads"][0]["reported"]["mae"]["value"] == pytest.approx(np.mean(each[1:]), rel=1e-6)
    # Both trees hold brighter pictures of older people, so that what is learnt on one holds on the other.
    assert report["heads"][1]["reported"]["pearson"]["value"] > 0.9
    assert report["people"] == 8 and report["images"] == 48


def test_labels_of_photographs_choose_no_more_than_a_strength(task, photographs, rendered):
    """Whatever the reported people's labels are, heads stay; the choosing people's choose among strengths."""
    before = measure(task, photographs, rendered)
    reported = np.isin(np.array(task.table.subjects), task.folds[0].test, invert=True)
    task.labels[reported] = task.labels[reported][::-1]  # cached, and read anew by every pair list
    task._pairs.clear()
    after = measure(task, photographs, rendered)
    for one, two in zip(before.heads[1:], after.heads[1:], strict=True):
        assert one.strength == two.strength and one.chosen_on == two.chosen_on
        assert one.reported != two.reported
    best, fitted = after.heads[2], fit_rendered_head(rendered)
    correlations = [by_hand(task, [0], weight, photographs)[0][0] for weight in fitted.weights]
    assert best.strength == fitted.strengths[int(np.argmax(correlations))]
    assert best.chosen_on.pearson.value == pytest.approx(max(correlations))


def test_standardised_features_take_no_statistics_of_reported_people(task, photographs, rendered):
    fit = Fit(standardised=True)
    found = measure(task, photographs, rendered, fit)
    own = np.isin(np.array(task.table.subjects), task.folds[0].test)
    spread = photographs[own].std(axis=0)
    floor = 0.1 * np.sqrt((spread**2).mean())
    assert spread[1] < floor  # The silent one isn't blown up.
    drawn = rendered.features / rendered.features.std(axis=0)
    weight = fit_rendered_head(RenderedFaces("", drawn, rendered.labels, rendered.people))
    scaled = photographs / np.maximum(spread, floor)
    value = by_hand(task, [1, 2, 3], weight.weights[weight.best], scaled)[0]
    assert found.heads[1].reported.pearson.value == pytest.approx(value[0])
    assert found.heads[0] == measure(task, photographs, rendered).heads[0]


@pytest.mark.parametrize("of", ["renderings", "photographs"])
def test_directions_are_those_of_differences_within_people(task, photographs, rendered, of):
    fit = Fit(directions=2, directions_of=of)
    found = measure(task, photographs, rendered, fit)
    subjects = np.array(task.table.subjects)
    own = np.isin(subjects, task.folds[0].test)
    features, who = (
        (rendered.features, rendered.people) if of == "renderings" else (photographs[own], subjects[own])
    )
    scatter = sum(np.cov(features[who == one].T, bias=True) * (who == one).sum() for one in np.unique(who))
    basis = np.linalg.eigh(scatter)[1][:, -2:]
    drawn = RenderedFaces("", rendered.features @ basis, rendered.labels, rendered.people)
    weight = fit_rendered_head(drawn)
    value = by_hand(task, [1, 2, 3], weight.weights[weight.best], photographs @ basis)[0]
    assert found.heads[1].reported.pearson.value == pytest.approx(value[0])
    assert found.heads[0] == measure(task, photographs, rendered).heads[0]


@pytest.mark.parametrize(
    "fit", [PLAIN, Fit(standardised=True), Fit(standardised=True, directions=3, directions_of="photographs")]
)
def test_weights_are_those_of_the_rendered_head(task, photographs, rendered, fit):
    """On features as they are they give the head's own answers, of photographs and of renderings."""
    found = measure(task, photographs, rendered, fit)
    estimates = photographs @ found.weights[0]
    y, yhat = [], []
    for fold in (1, 2, 3):
        pairs = task.pairs(fold, "test")
        y.append(pairs.target)
        yhat.append(estimates[pairs.y] - estimates[pairs.x])
    value = np.corrcoef(np.concatenate(y), np.concatenate(yhat))[0, 1]
    assert found.heads[1].reported.pearson.value == pytest.approx(value)
    assert found.heads[1].reported.mae.value == pytest.approx(
        np.abs(np.concatenate(y) - np.concatenate(yhat)).mean()
    )
    same = np.allclose(found.weights[0], found.weights[1])
    assert same is not fit.standardised


def test_shares_of_regions_are_means_over_people():
    """One who has many images counts once, up and down alike."""
    real = np.array([[[1.0, -3.0]], [[0.0, 4.0]], [[-2.0, 0.0]]])
    drawn = np.array([[[0.0, 5.0]], [[0.0, -1.0]]])
    found = measure_regions([real, drawn], [np.array([0, 0, 1]), np.array([0, 1])])
    assert found.images == (3, 2)
    assert found.photographs == (pytest.approx((1.25 / 3, 1.75 / 3)),)
    assert found.renderings == ((0.0, 1.0),)
    assert found.shared == pytest.approx(1.75 / 3)
    with pytest.raises(UsageError, match="whichever region"):
        measure_regions([real, 0 * drawn], [np.array([0, 0, 1]), np.array([0, 1])])


def test_images_to_look_at_are_spread_over_people():
    people = np.array(["b", "a", "a", "b", "a", "c"])
    assert choose_images(people, 3).tolist() == [0, 1, 5]
    assert choose_images(people, 5).tolist() == [0, 1, 2, 3, 5]
    assert choose_images(people).tolist() == list(range(6))


def test_silent_features_are_counted_both_ways():
    random = np.random.default_rng(0)
    photographs, renderings = random.normal(size=(2, 400, 5))
    photographs[:, 0] *= 0.5 * SILENT**0.5
    renderings[:, 1:3] *= 0.5 * SILENT**0.5
    photographs[:, 3] *= 2 * SILENT**0.5  # quiet, not silent
    photographs[:, 4] = renderings[:, 4] = 1.0  # silent in both
    found = find_silent(photographs, renderings)
    assert (found.features, found.in_photographs, found.in_renderings) == (5, 0.2, 0.4)


def test_what_cannot_be_fitted_is_refused(task, photographs, rendered):
    few = rendered.people < 3
    with pytest.raises(UsageError, match="3 people"):
        fit_rendered_head(
            RenderedFaces("few", rendered.features[few], rendered.labels[few], rendered.people[few])
        )
    with pytest.raises(UsageError, match="no head can be learnt"):
        fit_rendered_head(RenderedFaces("flat", 0 * rendered.features, rendered.labels, rendered.people))
    with pytest.raises(UsageError, match="fold 4"):
        measure(task, photographs, rendered, Fit(choose=4))
