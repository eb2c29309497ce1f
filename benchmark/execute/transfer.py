"""The transfer bench: what of a signal that is learnt from rendered faces there is in photographs.

A network stays frozen. A ridge on its features of rendered people's pairs, the rendered head, answers for
pairs of photographs as it is; that it never saw a photograph is the point, so that its correlation is the
transfer itself. Beside it stands `probe`, the ridge that learns from photographs. The people of one fold are
there to choose by, those of the other folds to report; no number of the report was chosen on its own people.

All numbers are float64; estimates are w·(f(y) − f(x)).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from comface_bench.core.errors import UnitError, UsageError
from comface_bench.stats.bootstrap import Resamples, interval_of, score
from comface_bench.stats.predictions import Columns, PredictionSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from comface_bench.data.pairs import PairGroup
    from comface_bench.data.task import Task
    from comface_bench.engine.protocols.probe import Probe

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]

SILENT: Final = 0.05
"""A feature is silent in one kind of images if its variance is below this share of that in the other."""
STRONGER: Final = (10**0.5, 10.0, 10**1.5, 100.0)
"""Strengths of the rendered head beyond those of `engine.ridge.STRENGTHS`: what two kinds of images share
lies in few directions. Near infinity the head is the covariance of features and changes."""
HELD_OUT: Final = 4
"""Every how manyth rendered person chooses the rendered head's strength instead of being fitted."""
REGIONS: Final = 5
"""An image has as many rows and columns of regions that are hidden one by one."""
LOOKED_AT: Final = 60
"""Images of each kind whose regions are hidden, at most: spread over all people."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """How the rendered head is fitted and judged; ours altogether.

    Attributes:
        choose: The fold whose tested people are there to choose by; all others' are reported.
        largest_gap: Rendered pairs that change by more aren't fitted, in the target's unit; None fits all.
        standardised: Features are divided by their standard deviation, the rendered ones by that over all of
            them, those of photographs by that over the photographs of the people to choose by. It uses no
            label of a photograph, but photographs: it is no longer the network as it is.
        directions: The rendered head sees only this many principal directions of how images of one person
            differ; None leaves all features to it.
        directions_of: Whose: those of the `renderings`, or of the `photographs` of the people to choose by.
            The latter uses no label, but photographs.
    """

    choose: int = 0
    largest_gap: float | None = None
    standardised: bool = False
    directions: int | None = None
    directions_of: Literal["renderings", "photographs"] = "renderings"


@dataclasses.dataclass(frozen=True, eq=False)
class RenderedFaces:
    """Rendered images as a network sees them.

    Attributes:
        name: Of the corpus or the set.
        features: Of each image, (n, D).
        labels: The target of each image, in the task's unit, (n,).
        people: Number of each image's person, integers (n,).
    """

    name: str
    features: Floats
    labels: Floats
    people: Rows


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number and its interval of 95 % over people; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Answers:
    """How good estimates of some people's pairs are.

    Attributes:
        people, pairs: How many.
        pearson: Correlation of estimated and true change.
        mae: Mean absolute error, in the target's unit.
        slope: Estimated change for a true change of 1: Σ yŷ over Σ y², by least squares without a constant.
        draws: The correlation in each resample of people, (R,): equal people, equal resamples.
    """

    people: int
    pairs: int
    pearson: Measured
    mae: Measured
    slope: Measured
    draws: Floats = dataclasses.field(repr=False, compare=False)

    def gain_over(self, other: Answers) -> Measured:
        """Return how much higher the correlation is than other estimates' for the same people, paired."""
        if self.pearson.value is None or other.pearson.value is None:
            return Measured(None, None, None)
        interval = interval_of(self.draws - other.draws)
        return Measured(self.pearson.value - other.pearson.value, interval.low, interval.high)


@dataclasses.dataclass(frozen=True)
class Head:
    """One way of estimating, on both groups of people.

    Attributes:
        name: `probe`, or how the rendered head's strength was chosen.
        strength: λ as a share of the largest eigenvalue; None for `probe`, where each fold has its own.
        chosen_on: Answers for the people who are there to choose by.
        reported: Answers for all others.
    """

    name: str
    strength: float | None
    chosen_on: Answers
    reported: Answers


@dataclasses.dataclass(frozen=True)
class Silence:
    """Features that hardly vary in one kind of images.

    Attributes:
        features: D.
        in_photographs: Share of those that vary in renderings and are silent in photographs.
        in_renderings: The reverse.
        below: `SILENT`.
    """

    features: int
    in_photographs: float
    in_renderings: float
    below: float = SILENT


