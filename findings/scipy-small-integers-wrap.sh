#!/bin/sh
# SciPy 1.17.1: the paired t-test, and distances between two vectors, are wrong for integers of 8 bits; their
# neighbours are right.
#
# Output seen, for 40 pairs of uint8 (such as grey levels, or ages), and for the same numbers as float64:
#     ttest_rel                       11.139535      -0.851035
#     ttest_ind                       -0.799951      -0.799951
#     wilcoxon                       351.000000     351.000000
#     pearsonr                         0.116750       0.116750
#     p of ttest_rel                   0.000000       0.399945
# for two vectors of 64 uint8, and for 100 pairs of vectors of 64 int8:
#     cosine                           0.000000       0.237765
#     cdist, cosine                    0.237765       0.237765
#     euclidean                     1225.654519     824.905449
#     cdist, euclidean               824.905449     824.905449
#     sqeuclidean                 680469.000000  680469.000000
#     cdist, sqeuclidean          680469.000000  680469.000000
#     cityblock                     8667.000000    5457.000000
#     cdist, cityblock              5457.000000    5457.000000
#     cosine of 100 pairs of int8 vectors: {'right': 0, 'wrong': 51, 'error': 49}
#
# Guess before running: equal columns. These functions promise floats, and the correlations, the other tests, cdist and
# sqeuclidean convert before they compute. Those that don't take differences and products in 8 bits, where they wrap
# around. Only cosine warns, of its last product ("overflow encountered in scalar multiply").
#
# What follows: labels and images are often small integers (a table of ages in uint8, action units in int8, embeddings
# that were quantised to int8). The test of "before against after" then rejects what isn't there: p = 1e-13 instead of
# 0.4. Convert to float first.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PY'
import warnings

import numpy as np
from scipy import stats
from scipy.spatial import distance

warned = set()


def both(name, function, a, b):
    """Return a function's value for integers and for the same numbers as floats."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small, exact = float(function(a, b)), float(function(a.astype(float), b.astype(float)))
    warned.update((name, str(warning.message)) for warning in caught)
    print(f"{name:26}{small:15.6f}{exact:15.6f}")
    return small, exact


random = np.random.default_rng(0)
a, b = random.integers(0, 256, (2, 40)).astype(np.uint8)
tests = ("ttest_rel", "ttest_ind", "wilcoxon", "pearsonr")
wrong = set()
for name in tests:
    small, exact = both(name, lambda a, b, test=name: getattr(stats, test)(a, b).statistic, a, b)
    if not np.isclose(small, exact):
        wrong.add(name)
small, exact = both("p of ttest_rel", lambda a, b: stats.ttest_rel(a, b).pvalue, a, b)
assert small < 1e-12 and exact > 0.1

u, v = np.random.default_rng(0).integers(0, 256, (2, 64)).astype(np.uint8)
for name in ("cosine", "euclidean", "sqeuclidean", "cityblock"):
    small, exact = both(name, getattr(distance, name), u, v)
    if not np.isclose(small, exact):
        wrong.add(name)
    matrix, _ = both(f"cdist, {name}", lambda a, b, kind=name: distance.cdist(a[None], b[None], kind)[0, 0], u, v)
    assert np.isclose(matrix, exact)
assert wrong == {"ttest_rel", "cosine", "euclidean", "cityblock"}, wrong

random = np.random.default_rng(1)
outcomes = {"right": 0, "wrong": 0, "error": 0}
for _ in range(100):
    u, v = random.integers(-127, 128, (2, 64)).astype(np.int8)
    exact = distance.cosine(u.astype(float), v.astype(float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outcomes["right" if abs(distance.cosine(u, v) - exact) < 0.01 else "wrong"] += 1
        except ValueError:
            outcomes["error"] += 1
print("cosine of 100 pairs of int8 vectors:", outcomes)
assert outcomes["right"] < 10, outcomes
print("warnings:", warned)
assert {name.split()[0] for name, _ in warned} == {"cosine"}, warned
PY
