"""How often intervals of `predict` hold the true change of people that neither model nor errors are of.

    python timings/interval_coverage.py results/synth-age/probe/comface.json ...

For each fold of a record: its test pairs get intervals by the errors of the other folds' test pairs. Prints,
for each record and tercile of the estimates' size, the share of true changes inside and the intervals' mean
width.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from comface_bench.results.predictions import parse_columns, predictions_of, read_texts
from comface_bench.stats.interval import MeasuredErrors

LEVEL = 0.95


def main() -> None:
    for name in sys.argv[1:]:
        texts = read_texts(predictions_of(Path(name)))
        parts = {place: parse_columns(text, name) for place, text in texts.items()}
        sizes, inside, widths = [], [], []
        for place, tested in parts.items():
            others = [part for other, part in parts.items() if other[0] != place[0]]
            y, yhat, people = (
                np.concatenate([np.asarray(getattr(part, column)) for part in others])
                for column in ("y", "yhat", "subjects")
            )
            measured = MeasuredErrors(y, yhat, people.tolist(), both_ways=True)
            for true, estimate in zip(tested.y, tested.yhat, strict=True):
                error = measured.near(estimate, LEVEL)
                sizes.append(abs(estimate))
                inside.append(error.low <= true - estimate <= error.high)
                widths.append(error.high - error.low)
        third = np.searchsorted(np.quantile(sizes, [1 / 3, 2 / 3]), sizes)
        for number, size in enumerate(("small", "middle", "large")):
            some = third == number
            share, width = np.mean(np.array(inside)[some]), np.mean(np.array(widths)[some])
            print(f"{name}: {size} estimates: {share:.1%} inside, mean width {width:.2f}")
        print(f"{name}: all: {np.mean(inside):.1%} inside")


if __name__ == "__main__":
    main()
