#!/bin/sh
# pingouin 0.7.0: intraclass_corr() takes several ratings of one target by one rater, and computes with their mean as if it
# were one rating.
#
# Output seen, for 8 faces, 3 raters and 3 frames of each face, all rated (72 rows: true value + noise of variance 1):
#     all 72 rows                       ICC(1,1) 0.461   df 7 and 16   ICC(C,1) 0.447   df 7 and 14
#     their 24 means                    ICC(1,1) 0.461   df 7 and 16   ICC(C,1) 0.447   df 7 and 14
#     the means, one row of them twice  ICC(1,1) 0.461   df 7 and 16   ICC(C,1) 0.447   df 7 and 14
#     the first frame of each           ICC(1,1) 0.268   df 7 and 16   ICC(C,1) 0.255   df 7 and 14
#     the means, but for one row        ValueError: ... missing values are present in data or data are unbalanced
#
# Guess before running: an error, or degrees of freedom that tell of 72 ratings. ICC(1,1) is "single raters", its formula has
# one value a cell, and the function does refuse data with an empty cell as unbalanced. A cell with three is averaged, as
# pandas' pivot_table does by default.
#
# What follows: what is reported as the reliability of one rating of one frame is that of the mean of all frames, which is
# higher; a row that a join has doubled changes nothing and isn't noticed. Check that (target, rater) is unique, or
# choose one row of each.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 pingouin==0.7.0
MPLCONFIGDIR="$folder" "$folder/venv/bin/python" -W error::UserWarning - <<'PY'
import numpy as np
import pandas as pd
import pingouin

random = np.random.default_rng(0)
rows = []
for face in range(8):
    true = random.normal()
    rows += [(face, rater, frame, true + random.normal()) for rater in "ABC" for frame in range(3)]
ratings = pd.DataFrame(rows, columns=["face", "rater", "frame", "value"])
assert len(ratings) == 72


def icc(table):
    found = pingouin.intraclass_corr(table, "face", "rater", "value").set_index("Type")
    return found.loc[["ICC(1,1)", "ICC(C,1)"], ["ICC", "df1", "df2"]]


means = ratings.groupby(["face", "rater"], as_index=False)["value"].mean()
tables = {
    "all rows": ratings,
    "means": means,
    "first frame": ratings[ratings["frame"] == 0],
    "doubled row": pd.concat([means, means.iloc[[5]]]),
}
found = {name: icc(table) for name, table in tables.items()}
for name, values in found.items():
    print(f"{name} ({len(tables[name])} rows)\n{values}")
assert np.allclose(found["all rows"], found["means"])
assert np.allclose(found["doubled row"], found["means"])
assert (found["first frame"]["ICC"] + 0.15 < found["all rows"]["ICC"]).all()

try:
    icc(means.drop(index=5))
except ValueError as error:
    print("an empty cell:", error)
else:
    raise SystemExit("an empty cell was taken")
PY
