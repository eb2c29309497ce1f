"""Probing: the exact ridge solution on the features of a frozen backbone, chosen by the validation part.

Each image is encoded once for all folds and targets of a data set. Units that have the same training pairs,
such as the action units of one fold, share one decomposition.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from comface_bench.core.errors import UnitError
from comface_bench.core.events import Event
from comface_bench.data.pairs import PairGroup, PairList
from comface_bench.engine.feature_store import FeatureStore
from comface_bench.engine.heads import add_mirrored
from comface_bench.engine.jobs import NOT_FINITE, Fitted, Job, Outcome, RunContext
from comface_bench.engine.precision import peak_memory_mb, reset_peak_memory
from comface_bench.engine.protocols.probe import Probe
from comface_bench.engine.ridge import STRENGTHS, compress, mean_pair_errors, pair_moments, solve_ridge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]

FLOOR = 0.1
"""`scale=spread`: a feature's spread counts as no less than this share of the root mean square of all."""

TIED = 1e-6
"""Strengths whose validation errors differ by no more than this share count as equal."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The solution of one unit.

    Attributes:
        estimates: w·f of each image, float64 (number of images,); a pair's estimate is a difference of two.
        strength: λ that the validation part chose, as a fraction of the largest eigenvalue.
        error: Mean absolute error over all validation pairs under it, in the target's unit.
        weight: w, of the features as they were given, float64 (D,).
    """

    estimates: Floats
    strength: float
    error: float
    weight: Floats


def run(jobs: Sequence[Job], context: RunContext) -> list[Outcome | UnitError]:
    """Solve the units of a method and a data set; the function of the protocol's card.

    Raises:
        UnitError: The frozen backbone changed.
    """
    started = time.perf_counter()
    protocol, machine = context.protocol, context.images.machine
    assert isinstance(protocol, Probe)
    reset_peak_memory(machine)
    rows = np.unique(np.concatenate([_rows_of(job) for job in jobs]))
    features = _require(context.features, protocol, rows)
    context.features.check_frozen()
    context.report(Event("stage", "solving", total=len(jobs)))
    choices = solve_jobs(jobs, features, rows, protocol)
    seconds = (time.perf_counter() - started) / len(jobs)
    outcomes: list[Outcome | UnitError] = []
    for job, choice in zip(jobs, choices, strict=True):
        if isinstance(choice, UnitError):
            outcomes.append(choice)
            continue
        details: dict[str, str | int | float | bool | None] = {
            "units_sharing_features": len(jobs),
            "images_per_second": context.features.encoded.per_second,
            "ridge_strength": choice.strength,
            "validation_error": choice.error,
        }
        predicted = _differences(choice.estimates, rows, job.task.pairs(job.fold, "test"))
        weight = torch.from_numpy(choice.weight)
        fitted = Fitted(weight, "difference", protocol.mirror, encoder=context.features.state)
        outcomes.append(Outcome(predicted, 0, [], seconds, peak_memory_mb(machine), details, fitted=fitted))
    return outcomes


def _rows_of(job: Job) -> Rows:
    """Return the images that a unit trains, validates and tests on."""
    groups = [*_groups(job, "train"), *_groups(job, "validation")]
    parts = [part for group in groups for part in _parts(group)]
    test = job.task.pairs(job.fold, "test")
    return np.unique(np.concatenate([*parts, test.x, test.y]))


def _groups(job: Job, part: str) -> list[PairGroup]:
    card, fold = job.task.card, job.task.folds[job.fold]
    if part == "train":
        return job.task.sampler.groups(fold.train, card.train_pairs)
    return job.task.sampler.groups(fold.validation, card.test_pairs)


def _require(features: FeatureStore, protocol: Probe, rows: Rows) -> Floats:
    """Return features of images, and of mirrored ones where asked for; float64 (n, D or 2 D)."""
    one, two = features.require(rows, "plain", "encoding").gather(rows).double(), None
    if protocol.mirror != "none":
        two = features.require(rows, "mirrored", "encoding mirrored images").gather(rows).double()
    return add_mirrored(protocol.mirror, one, two).numpy()


