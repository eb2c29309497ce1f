#!/bin/sh
# polars 2.1.0: rolling_corr is wrong where the values are large beside their changes; corr() and rolling_var are right.
#
# Output seen, the greatest error of any window of 10 rows (x normal, y = x / 2 + noise, 1,000 rows; OFFSET added to both):
#     OFFSET                                   1e3        1e6        1e8
#     rolling_corr                         7.6e-10     0.0011        6.4
#     corr of each window by itself        5.6e-16    4.4e-16    7.8e-16
#     rolling_var                          1.9e-13    1.8e-10    2.2e-08
#     pandas 3.1.1, rolling().corr()       5.7e-15    5.3e-15    8.4e-15
#     largest |rolling_corr|                  0.97       0.97        6.3
#
# Guess before running, written for all of polars' and pandas' correlations together: right to six digits, even at 1e9, as
# corr(), cov() and rolling_var() of the same release are, which keep to
# the differences from the mean; pandas too. rolling_corr takes means of products and products of means, and what is left
# when they are subtracted is rounding, so that "correlations" far beyond 1 appear.
#
# What follows: a time in seconds since 1970 (1.8e9), a frame's number in microseconds or a raw pixel sum is such a value. Subtract
# the column's mean before rolling_corr; it changes no correlation.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check polars==2.1.0 numpy==2.4.6 pandas==3.1.1
venv/bin/python - <<'PY'
import numpy as np
import pandas as pd
import polars as pl

WINDOW = 10
random = np.random.default_rng(0)
x = random.normal(size=1000)
y = x / 2 + random.normal(size=1000)
columns = {}
for offset in (1e3, 1e6, 1e8):
    a, b = x + offset, y + offset
    windows = [(a[i - WINDOW + 1 : i + 1] - offset, b[i - WINDOW + 1 : i + 1] - offset) for i in range(WINDOW - 1, 1000)]
    exact = np.array([np.corrcoef(*window)[0, 1] for window in windows])
    variances = np.array([np.var(first, ddof=1) for first, _ in windows])
    table = pl.DataFrame({"a": a, "b": b})
    rolling = table.select(pl.rolling_corr("a", "b", window_size=WINDOW)).to_series()[WINDOW - 1 :].to_numpy()
    single = [table[i : i + WINDOW].select(pl.corr("a", "b")).item() for i in range(1000 - WINDOW + 1)]
    pandas = pd.Series(a).rolling(WINDOW).corr(pd.Series(b))[WINDOW - 1 :].to_numpy()
    columns[offset] = {
        "rolling_corr": np.nanmax(np.abs(rolling - exact)),
        "corr of each window": np.abs(np.array(single) - exact).max(),
        "rolling_var": np.abs(table["a"].rolling_var(WINDOW)[WINDOW - 1 :].to_numpy() - variances).max(),
        "pandas": np.abs(pandas - exact).max(),
        "largest |rolling_corr|": np.nanmax(np.abs(rolling)),
    }
    assert np.abs(exact).max() <= 1
for name in columns[1e3]:
    print(f"{name:24}", *(f"{column[name]:10.2g}" for column in columns.values()))
for offset, column in columns.items():
    assert max(column["corr of each window"], column["rolling_var"], column["pandas"]) < 1e-6, offset
assert columns[1e3]["rolling_corr"] < 1e-6 and columns[1e6]["rolling_corr"] > 1e-5
assert columns[1e8]["rolling_corr"] > 1 and columns[1e8]["largest |rolling_corr|"] > 1.5
PY
