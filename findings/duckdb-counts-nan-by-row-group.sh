#!/bin/sh
# DuckDB 2.0.1: how many rows of a Parquet file a WHERE finds depends on where its row groups end, if there are NaNs.
#
# Output seen, rows found in x = 1 2 NaN 3 200 5 NaN 7, in the table itself and in files of it:
#     row groups of              none (table)    8 rows    4 rows    2 rows    1 row
#     x > 100                         3             3         2         1        3
#     x >= 200                        3             3         2         1        3
#     x > 1000                        2             0         0         0        2
#     x = 'nan'                       2             0         0         0        2
#     x <> 3                          7             7         7         6        7
#     x BETWEEN 100 AND 300           1             3         2         1        1
#     isnan(x)                        2             0         0         0        2
#     polars 2.1.0, x > 100           3             3         3         3        3
#
# Guess before running: one number in each line, as in polars. Both hold NaN for greater than all numbers (DuckDB documents it),
# so 3 rows are > 100; the split into row groups is a matter of speed. But the least and the greatest value that a file
# notes for a row group leave NaN out, and DuckDB believes them: a group whose greatest number is below the bound is passed over
# with its NaNs, and where the greatest number is within the upper bound, that bound is no longer tested (BETWEEN, 3 rows:
# 200 and both NaNs). Even isnan() is decided by the bounds, and finds NaN only where a group holds nothing else.
# Files by pyarrow and polars note bounds of groups with NaN; a file that DuckDB wrote notes none there, and is counted rightly.
#
# What follows: labels, landmarks and distances that couldn't be measured are NaN in many tables, and each writer chooses its own
# size of row groups. `x BETWEEN 100 AND 300` looks safe from NaN, and isn't. Write missing values as null (from pandas that is
# the default, from NumPy and polars it isn't); neither a check by isnan() nor a bound on both sides sees them in a file.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0
venv/bin/python - <<'PY'
import duckdb
import polars as pl
import pyarrow as pa
from pyarrow import parquet

nan = float("nan")
table = pa.table({"x": [1.0, 2.0, nan, 3.0, 200.0, 5.0, nan, 7.0]})
assert table["x"].null_count == 0
sizes = (8, 4, 2, 1)
for size in sizes:
    parquet.write_table(table, f"{size}.parquet", row_group_size=size)

expected = {
    "x > 100": [3, 3, 2, 1, 3],
    "x >= 200": [3, 3, 2, 1, 3],
    "x > 1000": [2, 0, 0, 0, 2],
    "x = 'nan'": [2, 0, 0, 0, 2],
    "x <> 3": [7, 7, 7, 6, 7],
    "x BETWEEN 100 AND 300": [1, 3, 2, 1, 1],
    "isnan(x)": [2, 0, 0, 0, 2],
}
connection = duckdb.connect()
connection.register("table_in_memory", table)
connection.execute("CREATE TABLE own AS SELECT * FROM table_in_memory")
for condition, counts in expected.items():
    sources = ["own", *(f"'{size}.parquet'" for size in sizes)]
    found = [connection.execute(f"SELECT count(*) FROM {source} WHERE {condition}").fetchone()[0] for source in sources]
    print(f"{condition:24}", *(f"{count:6}" for count in found))
    assert found == counts, (condition, found)

files = [pl.scan_parquet(f"{size}.parquet") for size in sizes]
found = [frame.lazy().filter(pl.col("x") > 100).collect().height for frame in (pl.from_arrow(table), *files)]
print(f"{'polars: x > 100':24}", *(f"{count:6}" for count in found))
assert found == [3] * 5
PY
