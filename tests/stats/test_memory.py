"""Signs of labels known by heart: networks that remember, and networks that estimate."""

import numpy as np
import pytest

from comface_bench.stats.memory import BANDS, FEWEST, MARGIN, REACH, find_exact_answers

CLASSES = 81


@pytest.fixture(scope="module")
def people():
    """Ages and subjects of a thousand pictures, as FG-NET has them: many children, few old people."""
    draw = np.random.default_rng(3)
    ages = np.minimum(np.round(draw.exponential(16, 1000)), 69)
    return ages, np.arange(1000) // 12


def answers(ages, errors, sure=0.95):
    """Probabilities of a network that is so sure of a label that is off by `errors`."""
    chosen = np.clip(ages + errors, 0, CLASSES - 1).astype(int)
    given = np.full((len(ages), CLASSES), (1 - sure) / (CLASSES - 1))
    given[np.arange(len(ages)), chosen] = sure
    return given


def memorise(ages, share, seed=1):
    """Know a share of the labels by heart, and err by five years on the others."""
    draw = np.random.default_rng(seed)
    errors = np.round(draw.normal(0, 5, len(ages)))
    errors[draw.random(len(ages)) < share] = 0
    return answers(ages, errors)


@pytest.mark.parametrize("share", [0.2, 0.45, 1.0])
def test_a_network_that_remembers_is_flagged(people, share):
    ages, subjects = people
    found = find_exact_answers(memorise(ages, share), ages, subjects, 0, "x", thresholds=[0.9])
    top, *bands = found
    assert top.flagged
    assert top.exact == pytest.approx(share + (1 - share) * 0.08, abs=0.04)
    assert top.excess == pytest.approx(share, abs=0.06)
    assert top.interval.low < top.excess < top.interval.high or share == 1.0
    # In small bands a fifth can't be told from chance.
    assert share == 0.2 or all(line.flagged for line in bands if line.pictures >= FEWEST)


@pytest.mark.parametrize(
    "draw_errors",
    [
        pytest.param(lambda draw, ages: np.round(draw.normal(0, 5, len(ages))), id="five years"),
        pytest.param(lambda draw, ages: np.round(draw.normal(0, 1, len(ages))), id="one year, Gaussian"),
        pytest.param(lambda draw, ages: np.round(draw.laplace(0, 1, len(ages))), id="one year, exponential"),
        pytest.param(lambda draw, ages: np.round(draw.normal(0, 0.5 + ages / 6)), id="grows with age"),
        pytest.param(lambda draw, ages: np.round(draw.normal(2, 3, len(ages))), id="biased"),
        pytest.param(lambda draw, ages: 20 - ages, id="one answer for all"),
    ],
)
def test_an_honest_estimator_is_not_flagged(people, draw_errors):
    ages, subjects = people
    for seed in range(5):
        errors = draw_errors(np.random.default_rng(seed), ages)
        found = find_exact_answers(answers(ages, errors), ages, subjects, 0, "x")
        assert not [line for line in found if line.flagged and line.pictures > 150]
        assert not found[0].flagged


def test_shares_are_those_of_a_plain_count(people):
    ages, subjects = people
    given = np.random.default_rng(2).dirichlet(np.full(CLASSES, 0.02), 1000)
    first = 1
    for line in find_exact_answers(given, ages, subjects, first, "x", thresholds=[0.0, 0.6]):
        inside = [i for i in range(1000) if line.first <= ages[i] <= line.last]
        assert line.pictures == len(inside)
        for k, share in zip(range(-REACH, REACH + 1), line.shares, strict=True):
            able = [i for i in inside if first <= ages[i] + k <= CLASSES]
            right = [
                i
                for i in able
                if first + given[i].argmax() == ages[i] + k and given[i].max() >= line.threshold
            ]
            assert share == pytest.approx(len(right) / len(able))
    assert len(find_exact_answers(given, ages, subjects, first, "x", thresholds=[0.5])) == 1 + len(BANDS)


def test_one_person_alone_flags_nobody(people):
    """Forty pictures of one person known by heart are one person's, whatever their number."""
    ages, subjects = people
    errors = np.round(np.random.default_rng(0).normal(0, 5, 1000))
    errors[subjects < 4] = 0
    found = find_exact_answers(answers(ages, errors), ages, subjects, 0, "x")[0]
    assert found.interval.low < MARGIN
    assert not found.flagged
    # Nor where there is nobody else: all resamples are that person.
    lone = find_exact_answers(answers(ages[:40], 0 * ages[:40]), ages[:40], [7] * 40, 0, "x")[0]
    assert lone.excess > MARGIN
    assert (lone.interval.low, lone.interval.reason) == (None, "one subject")
    assert not lone.flagged


def test_what_has_no_answer_is_refused():
    with pytest.raises(ValueError, match="whole numbers"):
        find_exact_answers(np.ones((2, 3)), np.array([1.5, 2]), [0, 1], 0, "x")
    with pytest.raises(ValueError, match="at least one"):
        find_exact_answers(np.ones((0, 3)), np.array([]), [], 0, "x")
