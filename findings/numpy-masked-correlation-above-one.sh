#!/bin/sh
# NumPy 2.4.6: ma.corrcoef of two masked rows in one array isn't their correlation, and can be above 1; given as two
# arrays, the same rows are right.
#
# Output seen, for a = 1 2 8 9 5 5 and b = 1 3 7 9 - - ("-" is masked):
#     np.corrcoef of the four pairs                0.9839
#     ma.corrcoef(a, b)                            0.9839
#     ma.corrcoef(ma.stack([a, b]))                1.2702
#     ma.cov(a, b), ma.cov(ma.stack([a, b]))       14.6667, 14.6667
# over three random pairs of 12 values, 5 of them masked:
#     pairs               0.444   0.104   0.814
#     ma.corrcoef(a, b)   0.444   0.104   0.814
#     ... of one array    0.459   0.152   0.617
#
# Guess before running, one for both forms: the correlation of the complete pairs. np.corrcoef(a, b) and np.corrcoef([a, b])
# are one thing, and ma's is said to do the same except for missing data. In fact two arrays are first given a common
# mask (ma.cov's documentation tells so), while the rows of one array keep each its own mean and variance; only the
# products are of pairs, so the quotient isn't bounded by 1.
#
# What follows: a table of raters or of action units with gaps is one array. Its matrix of correlations has entries that fit
# no pairs, mostly within bounds so that nobody sees it. pandas' corr() drops incomplete pairs for each entry.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check numpy==2.4.6
venv/bin/python -W error - <<'PY'
import numpy as np


def three_ways(a, b):
    """Correlation of the complete pairs, by two masked arrays, and by one."""
    complete = ~(np.ma.getmaskarray(a) | np.ma.getmaskarray(b))
    pairs = np.corrcoef(a.data[complete], b.data[complete])[0, 1]
    return [float(value) for value in (pairs, np.ma.corrcoef(a, b)[0, 1], np.ma.corrcoef(np.ma.stack([a, b]))[0, 1])]


a = np.ma.array([1.0, 2, 8, 9, 5, 5], mask=[False] * 6)
b = np.ma.array([1.0, 3, 7, 9, 0, 0], mask=[False, False, False, False, True, True])
found = three_ways(a, b)
covariances = [float(np.ma.cov(a, b)[0, 1]), float(np.ma.cov(np.ma.stack([a, b]))[0, 1])]
print("a =", a, " b =", b, "\n", found, covariances)
assert np.isclose(found[0], found[1]) and np.isclose(found[2], 1.27017, atol=1e-4), found
assert np.allclose(covariances, 44 / 3), covariances

for seed in range(3):
    random = np.random.default_rng(seed)
    x = random.normal(size=12)
    y = x + random.normal(size=12)
    first, second = np.ma.array(x, mask=False), np.ma.array(y, mask=False)
    first[1:4] = np.ma.masked
    second[5:7] = np.ma.masked
    pairs, two, one = three_ways(first, second)
    print(f"{pairs:.3f} {two:.3f} {one:.3f}")
    assert np.isclose(pairs, two) and abs(pairs - one) > 0.01
PY
