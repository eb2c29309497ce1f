#!/bin/sh
# NumPy 2.4.6: Generator.integers of fewer than 32 bits gives other numbers one by one than at once.
#
# Output seen, for default_rng(1) and eight numbers from 0 to 255, then whether both ways agree by kind:
#     uint8   at once [255 228  34 121 243 189   6 131]   one by one [255 243 102 187 205 246 210 174]
#     int64   at once [121 131 193 243   8  36 210 242]   one by one [121 131 193 243   8  36 210 242]
#     uint8 False, uint16 False, uint32 True, int64 True, float32 random() and standard_normal() True
#
# Guess before running: the same numbers, as for random(), standard_normal() and 64-bit integers, where a
# stream may be cut into calls at will (code that resumes, or reads in chunks, relies on it). Integers of
# fewer bits are cut out of one 32-bit word, and what a call leaves of its word is thrown away at its end. Over
# the full range, calls for whole words (multiples of 4 for uint8, of 2 for uint16) go on where an undivided
# call would be; in a smaller range some numbers are rejected, and then these don't either. For 32-bit integers
# the generator itself keeps the other half of its 64-bit word, so they agree.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np


def agrees(draw, sizes):
    whole, pieces = np.random.default_rng(1), np.random.default_rng(1)
    return bool((draw(whole, sum(sizes)) == np.concatenate([draw(pieces, size) for size in sizes])).all())


def integers(kind):
    return lambda random, size: random.integers(np.iinfo(kind).max, size=size, dtype=kind, endpoint=True)


found = {
    **{kind: agrees(integers(kind), [1] * 8) for kind in ("uint8", "uint16", "uint32", "int64")},
    "uint8 by fours": agrees(integers("uint8"), [4, 4]),
    "uint16 by twos": agrees(integers("uint16"), [2, 2, 4]),
    "float32": agrees(lambda random, size: random.random(size, dtype=np.float32), [1] * 8),
    "normal": agrees(lambda random, size: random.standard_normal(size), [1] * 8),
}
for name, value in found.items():
    print(f"{name:15}{value}")
assert [name for name, value in found.items() if not value] == ["uint8", "uint16"], found
PY
