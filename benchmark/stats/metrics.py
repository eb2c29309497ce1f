"""Metrics of an estimated change ŷ against the true change y, in float64.

A metric that has no value says why: a constant prediction has no correlation, and neither 0, 1 nor NaN
would be an honest stand-in.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from comface_bench.core.display import short_repr
from comface_bench.core.errors import UnknownNameError
from comface_bench.core.registry import Registry, declared_cards, loaded_plugin_files

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]
    Matrix = NDArray[np.float64]

METRICS_GROUP = "comface_bench.metrics"


@dataclasses.dataclass(frozen=True)
class MetricValue:
    """A metric's value, or the reason why it has none; exactly one of the two is set.

    Attributes:
        value: A finite number in the metric's own unit (fractions for `acc`), or None.
        reason: Why there is no value, one line; None where there is one.

    Raises:
        ValueError: Both are set, neither is, or the value isn't finite.
    """

    # Read by pydantic where result records embed this class.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    value: float | None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a metric has either a value or a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a metric's value is finite or None, not {self.value}")


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of y and ŷ around their means, for R weightings of the subjects.

    y and ŷ have an origin and a scale each; `ratios` bring them to one scale.

    Attributes:
        pairs: Number of pairs, shape (R,).
        means: Of y and of ŷ, from their origins, shape (R,) each.
        squares: Sums of squared deviations of y and of ŷ, and of their products, shape (R,) each.
        ratios: What y and ŷ are multiplied by to be on one scale.
        bias: Difference of their origins on that scale.
        spread: Where neither y nor ŷ is constant, shape (R,).
    """

    pairs: Vector
    means: tuple[Vector, Vector]
    squares: tuple[Vector, Vector, Vector]
    ratios: tuple[float, float]
    bias: float
    spread: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Totals:
    """Sums over pairs for R weightings of the subjects, shape (R,) each.

    Attributes:
        pairs: Number of pairs.
        errors, squares: Absolute and squared errors, of errors divided by 2**exponent.
        hits, changed: Pairs whose sign is right, and pairs with a true change.
        exponent: Scale of the errors.
        moments: Gives the second moments, computed at the first call.
        own: Sums of the metric's own terms, shape (K, R).
    """

    pairs: Vector
    errors: Vector
    squares: Vector
    hits: Vector
    changed: Vector
    exponent: int
    moments: Callable[[], Moments]
    own: Matrix

    def unscaled(self, errors: Vector) -> Vector:
        """Return errors in the target's unit; NaN beyond the range of float64."""
        with np.errstate(over="ignore"):
            found: Vector = np.ldexp(errors, self.exponent)
        return np.where(np.isfinite(found), found, np.nan)


@dataclasses.dataclass(frozen=True)
class Resampled:
    """A metric under weights of subjects, for intervals and tests.

    Attributes:
        value: Maps totals to the metric's values, shape (R,); NaN where it has none.
        needs: Which common sums it uses, of `pairs`, `errors`, `squares`, `hits`, `changed`, `moments`.
        terms: Maps (y, ŷ) to further terms of each pair, (K, N); their sums are `own`.
    """

    value: Callable[[Totals], Vector]
    needs: tuple[str, ...] = ()
    terms: Callable[[Vector, Vector], Matrix] | None = None


