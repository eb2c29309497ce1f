#!/bin/sh
# polars 2.1.0: mean_horizontal of UInt8 columns is the mean of a sum that wrapped around; its neighbours are right.
#
# Output seen, for columns a = 200 100 250 and b = 100 100 100 of UInt8:
#     mean_horizontal(a, b)             22.0   100.0    47.0        of kind Float64, instead of 150, 100, 175
#     sum_horizontal(a, b)                44     200      94        of kind UInt8
#     concat_list(a, b).list.mean()    150.0   100.0   175.0        of kind Float64
#     concat_list(a, b).list.sum()       300     200     350        of kind Int64
#     a.rolling_sum(2)                  null     300     350        of kind Int64
#     a.sum()                            550                        of kind Int64
#     a.dot(b)                           216                        of kind Int64, instead of 55000
#
# Guess before running: sum_horizontal and dot widen as sum() does, whose documentation says that Int8, UInt8, Int16 and
# UInt16 are cast to Int64 first so that they don't overflow; rolling sums, sums of lists, cum_sum() and diff() widen
# as well. A mean, whose kind is Float64, was beyond doubt. Here the columns are added in their own kind, and divided then;
# the products of dot() are made in it, and summed in Int64.
#
# What follows: the mean of three raters, or of the left and the right side, is what one takes across columns, and scores or grey
# levels are often read as UInt8. The means lie in the range of valid scores, so nothing looks wrong. Cast the columns
# to a float first.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check polars==2.1.0
venv/bin/python - <<'PY'
import polars as pl

table = pl.DataFrame({"a": [200, 100, 250], "b": [100, 100, 100]}, schema={"a": pl.UInt8, "b": pl.UInt8})
a, b, pair = pl.col("a"), pl.col("b"), pl.concat_list("a", "b")
expected = {
    "mean_horizontal(a, b)": (pl.mean_horizontal("a", "b"), pl.Float64, [22.0, 100.0, 47.0]),
    "sum_horizontal(a, b)": (pl.sum_horizontal("a", "b"), pl.UInt8, [44, 200, 94]),
    "list.mean()": (pair.list.mean(), pl.Float64, [150.0, 100.0, 175.0]),
    "list.sum()": (pair.list.sum(), pl.Int64, [300, 200, 350]),
    "rolling_sum(2)": (a.rolling_sum(2), pl.Int64, [None, 300, 350]),
    "a.sum()": (a.sum(), pl.Int64, [550]),
    "a.dot(b)": (a.dot(b), pl.Int64, [216]),
}
for name, (expression, kind, values) in expected.items():
    found = table.select(expression).to_series()
    print(f"{name:24}{found.to_list()!s:26}{found.dtype}")
    assert (found.dtype, found.to_list()) == (kind, values), name

floats = table.cast(pl.Float64).select(pl.mean_horizontal("a", "b")).to_series().to_list()
assert floats == [150.0, 100.0, 175.0]
assert table.select(pl.mean_horizontal("a", "b").is_between(0, 255).all()).item()
PY
