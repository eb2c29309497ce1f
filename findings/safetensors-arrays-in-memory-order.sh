#!/bin/sh
# safetensors 0.8.0, safetensors.numpy: a transposed array comes back with its shape and other values.
#
# Output seen, for x = [[0 1 2 3] [4 5 6 7] [8 9 10 11]]:
#     x                     as it was
#     x.T                   [[0 1 2] [3 4 5] [6 7 8] [9 10 11]]         instead of [[0 4 8] [1 5 9] ...
#     asfortranarray(x)     [[0 4 8 1] [5 9 2 6] [10 3 7 11]]           equal to x before
#     x[:, :2]              [[0 1] [2 3] [4 5]]                         instead of [[0 1] [4 5] [8 9]]
#     ascontiguousarray of these: as they were
#     safetensors 0.7.0: all as they were
#
# Guess before running: what is loaded equals what was saved, or an error, as safetensors.torch raises for a tensor that
# isn't contiguous. The order in memory is no part of an array's value, and NumPy's own save() minds it. Version 0.8 hands
# over the address of the data instead of a copy. Its users have reported it (safetensors issue 825).
#
# What follows: weights that are converted between frameworks are transposed nearly always (TensorFlow's kernels are
# height, width, in, out), scikit-learn's PCA gives arrays in Fortran's order, and images whose channels stand in front or
# are cut to a box are views as well. Shapes and types fit, a strict load succeeds, and a digest of the file agrees with
# itself. np.ascontiguousarray() around each array, or a comparison after writing, is needed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > check.py <<'PY'
import numpy as np
import safetensors
from safetensors.numpy import load, save

x = np.arange(12, dtype=np.float32).reshape(3, 4)
given = {"x": x, "x.T": x.T, "asfortranarray(x)": np.asfortranarray(x), "x[:, :2]": x[:, :2]}
assert (given["asfortranarray(x)"] == x).all()
right = []
for name, array in given.items():
    back = load(save({"a": array}))["a"]
    assert back.shape == array.shape and back.dtype == array.dtype
    right.append(bool((back == array).all()))
    print(f"{safetensors.__version__} {name:20}", back.astype(int).tolist(), "" if right[-1] else "instead of", end=" ")
    print("" if right[-1] else array.astype(int).tolist())
    assert (load(save({"a": np.ascontiguousarray(array)}))["a"] == array).all()
    if not right[-1]:
        in_memory = array.ravel(order="K") if array.size == x.size else x.ravel()[: array.size]
        assert (back.ravel() == in_memory).all()
assert right == ([True] * 4 if safetensors.__version__ == "0.7.0" else [True, False, False, False]), right
PY
python3 -m venv venv
for version in 0.7.0 0.8.0; do
  venv/bin/python -m pip install --quiet --disable-pip-version-check numpy==2.4.6 safetensors==$version
  venv/bin/python check.py
done