@dataclasses.dataclass(frozen=True)
class MetricCard:
    """A metric: its names, which direction is better, and its functions.

    Attributes:
        name: Key in records, such as `mae`.
        title: Heading in tables, such as `MAE`.
        higher_is_better: Direction.
        has_unit: True if the value is in the target's unit, False if it is a pure number.
        percent: True if tables print the value times 100.
        compute: Maps (y, ŷ), two float64 vectors of one length, finite, to a value.
        resampled: Its form under weights of subjects; None leaves it without intervals and tests.
        digits: Decimals in tables.
        short: Heading in narrow tables; empty if it is `name`.
        low, high: No value lies outside.
        summary: One line.
    """

    name: str
    title: str
    higher_is_better: bool
    has_unit: bool
    percent: bool
    compute: Callable[[Vector, Vector], MetricValue]
    resampled: Resampled | None = None
    digits: int = 3
    short: str = ""
    low: float = -math.inf
    high: float = math.inf
    summary: str = ""

    def __repr__(self) -> str:
        better = "higher is better" if self.higher_is_better else "lower is better"
        return short_repr("MetricCard", self.name, self.title, better)

    @classmethod
    def mean_of(cls, name: str, title: str, term: Callable[[Vector, Vector], Vector], **facts: Any) -> Self:
        """Make the card of a metric that is a mean over pairs; the resampled form is derived.

        Args:
            name: Key in records.
            title: Heading in tables.
            term: Maps (y, ŷ) to a number for each pair, shape (N,).
            **facts: Further fields; by default the metric is a pure number, higher is better.
        """

        def compute(y: Vector, yhat: Vector) -> MetricValue:
            return _defined(float(np.mean(term(y, yhat)))) if y.size else MetricValue(None, "no pair")

        def terms(y: Vector, yhat: Vector) -> Matrix:
            return np.asarray(term(y, yhat), dtype=np.float64)[None]

        form = Resampled(lambda totals: totals.own[0] / totals.pairs, ("pairs",), terms)
        facts = {"higher_is_better": True, "has_unit": False, "percent": False, **facts}
        return cls(name, title, compute=compute, resampled=form, **facts)


def compute_metrics(y: ArrayLike, yhat: ArrayLike, names: Iterable[str]) -> dict[str, MetricValue]:
    """Compute metrics by name.

    Args:
        y: True changes, shape (N,).
        yhat: Estimated changes, shape (N,).
        names: Keys of `METRICS`; the result keeps their order.

    Raises:
        UnknownNameError: A name isn't a key of `METRICS`.
        ValueError: The shapes differ or aren't (N,), or a number isn't finite.
    """
    truth, estimate = _vector(y, "y"), _vector(yhat, "yhat")
    if truth.shape != estimate.shape:
        raise ValueError(f"y has {truth.size} values and yhat {estimate.size}")
    return {name: _metric(name).compute(truth, estimate) for name in names}


def no_change_baseline(y: ArrayLike, names: Iterable[str]) -> dict[str, MetricValue]:
    """Compute the metrics of the no-change baseline, ŷ = 0 for every pair."""
    truth = _vector(y, "y")
    return compute_metrics(truth, np.zeros_like(truth), names)


def mae(y: Vector, yhat: Vector) -> MetricValue:
    """Mean absolute error, in the target's unit."""
    return _mean_error(y, yhat, power=1)


def rmse(y: Vector, yhat: Vector) -> MetricValue:
    """Root of the mean squared error, in the target's unit."""
    return _mean_error(y, yhat, power=2)


def pearson(y: Vector, yhat: Vector) -> MetricValue:
    """Pearson's correlation r, in [-1, 1]."""
    return _no_spread(y, yhat) or _cosine(_deviations(y)[0], _deviations(yhat)[0])


def spearman(y: Vector, yhat: Vector) -> MetricValue:
    """Spearman's rank correlation, in [-1, 1]; tied values share their average rank."""
    return _no_spread(y, yhat) or pearson(_ranks(y), _ranks(yhat))


def ccc(y: Vector, yhat: Vector) -> MetricValue:
    """Lin's concordance correlation coefficient (Biometrics 45, 1989), moments over n, in [-1, 1]."""
    return _no_spread(y, yhat) or _agreement(y, yhat, absolute=True)


def icc31(y: Vector, yhat: Vector) -> MetricValue:
    """ICC(3,1) of Shrout and Fleiss (1979): consistency of y and ŷ as two fixed raters, in [-1, 1]."""
    return _no_spread(y, yhat) or _agreement(y, yhat, absolute=False)


def acc(y: Vector, yhat: Vector) -> MetricValue:
    """Fraction of pairs whose sign is right, in [0, 1].

    Pairs without a true change are left out; a predicted zero is wrong.
    """
    signed = y != 0
    if not signed.any():
        return MetricValue(None, "no pair with a change")
    return MetricValue(float(np.mean(np.sign(y[signed]) == np.sign(yhat[signed]))))


def _resample_pearson(moments: Moments) -> Vector:
    yy, hh, yh = moments.squares
    correlation: Vector = np.clip(yh / (np.sqrt(yy) * np.sqrt(hh)), -1, 1)
    return correlation


