#!/bin/sh
# scikit-learn 1.9.1: cohen_kappa_score(weights="quadratic") takes the places of the levels that occur, not the levels.
#
# Output seen, for two raters of intensities from 0 to 5, of which 3 and 4 never occur (12 images):
#     quadratic                          0.8214
#     quadratic, labels=0, 1, ..., 5     0.7407
#     linear                             0.6552      with labels 0.6170
#     not weighted                       0.4444      with labels 0.4444
#     levels 0 1 2 5 written as 0 1 2 3: quadratic 0.8214
#     krippendorff 0.9.0, interval       0.7514      levels as 0 1 2 3: 0.8286
#
# Guess before running: 0.7407 in both. Levels that nobody gave add rows and columns of zeros to the table, `labels` is described
# as what is in the matrix, and the quadratic weight is that of the squared difference, here of numbers. In fact it is
# the squared difference of positions in the sorted list of the labels that occur: 2 and 5 are neighbours.
#
# What follows: action units often lack some levels in a subject, a fold or a whole unit. Their values aren't comparable
# then, and are too good where the gap is disagreed on. Give labels=range(6) whenever the labels are numbers.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 krippendorff==0.9.0
"$folder/venv/bin/python" -W error - <<'PY'
import krippendorff
import numpy as np
from sklearn.metrics import cohen_kappa_score

one = np.array([0, 0, 1, 1, 2, 2, 5, 5, 0, 1, 2, 5])
other = np.array([0, 1, 1, 2, 2, 1, 5, 2, 0, 1, 5, 5])
LEVELS = range(6)


def closed(values):
    """Number the levels that occur: 0, 1, 2, 3."""
    return np.unique(values, return_inverse=True)[1]


def kappa_by_definition(power):
    distances = np.abs(np.subtract.outer(one, other).astype(float)) ** power
    return 1 - np.diag(distances).mean() / distances.mean()


found = {}
for weights, power in (("quadratic", 2), ("linear", 1)):
    found[weights] = cohen_kappa_score(one, other, weights=weights)
    found[weights, "labels"] = cohen_kappa_score(one, other, weights=weights, labels=LEVELS)
    assert np.isclose(found[weights, "labels"], kappa_by_definition(power))
    assert np.isclose(found[weights], cohen_kappa_score(closed(one), closed(other), weights=weights))
found["not weighted"] = cohen_kappa_score(one, other)
found["not weighted", "labels"] = cohen_kappa_score(one, other, labels=LEVELS)
found["krippendorff"] = krippendorff.alpha([one, other], level_of_measurement="interval")
found["krippendorff", "closed"] = krippendorff.alpha([closed(one), closed(other)], level_of_measurement="interval")
for name, value in found.items():
    print(name, round(float(value), 4))
assert round(found["quadratic"], 4) == 0.8214 and round(found["quadratic", "labels"], 4) == 0.7407
assert found["linear"] > found["linear", "labels"]
assert found["not weighted"] == found["not weighted", "labels"]
assert abs(found["krippendorff"] - found["krippendorff", "closed"]) > 0.05
PY
