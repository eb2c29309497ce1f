#!/bin/sh
# SciPy 1.17.1: stats.bootstrap of two samples gives another interval with another `batch`, though the seed is the same.
#
# Output seen (95 % intervals of a difference of means of 20 and 20 values, rng=1, 999 resamples):
#     batch=None        -0.6891   0.5207
#     batch=1           -0.6565   0.5421
#     batch=100         -0.7050   0.5413
#     paired=True       equal for all three; one sample: equal for all three
#
# Guess before running: equal for all. `batch` is documented as the number of resamples in each call of the statistic, with
# what it means for memory; intervals of one sample, and of pairs, don't depend on it. With more samples, each batch draws
# all its resamples of the first sample, and then those of the second, from one stream.
#
# What follows: to get an interval again, its `batch` is needed beside its seed; who lowers it on a smaller machine changes
# the second digit, here by as much as 4 % of the interval's width. 9999 resamples instead of 999 make it smaller, not 0.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PY'
import numpy as np
from scipy import stats

random = np.random.default_rng(0)
before = random.normal(size=20)
after = before + random.normal(size=20)
BATCHES = (None, 1, 100)


def difference(a, b, axis):
    return a.mean(axis) - b.mean(axis)


def intervals(samples, statistic, n_resamples=999, **options):
    """Return the interval's limits for each batch size."""
    options = {"rng": 1, "n_resamples": n_resamples, **options}
    found = [stats.bootstrap(samples, statistic, batch=batch, **options).confidence_interval for batch in BATCHES]
    return [(round(float(low), 9), round(float(high), 9)) for low, high in found]


two = intervals((before, after), difference)
for batch, (low, high) in zip(BATCHES, two, strict=True):
    print(f"batch={batch!s:6}{low:9.4f}{high:9.4f}")
assert len(set(two)) == 3, two
assert intervals((before, after), difference) == two
assert 0.03 < max(abs(two[1][0] - two[2][0]), abs(two[1][1] - two[0][1])) < 0.06
many = intervals((before, after), difference, n_resamples=9999)
assert len(set(many)) == 3, many
paired = intervals((before, after), difference, paired=True)
one = intervals((before,), np.mean)
print("paired:", paired[0], "one sample:", one[0], "for every batch")
assert len(set(paired)) == len(set(one)) == 1, (paired, one)
PY