@dataclasses.dataclass(frozen=True)
class Regions:
    """Where the rendered head looks: how much of its answer hangs on each region.

    A region's share is the mean over people of how far the answer for an image moves when the region is
    blurred, up or down, as a share of the sum over all regions.

    Attributes:
        images: How many were looked at: photographs of the people to choose by, renderings of all.
        photographs: Shares by row from the top and column from the left; they sum to 1.
        renderings: Likewise.
    """

    images: tuple[int, int]
    photographs: tuple[tuple[float, ...], ...]
    renderings: tuple[tuple[float, ...], ...]

    @property
    def shared(self) -> float:
        """What both have in common: the sum of the smaller shares, from 0 to 1."""
        return float(np.minimum(self.photographs, self.renderings).sum())


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What the bench says of one network and one set of rendered faces.

    Attributes:
        rendered: Name of the rendered faces.
        images, people: How many rendered ones there are.
        held_out_pearson: Correlation on the rendered people who weren't fitted.
        heads: `probe`, then the rendered head under both ways of choosing its strength.
        silence: Of the features.
        weights: Of the rendered head whose strength renderings chose, on a network's own features: as
            photographs' and as renderings' are weighed, (2, D); they differ where features are standardised.
    """

    rendered: str
    images: int
    people: int
    held_out_pearson: float | None
    heads: tuple[Head, ...]
    silence: Silence
    weights: Floats = dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True, eq=False)
class RenderedHead:
    """The ridge on rendered pairs, at each strength.

    Attributes:
        strengths: λ as shares of the largest eigenvalue, ascending.
        weights: (strengths, D).
        errors: Mean absolute error over all pairs of each held-out person, (strengths,).
        held_out: Which images are of people who weren't fitted, (n,).
    """

    strengths: tuple[float, ...]
    weights: Floats
    errors: Floats
    held_out: NDArray[np.bool_]

    @property
    def best(self) -> int:
        """The strength that the held-out rendered people choose; the largest of equal ones."""
        return int(np.flatnonzero(self.errors <= self.errors.min())[-1])


def fit_rendered_head(faces: RenderedFaces, largest_gap: float | None = None) -> RenderedHead:
    """Solve the ridge over all pairs within rendered people.

    Args:
        faces: Of several people, with several images each.
        largest_gap: Pairs that change by more aren't fitted, in the target's unit.

    Raises:
        UsageError: There are too few people, or no pairs that differ.
    """
    from comface_bench.data.pairs import PairGroup
    from comface_bench.engine.ridge import (
        STRENGTHS,
        compress,
        mean_pair_errors,
        near_pair_moments,
        pair_moments,
        solve_ridge,
    )

    everyone = np.unique(faces.people)
    held_out = np.isin(faces.people, everyone[HELD_OUT - 1 :: HELD_OUT])
    if not held_out.any():
        raise UsageError(
            f"{faces.name} has {len(everyone)} people; a rendered head needs {HELD_OUT}",
            "Render more: comface-bench synth render --sets fgnet --fgnet-subjects 100 --out DIR",
        )
    groups = [PairGroup(np.flatnonzero(faces.people == one)) for one in everyone]
    fitted, others = _split(groups, held_out)
    features, basis = compress(faces.features)
    strengths = (*STRENGTHS, *STRONGER)
    if largest_gap is None:
        moments = pair_moments(features, faces.labels[:, None], fitted)
    else:
        moments = near_pair_moments(features, faces.labels, fitted, largest_gap)
    try:
        solved = solve_ridge(moments, strengths)[:, :, 0]
        errors = mean_pair_errors(faces.labels[:, None] - features @ solved.T, others)
    except ValueError as error:
        raise UsageError(f"no head can be learnt from {faces.name}: {error}") from None
    return RenderedHead(strengths, solved if basis is None else solved @ basis.T, errors, held_out)


def solve_probe(task: Task, photographs: Floats, protocol: Probe) -> list[Floats]:
    """Return w·f of each image under each fold's own solution, (n,) for each fold.

    Args:
        task: Of photographs.
        photographs: Features of all of its images, (n, D).
        protocol: `probe`, resolved.

    Raises:
        UnitError: A fold can't be solved.
    """
    from comface_bench.engine.jobs import Job
    from comface_bench.engine.probe import solve_jobs

    jobs = [Job(task, fold, 0, f"fold {fold}") for fold in range(len(task.folds))]
    rows = np.arange(len(photographs), dtype=np.int64)
    choices = solve_jobs(jobs, photographs, rows, protocol)
    for choice in choices:
        if isinstance(choice, UnitError):
            raise choice
    return [choice.estimates for choice in choices if not isinstance(choice, UnitError)]


def measure_transfer(
    task: Task,
    photographs: Floats,
    probe: Sequence[Floats],
    rendered: RenderedFaces,
    fit: Fit = Fit(),
) -> Transfer:
    """Measure a network by its features.

    Args:
        task: Of photographs, with folds that are tested once each.
        photographs: Features of all of its images, (n, D).
        probe: What `solve_probe` returned for them.
        rendered: Of the same network.
        fit: How the rendered head is fitted and judged.

    Raises:
        UsageError: The task has no such fold or only one, or the rendered people are too few.
    """
    choose = fit.choose
    if not 0 <= choose < len(task.folds) or len(task.folds) < 2:
        raise UsageError(
            f"{task.name} has {len(task.folds)} folds, so that fold {choose} can't choose for the others",
            "--choose names a fold of several, from 0.",
        )
    subjects = np.array(task.table.subjects)
    photos, faces, own = photographs, rendered, np.isin(subjects, task.folds[choose].test)
    scales = np.ones((2, photographs.shape[1]))
    basis = None
    if fit.standardised:
        scales = np.stack([_spread(photographs[own]), _spread(rendered.features)])
        photos = photographs / scales[0]
        faces = dataclasses.replace(rendered, features=rendered.features / scales[1])
    if fit.directions is not None:
        if fit.directions_of == "photographs":
            basis = principal_directions(photos[own], subjects[own], fit.directions)
        else:
            basis = principal_directions(faces.features, faces.people, fit.directions)
        photos, faces = photos @ basis, dataclasses.replace(faces, features=faces.features @ basis)
    fitted = fit_rendered_head(faces, fit.largest_gap)
    by_strength = photos @ fitted.weights.T
    best = fitted.best
    by_photographs = _best_correlation(task, choose, by_strength)
    others = [fold for fold in range(len(task.folds)) if fold != choose]

    def answer(estimates: Sequence[Floats]) -> tuple[Answers, Answers]:
        return _answers(task, [choose], estimates), _answers(task, others, estimates)

    def same(place: int) -> list[Floats]:
        return [by_strength[:, place]] * len(task.folds)

    heads = (
        Head("probe", None, *answer(probe)),
        Head("rendered head", fitted.strengths[best], *answer(same(best))),
        Head(
            f"rendered head, strength by fold {choose}",
            fitted.strengths[by_photographs],
            *answer(same(by_photographs)),
        ),
    )
    return Transfer(
        rendered.name,
        len(rendered.labels),
        len(np.unique(rendered.people)),
        _held_out_pearson(faces, fitted),
        heads,
        find_silent(photographs, rendered.features),
        (fitted.weights[best] if basis is None else basis @ fitted.weights[best]) / scales,
    )


def measure_regions(effects: Sequence[Floats], people: Sequence[NDArray[np.int64]]) -> Regions:
    """Sum up what hiding regions did to the rendered head's answers.

    Args:
        effects: For photographs and for renderings, what each region adds to the answer for each image,
            (n, rows, columns), as `engine.attribution.occlude` gives it.
        people: For both, number of each image's person, (n,).

    Raises:
        UsageError: No region moves any answer.
    """
    shares = []
    for found, who in zip(effects, people, strict=True):
        size = np.abs(found)
        mean = np.mean([size[who == one].mean(axis=0) for one in np.unique(who)], axis=0)
        if not mean.any():
            raise UsageError("the rendered head answers the same whichever region is hidden")
        shares.append(tuple(tuple(row) for row in (mean / mean.sum()).tolist()))
    return Regions((len(effects[0]), len(effects[1])), *shares)


def choose_images(people: NDArray[Any], most: int = LOOKED_AT) -> Rows:
    """Choose images to look at: each person's first, then each one's second, and so on, up to so many.

    Args:
        people: Who is shown, (n,).
        most: How many.

    Returns:
        Their places, ascending.
    """
    turn = np.zeros(len(people), np.int64)
    for one in np.unique(people):
        own = np.flatnonzero(people == one)
        turn[own] = np.arange(len(own))
    return np.sort(np.lexsort((np.arange(len(people)), turn))[:most])


def principal_directions(features: Floats, people: NDArray[Any], count: int) -> Floats:
    """Return the directions in which images of one person differ most, orthonormal, (D, count).

    Args:
        features: (n, D).
        people: Who is shown, (n,).
        count: How many; where there are fewer, all of them.
    """
    _, number = np.unique(people, return_inverse=True)
    sums = np.zeros((number.max() + 1, features.shape[1]))
    np.add.at(sums, number, features)
    deviations = features - (sums / np.bincount(number)[:, None])[number]
    return np.asarray(np.linalg.svd(deviations, full_matrices=False)[2][:count].T)


def find_silent(photographs: Floats, renderings: Floats, below: float = SILENT) -> Silence:
    """Count features that fall silent; those that vary in neither kind of images aren't.

    Args:
        photographs: Their features, (n, D).
        renderings: Likewise, (m, D).
        below: Share of the other variance below which a feature is silent.
    """
    real, drawn = photographs.var(axis=0), renderings.var(axis=0)
    return Silence(
        len(real),
        float(np.mean((drawn > 0) & (real < below * drawn))),
        float(np.mean((real > 0) & (drawn < below * real))),
        below,
    )


def _split(
    groups: Sequence[PairGroup], held_out: NDArray[np.bool_]
) -> tuple[list[PairGroup], list[PairGroup]]:
    fitted = [group for group in groups if not held_out[group.first[0]]]
    return fitted, [group for group in groups if held_out[group.first[0]]]


def _spread(features: Floats) -> Floats:
    """Return each feature's standard deviation, at least a tenth of the root mean square of all."""
    from comface_bench.engine.probe import FLOOR

    spread = features.std(axis=0)
    floor = FLOOR * float(np.sqrt(np.mean(spread**2)))
    return np.maximum(spread, floor) if floor > 0 else np.ones_like(spread)