def _resample_agreement(moments: Moments, *, absolute: bool) -> Vector:
    (yy, hh, yh), (p, q) = moments.squares, moments.ratios
    both = p * p * yy + q * q * hh
    if absolute:
        bias = moments.bias + p * moments.means[0] - q * moments.means[1]
        both = both + moments.pairs * bias * bias
    agreement: Vector = 2 * p * q * yh / both
    return agreement


def _of_moments(value: Callable[[Moments], Vector]) -> Resampled:
    def of_totals(totals: Totals) -> Vector:
        moments = totals.moments()
        return np.where(moments.spread, value(moments), np.nan)

    return Resampled(of_totals, ("moments",))


def _resample_mae(totals: Totals) -> Vector:
    return totals.unscaled(totals.errors / totals.pairs)


def _resample_rmse(totals: Totals) -> Vector:
    return totals.unscaled(np.sqrt(totals.squares / totals.pairs))


def _resample_acc(totals: Totals) -> Vector:
    return totals.hits / totals.changed


CARDS = (
    MetricCard(
        "mae",
        "MAE",
        higher_is_better=False,
        has_unit=True,
        percent=False,
        compute=mae,
        resampled=Resampled(_resample_mae, ("pairs", "errors")),
        short="MAE",
        low=0.0,
        summary="mean absolute error",
    ),
    MetricCard(
        "rmse",
        "RMSE",
        higher_is_better=False,
        has_unit=True,
        percent=False,
        compute=rmse,
        resampled=Resampled(_resample_rmse, ("pairs", "squares")),
        short="RMSE",
        low=0.0,
        summary="root of the mean squared error",
    ),
    MetricCard(
        "pearson",
        "Corr.",
        higher_is_better=True,
        has_unit=False,
        percent=False,
        compute=pearson,
        resampled=_of_moments(_resample_pearson),
        short="r",
        low=-1.0,
        high=1.0,
        summary="Pearson's correlation",
    ),
    MetricCard(
        "spearman",
        "Spearman",
        higher_is_better=True,
        has_unit=False,
        percent=False,
        compute=spearman,
        low=-1.0,
        high=1.0,
        summary="rank correlation; without intervals",
    ),
    MetricCard(
        "ccc",
        "CCC",
        higher_is_better=True,
        has_unit=False,
        percent=False,
        compute=ccc,
        resampled=_of_moments(functools.partial(_resample_agreement, absolute=True)),
        low=-1.0,
        high=1.0,
        summary="concordance correlation coefficient",
    ),
    MetricCard(
        "icc31",
        "ICC(3,1)",
        higher_is_better=True,
        has_unit=False,
        percent=False,
        compute=icc31,
        resampled=_of_moments(functools.partial(_resample_agreement, absolute=False)),
        low=-1.0,
        high=1.0,
        summary="intraclass correlation of y and ŷ, two fixed raters",
    ),
    MetricCard(
        "acc",
        "Acc. (%)",
        higher_is_better=True,
        has_unit=False,
        percent=True,
        compute=acc,
        resampled=Resampled(_resample_acc, ("hits", "changed")),
        digits=1,
        short="Acc.",
        low=0.0,
        high=1.0,
        summary="share of pairs with a change whose sign is right",
    ),
)


def metric_registry(files: Iterable[Path] = (), plugins: bool = True) -> Registry[MetricCard]:
    """Return the registry of metrics: those of this module, plugins and plugin files."""
    return Registry("metric", MetricCard, __name__, METRICS_GROUP, files, plugins)


class _Metrics(Mapping[str, MetricCard]):
    """Name → card: the built-in ones, then those of plugin files that are loaded, then installed plugins.

    An installed plugin is loaded when its name is looked up. Of two files with one name the later counts.
    """

    def __getitem__(self, name: str) -> MetricCard:
        known = _BUILT_IN.get(name) or _of_files().get(name)
        if known is not None:
            return known
        try:
            return metric_registry().get(name).card
        except UnknownNameError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*_BUILT_IN, *_of_files(), *metric_registry().names()]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in _BUILT_IN or name in [*self]


def _of_files() -> dict[str, MetricCard]:
    cards = [card for module in loaded_plugin_files() for card in declared_cards(module, MetricCard)]
    return {card.name: card for card in cards if card.name not in _BUILT_IN}


_BUILT_IN = {card.name: card for card in CARDS}
METRICS: Mapping[str, MetricCard] = _Metrics()