def solve_jobs(
    jobs: Sequence[Job], features: Floats, rows: Rows, protocol: Probe
) -> list[Choice | UnitError]:
    """Solve units; those with the same training pairs together.

    Args:
        jobs: The units; their tasks share one manifest.
        features: Of the images `rows`, float64 (n, D).
        rows: Manifest rows, sorted, int64 (n,).
        protocol: Says how features are scaled.

    Returns:
        A choice for each job in order, or the reason why there is none.
    """
    # Some solvers raise, others answer in NaN.
    if not np.isfinite(features).all():
        return [
            UnitError(f"{job.label}: {NOT_FINITE}", "Check the backbone's weights and its input.")
            for job in jobs
        ]
    place = np.full(int(rows[-1]) + 1, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    basis: Floats | None = None
    if protocol.scale == "shared":
        features, basis = compress(features)
    together: dict[object, list[int]] = {}
    trained = [_placed(_groups(job, "train"), place) for job in jobs]
    for number, groups in enumerate(trained):
        together.setdefault((jobs[number].fold, _identity(groups)), []).append(number)
    choices: list[Choice | UnitError] = [UnitError("unsolved")] * len(jobs)
    for numbers in together.values():
        groups = trained[numbers[0]]
        labels = np.stack([jobs[number].task.labels[rows] for number in numbers], axis=1)
        scaled, own_basis, spreads = features, basis, np.ones(1)
        if protocol.scale == "spread":
            spreads = _spreads(features, groups)
            scaled, own_basis = compress(features / spreads)
        used = np.nan_to_num(labels)
        try:
            solved = solve_ridge(pair_moments(scaled, used, groups))
        except ValueError as error:
            for number in numbers:
                choices[number] = UnitError(f"{jobs[number].label}: {error}", "Check the backbone's weights.")
            continue
        for column, number in enumerate(numbers):
            weights = solved[:, :, column].T
            errors = _validate(
                scaled, used[:, column], weights, _placed(_groups(jobs[number], "validation"), place)
            )
            # Of strengths that differ by rounding alone, the largest, so that every processor takes the same.
            best = int(np.flatnonzero(errors <= errors.min() * (1 + TIED))[-1])
            chosen = weights[:, best]
            weight = (chosen if own_basis is None else own_basis @ chosen) / spreads
            choices[number] = Choice(scaled @ chosen, STRENGTHS[best], float(errors[best]), weight)
    return choices


def _validate(features: Floats, labels: Floats, weights: Floats, groups: Sequence[PairGroup]) -> Floats:
    """Return the mean absolute error of each column of weights over all pairs of some groups."""
    rows = np.unique(np.concatenate([part for group in groups for part in _parts(group)]))
    place = np.full(len(features), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    residuals = labels[rows, None] - features[rows] @ weights
    return mean_pair_errors(residuals, _placed(groups, place))


def _parts(group: PairGroup) -> list[Rows]:
    return [group.first] if group.second is None else [group.first, group.second]


def _placed(groups: Sequence[PairGroup], place: Rows) -> list[PairGroup]:
    """Translate manifest rows to rows of the features."""
    return [
        PairGroup(place[group.first], None if group.second is None else place[group.second])
        for group in groups
    ]


def _identity(groups: Sequence[PairGroup]) -> tuple[bytes | None, ...]:
    parts = [part for group in groups for part in (group.first, group.second)]
    return tuple(None if part is None else part.tobytes() for part in parts)


def _spreads(features: Floats, groups: Sequence[PairGroup]) -> Floats:
    """Return each feature's root mean square difference over the training pairs, at least the floor."""
    squares, count = np.zeros(features.shape[1]), 0
    for group in groups:
        for part in _parts(group):
            squares += ((features[part] - features[part].mean(axis=0)) ** 2).sum(axis=0)
            count += len(part)
    spreads = np.sqrt(squares / max(count, 1))
    floor = FLOOR * float(np.sqrt(np.mean(spreads**2)))
    return np.maximum(spreads, floor) if floor > 0 else np.ones_like(spreads)


def _differences(estimates: Floats, rows: Rows, pairs: PairList) -> Floats:
    first, second = np.searchsorted(rows, pairs.x), np.searchsorted(rows, pairs.y)
    return np.asarray(estimates[second] - estimates[first])
