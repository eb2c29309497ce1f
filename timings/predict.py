"""Time of 1,000 predictions among 400 pictures, as a ratio to the bare forward passes of these pictures.

    python timings/predict.py [SIZE]

Makes a record of `comface` on `synth-age` under `probe` at 112 pixels, or of SIZE, in a temporary folder.
Rounds alternate; the bare passes have their pictures in memory. Prints ratios of processor time, which others
on the machine disturb least: with photographs unchecked, checked for size and colour, and for faces, too (by
dlib).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import comface_bench as cb

ROUNDS = 5


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 112
    with tempfile.TemporaryDirectory() as folder:
        cb.run("comface", "synth-age", "probe", results=folder, image_size=size)
        (record,) = Path(folder).glob("synth-age/*/*.json")
        quick, with_faces = (cb.load_model(record, find_faces=found) for found in (False, True))
    table = cb.load_task("synth-age").table
    files = [table.root / name for name in table.images]
    drawn = np.random.default_rng(0).integers(0, len(files), (1000, 2))
    pairs = [(files[first], files[second]) for first, second in drawn]
    used = np.unique(drawn)
    encoder, _ = quick.load(quick.shares[0])
    with quick._show([files[row] for row in used]) as source:
        images = source.plain(np.arange(len(used)))
    passed: list[int] = []
    encoder.backbone.register_forward_hook(lambda _, given, __: passed.append(len(given[0])))

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), 64):
                encoder.encode_checked(images[start : start + 64])

    kinds: dict[str, Callable[[], object]] = {
        "bare": bare,
        "unchecked": lambda: quick.predict_pairs(pairs, check=False),
        "checked": lambda: quick.predict_pairs(pairs),
        "with faces": lambda: with_faces.predict_pairs(pairs),
    }
    ratios: dict[str, list[float]] = {name: [] for name in kinds}
    bare()
    for _ in range(ROUNDS):
        seconds = {}
        for name, work in kinds.items():
            passed.clear()
            began = time.process_time()
            work()
            seconds[name] = time.process_time() - began
            assert name == "with faces" or sum(passed) == len(used)
        for name, spent in seconds.items():
            ratios[name].append(spent / seconds["bare"])
    print(f"{len(pairs)} pairs of {len(used)} pictures; bare passes {seconds['bare']:.2f} s")
    for name, found in ratios.items():
        print(f"{name}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