def describe_metric(name: str, found: MetricValue, unit: str = "") -> tuple[str, str]:
    """Return a metric's heading and its value with the decimals and the unit of tables; a dash for none.

    A metric that isn't known here, such as one of a plugin that isn't loaded, is shown by its name.

    Args:
        name: Of the metric.
        found: Its value.
        unit: Of the target.
    """
    card = _BUILT_IN.get(name) or _of_files().get(name)
    heading = name if card is None else card.short or card.title
    if found.value is None:
        return heading, "—"
    if card is None:
        return heading, f"{found.value:.4g}"
    number = f"{100 * found.value if card.percent else found.value:.{card.digits}f}"
    return heading, number + (" %" if card.percent else f" {unit}" if card.has_unit and unit else "")


def _metric(name: str) -> MetricCard:
    try:
        return METRICS[name]
    except KeyError:
        known = ", ".join(METRICS)
        raise UnknownNameError(f"no metric is called {name!r}", f"Metrics: {known}") from None


def _vector(values: ArrayLike, name: str) -> Vector:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} has shape {vector.shape}, not (N,)")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} holds a value that isn't finite")
    return vector


def _defined(value: float) -> MetricValue:
    return MetricValue(value) if math.isfinite(value) else MetricValue(None, "beyond the range of float64")


def _no_spread(y: Vector, yhat: Vector) -> MetricValue | None:
    """Return the reason why no correlation exists, or None if one does."""
    if y.size < 2:
        return MetricValue(None, "fewer than 2 pairs")
    if (yhat == yhat[0]).all():
        return MetricValue(None, "constant prediction")
    if (y == y[0]).all():
        return MetricValue(None, "constant target")
    return None


def _mean_error(y: Vector, yhat: Vector, *, power: int) -> MetricValue:
    """Power mean of the absolute errors, scaled so that no intermediate over- or underflows."""
    if not y.size:
        return MetricValue(None, "no pair")
    with np.errstate(over="ignore"):
        errors = np.abs(y - yhat)
    largest = float(errors.max())
    if largest == 0 or not math.isfinite(largest):
        return _defined(largest)
    return _defined(largest * math.pow(float(np.mean((errors / largest) ** power)), 1 / power))


def _deviations(values: Vector, exponent: int | None = None) -> tuple[Vector, float]:
    """Return deviations from the mean, and the mean relative to the first value, both times 2**-exponent.

    Subtracting the first value before averaging keeps a tiny spread on a huge offset; the scale is a power
    of two and therefore exact.
    """
    shift = binary_exponent(values) if exponent is None else exponent
    relative = np.ldexp(values, -shift)
    relative = relative - relative[0]
    mean = float(relative.mean())
    return relative - mean, mean


def binary_exponent(*vectors: Vector) -> int:
    """Return the least e for which all values lie in (−2**e, 2**e); 0 where all are 0."""
    return int(np.frexp(max(float(np.abs(vector).max()) for vector in vectors))[1])


def _unit(deviations: Vector) -> Vector:
    scaled: Vector = deviations / np.abs(deviations).max()
    return scaled / math.sqrt(float(scaled @ scaled))


def _cosine(a: Vector, b: Vector) -> MetricValue:
    return MetricValue(min(1.0, max(-1.0, float(_unit(a) @ _unit(b)))))


def _agreement(y: Vector, yhat: Vector, *, absolute: bool) -> MetricValue:
    """Twice the covariance over the sum of variances, plus the squared bias if `absolute`.

    For two raters, (MSR − MSE) / (MSR + MSE) of the two-way analysis of variance is the same quotient
    without the bias.
    """
    shift = binary_exponent(y, yhat)
    a, mean_a = _deviations(y, shift)
    b, mean_b = _deviations(yhat, shift)
    first = np.ldexp(np.array([y[0], yhat[0]]), -shift)
    bias = float(first[0] - first[1]) + mean_a - mean_b if absolute else 0.0
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()), abs(bias))
    a, b, bias = a / largest, b / largest, bias / largest
    return _defined(float(2 * (a @ b) / (a @ a + b @ b + y.size * bias**2)))


def _ranks(values: Vector) -> Vector:
    """Rank from 1; ties share the mean of the ranks they take up."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Vector = (last - (count - 1) / 2)[group]
    return ranks
