"""What pairs a set of predictions is of, told without keeping them."""

import os
import subprocess
import sys

import pytest

from comface_bench.stats.predictions import Columns, PredictionSet

PLACES = {
    (0, 0): Columns(["a", "b", "c"], [1, 1, 2], [1.0, -2.0, 3.5], [0.0, 0.0, 0.0]),
    (1, 0): Columns(["d"], [3], [0.25], [1.0]),
}
IN_A_PROCESS = """
from comface_bench.stats.predictions import Columns, PredictionSet
columns = {place: Columns(*values) for place, values in PLACES.items()}
print(PredictionSet.of_columns(columns, "pooled").pairs)
"""


def pairs(places):
    return PredictionSet.of_columns(places, "pooled").pairs


def test_the_digest_of_pairs_is_the_same_in_every_process():
    code = f"PLACES = { {place: tuple(columns) for place, columns in PLACES.items()}!r}\n{IN_A_PROCESS}"
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert run.stdout.strip() == pairs(PLACES)


def test_orders_estimates_and_further_seeds_make_no_other_pairs():
    first = PLACES[0, 0]
    turned = Columns(*(list(reversed(values)) for values in first))
    assert pairs({**PLACES, (0, 0): turned}) == pairs(PLACES)
    assert pairs({**PLACES, (0, 0): first._replace(yhat=[9.0, 8.0, 7.0])}) == pairs(PLACES)
    assert pairs({**PLACES, **{(fold, 7): columns for (fold, _), columns in PLACES.items()}}) == pairs(PLACES)


@pytest.mark.parametrize(
    "other",
    [
        {(0, 0): PLACES[0, 0]._replace(pairs=["a", "b", "e"])},
        {(0, 0): PLACES[0, 0]._replace(subjects=[1, 1, 4])},
        {(0, 0): PLACES[0, 0]._replace(y=[1.0, -2.0, 3.5000001])},
        {(2, 0): PLACES[1, 0]},
    ],
)
def test_another_pair_person_change_or_fold_does(other):
    assert pairs({**PLACES, **other}) != pairs(PLACES)
