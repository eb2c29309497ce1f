#!/bin/sh
# warp-lang 1.19.0: in a kernel, `//` rounds down and `%` goes with rounding towards zero, so that the two don't
# belong to one division: (a // b) * b + a % b is not a if a and b have different signs.
#
# Output seen (a = 7, -7, 7, -7 and b = 2, 2, -2, -2):
#     //                    3 -4 -4  3   as in Python
#     %                     1 -1  1 -1   as in C; Python has 1 1 -1 -1
#     (a // b) * b + a % b  7 -9  9 -7
#     the same for float32
#
# Guess before running: a comes back. Kernels are written in a subset of Python, where the two are defined by that
# equation, and C++, to which they are translated, keeps it as well, with another rounding. The reference states
# "floor division" for the one and "truncated division" for the other, each in its own entry. Cells of a grid that
# lies on both sides of 0 (cell = i // n, place in the cell = i % n) get places below 0. Masks (i & (n - 1)) are safe.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export WARP_CACHE_PATH="$folder/kernels"
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 warp-lang==1.19.0
cat >"$folder/divide.py" <<'PY'
import numpy as np
import warp as wp

wp.config.log_level = wp.LOG_ERROR


@wp.kernel
def divide(
    a: wp.array(dtype=wp.int32),
    b: wp.array(dtype=wp.int32),
    quotients: wp.array2d(dtype=wp.float32),
    rests: wp.array2d(dtype=wp.float32),
):
    i = wp.tid()
    quotients[0, i] = float(a[i] // b[i])
    rests[0, i] = float(a[i] % b[i])
    quotients[1, i] = float(a[i]) // float(b[i])
    rests[1, i] = float(a[i]) % float(b[i])


a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
quotients, rests = (wp.zeros((2, 4), dtype=wp.float32, device="cpu") for _ in range(2))
given = [wp.array(values, dtype=wp.int32, device="cpu") for values in (a, b)]
wp.launch(divide, dim=4, inputs=[*given, quotients, rests], device="cpu")
quotients, rests = quotients.numpy(), rests.numpy()
print("//", *quotients[0], "\n%", *rests[0], "\n(a // b) * b + a % b", *(quotients[0] * b + rests[0]))
assert (quotients == a // b).all() and (quotients == np.floor(a / b)).all()
assert (rests == np.fmod(a, b)).all()
assert (quotients * b + rests == [7, -9, 9, -7]).all()
PY
"$folder/venv/bin/python" "$folder/divide.py"