def _best_correlation(task: Task, fold: int, estimates: Floats) -> int:
    """Return the column that correlates best with the changes of a fold's tested people."""
    pairs = task.pairs(fold, "test")
    found = [_correlation(pairs.target, column[pairs.y] - column[pairs.x]) or 0.0 for column in estimates.T]
    return int(np.argmax(found))


def _held_out_pearson(faces: RenderedFaces, fitted: RenderedHead) -> float | None:
    estimates = faces.features @ fitted.weights[fitted.best]
    y, yhat = [], []
    for one in np.unique(faces.people[fitted.held_out]):
        own = np.flatnonzero(faces.people == one)
        first, second = np.triu_indices(len(own), 1)
        y.append(faces.labels[own[second]] - faces.labels[own[first]])
        yhat.append(estimates[own[second]] - estimates[own[first]])
    # Both orders of each pair, since which of two images comes first means nothing.
    changes, answers = np.concatenate(y), np.concatenate(yhat)
    return _correlation(np.concatenate([changes, -changes]), np.concatenate([answers, -answers]))


def _correlation(y: Floats, yhat: Floats) -> float | None:
    from comface_bench.stats.metrics import pearson

    return pearson(y, yhat).value


def _answers(task: Task, folds: Sequence[int], estimates: Sequence[Floats]) -> Answers:
    """Score estimates w·f of each image, one vector for each fold, on folds' test pairs, pooled."""
    columns = {}
    for fold in folds:
        pairs, column = task.pairs(fold, "test"), estimates[fold]
        ids = [f"{x}-{y}" for x, y in zip(pairs.x, pairs.y, strict=True)]
        change = column[pairs.y] - column[pairs.x]
        columns[fold, 0] = Columns(ids, pairs.subject.tolist(), pairs.target.tolist(), change.tolist())
    given = PredictionSet.of_columns(columns, "pooled")
    resamples = Resamples.draw(given.subjects, task.card.data)
    scored = score({"": given}, ("pearson", "mae"), resamples)
    (part,) = given.parts.values()

    def measured(name: str) -> Measured:
        interval = scored[name].interval("")
        return Measured(scored[name].values[""].value, interval.low, interval.high)

    # Sums by person, so that a resample's slope is a ratio of two products.
    products, squares = (
        np.bincount(part.subject, values, len(given.subjects)) for values in (part.y * part.yhat, part.y**2)
    )
    weights = resamples.weights(given)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (weights @ products) / (weights @ squares)
    interval = interval_of(draws)
    slope = math.fsum(products) / math.fsum(squares) if squares.any() else None
    return Answers(
        len(given.subjects),
        len(part.y),
        measured("pearson"),
        measured("mae"),
        Measured(slope, interval.low, interval.high),
        scored["pearson"].draws[""],
    )
