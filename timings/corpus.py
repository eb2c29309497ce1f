"""Random pair reads from a corpus against raw reads of the same images as files of their own.

Run: python timings/corpus.py
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.synthesis.generator import GeneratorCard

PAIRS, ROUNDS, SIDE = 20_000, 5, 128


class Smooth:
    """Soft random blobs, which compress about as faces do."""

    card = GeneratorCard("smooth", SIDE, ("blob",), "CC0-1.0", {}, {})

    def identities(self, seed: int, count: int, first: int = 0) -> list[int]:
        del seed
        return list(range(first, first + count))

    def render(self, identity: int, attribute: str, alphas: tuple[float, ...]) -> np.ndarray:
        del attribute
        rng = np.random.default_rng(identity)
        coarse = rng.uniform(0, 255, (3, 16, 16)).repeat(8, 1).repeat(8, 2)
        noise = rng.normal(0, 4, (len(alphas), 3, SIDE, SIDE))
        return np.clip(coarse + noise, 0, 255).astype(np.uint8)


def read(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY)
    data = os.read(handle, 1 << 20)
    os.close(handle)
    return data


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, files = Path(folder) / "corpus", Path(folder) / "files"
        plan = CorpusPlan(0, ("blob",), 500, alphas=20)
        generate(root, Smooth, Description.of(Smooth.card, plan, records_per_shard=50))
        files.mkdir()
        rng = np.random.default_rng(0)
        with Corpus(root) as corpus:
            for number in range(len(corpus)):
                for index in range(plan.alphas):
                    (files / f"{number}-{index}").write_bytes(corpus.read(number, index))
            ours, raw = [], []
            for _ in range(ROUNDS):
                records = rng.integers(len(corpus), size=PAIRS).tolist()
                places = rng.integers(plan.alphas, size=(PAIRS, 2)).tolist()
                start = time.perf_counter()
                for number, (x, y) in zip(records, places, strict=True):
                    corpus.read(number, x), corpus.read(number, y)
                ours.append(time.perf_counter() - start)
                start = time.perf_counter()
                for number, (x, y) in zip(records, places, strict=True):
                    read(f"{files}/{number}-{x}"), read(f"{files}/{number}-{y}")
                raw.append(time.perf_counter() - start)
    rate = [2 * PAIRS / value for value in (min(ours), min(raw))]
    print(f"corpus {rate[0]:,.0f} images/s, files {rate[1]:,.0f} images/s (in memory, one process)")
    print(f"ratio of throughputs, median of {ROUNDS}: {np.median(np.array(raw) / np.array(ours)):.2f}")


if __name__ == "__main__":
    main()
