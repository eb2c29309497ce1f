#!/bin/sh
# scikit-learn 1.9.1: GroupKFold balances the images of its folds, unless it shuffles; its documentation has it the other
# way round.
#
# Output seen, for ten subjects with 100, 3, 3, 3, 50, 3, 3, 3, 40 and 3 images and three folds (images in each fold):
#     GroupKFold(3)                                  100  56  55     subjects  1 3 6
#     GroupKFold(3, shuffle=True, random_state=0)     96   9 106     subjects  4 3 3
#                                random_state=1       59 106  46               4 3 3
#                                random_state=2      156   9  46               4 3 3
#
# Guess before running: about 100, 56 and 55 images with every seed. "The folds are approximately balanced in the sense that
# the number of samples is approximately the same in each test fold when `shuffle` is True", says the documentation of the
# class, and shuffling can go on among subjects of one size. In fact it shuffles the subjects and cuts them into parts of
# one count of subjects.
#
# What follows: with few subjects of unequal size, as in data of patients, a test part can be 9 of 211 images, and the mean
# over folds gives those 9 images the weight of the other parts'. Whoever adds shuffle=True for repeated cross-validation
# changes the sizes as well; metrics pooled over all folds mind it less.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PY'
import numpy as np
from sklearn.model_selection import GroupKFold

sizes = [100, 3, 3, 3, 50, 3, 3, 3, 40, 3]
subjects = np.repeat(np.arange(len(sizes)), sizes)


def folds(**options):
    """Return the number of images and of subjects in each test part."""
    tests = [test for _, test in GroupKFold(3, **options).split(subjects, groups=subjects)]
    found = [len(test) for test in tests], [len(np.unique(subjects[test])) for test in tests]
    print(options, *found)
    return found


assert folds() == ([100, 56, 55], [1, 3, 6])
shuffled = [folds(shuffle=True, random_state=seed) for seed in range(3)]
assert shuffled == [([96, 9, 106], [4, 3, 3]), ([59, 106, 46], [4, 3, 3]), ([156, 9, 46], [4, 3, 3])], shuffled
assert "is approximately the same in each test fold when `shuffle` is True" in " ".join(GroupKFold.__doc__.split())
PY
