#!/bin/sh
# pandas 3.1.1: DataFrame.eval and query give other numbers, and other rows, for small integers once numexpr is installed.
#
# Output seen, for columns a = 1 2 3 250 and b = 2 2 200 10 of uint8, without and with numexpr 2.14.2:
#     eval("a - b")             255 0 59 240    of uint8            -1 0 -197 240    of int32
#     eval("a * b")             2 4 88 196      of uint8            2 4 600 2500     of int32
#     eval("-a")                255 254 253 6   of uint8            -1 -2 -3 -250    of int64
#     query("b - a > 0")        rows 0, 2, 3                        rows 0, 2
#     df.a - df.b               255 0 59 240    of uint8            255 0 59 240     of uint8
#
# Guess before running: the same. numexpr is named as a dependency "for accelerating", eval takes it by itself where it's found, and
# df.eval("a - b") is said to be df.a - df.b. In fact the subtraction of small integers wraps around in pandas (by NumPy), and
# numexpr widens it first. Neither warns.
#
# What follows: numexpr arrives with other packages, so the rows that query() selects from a table of levels or ages in uint8 differ
# between two machines on which the same code ran with the same pandas. Name the engine ("python"), or write the expression
# with columns, or cast.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > check.py <<'PY'
import importlib.util

import numpy as np
import pandas as pd

table = pd.DataFrame({"a": np.array([1, 2, 3, 250], np.uint8), "b": np.array([2, 2, 200, 10], np.uint8)})
results = {text: table.eval(text) for text in ("a - b", "a * b", "-a")}
results["columns"] = table.a - table.b
found = {name: (str(values.dtype), values.tolist()) for name, values in results.items()}
found["rows"] = table.query("b - a > 0").index.tolist()
small = ("uint8", [255, 0, 59, 240])
without = {"a - b": small, "a * b": ("uint8", [2, 4, 88, 196]), "-a": ("uint8", [255, 254, 253, 6])}
with_it = {"a - b": ("int32", [-1, 0, -197, 240]), "a * b": ("int32", [2, 4, 600, 2500]), "-a": ("int64", [-1, -2, -3, -250])}
installed = importlib.util.find_spec("numexpr") is not None
print("with numexpr" if installed else "without numexpr", found)
expected = with_it | {"rows": [0, 2]} if installed else without | {"rows": [0, 2, 3]}
assert found == expected | {"columns": small}
assert table.query("b - a > 0", engine="python").index.tolist() == [0, 2, 3]
PY
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pandas==3.1.1
venv/bin/python -W error check.py
venv/bin/python -m pip install --quiet --disable-pip-version-check numexpr==2.14.2
venv/bin/python -W error check.py
